"""A convolutional stem in place of a vision transformer's patch projection.

b = images, (H, W) = image, (h, w) = patch grid, w = width.
"""

import torch
from torch import Tensor, nn

# Channels after each convolution, as shares of the width, the last one first.
_SHARES = (1.0, 0.5, 0.375, 0.125)


class ConvStem(nn.Module):
    """Stride-2 3x3 convolutions with GroupNorm(1) and GELU, then a linear map to the width.

    A patch of 8 pixels takes three convolutions; of 64 channels these have 24, 32 and 64. Texture
    reaches the transformer already told apart, which a single linear patch projection cannot do.

    Args:
        width: channels of the transformer.
        patch_size: pixels a patch, a power of two.
        grid_size: (h, w) of the position embedding.

    Raises:
        ValueError: `patch_size` is not a power of two of at least 2.
    """

    def __init__(self, width: int, *, patch_size: int, grid_size: tuple[int, int]) -> None:
        super().__init__()
        if patch_size < 2 or patch_size & (patch_size - 1):
            raise ValueError(
                f"patch_size: expected a power of two of at least 2, came {patch_size}; "
                "use 8 or 16, or the patch stem."
            )
        self.patch_size = (patch_size, patch_size)
        self.grid_size = grid_size
        steps = patch_size.bit_length() - 1
        shares = [_SHARES[min(step, len(_SHARES) - 1)] for step in reversed(range(steps))]
        channels = [max(8, round(width * share / 8) * 8) for share in shares[:-1]] + [width]
        parts: list[nn.Module] = []
        for inputs, outputs in zip([3, *channels], channels, strict=False):
            parts += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
                nn.GroupNorm(1, outputs),
                nn.GELU(),
            ]
        self.layers = nn.Sequential(*parts)
        self.projection = nn.Linear(width, width)

    def forward(self, images: Tensor) -> Tensor:
        """(b, 3, H, W) -> (b, h, w, width)."""
        # Channels last from the start: faster convolutions, and tokens that need no copy.
        features = self.layers(images.contiguous(memory_format=torch.channels_last))
        tokens: Tensor = self.projection(features.permute(0, 2, 3, 1))
        return tokens
