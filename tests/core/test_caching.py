"""Gradient caching: the gradient of the whole batch, in the memory of a chunk."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core import caching_ranks
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from vilseg_core import SymmetricInfoNCE, cached_contrastive_step


def tower(width: int = 4, *, seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = (nn.Linear(width, 7), nn.Tanh(), nn.Dropout(dropout), nn.Linear(7, 5))
    return nn.Sequential(*layers).double()


def rows(n: int, width: int = 4, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, dtype=torch.float64, generator=generator)


def gradients(*modules: nn.Module) -> list[Tensor]:
    """Every parameter's gradient, which is then forgotten."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    found = []
    for parameter in parameters:
        assert parameter.grad is not None
        found.append(parameter.grad)
        parameter.grad = None
    return found


def assert_equal(found: list[Tensor], truth: list[Tensor]) -> None:
    for ours, exact in zip(found, truth, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-13)


@given(n=st.integers(1, 9), chunk=st.integers(1, 10), seed=st.integers(0, 100))
def test_the_gradient_is_that_of_the_whole_batch(n: int, chunk: int, seed: int) -> None:
    image, text, loss = tower(), tower(3, seed=1), SymmetricInfoNCE(0.2).double()
    images, texts = rows(n, seed=seed), rows(n, 3, seed=seed + 1)
    truth_value = loss(image(images), text(texts))
    torch.autograd.backward(truth_value)
    truth = gradients(image, text, loss)
    value = cached_contrastive_step([image, text], [images, texts], loss=loss, chunk=chunk)
    assert not value.requires_grad
    torch.testing.assert_close(value, truth_value.detach(), rtol=1e-12, atol=1e-13)
    assert_equal(gradients(image, text, loss), truth)


def test_gradients_add_to_what_is_there() -> None:
    image, loss = tower(), SymmetricInfoNCE(0.2).double()
    inputs = [rows(5), rows(5, seed=1)]
    cached_contrastive_step([image, image], inputs, loss=loss, chunk=2)
    once = gradients(image, loss)
    for _ in range(2):
        cached_contrastive_step([image, image], inputs, loss=loss, chunk=2)
    assert_equal(gradients(image, loss), [2 * gradient for gradient in once])


def test_towers_that_share_parameters() -> None:
    trunk, heads, loss = tower(), [nn.Linear(5, 3).double() for _ in range(2)], SymmetricInfoNCE()
    encoders = [nn.Sequential(trunk, head) for head in heads]
    inputs = [rows(7), rows(7, seed=1)]
    whole = loss(*(encoder(x) for encoder, x in zip(encoders, inputs, strict=True)))
    torch.autograd.backward(whole)
    truth = gradients(trunk, *heads)
    cached_contrastive_step(encoders, inputs, loss=loss, chunk=3)
    assert_equal(gradients(trunk, *heads), truth)


def test_random_numbers_are_the_same_in_both_passes() -> None:
    image, text, loss = tower(dropout=0.5), tower(seed=1, dropout=0.3), SymmetricInfoNCE().double()
    images, texts = rows(8), rows(8, seed=1)
    torch.manual_seed(5)
    encoded = [
        torch.cat([encoder(part) for part in torch.split(batch, 3)])
        for encoder, batch in ((image, images), (text, texts))
    ]

    def noisy(a: Tensor, b: Tensor) -> Tensor:
        value: Tensor = loss(a + torch.randn_like(a), b)
        return value

    torch.autograd.backward(noisy(*encoded))
    truth, next_number = gradients(image, text, loss), torch.rand(1)
    torch.manual_seed(5)
    cached_contrastive_step([image, text], [images, texts], loss=noisy, chunk=3)
    assert torch.equal(torch.rand(1), next_number)
    assert_equal(gradients(image, text, loss), truth)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_random_numbers_of_the_gpu_are_the_same_in_both_passes() -> None:
    image, loss = tower(dropout=0.5).cuda(), SymmetricInfoNCE().double().cuda()
    images = rows(8).cuda()
    torch.manual_seed(5)
    encoded = torch.cat([image(part) for part in torch.split(images, 3)])
    torch.autograd.backward(loss(encoded, images[:, :1].expand(8, 5)))
    truth, next_number = gradients(image, loss), torch.rand(1, device="cuda")
    torch.manual_seed(5)
    cached_contrastive_step(
        [image], [images], loss=lambda x: loss(x, images[:, :1].expand(8, 5)), chunk=3
    )
    assert torch.equal(torch.rand(1, device="cuda"), next_number)
    assert_equal(gradients(image, loss), truth)


