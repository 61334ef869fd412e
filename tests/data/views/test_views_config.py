"""ViewsConfig builds what it says and refuses early."""

import pytest
from pydantic import ValidationError

from vilseg_data.views import InvertibleAugmentation, MultiCrop, ViewsConfig


def test_fields_arrive() -> None:
    config = ViewsConfig(
        global_size=64,
        local_size=24,
        num_local=4,
        global_scale=(0.6, 0.9),
        local_scale=(0.1, 0.2),
        ratio=(0.9, 1.1),
        flip=(0.1, 0.2),
        brightness=0.2,
        contrast=0.3,
        saturation=0.4,
        hue=0.05,
        jitter=0.8,
        grey=0.15,
        blur=(1.0, 0.5),
        blur_sigma=(0.2, 1.5),
        solarise=(0.25, 0.0),
        solarise_threshold=0.6,
        gain=0.5,
        bias=0.6,
        augmentation_flip=0.7,
        quarter_turn=0.6,
        degrees=8.0,
        translate=0.9,
        zoom=(0.8, 1.25),
    )
    assert config.multicrop(image_size=128) == MultiCrop(
        global_size=64,
        local_size=24,
        num_local=4,
        global_scale=(0.6, 0.9),
        local_scale=(0.1, 0.2),
        ratio=(0.9, 1.1),
        flip=(0.1, 0.2),
        brightness=0.2,
        contrast=0.3,
        saturation=0.4,
        hue=0.05,
        jitter=0.8,
        grey=0.15,
        blur=(1.0, 0.5),
        blur_sigma=(0.2, 1.5),
        solarise=(0.25, 0.0),
        solarise_threshold=0.6,
    )
    assert config.augmentation() == InvertibleAugmentation(
        gain=0.5,
        bias=0.6,
        flip=0.7,
        degrees=8.0,
        translate=0.9,
        scale=(0.8, 1.25),
        quarter_turn=0.6,
    )
    assert ViewsConfig.model_validate_json(config.model_dump_json()) == config


def test_the_defaults_are_those_of_the_parts() -> None:
    config = ViewsConfig()
    assert config.multicrop(image_size=224) == MultiCrop(global_size=224, local_size=96)
    assert config.augmentation() == InvertibleAugmentation()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"local_scale": (0.5, 0.1)}, r"local_scale: expected \(low, high\)"),
        ({"zoom": (-1.0, 1.0)}, r"zoom: expected \(low, high\)"),
        ({"blur_sigma": (2.0, 1.0)}, r"blur_sigma: expected \(low, high\)"),
        ({"solarise": (0.5, 1.5)}, "solarise of local views: expected a number from 0 to 1"),
        ({"flip": 2.0}, "flip: expected a number from 0 to 1, came 2"),
        ({"gain": 1.0}, "less than or equal to 0.99"),
        ({"num_local": -1}, "greater than or equal to 0"),
        ({"locals": 3}, "Extra inputs are not permitted"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ViewsConfig.model_validate(options)
