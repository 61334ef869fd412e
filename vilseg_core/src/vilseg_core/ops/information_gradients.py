"""Grids, scratch memory and arguments of the backward kernels of the mutual information."""

import torch
from torch import Tensor

from vilseg_core.ops.information_launches import (
    ONE_TILE,
    common,
    config_of,
    lines_of,
    products_of,
)
from vilseg_core.ops.kernel_configs_information import DEPTH, MATRIX_SCALE, NEGLIGIBLE
from vilseg_core.ops.launching import blocks, on_device
from vilseg_core.ops.pixel_geometry import PixelGeometry


def launch_backward(
    a: Tensor,
    b: Tensor,
    *,
    grad: Tensor,
    matrix: Tensor,
    lines: Tensor,
    norms: Tensor,
    weights: Tensor | None,
    wants_weights: bool,
    bits: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `grad` w (p^T (matrix + shift) q + rest), summed over pixels, in a, b, weights.

    `lines` holds the shift, the rest and the offsets of the products.
    """
    shape = a.shape[1:] if wants_weights else (0,)
    found = (
        torch.empty_like(a),
        torch.empty_like(b),
        a.new_empty(shape, dtype=torch.float32),
    )
    backward_into(
        found,
        a,
        b,
        grad=grad,
        matrix=matrix,
        lines=lines,
        norms=norms,
        weights=weights,
        bits=bits,
    )
    return found


def backward_into(
    found: tuple[Tensor, Tensor, Tensor],
    a: Tensor,
    b: Tensor,
    *,
    grad: Tensor,
    matrix: Tensor,
    lines: Tensor,
    norms: Tensor,
    weights: Tensor | None,
    bits: int,
) -> None:
    """`launch_backward` into given tensors, which may be views; an empty third is left alone."""
    geometry = PixelGeometry.of([a, b, *found[:2]], weights)
    if geometry is None:
        whole = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in found[:2]]
        a, b = a.contiguous(), b.contiguous()
        weights = None if weights is None else weights.contiguous()
        backward_into(
            (whole[0], whole[1], found[2]),
            a,
            b,
            grad=grad,
            matrix=matrix,
            lines=lines,
            norms=norms,
            weights=weights,
            bits=bits,
        )
        for target, source in zip(found, whole, strict=False):
            target.copy_(source)
        return
    launch = _backward_one_tile if a.shape[0] <= ONE_TILE else _backward_tiled
    with on_device(a):
        launch(found, a, b, grad, matrix, lines, norms, weights, geometry, products_of(a, b, bits))


def _backward_one_tile(
    found: tuple[Tensor, Tensor, Tensor],
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    matrix: Tensor,
    lines: Tensor,
    _norms: Tensor,
    weights: Tensor | None,
    place: PixelGeometry,
    products: int,
) -> None:
    from vilseg_core.ops.triton_information_kernels import information_backward

    clusters, config = a.shape[0], config_of(a, b)
    tiles = blocks(place.pixels * place.unit, config.backward.block)
    information_backward[(max(1, min(config.backward.programs, tiles)),)](
        a,
        b,
        weights,
        matrix,
        *lines_of(lines, clusters),
        grad,
        *found,
        place.pixels,
        place.middle,
        place.inner,
        *place.strides[0],
        *place.strides[1],
        *place.weight_strides,
        *place.strides[2],
        *place.strides[3],
        C=clusters,
        CHANNELS=config.channels,
        PRODUCTS=products,
        WEIGHTED=weights is not None,
        WANTS_WEIGHTS=found[2].numel() > 0,
        **common(place, config.backward),
    )


def _backward_tiled(
    found: tuple[Tensor, Tensor, Tensor],
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    matrix: Tensor,
    lines: Tensor,
    norms: Tensor,
    weights: Tensor | None,
    place: PixelGeometry,
    products: int,
) -> None:
    from vilseg_core.ops.triton_information_wide import pixel_values, side_backward

    clusters, config = a.shape[0], config_of(a, b)
    low_a, low_b, shift, rest, largest = lines_of(lines, clusters)
    matrix = matrix + shift
    line_a, line_b = torch.mv(matrix, low_b), torch.mv(matrix.T, low_a)
    # What the kernels read over and over, in the order and the dtype in which they take it.
    tables = [_split(matrix.T, largest, products), _split(matrix, largest, products)]
    values = norms.new_empty(norms.shape[1])
    assert config.values is not None
    value_tiles, tiles = (
        max(1, blocks(place.pixels * place.unit, launch.block))
        for launch in (config.values, config.backward)
    )
    fixed = {
        "C": clusters,
        "CHANNELS": config.channels,
        "DEPTH": DEPTH,
        "PRODUCTS": products,
    }
    size = (place.pixels, place.middle, place.inner)
    sides = ((a, b, line_a, low_b, 0, 1), (b, a, line_b, low_a, 1, 0))
    for own, other, line, low, which, beside in sides:
        scalars = (line, low, largest, values)
        steps = (*place.strides[which], *place.strides[beside])
        sources = (norms[which], norms[beside], *tables[which])
        pixel_values[(value_tiles,)](
            own,
            other,
            *sources,
            *scalars,
            *size,
            *steps,
            **fixed,
            **common(place, config.values),
        )
        if which == 0 and found[2].numel() > 0:
            torch.mul(values.view(found[2].shape) + rest, grad, out=found[2])
        side_backward[(blocks(clusters, config.channels), tiles)](
            own,
            other,
            weights,
            *sources,
            *scalars,
            grad,
            found[which],
            *size,
            *steps,
            *place.weight_strides,
            *place.strides[2 + which],
            WEIGHTED=weights is not None,
            **fixed,
            **common(place, config.backward),
        )


def _split(matrix: Tensor, largest: Tensor, products: int) -> tuple[Tensor, Tensor | None]:
    """A matrix scaled to fill float16, rounded, and what the rounding left out if it is used."""
    scaled = (matrix * (MATRIX_SCALE / largest.clamp_min(NEGLIGIBLE))).contiguous()
    high = scaled.half()
    return high, (scaled - high).half() if products == 3 else None