class Both(nn.Module):
    """One model of two towers, called with names, that gives ids besides."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = tower(), tower(3, seed=1)

    def forward(self, *, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.image(images), self.text(texts), torch.arange(len(images))


def test_one_encoder_may_give_several_features() -> None:
    model, loss = Both(), SymmetricInfoNCE().double()
    images, texts = rows(7), rows(7, 3)
    torch.autograd.backward(loss(*model(images=images, texts=texts)[:2]))
    truth = gradients(model, loss)
    seen: list[int] = []

    def objective(image: Tensor, text: Tensor, ids: Tensor) -> Tensor:
        seen.extend(ids.tolist())
        value: Tensor = loss(image, text)
        return value

    cached_contrastive_step([model], [{"images": images, "texts": texts}], loss=objective, chunk=4)
    assert_equal(gradients(model, loss), truth)
    assert seen == [0, 1, 2, 3, 0, 1, 2]


def test_any_number_of_towers_of_any_length_and_any_loss() -> None:
    encoders = [tower(seed=seed) for seed in range(3)]
    inputs = [rows(n, seed=n) for n in (4, 6, 1)]

    def loss(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return (a @ b.T).logsumexp((0, 1)) + (c @ a.T).square().sum()

    features = [encoder(x) for encoder, x in zip(encoders, inputs, strict=True)]
    torch.autograd.backward(loss(*features))
    truth = gradients(*encoders)
    cached_contrastive_step(encoders, [(x,) for x in inputs], loss=loss, chunk=4)
    assert_equal(gradients(*encoders), truth)


def test_frozen_and_unused_towers_cost_no_second_pass() -> None:
    frozen, unused, image = tower().requires_grad_(False), tower(seed=1), tower(seed=2)
    calls = {"frozen": 0, "unused": 0, "image": 0}

    def counted(name: str, encoder: nn.Module) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            calls[name] += 1
            features: Tensor = encoder(x)
            return features

        return call

    encoders = [counted("frozen", frozen), counted("unused", unused), counted("image", image)]
    cached_contrastive_step(encoders, [rows(6)] * 3, loss=lambda a, _, c: (a * c).sum(), chunk=2)
    assert calls == {"frozen": 3 + 1, "unused": 3, "image": 3 + 3}
    assert len(gradients(image)) == 4


def test_an_empty_batch_has_gradients_of_zero() -> None:
    image, loss = tower(), SymmetricInfoNCE().double()
    value = cached_contrastive_step([image, image], [rows(0), rows(0)], loss=loss, chunk=2)
    assert value.item() == 0.0
    assert all(torch.equal(x, torch.zeros_like(x)) for x in gradients(image))


def test_under_autocast_the_weights_get_their_gradients() -> None:
    image, loss = tower().float(), SymmetricInfoNCE()
    inputs = [rows(6).float(), rows(6, seed=1).float()]
    torch.autograd.backward(loss(*(image(x) for x in inputs)))
    truth = gradients(image, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cached_contrastive_step([image, image], inputs, loss=loss, chunk=4)
    for ours, exact in zip(gradients(image, loss), truth, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0.1, atol=0.02)


def peak_of_saved(run: Callable[[], Any]) -> int:
    """The most bytes that autograd holds for backward passes at any one time."""
    live = [0, 0]

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            size = tensor.numel() * tensor.element_size()
            live[0] += size
            live[1] = max(live)
            weakref.finalize(self, lambda: live.__setitem__(0, live[0] - size))

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        run()
    return live[1]


def test_memory_is_that_of_a_chunk() -> None:
    wide = nn.Sequential(nn.Linear(4, 512), nn.Tanh(), nn.Linear(512, 5)).double()
    weights = 512 * 5 * 8

    def loss(x: Tensor) -> Tensor:
        return x.square().sum()

    def whole(n: int) -> int:
        return peak_of_saved(lambda: torch.autograd.backward(loss(wide(rows(n)))))

    def cached(n: int) -> int:
        return peak_of_saved(lambda: cached_contrastive_step([wide], [rows(n)], loss=loss, chunk=8))

    assert whole(64) - weights > 7 * (whole(8) - weights)
    assert cached(64) == cached(16) <= whole(8)


@pytest.mark.slow
@pytest.mark.parametrize("towers", caching_ranks.TOWERS)
def test_ranks_reduce_each_module_once_a_step(
    ranks: tuple[tuple[int, ...], list[dict[str, Any]]], towers: str
) -> None:
    # Two steps, each of up to three chunks.
    assert all(set(rank[f"{towers} reductions"]) == {2} for rank in ranks[1])


@pytest.mark.parametrize("towers", caching_ranks.TOWERS)
def test_ranks_take_the_step_of_one_process(
    ranks: tuple[tuple[int, ...], list[dict[str, Any]]], towers: str
) -> None:
    sizes, found = ranks
    parts = caching_ranks.modules(towers, group=None)
    first, second = caching_ranks.batch(sum(sizes))
    value = parts["loss"](parts["first"](first), parts["second"](second))
    torch.autograd.backward(value)
    truth = {"value": value.detach(), **caching_ranks.gradients(parts)}
    for rank in found:
        assert rank[towers].keys() == truth.keys()
        for name, exact in truth.items():
            assert (rank[towers][name] - exact).abs().max() < 1e-12, name


@pytest.fixture(scope="module", params=[(5, 8), (4, 0)], ids=str)
def ranks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    sizes: tuple[int, ...] = request.param
    folder: Path = tmp_path_factory.mktemp("caching")
    spawn(  # type: ignore[no-untyped-call]
        caching_ranks.run, args=(sizes, folder), nprocs=len(sizes)
    )
    return sizes, [torch.load(folder / f"{rank}.pt") for rank in range(len(sizes))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": []}, r"encoders, batches: expected as many .* came 1 and 0; pass one batch"),
        ({"encoders": [], "batches": []}, r"at least 1, came 0 and 0"),
        ({"chunk": 0}, r"chunk: expected a whole number of rows, at least 1, came 0; 64"),
        ({"chunk": 1.5}, r"chunk: expected a whole number of rows, .* came 1.5"),
        (
            {"batches": [torch.tensor(1.0)]},
            r"batches\[0\]: expected tensors with rows, came Tensor",
        ),
        ({"batches": [{"x": rows(2), "flag": True}]}, r"came bool without; bind what is the same"),
        ({"batches": [(rows(2), rows(3))]}, r"batches\[0\]: .* same number of rows .* \[2, 3\]"),
        ({"batches": [()]}, r"batches\[0\]: .* same number of rows .* came \[\]"),
        ({"encoders": [lambda _: "x"]}, r"encoders: expected a tensor of features.* came str"),
        (
            {"loss": lambda x: x},
            r"loss: expected a 0-d tensor from it, came shape \(2, 5\); reduce",
        ),
        ({"loss": lambda x: x.sum().item()}, r"loss: expected a 0-d tensor from it, came float"),
        ({"loss": lambda x: x.detach().sum()}, r"loss: .* depends on the features .* \.detach"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "encoders": [tower()],
        "batches": [rows(2)],
        "loss": lambda x: x.sum(),
        "chunk": 2,
    }
    with pytest.raises(ValueError, match=message):
        cached_contrastive_step(**(arguments | changes))
