import numpy as np
import torch

from vilseg_train.samples import draw_samples


def test_each_image_stands_over_its_clusters() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 200), dtype=torch.uint8)
    clusters = torch.zeros(2, 4, 200, dtype=torch.int64)
    clusters[1, :, 100:] = 1
    picture = draw_samples(images, clusters)
    assert picture.shape == (4 + 2 + 4, 200 + 2 + 200, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[:4, :200], images[0].permute(1, 2, 0).numpy())
    assert np.array_equal(picture[:4, 202:], images[1].permute(1, 2, 0).numpy())
    assert (picture[4:6, :200] == 255).all()
    assert (picture[:, 200:202] == 255).all()


def test_one_cluster_is_one_colour_and_small_pictures_are_enlarged() -> None:
    black = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    clusters = torch.tensor([[0] * 4 + [1] * 4]).expand(8, 8)[None]
    picture = draw_samples(black, clusters)
    assert picture.shape == (18 * 16, 8 * 16, 3)
    below = picture[10 * 16 :]
    assert len(np.unique(below[:, : 4 * 16].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(below.reshape(-1, 3), axis=0)) == 2
