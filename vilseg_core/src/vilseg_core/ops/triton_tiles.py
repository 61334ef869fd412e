"""What the kernels of the mutual information share: reading tiles of logits, exact-enough products.

A tile is (pixels, clusters) whatever the layout in memory: the compiler orders the threads along
the dimension that is contiguous, so channel-first and channel-last logits are read in place alike.
"""

import triton
import triton.language as tl

from vilseg_core.ops import kernel_configs_information

# A share less another lies in [-1, 1]; times this it fills float16, whose 11 bits are TF32's, and
# keeps all of them down to 2e-9.
SHARE_SCALE = tl.constexpr(32768.0)
MATRIX_SCALE = tl.constexpr(kernel_configs_information.MATRIX_SCALE)
SMALLEST = tl.constexpr(1.1754943508222875e-38)
NEGLIGIBLE = tl.constexpr(kernel_configs_information.NEGLIGIBLE)
# Shares of a cluster are alike where the smallest is above this part of their mean.
ALIKE = tl.constexpr(1.0 / 16.0)


@triton.jit
def product(left, right, total, PRODUCTS: tl.constexpr):
    """`total` + left @ right for float32 operands within float16's range, on tensor cores.

    PRODUCTS = 1 keeps 11 bits of each operand, rounded. PRODUCTS = 3 splits each operand in two
    and leaves out the product of the two small parts: 22 bits.
    """
    left_high, right_high = left.to(tl.float16), right.to(tl.float16)
    if PRODUCTS == 3:
        left_low = (left - left_high.to(tl.float32)).to(tl.float16)
        right_low = (right - right_high.to(tl.float32)).to(tl.float16)
        total = tl.dot(left_low, right_high, total)
        total = tl.dot(left_high, right_low, total)
    return tl.dot(left_high, right_high, total)


@triton.jit
def first_offsets(shares, w, mass, PRODUCTS: tl.constexpr):
    """What a program takes off the shares of each cluster, from its first tile with any weight.

    The smallest; but 11 bits of shares that are alike hold little else than what all have in
    common, and take their mean. Without any weight 1, which is no cluster's smallest.
    """
    offsets = tl.min(tl.where((w > 0.0)[:, None], shares, 1.0), 0)
    if PRODUCTS == 1:
        means = tl.sum(shares * w[:, None], 0) / tl.maximum(mass, SMALLEST)
        offsets = tl.where((offsets < 1.0) & (offsets > ALIKE * means), means, offsets)
    return offsets


@triton.jit
def pixel_numbers(tile, pixels, BLOCK: tl.constexpr, UNIT: tl.constexpr, WIDE: tl.constexpr):
    """Numbers (BLOCK,) of the pixels of a tile, and which of them exist."""
    if WIDE:
        numbers = tl.full((BLOCK,), tile, tl.int64) * BLOCK + tl.arange(0, BLOCK)
    else:
        numbers = tile * BLOCK + tl.arange(0, BLOCK)
    return numbers, numbers < pixels * UNIT


@triton.jit
def pixel_offsets(numbers, middle, inner, outer_stride, middle_stride, inner_stride, UNIT):
    """Where pixels lie: three dimensions; all but the innermost stride are counted in UNITs.

    Multiplied by a constant here, they tell the compiler how far loads may be vectorised.
    """
    rows = numbers // (inner * UNIT)
    offsets = (rows // middle) * (outer_stride * UNIT) + (rows % middle) * (middle_stride * UNIT)
    return offsets + (numbers % (inner * UNIT)) * inner_stride


@triton.jit
def load_logits(
    logits, offsets, exist, channels, channel_stride, C: tl.constexpr, WIDE: tl.constexpr
):
    """A tile (pixels, clusters) in float32; 0 for pixels that do not exist, -inf for clusters."""
    if WIDE:
        channels = channels.to(tl.int64)
    valid = channels < C
    places = logits + offsets[:, None] + channels[None, :] * channel_stride
    tile = tl.load(places, mask=exist[:, None] & valid[None, :], other=0.0).to(tl.float32)
    return tl.where(valid[None, :], tile, float("-inf"))


@triton.jit
def softmax(logits):
    """Softmax over the clusters of a tile that holds all of them."""
    shares = tl.exp(logits - tl.max(logits, 1)[:, None])
    return shares * (1.0 / tl.sum(shares, 1))[:, None]


@triton.jit
def assignments(
    logits,
    norms,
    numbers,
    offsets,
    exist,
    channels,
    channel_stride,
    C: tl.constexpr,
    TILED: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Probabilities of a tile; where TILED, by each pixel's maximum and inverse sum in `norms`."""
    tile = load_logits(logits, offsets, exist, channels, channel_stride, C, WIDE)
    if TILED:
        # A pixel that does not exist has weight 0 and needs no more than finite numbers.
        top = tl.load(norms + 2 * numbers, mask=exist, other=0.0)
        inverse = tl.load(norms + 2 * numbers + 1, mask=exist, other=0.0)
        shares = tl.exp(tile - top[:, None]) * inverse[:, None]
    else:
        shares = softmax(tile)
    return shares


@triton.jit
def load_weights(
    weights,
    numbers,
    exist,
    middle,
    inner,
    outer_stride,
    middle_stride,
    inner_stride,
    UNIT: tl.constexpr,
    WEIGHTED: tl.constexpr,
):
    """Weights (pixels,), 0 for pixels that do not exist."""
    if WEIGHTED:
        rows = numbers // (inner * UNIT)
        offsets = (rows // middle) * outer_stride + (rows % middle) * middle_stride
        offsets += (numbers % (inner * UNIT)) * inner_stride
        found = tl.load(weights + offsets, mask=exist, other=0.0).to(tl.float32)
    else:
        found = exist.to(tl.float32)
    return found


@triton.jit
def store_gradient(
    gradient, offsets, exist, channels, channel_stride, tile, C: tl.constexpr, WIDE: tl.constexpr
):
    """Write a tile (pixels, clusters) in the dtype of `gradient`."""
    if WIDE:
        channels = channels.to(tl.int64)
    places = gradient + offsets[:, None] + channels[None, :] * channel_stride
    tl.store(
        places,
        tile.to(gradient.dtype.element_ty),
        mask=exist[:, None] & (channels < C)[None, :],
    )
