"""Grids, scratch memory and arguments of the kernels of the mutual information."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vilseg_core.ops.kernel_configs import DEPTH, InformationConfig, Launch, information_config
from vilseg_core.ops.pixel_geometry import PixelGeometry

MATRIX_SCALE = 16384.0
ONE_TILE = 128
"""Clusters up to which one tile holds the whole joint."""
NORMALISE = Launch(block=64, warps=4, stages=1)
FINISH = {True: (8, 64), False: (32, 4)}
"""Side of a block of the joint, and parts read at once, by whether one tile holds the joint."""


class JointParts(NamedTuple):
    """Covariance (parts, c, c), means (parts, c) and mass (parts,) of parts of the pixels."""

    covariances: Tensor
    means_a: Tensor
    means_b: Tensor
    masses: Tensor
    counter: Tensor
    """(1,), 0: the finishing kernel counts its programs here."""
    norms: Tensor
    """(2, n) log-normalisers of both sides where the joint is tiled, else (2, 0)."""


def joint_parts(a: Tensor, b: Tensor, weights: Tensor | None, *, bits: int) -> JointParts:
    """Moments of (c, *pixels) logits by parts, each about its own mean."""
    from vilseg_core.ops.triton_information_kernels import joint_partials

    a, b, weights, place = _placed([a, b], weights)
    clusters, config = a.shape[0], _config(a, b)
    tiles = _ceil(clusters, config.channels)
    blocks = _ceil(place.pixels * place.unit, config.joint.block)
    count = max(1, min(config.joint.programs // tiles**2, blocks))
    numbers = a.new_empty
    parts = JointParts(
        covariances=numbers(count, clusters, clusters, dtype=torch.float32),
        means_a=numbers(count, clusters, dtype=torch.float32),
        means_b=numbers(count, clusters, dtype=torch.float32),
        masses=numbers(count, dtype=torch.float32),
        counter=numbers(1, dtype=torch.int32),
        norms=numbers(2, a[0].numel() if tiles > 1 else 0, dtype=torch.float32),
    )
    with torch.cuda.device(a.get_device()):
        if tiles > 1:
            _normalise(a, parts.norms[0], place, 0, config)
            _normalise(b, parts.norms[1], place, 1, config)
        joint_partials[(tiles**2, count)](
            a,
            b,
            weights,
            parts.norms[0],
            parts.norms[1],
            *parts[:5],
            place.pixels,
            place.middle,
            place.inner,
            *place.strides[0],
            *place.strides[1],
            *place.weight_strides,
            C=clusters,
            CHANNELS=config.channels,
            STAGES=config.joint.stages,
            PRODUCTS=_products(a, b, bits),
            WEIGHTED=weights is not None,
            **_common(place, config.joint),
        )
    return parts


def launch_finish(
    parts: JointParts, *, entropy_weight: float, symmetric: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (), matrix (c, c), and in one row both means, the rest and the largest entry."""
    from vilseg_core.ops.triton_information_finish import finish_information

    count, clusters = parts.means_a.shape
    side, chunk = FINISH[clusters <= ONE_TILE]
    programs = _ceil(clusters, side) ** 2
    room = 1 << (programs - 1).bit_length()
    numbers = parts.masses.new_empty
    scratch, loss = numbers(3 * room), numbers(())
    matrix, lines = numbers(clusters, clusters), numbers(2 * clusters + 2)
    with torch.cuda.device(parts.masses.get_device()):
        finish_information[(programs,)](
            *parts[:5],
            scratch,
            matrix,
            *_lines(lines, clusters)[:2],
            loss,
            lines[2 * clusters :],
            count,
            entropy_weight,
            C=clusters,
            SIDE=side,
            PARTS=chunk,
            SYMMETRIC=symmetric,
            PROGRAMS=room,
            num_warps=4,
            enable_fp_fusion=True,
        )
    return loss, matrix, lines


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
    """Gradients of `grad` w (p^T matrix q + rest), summed over pixels, in a, b and the weights."""
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
    with torch.cuda.device(a.get_device()):
        launch(found, a, b, grad, matrix, lines, norms, weights, geometry, _products(a, b, bits))


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

    clusters, config = a.shape[0], _config(a, b)
    blocks = _ceil(place.pixels * place.unit, config.backward.block)
    information_backward[(max(1, min(config.backward.programs, blocks)),)](
        a,
        b,
        weights,
        matrix,
        *_lines(lines, clusters),
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
        STAGES=config.backward.stages,
        PRODUCTS=products,
        WEIGHTED=weights is not None,
        WANTS_WEIGHTS=found[2].numel() > 0,
        **_common(place, config.backward),
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

    clusters, config = a.shape[0], _config(a, b)
    mean_a, mean_b, rest, largest = _lines(lines, clusters)
    line_a, line_b = torch.mv(matrix, mean_b), torch.mv(matrix.T, mean_a)
    # What the kernels read over and over, in the order and the dtype in which they take it.
    tables = [_split(matrix.T, largest, products), _split(matrix, largest, products)]
    values = torch.empty_like(norms[0])
    blocks = max(1, _ceil(place.pixels * place.unit, config.backward.block))
    fixed = {
        "C": clusters,
        "CHANNELS": config.channels,
        "DEPTH": DEPTH,
        "STAGES": config.backward.stages,
        "PRODUCTS": products,
        **_common(place, config.backward),
    }
    size = (place.pixels, place.middle, place.inner)
    pixel_values[(blocks,)](
        a,
        b,
        *norms,
        *tables[0],
        line_a,
        mean_b,
        largest,
        values,
        *size,
        *place.strides[0],
        *place.strides[1],
        **fixed,
    )
    if found[2].numel() > 0:
        torch.mul(values.view(found[2].shape) + rest, grad, out=found[2])
    sides = (
        (a, b, norms[0], norms[1], line_a, mean_b, 0),
        (b, a, norms[1], norms[0], line_b, mean_a, 1),
    )
    for own, other, own_norms, other_norms, line, mean, which in sides:
        side_backward[(_ceil(clusters, config.channels), blocks)](
            own,
            other,
            weights,
            own_norms,
            other_norms,
            *tables[which],
            line,
            mean,
            largest,
            values,
            grad,
            found[which],
            *size,
            *place.strides[which],
            *place.strides[1 - which],
            *place.weight_strides,
            *place.strides[2 + which],
            WEIGHTED=weights is not None,
            **fixed,
        )


def _split(matrix: Tensor, largest: Tensor, products: int) -> tuple[Tensor, Tensor | None]:
    """A matrix scaled to fill float16, rounded, and what the rounding left out if it is used."""
    scaled = (matrix * (MATRIX_SCALE / largest.clamp_min(torch.finfo().tiny))).contiguous()
    high = scaled.half()
    return high, (scaled - high).half() if products == 3 else None


def _normalise(
    logits: Tensor, norms: Tensor, place: PixelGeometry, which: int, config: InformationConfig
) -> None:
    from vilseg_core.ops.triton_information_wide import log_normalisers

    blocks = max(1, _ceil(place.pixels * place.unit, NORMALISE.block))
    log_normalisers[(blocks,)](
        logits,
        norms,
        place.pixels,
        place.middle,
        place.inner,
        *place.strides[which],
        C=logits.shape[0],
        CHANNELS=config.channels,
        **_common(place, NORMALISE),
    )


def _placed(
    logits: list[Tensor], weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, PixelGeometry]:
    """Logits and weights with their geometry, copied only where that takes many dimensions."""
    geometry = PixelGeometry.of(logits, weights)
    if geometry is None:
        logits = [tensor.contiguous() for tensor in logits]
        weights = None if weights is None else weights.contiguous()
        geometry = PixelGeometry.of(logits, weights)
        assert geometry is not None
    return logits[0], logits[1], weights, geometry


def _lines(lines: Tensor, clusters: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means of p and of q, the rest, the largest entry of the matrix."""
    rest, largest = lines[2 * clusters :][:1], lines[2 * clusters + 1 :]
    return lines[:clusters], lines[clusters : 2 * clusters], rest, largest


def _config(a: Tensor, b: Tensor) -> InformationConfig:
    return information_config(a.shape[0], bytes_each=max(a.element_size(), b.element_size()))


def _products(a: Tensor, b: Tensor, bits: int) -> int:
    """1 or 3: how many products of float16 numbers stand for one of float32 numbers."""
    if bits == 0:
        exact = a.dtype == b.dtype == torch.float32
        exact = exact and torch.get_float32_matmul_precision() == "highest"
        bits = 22 if exact else 11
    return 1 if bits == 11 else 3


def _common(place: PixelGeometry, launch: Launch) -> dict[str, Any]:
    return {
        "BLOCK": launch.block,
        "UNIT": place.unit,
        "WIDE": place.wide,
        "num_warps": launch.warps,
        "num_stages": launch.stages,
        # Triton is about to turn its default round; the error bounds hold with either.
        "enable_fp_fusion": True,
    }


def _ceil(size: int, step: int) -> int:
    return -(-size // step)
