"""Grids, scratch memory and arguments of the joint kernel and the finishing kernel."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vilseg_core.ops.kernel_configs_information import InformationConfig, Launch, information_config
from vilseg_core.ops.launching import blocks, on_device
from vilseg_core.ops.pixel_geometry import PixelGeometry

ONE_TILE = 128
"""Clusters up to which one tile holds the whole joint."""
NORMALISE = Launch(block=32, warps=8, stages=2)
FINISH = {True: (8, 64), False: (32, 2)}
"""Side of a block of the joint, and parts read at once, by whether one tile holds the joint."""
FINISH_WARPS = 8
SCALARS = 3
"""Numbers beside the offsets that the backward kernels need."""


class JointParts(NamedTuple):
    """Parts of the pixels: products of the shares less an offset (parts, c, c) and their sums
    (parts, c), the offsets (parts, c) and the mass (parts,).
    """

    products: Tensor
    sums_a: Tensor
    sums_b: Tensor
    lows_a: Tensor
    lows_b: Tensor
    masses: Tensor
    counter: Tensor
    """(1,), 0: the finishing kernel counts its programs here."""
    norms: Tensor
    """(2, n, 2) normalisers of both sides where the joint is tiled, else (2, 0, 2)."""


def joint_parts(a: Tensor, b: Tensor, weights: Tensor | None, *, bits: int) -> JointParts:
    """Moments of (c, *pixels) logits by parts, each above its own offsets."""
    from vilseg_core.ops.triton_information_kernels import joint_partials

    a, b, weights, place = _placed([a, b], weights)
    clusters, config = a.shape[0], config_of(a, b)
    tiles = blocks(clusters, config.channels)
    places = blocks(place.pixels * place.unit, config.joint.block)
    count = max(1, min(config.joint.programs // tiles**2, places))
    numbers = a.new_empty
    parts = JointParts(
        products=numbers(count, clusters, clusters, dtype=torch.float32),
        sums_a=numbers(count, clusters, dtype=torch.float32),
        sums_b=numbers(count, clusters, dtype=torch.float32),
        lows_a=numbers(count, clusters, dtype=torch.float32),
        lows_b=numbers(count, clusters, dtype=torch.float32),
        masses=numbers(count, dtype=torch.float32),
        counter=numbers(1, dtype=torch.int32),
        norms=numbers(2, a[0].numel() if tiles > 1 else 0, 2, dtype=torch.float32),
    )
    with on_device(a):
        if tiles > 1:
            _normalise(a, parts.norms[0], place, 0, config)
            _normalise(b, parts.norms[1], place, 1, config)
        joint_partials[(tiles**2, count)](
            a,
            b,
            weights,
            parts.norms[0],
            parts.norms[1],
            *parts[:-1],
            place.pixels,
            place.middle,
            place.inner,
            *place.strides[0],
            *place.strides[1],
            *place.weight_strides,
            C=clusters,
            CHANNELS=config.channels,
            PRODUCTS=products_of(a, b, bits),
            WEIGHTED=weights is not None,
            **common(place, config.joint),
        )
    return parts


def launch_finish(
    parts: JointParts, *, entropy_weight: float, symmetric: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (), matrix (c, c), and in one row what `lines_of` takes apart."""
    from vilseg_core.ops.triton_information_finish import finish_information

    count, clusters = parts.sums_a.shape
    side, chunk = FINISH[clusters <= ONE_TILE]
    programs = blocks(clusters, side) ** 2
    room = 1 << (programs - 1).bit_length()
    numbers = parts.masses.new_empty
    scratch, loss = numbers(3 * room, dtype=torch.float64), numbers(())
    matrix, lines = numbers(clusters, clusters), numbers(2 * clusters + SCALARS)
    with on_device(parts.masses):
        finish_information[(programs,)](
            *parts[:-1],
            scratch,
            matrix,
            *lines_of(lines, clusters)[:2],
            loss,
            lines[2 * clusters :],
            count,
            entropy_weight,
            C=clusters,
            SIDE=side,
            PARTS=chunk,
            SYMMETRIC=symmetric,
            PROGRAMS=room,
            num_warps=FINISH_WARPS,
            enable_fp_fusion=True,
        )
    return loss, matrix, lines


def _normalise(
    logits: Tensor, norms: Tensor, place: PixelGeometry, which: int, config: InformationConfig
) -> None:
    from vilseg_core.ops.triton_information_wide import normalisers

    count = max(1, blocks(place.pixels * place.unit, NORMALISE.block))
    normalisers[(count,)](
        logits,
        norms,
        place.pixels,
        place.middle,
        place.inner,
        *place.strides[which],
        C=logits.shape[0],
        CHANNELS=config.channels,
        **common(place, NORMALISE),
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


def lines_of(lines: Tensor, clusters: int) -> tuple[Tensor, ...]:
    """Offsets of p and of q; what is added to all of the matrix, to values; the largest sum."""
    return torch.split(lines, [clusters, clusters, *[1] * SCALARS])


def config_of(a: Tensor, b: Tensor) -> InformationConfig:
    """The row of the table for these logits, by the wider of the two."""
    return information_config(a.shape[0], bytes_each=max(a.element_size(), b.element_size()))


def products_of(a: Tensor, b: Tensor, bits: int) -> int:
    """1 or 3: how many products of float16 numbers stand for one of float32 numbers."""
    if bits == 0:
        exact = a.dtype == b.dtype == torch.float32
        exact = exact and torch.get_float32_matmul_precision() == "highest"
        bits = 22 if exact else 11
    return 1 if bits == 11 else 3


def common(place: PixelGeometry, launch: Launch) -> dict[str, Any]:
    """What every kernel over tiles of pixels is compiled for."""
    return {
        "BLOCK": launch.block,
        "STAGES": launch.stages,
        "UNIT": place.unit,
        "WIDE": place.wide,
        "num_warps": launch.warps,
        "num_stages": launch.stages,
        # Triton is about to turn its default round; the error bounds hold with either.
        "enable_fp_fusion": True,
    }
