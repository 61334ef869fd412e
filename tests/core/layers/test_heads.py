"""The clustering head: shapes, sub-heads, normalisation, refusals."""

from typing import Any

import pytest
import torch

from vilseg_core import ClusteringHead


def test_the_first_sub_head_is_the_output() -> None:
    head = ClusteringHead(6, 4, heads=3, layers=2, normalize="l2")
    pixels = torch.randn(2, 6, 3, 5)
    every = head.forward_all(pixels)
    assert every.shape == (3, 2, 4, 3, 5)
    torch.testing.assert_close(head(pixels), every[0])
    assert not torch.allclose(every[0], every[1])


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 6 * 4 + 4),
        ({"heads": 5}, 5 * (6 * 4 + 4)),
        ({"layers": 2}, 6 * 6 + 6 + 6 * 4 + 4),
        ({"layers": 3, "hidden_dim": 8}, 6 * 8 + 8 + 8 * 8 + 8 + 8 * 4 + 4),
        ({"normalize": "batch"}, 6 * 4 + 4),
    ],
)
def test_parameters(options: dict[str, Any], parameters: int) -> None:
    head = ClusteringHead(6, 4, **options)
    assert sum(p.numel() for p in head.parameters()) == parameters
    assert head(torch.randn(2, 6, 3, 3)).shape == (2, 4, 3, 3)


def test_the_papers_head_adds_0_08_million() -> None:
    head = ClusteringHead(512, 25, heads=6, normalize="l2")
    assert sum(p.numel() for p in head.parameters()) == 76_950


def test_each_pixel_is_clustered_by_itself() -> None:
    head = ClusteringHead(6, 4, layers=2, normalize="l2")
    pixels = torch.randn(1, 6, 4, 4)
    torch.testing.assert_close(head(pixels.flip(3)), head(pixels).flip(3))
    torch.testing.assert_close(head(pixels[..., 1:3, :1]), head(pixels)[..., 1:3, :1])


def test_l2_forgets_the_norm_of_a_pixel() -> None:
    head = ClusteringHead(6, 4, normalize="l2")
    pixels = torch.randn(2, 6, 3, 3)
    sizes = torch.rand(2, 1, 3, 3) + 0.1
    torch.testing.assert_close(head(sizes * pixels), head(pixels))


def test_batch_forgets_the_scale_of_a_channel() -> None:
    head = ClusteringHead(6, 4, normalize="batch")
    pixels = torch.randn(8, 6, 5, 5)
    gain, bias = torch.rand(1, 6, 1, 1) + 0.5, torch.randn(1, 6, 1, 1)
    torch.testing.assert_close(head(gain * pixels + bias), head(pixels), atol=1e-4, rtol=1e-4)
    head.eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    head(pixels)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_a_zero_feature_in_half_precision_stays_finite() -> None:
    head = ClusteringHead(6, 4, normalize="l2").half()
    logits = head(torch.zeros(1, 6, 2, 2, dtype=torch.float16))
    assert logits.dtype == torch.float16
    bias = head.state_dict()["heads.0.0.bias"]
    assert torch.equal(logits, bias.reshape(1, 4, 1, 1).expand(1, 4, 2, 2))


@pytest.mark.parametrize("shape", [(6, 2, 2), (1, 2, 2, 6)])
def test_refused_pixels(shape: tuple[int, ...]) -> None:
    head = ClusteringHead(6, 4)
    for function in (head, head.forward_all):
        with pytest.raises(
            ValueError, match=r"pixels: expected shape \(b, 6, h, w\), came .*; move"
        ):
            function(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_dim": 0}, "in_dim: expected at least 1, came 0"),
        ({"clusters": 1}, "clusters: expected at least 2, came 1"),
        ({"layers": 0}, "layers: expected at least 1, came 0"),
        ({"heads": 0}, "heads: expected at least 1, came 0"),
        ({"hidden_dim": 8}, "hidden_dim: .* came 8 with layers=1; leave it out or set layers"),
        ({"layers": 2, "hidden_dim": -1}, "hidden_dim: .* came -1"),
        ({"normalize": "layer"}, "normalize: expected one of 'none', 'l2', 'batch', came 'layer'"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClusteringHead(**({"in_dim": 6, "clusters": 4} | changes))
