import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.train.conftest import quiet, said

from vilseg_data import decode_image
from vilseg_eval import ViLSegSegmenter
from vilseg_train import open_run
from vilseg_train.segmentation import segment_images


def _photo(path: Path, *, size: tuple[int, int] = (50, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_each_photo_gets_overlay_labels_and_areas(own_run: Path, tmp_path: Path) -> None:
    photo = _photo(tmp_path / "photo.png")
    console = quiet()
    assert segment_images(own_run, [photo], "grass,  red ball ,brick", console=console) == []
    target = own_run / "segments"
    assert {p.name for p in target.iterdir()} == {
        "photo-overlay.png",
        "photo-labels.png",
        "photo.json",
    }
    about = json.loads((target / "photo.json").read_text())
    assert about["words"] == ["grass", "red ball", "brick"]
    assert (about["width"], about["height"]) == (50, 40)
    with Image.open(target / "photo-labels.png") as labels:
        assert (labels.mode, labels.size) == ("P", (50, 40))
        numbers = np.array(labels)
    for number, word in enumerate(about["words"]):
        assert about["areas"][word] == pytest.approx((numbers == number).mean())
    assert list(about["areas"].values()) == sorted(about["areas"].values(), reverse=True)
    run = open_run(own_run)
    segmenter = ViLSegSegmenter(run.model, run.tokenizer, about["words"])
    [answer] = segmenter.segment([decode_image(photo)])
    assert np.array_equal(answer.labels(range(3)).numpy(), numbers)
    with Image.open(target / "photo-overlay.png") as overlay:
        assert overlay.width >= 50
        assert overlay.height > 40
    assert "photo-overlay.png" in said(console)


def test_equal_names_do_not_overwrite_one_another(own_run: Path, tmp_path: Path) -> None:
    photos = [_photo(tmp_path / d / "x.png", size=(32 + n, 32)) for n, d in enumerate("abc")]
    segment_images(own_run, photos, "grass, brick", out=tmp_path / "out", console=quiet())
    widths = {p.name: json.loads(p.read_text())["width"] for p in (tmp_path / "out").glob("*.json")}
    assert widths == {"x.json": 32, "x-2.json": 33, "x-3.json": 34}


def test_unreadable_photos_are_returned_and_the_others_done(own_run: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    photos = [text, _photo(tmp_path / "good.png"), tmp_path / "none.png"]
    unreadable = segment_images(own_run, photos, "grass, brick", console=quiet())
    assert [Path(error.key) for error in unreadable] == [text, tmp_path / "none.png"]
    assert (own_run / "segments" / "good.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "expected at least one word"),
        ("  ", "expected at least one word"),
        ("grass,,brick", "word 2 of 3 is blank"),
        ("grass, brick, Grass", "expected different words"),
        (",".join(f"word{i}" for i in range(257)), "expected at most 256, came 257"),
    ],
)
def test_word_lists_that_are_empty_or_repeat_are_refused(
    words: str, message: str, own_run: Path, tmp_path: Path
) -> None:
    photo = _photo(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=message):
        segment_images(own_run, [photo], words, console=quiet())
    assert not (own_run / "segments").exists()


def test_real_photos_of_any_shape_pass(shared_data: Path, own_run: Path) -> None:
    photos = sorted((shared_data / "fixtures").rglob("*.jpg"))[:2]
    assert photos
    assert segment_images(own_run, photos, "dog, grass, person", console=quiet()) == []
    for photo in photos:
        about = json.loads((own_run / "segments" / f"{photo.stem}.json").read_text())
        with Image.open(photo) as image:
            assert (about["width"], about["height"]) == image.size
        assert sum(about["areas"].values()) == pytest.approx(1)
