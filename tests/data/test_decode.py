"""Decoding: every mode becomes RGB, every damage becomes a named reason."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from vilseg_data import BrokenSampleError, decode_image
from vilseg_data.resize import resize_square


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth(size: tuple[int, int] = (160, 120)) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def test_pixels_channels_first() -> None:
    image = smooth()
    decoded = decode_image(encode(image))
    assert decoded.dtype == torch.uint8
    assert decoded.is_contiguous()
    np.testing.assert_array_equal(decoded.permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = Image.new("L", (5, 4), 200)
    if mode == "I;16":
        image, kind = Image.fromarray(np.full((4, 5), 200 * 257, dtype=np.uint16)), "PNG"
    else:
        adaptive = Image.Palette.ADAPTIVE
        image, kind = grey.convert("RGB").convert(mode, palette=adaptive), "TIFF"
    value = 255 if mode == "1" else 200
    if mode == "1":
        image = Image.new("1", (5, 4), 1)
    decoded = decode_image(encode(image, kind))
    assert decoded.shape == (3, 4, 5)
    assert (decoded.int() - value).abs().max() <= 2


def test_cmyk_jpeg() -> None:
    decoded = decode_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert decoded[0].min() > 200
    assert decoded[1:].max() < 60


def test_transparency_is_laid_on_white() -> None:
    clear = decode_image(encode(Image.new("RGBA", (2, 2), (10, 20, 30, 0))))
    assert (clear == 255).all()
    palette = Image.new("P", (2, 2), 0)
    assert (decode_image(encode(palette, "PNG", transparency=0)) == 255).all()


@pytest.mark.parametrize("size", [None, 24])
def test_exif_orientation_is_applied(size: int | None) -> None:
    image = Image.new("RGB", (32, 16), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    decoded = decode_image(encode(image, "JPEG", exif=exif), size=size)
    height, width = decoded.shape[1:]
    assert (height, width) == ((32, 16) if size is None else (24, 24))
    assert decoded[:, : height // 2 - 3].float().mean() > 240
    assert decoded[:, height // 2 + 3 :].float().mean() < 15


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_that_of_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(smooth((9, 5)), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode_image(data).permute(1, 2, 0).numpy(), upright)


def test_ill_formed_exif_does_not_cost_the_photo() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    block = bytearray(exif.tobytes())
    # The resolution, a fraction, is said to be text.
    tag = block.index(b"\x01\x1a\x00\x05" if b"MM" in block else b"\x1a\x01\x05\x00")
    block[tag + (3 if b"MM" in block else 2)] = 2
    data = encode(smooth((16, 8)), "JPEG", exif=bytes(block))
    assert decode_image(data).shape == (3, 16, 8)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data)[:, 0, 0].tolist() == [255, 0, 0]


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.sampled_from(["PNG", "JPEG"]))
@settings(max_examples=40)
def test_size_squashes_to_a_square(width: int, height: int, size: int, kind: str) -> None:
    assert decode_image(encode(smooth((width, height)), kind), size=size).shape == (3, size, size)


def test_draft_decoding_is_close_to_full_decoding() -> None:
    data = encode(smooth((640, 480)), "JPEG", quality=95)
    full = resize_square(decode_image(data), size=48)
    assert (decode_image(data, size=48).int() - full.int()).abs().float().mean() < 2.0


def test_paths_and_names(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    smooth().save(path)
    assert decode_image(path).shape == (3, 120, 160)
    assert torch.equal(decode_image(str(path)), decode_image(path))
    with pytest.raises(ValueError, match="size: expected at least 1, came 0"):
        decode_image(path, size=0)
    path.write_bytes(b"not an image")
    with pytest.raises(BrokenSampleError, match=r"photo\.png: not an image") as caught:
        decode_image(path)
    assert (caught.value.key, caught.value.reason) == (str(path), "not an image")
    with pytest.raises(BrokenSampleError, match="No such file"):
        decode_image(tmp_path / "absent.png")


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["RGB", "L", "CMYK"]),
    st.sampled_from([None, 1, 7, 16, 40]),
    st.integers(0, 9),
    st.floats(0.0, 1.0),
)
@settings(max_examples=200)
def test_simplejpeg_gives_the_pixels_of_pillow(
    width: int, height: int, mode: str, size: int | None, orientation: int, share: float
) -> None:
    pytest.importorskip("simplejpeg", reason='pip install "./vilseg_data[jpeg]"')
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(smooth((width, height)).convert(mode), "JPEG", exif=exif)
    # From 0.9 on the whole file, below it cut: what is read of it, and what is said.
    data = data if share > 0.9 else data[: int(len(data) * share / 0.9)]

    def outcome() -> torch.Tensor | str:
        try:
            return decode_image(data, key="a", size=size)
        except BrokenSampleError as error:
            return error.reason

    fast = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vilseg_data.decode.fast_decoder", lambda: None)
        plain = outcome()
    if isinstance(plain, str) or isinstance(fast, str):
        assert plain == fast
    else:
        # Their libraries may be of two versions.
        assert (fast.int() - plain.int()).abs().max() <= 2


def test_empty_and_float_files_are_refused() -> None:
    with pytest.raises(BrokenSampleError, match="a: empty file"):
        decode_image(b"", key="a")
    with pytest.raises(BrokenSampleError, match="no known range"):
        decode_image(encode(Image.new("F", (2, 2)), "TIFF"), key="a")


@given(st.floats(0.0, 0.9), st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))
@settings(max_examples=60)
def test_truncated_files_are_broken_wherever_cut(share: float, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(BrokenSampleError) as caught:
        decode_image(data[: int(share * len(data))], key="cut")
    assert caught.value.key == "cut"
    assert caught.value.reason


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [150, 300])
def test_too_many_pixels_are_refused(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("L", (side, side)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20000)
    with pytest.raises(BrokenSampleError, match="pixels"):
        decode_image(data, key="bomb")


def test_real_photos(shared_data: Path) -> None:
    photos = sorted((shared_data / "fixtures" / "flickr8k").glob("*.jpg"))
    assert len(photos) == 16
    for photo in photos:
        with Image.open(photo) as image:
            size = image.size
        assert decode_image(photo).shape == (3, size[1], size[0])
        assert decode_image(photo, size=64).shape == (3, 64, 64)
