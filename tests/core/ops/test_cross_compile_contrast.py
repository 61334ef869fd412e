"""Every row of the table of InfoNCE compiles for every architecture, unspilled."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.core.ops.aot import ARCHITECTURES, Variant, compile_variants

from vilseg_core.ops.kernel_configs_contrast import (
    EVERY,
    GROUP,
    MERGES,
    ROWS,
    SCATTERED,
    SLOTS,
    TILES,
    Operands,
    Tile,
    tile_of,
)

pytest.importorskip("triton")

TOWERS = ("image", "text", "weights", "d_image", "d_text", "source", "out")
"""Pointers in the dtype of the inputs, where a kernel has them; all others are float32."""
FLOATS = ("lowering",)
INTEGERS = (
    "rows", "columns", "row_start", "row_end", "column_start", "column_end", "row_count",
    "column_count", "first", "width", "image_row", "image_stride", "text_row", "text_stride",
    "pitch", "row_blocks", "count", "number", "row_number", "column_number", "slots",
)  # fmt: skip


def variant(
    name: str,
    pointer: str,
    *,
    warps: int,
    stages: int = 3,
    architecture: int,
    aligned: bool = True,
    **constexprs: Any,
) -> Variant:
    """`aligned`: the embedding is a multiple of 16 and lies at stride 1; otherwise nothing is."""
    from vilseg_core.ops import triton_contrast_gradient_kernels, triton_contrast_kernels

    gradient = hasattr(triton_contrast_gradient_kernels, name)
    module = triton_contrast_gradient_kernels if gradient else triton_contrast_kernels
    names: list[str] = getattr(module, name).arg_names
    if aligned:
        ones = {"image_stride": 1, "text_stride": 1}
        constexprs |= {key: one for key, one in ones.items() if key in names}
    signature = {key: kind(name, key, pointer, constexprs) for key in names}
    loose = ("constexpr", "fp32")
    return Variant(
        kernel=f"{module.__name__}:{name}",
        signature=signature,
        constexprs=constexprs,
        warps=warps,
        stages=stages,
        architecture=architecture,
        aligned=tuple(key for key in names if signature[key] not in loose) if aligned else (),
    )


def kind(kernel: str, name: str, pointer: str, constexprs: Mapping[str, Any]) -> str:
    if name in constexprs:
        return "constexpr"
    if name in INTEGERS or (name == "share" and kernel == "scores_kernel"):
        return "i32"
    if name in FLOATS or name == "share":
        return "fp32"
    return pointer if name in TOWERS and kernel != "losses_kernel" else "*fp32"


def tile_variants(
    operands: Operands, tile: Tile, *, architecture: int, aligned: bool = True
) -> Iterator[Variant]:
    """Both kernels that form score tiles, with everything they can do."""
    pointer = "*bf16" if operands == "half" else "*fp32"
    common: dict[str, Any] = {
        "ROWS": tile.rows,
        "COLUMNS": tile.columns,
        "STEP": tile.step,
        "EVEN": aligned,
        "WIDEN": False,
        "PRECISION": "tf32" if operands == "tf32" else "ieee",
        "warps": tile.warps,
        "stages": tile.stages,
        "architecture": architecture,
        "aligned": aligned,
    }
    for best in (False, True):
        yield variant("scores_kernel", pointer, BY_COLUMN=True, BEST=best, **common)
    yield variant(
        "weights_kernel",
        pointer,
        GROUP=GROUP,
        BY_ROW=True,
        BY_COLUMN=True,
        BEGIN=False,
        FOLD=True,
        RAISE=1.0,
        **common,
    )


def other_variants(pointer: str, architecture: int) -> Iterator[Variant]:
    rows: dict[str, Any] = {"ROWS": ROWS.rows, "STEP": ROWS.step, "warps": ROWS.warps}
    yield variant("norms_kernel", pointer, architecture=architecture, **rows)
    yield variant(
        "through_norms_kernel",
        pointer,
        architecture=architecture,
        FOLD=False,
        LAST=True,
        SLOTS=SLOTS,
        **rows,
    )
    for _, merge in MERGES:
        sizes: dict[str, Any] = {"MANY": merge.parts, "BLOCK": merge.places, "warps": merge.warps}
        yield variant("losses_kernel", pointer, architecture=architecture, BY_COLUMN=True, **sizes)
        yield variant("merge_kernel", pointer, architecture=architecture, **sizes)


def faults_of(variants: list[Variant]) -> dict[str, str]:
    found = compile_variants(variants)
    assert len(found) == len(variants)
    for place, needs in found.items():
        constexprs = variants[place].constexprs
        matrix_units = constexprs.get("PRECISION") == "tf32" or "WIDEN" in constexprs
        if matrix_units and variants[place].signature.get("image") == "*bf16":
            assert needs.tensor_cores
    return {
        f"{variants[i].kernel} {variants[i].architecture} {dict(variants[i].constexprs)}": fault
        for i, needs in found.items()
        if (fault := needs.fault(variants[i].architecture))
    }


@pytest.mark.slow
def test_every_row_compiles_without_a_spill() -> None:
    variants: list[Variant] = []
    for architecture in ARCHITECTURES:
        for operands, rows in TILES.items():
            for limit, _ in rows:
                tile = tile_of(
                    operands, scores=limit, width=512, beside=True, capability=architecture // 10
                )
                variants += tile_variants(operands, tile, architecture=architecture)
        for pointer in ("*bf16", "*fp32"):
            variants += other_variants(pointer, architecture)
    assert not faults_of(variants)


@pytest.mark.slow
def test_odd_embeddings_at_any_stride_compile_without_a_spill() -> None:
    variants: list[Variant] = []
    for architecture in ARCHITECTURES:
        for operands, tile in SCATTERED.items():
            variants += tile_variants(operands, tile, architecture=architecture, aligned=False)
    assert not faults_of(variants)


@pytest.mark.slow
def test_one_pair_compiles() -> None:
    """Triton compiles an argument that is 1 as a constant, which has fewer methods than a value."""
    variants = [
        *tile_variants("half", SCATTERED["half"], architecture=90, aligned=False),
        *other_variants("*bf16", 90),
    ]
    ones = []
    for one in variants:
        sizes = {name: 1 for name, type in one.signature.items() if type == "i32"}
        signature = {**one.signature, **dict.fromkeys(sizes, "constexpr")}
        ones.append(replace(one, signature=signature, constexprs={**one.constexprs, **sizes}))
    assert not faults_of([replace(one, aligned=()) for one in ones])


@pytest.mark.slow
def test_one_row_compiles_without_a_spill() -> None:
    variants = list(tile_variants("half", TILES["half"][0][1], architecture=90))
    assert not faults_of(variants[:1])


def test_every_size_has_a_row() -> None:
    for rows in (*TILES.values(), MERGES):
        limits = [limit for limit, _ in rows]
        assert limits == sorted(set(limits))
        assert limits[-1] == EVERY
