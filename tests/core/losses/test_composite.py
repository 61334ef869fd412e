"""Composite losses: the sum, the values, what a table builds and what is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.core.losses import plugins
from torch import Tensor, nn

from vilseg_core import CompositeLoss, Part, SymmetricInfoNCE
from vilseg_core.importing import import_object

HERE = "tests.core.losses.plugins"


def outputs(n: int = 4, d: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, text, mask = torch.rand(3, n, d, generator=generator)
    return {"image": image, "text": text, "mask": mask}


def two(**weights: float) -> CompositeLoss:
    return CompositeLoss(
        {
            "cross": Part(
                SymmetricInfoNCE(0.2), inputs=("image", "text"), weight=weights.get("cross", 1.0)
            ),
            "margin": Part(
                plugins.Margin(),
                inputs=["text"],
                weight=weights.get("margin", 1.0),
                keyword_inputs={"mask": "mask"},
            ),
        }
    )


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_the_total_is_the_weighted_sum_of_the_values(cross: float, margin: float) -> None:
    given = outputs()
    image, text, mask = given.values()
    text.requires_grad_()
    total, values = two(cross=cross, margin=margin)(given)
    truth = {
        "cross": SymmetricInfoNCE(0.2)(image, text),
        "margin": plugins.Margin()(text, mask=mask),
    }
    weights = {"cross": cross, "margin": margin}
    active = {name for name, weight in weights.items() if weight != 0}
    assert values.keys() == active
    for name in active:
        assert values[name].ndim == 0
        assert not values[name].requires_grad
        torch.testing.assert_close(values[name], truth[name].detach())
    expected = torch.stack([weights[name] * truth[name] for name in truth]).sum()
    torch.testing.assert_close(total, expected)
    if active:
        (found,) = torch.autograd.grad(total, text)
        (exact,) = torch.autograd.grad(expected, text)
        torch.testing.assert_close(found, exact)


def test_a_weight_of_zero_costs_nothing_and_may_lack_its_outputs() -> None:
    def fail(_: Tensor) -> Tensor:
        raise AssertionError

    loss = CompositeLoss(
        {
            "off": Part(fail, inputs=("image",), weight=0),
            "missing": Part(fail, inputs=("nowhere",), weight=0.0),
        }
    )
    total, values = loss(outputs())
    assert total.item() == 0.0
    assert values == {}
    assert CompositeLoss({})({})[1] == {}


def test_only_the_outputs_that_are_needed_are_looked_up() -> None:
    class Lazy(Mapping[str, Tensor]):
        def __init__(self) -> None:
            self.asked: list[str] = []

        def __getitem__(self, key: str) -> Tensor:
            self.asked.append(key)
            return outputs()[key]

        def __contains__(self, key: object) -> bool:
            return key in outputs()

        def __iter__(self) -> Iterator[str]:
            return iter(outputs())

        def __len__(self) -> int:
            return len(outputs())

    lazy = Lazy()
    two(margin=0.0)(lazy)
    assert lazy.asked == ["image", "text"]


def test_a_weight_may_follow_a_schedule() -> None:
    loss = two(margin=0.0)
    assert loss(outputs())[1].keys() == {"cross"}
    loss.weights["margin"] = 2.0
    total, values = loss(outputs())
    torch.testing.assert_close(total.detach(), values["cross"] + 2 * values["margin"])


def test_what_the_parts_learn_is_saved_under_their_names() -> None:
    loss = two()
    assert set(loss.state_dict()) == {"losses.cross.logit_scale", "losses.margin.margin"}
    torch.autograd.backward(loss(outputs())[0])
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert "cross: 1, margin: 1" in repr(loss)


def test_it_compiles_without_a_break() -> None:
    torch.compiler.reset()
    loss = two(margin=0.5)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, truth = compiled(outputs()), loss(outputs())
    torch.testing.assert_close(found[0], truth[0])
    torch.testing.assert_close(found[1], truth[1])


def table(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"name": "far", "loss": f"{HERE}:distance", "inputs": ["image", "text"]}
    return {key: value for key, value in (base | changes).items() if value is not ...}


def test_tables_build_functions_and_classes() -> None:
    loss = CompositeLoss.from_config(
        [
            table(options={"power": 4}, weight=0.5),
            table(name="plain"),
            table(
                name="margin",
                loss=f"{HERE}:Margin",
                inputs=["image"],
                options={"start": 0.25},
                keyword_inputs={"mask": "mask"},
            ),
            table(name="cross", loss="vilseg_core:SymmetricInfoNCE", options={"temperature": 0.1}),
        ]
    )
    given = outputs()
    image, text, mask = given.values()
    _, values = loss(given)
    torch.testing.assert_close(values["far"], plugins.distance(image, text, power=4))
    torch.testing.assert_close(values["plain"], plugins.distance(image, text))
    torch.testing.assert_close(values["margin"], plugins.Margin(0.25)(image, mask=mask).detach())
    torch.testing.assert_close(values["cross"], SymmetricInfoNCE(0.1)(image, text).detach())
    assert loss.weights == {"far": 0.5, "plain": 1.0, "margin": 1.0, "cross": 1.0}
    assert len(list(loss.parameters())) == 2


def test_a_function_without_a_signature_is_taken_as_it_is() -> None:
    loss = CompositeLoss.from_config([table(loss="torch:dist", options={"p": 1})])
    image, text, _ = outputs().values()
    torch.testing.assert_close(loss(outputs())[0], torch.dist(image, text, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "no_such.place:Loss"}, r"no module named 'no_such'; install it, or put"),
        ({"loss": f"{HERE}s:Loss"}, r"no module named 'tests.core.losses.pluginss'"),
        ({"loss": f"{HERE}:Margni"}, r"plugins has no 'Margni'; did you mean 'Margin'\?"),
        ({"loss": f"{HERE}:zzzzz"}, r"has no 'zzzzz'; check the spelling"),
        ({"loss": f"{HERE}:Margin.nothing"}, r"plugins.Margin has no 'nothing'"),
        ({"loss": "tests.core.losses.broken_plugins:x"}, r"ended in RuntimeError: no luck today"),
        ({"loss": "just_a_name"}, r'loss: expected "package.module:Name", came \'just_a_name\''),
        ({"loss": f"{HERE}:"}, r'expected "package.module:Name"'),
        (
            {"loss": f"{HERE}:CONSTANT"},
            r"loss: .* 'tests.core.losses.plugins:CONSTANT', which is f",
        ),
        ({"loss": f"{HERE}:Mute"}, r"loss: expected a class whose objects can be called"),
        ({"loss": 3}, r'loss: expected "package.module:Name", came 3; write \{name'),
        ({"loss": ...}, r"loss: expected .*, came nothing; write"),
        ({"options": {"powr": 2}}, r"options: .* came \{'powr': 2\}: .* 'powr'; look at its sig"),
        ({"loss": f"{HERE}:Margin", "options": {"stat": 2}}, r"options: .* argument 'stat'"),
        ({"loss": f"{HERE}:Margin", "options": {"start": -1}}, r"start: expected at least 0, came"),
        ({"options": 3}, r"options: expected a table of options, came 3"),
        (
            {"inputs": ["image"]},
            r"inputs: expected those of \(first.* argument: 'second'; name one",
        ),
        ({"inputs": "image"}, r"inputs: expected a list of names of outputs, came 'image'"),
        ({"inputs": ...}, r"inputs: .* came nothing"),
        ({"keyword_inputs": {"mask": "mask"}}, r"inputs: .* argument 'mask'"),
        ({"keyword_inputs": {"mask": 1}}, r"keyword_inputs: expected a table of argument = output"),
        ({"weight": "much"}, r"weight: expected a finite number, came 'much'"),
        ({"weight": float("nan")}, r"weight: expected a finite number, came nan"),
        ({"weight": True}, r"weight: expected a finite number, came True"),
        ({"weigth": 1.0}, r"unknown key 'weigth'; did you mean 'weight'\?"),
        ({"zzz": 1.0}, r"unknown key 'zzz'; an entry has: name, loss, inputs, weight"),
        ({"name": "a.b"}, r"name: expected letters, digits and underscores"),
        ({"name": "keys"}, r"name: expected .* no name of torch.nn.ModuleDict's, came 'keys'"),
        ({"name": ...}, r"entry 2: name: expected .*, came nothing"),
        ({"name": "first"}, r"name: 'first' is taken; choose another"),
    ],
)
def test_a_faulty_entry_is_named(changes: dict[str, Any], message: str) -> None:
    faulty = table(**changes)
    where = f"entry 2 \\('{faulty['name']}'\\): " if "name" in faulty else "entry 2: "
    with pytest.raises(ValueError, match=f"^{where}"):
        CompositeLoss.from_config([table(name="first"), faulty])
    with pytest.raises(ValueError, match=message):
        CompositeLoss.from_config([table(name="first"), faulty])


def test_an_entry_that_is_no_table() -> None:
    with pytest.raises(ValueError, match=r"^entry 1: expected a table, came 'x'; write"):
        CompositeLoss.from_config(["x"])  # type: ignore[list-item]


def test_a_module_whose_own_import_is_missing_names_that(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy_plugin.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"needy_plugin needs 'not_installed_anywhere', which is"):
        import_object("needy_plugin:Loss")


def test_unknown_outputs_name_the_nearest() -> None:
    loss = CompositeLoss({"cross": Part(plugins.distance, inputs=("image", "texts"))})
    message = r"inputs: expected outputs among image, text, mask, came 'texts' .*'cross'; did you"
    with pytest.raises(ValueError, match=message + " mean 'text'"):
        loss(outputs())
    with pytest.raises(ValueError, match=message):
        loss.check_outputs(["image", "text", "mask"])
    loss.check_outputs(["image", "texts"])
    with pytest.raises(ValueError, match=r"among none, came 'image' for the loss 'cross'; pass it"):
        loss({})


@pytest.mark.parametrize(
    ("loss", "came"),
    [(plugins.rows, r"shape \(4,\)"), (lambda _: 3.0, "float"), (lambda x: (x, x), "tuple")],
)
def test_losses_that_give_no_scalar(loss: Any, came: str) -> None:
    with pytest.raises(ValueError, match=f"odd: expected a 0-d tensor .*, came {came}; reduce it"):
        CompositeLoss({"odd": Part(loss, inputs=("image",))})(outputs())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": 3}, r"loss: expected a module or a function, came 3"),
        ({"inputs": "image"}, r"inputs: expected a sequence of names, came 'image'; write \('im"),
        ({"weight": float("inf")}, r"weight: expected a finite number, came inf"),
        ({"loss": nn.MSELoss(), "inputs": ("a",)}, r"inputs: .* argument: 'target'; name one"),
    ],
)
def test_refused_parts(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Part(**({"loss": plugins.rows, "inputs": ("image",), **arguments}))


@pytest.mark.parametrize("name", ["", "a.b", "two words", "keys", "train"])
def test_refused_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"parts: expected names of letters"):
        CompositeLoss({name: Part(plugins.rows, inputs=("image",))})
