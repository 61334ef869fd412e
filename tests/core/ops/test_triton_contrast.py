"""The kernels of InfoNCE, in Triton's interpreter or on a GPU, against float64 truth."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vilseg_core.functional import symmetric_info_nce
from vilseg_core.functional.info_nce import Direction
from vilseg_core.ops import kernel_configs_contrast as configs
from vilseg_core.ops import triton_contrast_gradient
from vilseg_core.ops.kernel_configs_contrast import EVERY, SCATTERED, TILES, Merge, Tile
from vilseg_core.ops.triton_contrast import contrast, pair_statistics

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DIRECTIONS: tuple[Direction, ...] = ("both", "image_to_text", "text_to_image")


@contextmanager
def small_tiles() -> Iterator[None]:
    """Tiles and merges so small that few pairs cross many of them."""
    tile = ((EVERY, Tile(16, 16, 16, warps=1, stages=1)),)
    merge = ((EVERY, Merge(16, 2, warps=1)),)
    with (
        patch.dict(TILES, dict.fromkeys(TILES, tile)),
        patch.dict(SCATTERED, dict.fromkeys(SCATTERED, tile[0][1])),
        patch.object(configs, "MERGES", merge),
    ):
        yield


@contextmanager
def small_blocks(columns: int) -> Iterator[None]:
    """Blocks of weights of one tile of rows."""
    with (
        patch.object(triton_contrast_gradient, "BLOCK_COLUMNS", columns),
        patch.object(triton_contrast_gradient, "BLOCK_BYTES", 1),
    ):
        yield


def pairs(
    n: int, d: int, *, seed: int = 0, noise: float = 2.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, other = torch.randn(2, n, d, generator=generator)
    lengths = 0.1 + 3 * torch.rand(2, n, 1, generator=generator)
    image, text = image * lengths[0], (image + noise * other) * lengths[1]
    return image.to(DEVICE, dtype), text.to(DEVICE, dtype)


def scale_of(value: float) -> Tensor:
    return torch.tensor(value, device=DEVICE)


def gradients(image: Tensor, text: Tensor, scale: Tensor, direction: Direction) -> list[Tensor]:
    """Loss by the kernels and its gradients, times 3, so that the incoming one is not 1."""
    leaves = [x.detach().requires_grad_() for x in (image, text, scale)]
    rows, columns = direction != "text_to_image", direction != "image_to_text"
    loss = contrast(leaves[0], leaves[1], leaves[2], rows=rows, columns=columns)
    return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]


def truth(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    direction: Direction,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    leaves = [x.detach().to(dtype).requires_grad_() for x in (image, text, scale)]
    loss = symmetric_info_nce(
        leaves[0], leaves[1], logit_scale=leaves[2], direction=direction, impl="reference"
    )
    return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]


def errors(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    """Relative, each in the norm of the whole tensor."""
    return [
        ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-300)).item()
        for a, b in zip(found, exact, strict=True)
    ]


@settings(max_examples=4)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(2, 20),
    d=st.integers(2, 33),
    scale=st.sampled_from([0.0, 1.0, 14.3, 100.0]),
    direction=st.sampled_from(DIRECTIONS),
)
def test_as_accurate_as_plain_float32(
    seed: int, n: int, d: int, scale: float, direction: Direction
) -> None:
    image, text = pairs(n, d, seed=seed)
    exact = truth(image, text, scale_of(scale), direction)
    plain = errors(truth(image, text, scale_of(scale), direction, torch.float32), exact)
    with small_tiles():
        ours = errors(gradients(image, text, scale_of(scale), direction), exact)
    # A score of 100 is known to 4e-6 in float32; the factor 3 is for the luck of either side.
    allowed = [3 * error + 1e-6 + 4e-7 * scale for error in plain]
    assert all(a <= b for a, b in zip(ours, allowed, strict=True)), (ours, plain)


@pytest.mark.parametrize("scale", [3.0, 30.0, 100.0])
def test_tiles_beside_the_diagonal(scale: float) -> None:
    """Scores of a tile share one exponent where they are close, which at 3 all are, at 100 none."""
    image, text = pairs(48, 8, noise=1.0)
    with small_tiles():
        found = gradients(image, text, scale_of(scale), "both")
    assert max(errors(found, truth(image, text, scale_of(scale), "both"))) < 2e-6 + 4e-7 * scale


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("d", [33, 64])
def test_the_tiles_of_the_table(d: int, direction: Direction) -> None:
    image, text = pairs(70, d)
    found = gradients(image, text, scale_of(14.3), direction)
    assert max(errors(found, truth(image, text, scale_of(14.3), direction))) < 2e-6


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.bfloat16, 2**-6), (torch.float16, 2**-10)])
@pytest.mark.parametrize("length", [1e-2, 1.0, 30.0])
def test_half_precision(dtype: torch.dtype, allowed: float, length: float) -> None:
    """Two units of bfloat16, of weights and results: the interpreter cuts where a GPU rounds."""
    image, text = (x.mul(length).to(dtype) for x in pairs(20, 19))
    with small_tiles():
        found = gradients(image, text, scale_of(14.3), "both")
    loss, *others = errors(found, truth(image, text, scale_of(14.3), "both"))
    assert loss < 2e-6
    assert max(others[:2]) < allowed
    assert others[2] < 1e-5
    assert [x.dtype for x in found] == [torch.float32, dtype, dtype, torch.float32]


def test_a_tower_in_half_precision_beside_one_in_single() -> None:
    image, text = pairs(19, 16)
    found = gradients(image.bfloat16(), text, scale_of(14.3), "both")
    exact = truth(image.bfloat16(), text, scale_of(14.3), "both")
    assert errors(found, exact)[0] < 2e-6
    assert found[1].dtype == torch.bfloat16
    assert errors(found, exact)[2] < 2e-6


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_digits_where_the_right_partners_have_won(direction: Direction) -> None:
    image, text = pairs(64, 64, noise=0.3)
    exact = truth(image, text, scale_of(100.0), direction)
    assert exact[0] < 1e-10
    assert max(errors(gradients(image, text, scale_of(100.0), direction), exact)) < 1e-4


def test_half_precision_keeps_small_weights() -> None:
    """All weights of this batch are below 2**-25, half of the smallest float16."""
    image, text = pairs(48, 64, noise=0.3, dtype=torch.float16)
    exact = truth(image, text, scale_of(35.0), "both")
    leaves = [x.detach().requires_grad_() for x in (image, text)]
    loss = contrast(leaves[0], leaves[1], scale_of(35.0), rows=True, columns=True)
    assert 48 * loss < 2**-25
    found = torch.autograd.grad(2**28 * loss, leaves)
    assert max(errors(list(found), [x * (2**28 / 3) for x in exact[1:3]])) < 0.01


def test_rows_without_length() -> None:
    image, text = pairs(9, 7)
    image[3], text[5] = 0, 0
    exact = truth(image, text, scale_of(5.0), "both")
    found = gradients(image, text, scale_of(5.0), "both")
    for ours, theirs in zip(found[1:3], exact[1:3], strict=True):
        assert max(errors(list(ours), list(theirs))) < 1e-5
    assert errors(found[:1] + found[3:], exact[:1] + exact[3:]) < [1e-6, 1e-6]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [16, 19, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_blocks_of_weights(columns: int, dtype: torch.dtype) -> None:
    image, text = pairs(20, 5, dtype=dtype)
    with small_tiles():
        whole = gradients(image, text, scale_of(10.0), "both")
        with small_blocks(columns):
            parts = gradients(image, text, scale_of(10.0), "both")
    assert torch.equal(parts[0], whole[0])
    assert max(errors(parts, whole)) < (1e-6 if dtype == torch.float32 else 2**-11)


def statistics(image: Tensor, text: Tensor, scale: Tensor, first: int) -> tuple[Tensor, ...]:
    """The formulas, on all scores at once."""
    unit = [x / x.norm(dim=1, keepdim=True) for x in (image, text)]
    scores = scale * unit[0] @ unit[1].T
    partner = torch.arange(len(text), device=DEVICE) == torch.arange(len(image), device=DEVICE)[
        :, None
    ].add(first)
    wrong = scores.masked_fill(partner, torch.finfo(scores.dtype).min)
    return wrong.logsumexp(1), wrong.logsumexp(0), scores[partner], wrong.amax(1), wrong.amax(0)


@pytest.mark.parametrize(
    ("rows", "first", "used"),
    [
        (11, 0, (0,)),
        (11, 7, (1,)),
        (18, 2, (2,)),
        (3, 18, (0, 2)),
        (18, 3, (0, 1, 2)),
        (21, 0, (0, 1, 2)),
    ],
)
def test_statistics_of_some_rows(rows: int, first: int, used: tuple[int, ...]) -> None:
    image, text = pairs(21, 19)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(n, generator=generator).to(DEVICE) for n in (rows, 21, rows)]
    found: list[list[Tensor]] = []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.to(dtype).requires_grad_() for x in (image[:rows], text, scale_of(14.3))]
        if dtype == torch.float32:
            with small_tiles():
                values = pair_statistics(leaves[0], leaves[1], leaves[2], first=first)
                total = sum(((values[k] * weights[k]).sum() for k in used), torch.zeros(()))
                grads = torch.autograd.grad(total, leaves)
            assert not any(value.requires_grad for value in values[3:])
        else:
            values = statistics(leaves[0], leaves[1], leaves[2], first)  # type: ignore[assignment]
            total = sum(((values[k] * weights[k]).sum() for k in used), torch.zeros(()))
            grads = torch.autograd.grad(total, leaves)
        found.append([x.detach() for x in (*values, *grads)])
    assert max(errors(*found)) < 2e-6


def test_half_precision_whatever_the_size_of_the_gradient() -> None:
    """Weights that took the incoming gradient would overflow at 2**8 and vanish at 2**-8."""
    image, text = pairs(13, 8, dtype=torch.float16)
    image /= 16
    found = []
    for factor in (2.0**-8, 1.0, 2.0**8):
        leaf = image.detach().requires_grad_()
        row = pair_statistics(leaf, text, scale_of(10.0), first=0)[0]
        found.append(torch.autograd.grad(row.sum() * factor, leaf)[0].float() / factor)
    for other in (found[0], found[2]):
        torch.testing.assert_close(other, found[1], rtol=2**-9, atol=2**-15)


def views(rows: Tensor) -> dict[str, Tensor]:
    """The same numbers in other places; what lies around them is not a number."""
    n, d = rows.shape
    wide = rows.new_full((n + 4, 2 * d + 3), torch.nan)
    wide[2:-2, 1 : 2 * d + 1 : 2] = rows
    tall = rows.new_full((d + 2, n + 6), torch.nan)
    tall[1:-1, 3:-3] = rows.T
    return {"sliced": wide[2:-2, 1 : 2 * d + 1 : 2], "transposed": tall[1:-1, 3:-3].T}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sliced", "transposed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_are_read_where_they_lie(kind: str, dtype: torch.dtype) -> None:
    image, text = pairs(21, 19, dtype=dtype)
    placed = views(image)[kind], views(text)[kind]
    with small_tiles(), small_blocks(16):
        expected = gradients(image, text, scale_of(14.3), "both")
        leaves = [x.detach().requires_grad_() for x in placed]
        loss = contrast(leaves[0], leaves[1], scale_of(14.3), rows=True, columns=True)
        found = torch.autograd.grad(3 * loss, leaves)
    assert torch.equal(loss, expected[0])
    assert max(errors(list(found), expected[1:3])) < (1e-6 if dtype == torch.float32 else 2**-7)
    assert torch.equal(placed[0], image)


def test_nothing_is_written_beside_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    new_empty, band, sentinel = Tensor.new_empty, 96, -77.0
    made: list[Tensor] = []

    def guarded(self: Tensor, *size: Any, **options: Any) -> Tensor:
        plain = new_empty(self, *size, **options)
        around = new_empty(self, plain.numel() + 2 * band, dtype=plain.dtype).fill_(sentinel)
        made.append(around)
        return around[band : band + plain.numel()].view(plain.shape)

    image, text = pairs(21, 19)
    leaves = image.requires_grad_(), text.requires_grad_(), scale_of(14.3).requires_grad_()
    with small_tiles(), small_blocks(16):
        monkeypatch.setattr(Tensor, "new_empty", guarded)
        loss = contrast(*leaves, rows=True, columns=True)
        torch.autograd.grad(loss, leaves)
        row, column, right, *_ = pair_statistics(leaves[0][:9], leaves[1], leaves[2], first=5)
        torch.autograd.grad(row.sum() + column.sum() + right.sum(), leaves)
        monkeypatch.undo()
    assert len(made) > 20
    for around in made:
        assert (around[:band] == sentinel).all()
        assert (around[-band:] == sentinel).all()
