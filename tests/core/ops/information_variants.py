"""Every row of the table of the mutual information as variants to cross-compile."""

from importlib import import_module
from typing import Any, Literal

from tests.core.ops.aot import Variant

from vilseg_core.ops.kernel_configs_information import DEPTH, Launch

Layout = Literal["first", "last"]
MODULE = "vilseg_core.ops.triton_information_"
POINTERS = {"half": "*bf16", "single": "*fp32"}
UNIT_STRIDES = {"first": ("_inner", "inner_stride"), "last": ("_channel", "channel_stride")}
ENDINGS = ("_outer", "_middle", "_inner", "_channel", "_stride")
LOGITS = ("a", "b", "own", "other", "logits", "d_a", "d_b", "d_own")


def variant(
    kernel: str, launch: Launch, *, pointer: str, layout: Layout, architecture: int, **sizes: Any
) -> Variant:
    """A kernel as launched on masked logits (b, c, 14, 14), or (n, c) where `layout` is "last"."""
    module, name = kernel.split(":")
    function = getattr(import_module(MODULE + module), name)
    fixed = {
        "BLOCK": launch.block,
        "STAGES": launch.stages,
        "UNIT": 4 if layout == "first" else 1,
        "WIDE": False,
        "WEIGHTED": True,
        "WANTS_WEIGHTS": True,
        "DEPTH": DEPTH,
        **sizes,
    }
    signature, constexprs, aligned = {}, {}, []
    for argument in function.arg_names:
        unit = argument.endswith(UNIT_STRIDES[layout])
        if argument in fixed:
            signature[argument], constexprs[argument] = "constexpr", fixed[argument]
        elif unit and not argument.startswith("w_"):
            signature[argument], constexprs[argument] = "constexpr", 1
        elif argument in LOGITS:
            signature[argument] = pointer
            aligned.append(argument)
        elif argument in ("high", "low"):
            signature[argument] = "*fp16"
            aligned.append(argument)
        elif argument == "counter":
            signature[argument] = "*i32"
        elif argument == "scratch":
            signature[argument] = "*fp64"
        elif argument in ("pixels", "middle", "inner", "parts") or argument.endswith(ENDINGS):
            signature[argument] = "i32"
            if layout == "last" and argument.endswith(ENDINGS) and fixed["C"] % 16 == 0:
                aligned.append(argument)
        elif argument == "entropy_weight":
            signature[argument] = "fp32"
        else:
            signature[argument] = "*fp32"
    return Variant(
        kernel=f"{MODULE}{module}:{name}",
        signature=signature,
        constexprs=constexprs,
        warps=launch.warps,
        stages=launch.stages,
        architecture=architecture,
        aligned=tuple(aligned),
    )
