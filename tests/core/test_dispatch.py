"""Which implementation runs, and what is said of one that cannot."""

import pytest
import torch

from vilseg_core.ops import Implementation, choose_implementation, dispatch
from vilseg_core.ops.dispatch import CHUNKED_FROM, Function

CPU = torch.device("cpu")
LARGE = 10**6


def choose(
    impl: str = "auto",
    *,
    function: Function = "info_nce",
    size: int = LARGE,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    unserved: dict[str, str] | None = None,
) -> str:
    return choose_implementation(
        impl, function=function, size=size, device=device, dtype=dtype, unserved=unserved
    )


@pytest.mark.parametrize("function", CHUNKED_FROM)
def test_auto_takes_blocks_from_the_size_where_they_are_faster(function: Function) -> None:
    size = CHUNKED_FROM[function]
    assert choose(function=function, size=size - 1) == "reference"
    assert choose(function=function, size=size) == "chunked"


def test_auto_avoids_what_does_not_serve() -> None:
    assert choose(unserved={"chunked": "of an option"}) == "reference"
    assert choose(unserved={"triton": "of an option"}) == "chunked"


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_a_name_is_taken_at_its_word(impl: Implementation) -> None:
    assert choose(impl, size=1) == choose(impl) == impl


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_a_refusal_gives_its_reason(monkeypatch: pytest.MonkeyPatch, impl: str) -> None:
    monkeypatch.setattr(dispatch, "WITH_KERNEL", ("info_nce",))
    monkeypatch.setattr(dispatch, "INTERPRETED", True)
    with pytest.raises(ValueError, match=rf"impl: '{impl}' .* because of an option; leave it at"):
        choose(impl, unserved={impl: "of an option"})


def test_what_keeps_a_kernel_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "WITH_KERNEL", ())
    with pytest.raises(ValueError, match=r"'triton' .* because this function has no kernel"):
        choose("triton")
    monkeypatch.setattr(dispatch, "WITH_KERNEL", ("info_nce",))
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    with pytest.raises(ValueError, match=r"'triton' .* because triton is not installed \(pip"):
        choose("triton")
    monkeypatch.setattr(dispatch, "HAS_TRITON", True)
    monkeypatch.setattr(dispatch, "INTERPRETED", False)
    with pytest.raises(ValueError, match=r"because its inputs are on 'cpu' and the kernels run"):
        choose("triton")
    with pytest.raises(ValueError, match=r"because .* an input is float64"):
        choose("triton", device=torch.device("cuda"), dtype=torch.float64)
    assert choose("triton", device=torch.device("cuda")) == "triton"
    monkeypatch.setattr(dispatch, "INTERPRETED", True)
    assert choose("triton") == "triton"


def test_a_name_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"impl: expected one of 'auto', .* came 'fast'"):
        choose("fast")
