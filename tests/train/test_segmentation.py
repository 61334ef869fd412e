import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.train.conftest import quiet, said

from vilseg_data import decode_image
from vilseg_eval import InferenceConfig, ViLSegSegmenter
from vilseg_eval.words import parse_words
from vilseg_train import open_run
from vilseg_train.segmentation import SegmentOptions, segment_images

FILES = ("-overlay.png", "-labels.png", "-regions.png", ".json")


def _photo(path: Path, *, size: tuple[int, int] = (50, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


BALL = parse_words("grass,  red ball ,brick")
TWO = parse_words("grass, brick")


def test_each_photo_gets_overlay_labels_and_areas(own_run: Path, tmp_path: Path) -> None:
    photo = _photo(tmp_path / "photo.png")
    console = quiet()
    assert segment_images(own_run, [photo], BALL, console=console) == []
    target = own_run / "segments"
    assert {p.name for p in target.iterdir()} == {f"photo{end}" for end in FILES}
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


def test_the_json_says_why_each_region_has_its_name(own_run: Path, tmp_path: Path) -> None:
    photo = _photo(tmp_path / "photo.png")
    words = parse_words("grass; red ball: ball, sphere; brick")
    segment_images(own_run, [photo], words, console=quiet())
    target = own_run / "segments"
    about = json.loads((target / "photo.json").read_text())
    with Image.open(target / "photo-regions.png") as regions:
        numbers = np.array(regions)
    with Image.open(target / "photo-labels.png") as labels:
        named = np.array(labels)
    assert sorted(r["region"] for r in about["regions"]) == sorted(np.unique(numbers).tolist())
    areas = dict.fromkeys(about["words"], 0.0)
    for region in about["regions"]:
        inside = numbers == region["region"]
        assert region["area"] == pytest.approx(inside.mean())
        left, top, right, bottom = region["box"]
        rows, columns = np.nonzero(inside)
        assert (left, right) == (columns.min(), columns.max() + 1)
        assert (top, bottom) == (rows.min(), rows.max() + 1)
        scores = [entry["score"] for entry in region["top"]]
        assert scores == sorted(scores, reverse=True)
        assert region["top"][0]["word"] == region["word"]
        assert (named[inside] == about["words"].index(region["word"])).all()
        areas[region["word"]] += region["area"]
    assert areas == pytest.approx(about["areas"])
    for word, score in about["scores"].items():
        each = [e["score"] for r in about["regions"] for e in r["top"] if e["word"] == word]
        assert score == max(each)
    assert about["inference"]["synonyms"] == {"red ball": ["ball", "sphere"]}


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_second_call_encodes_nothing_and_says_the_same(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [_photo(tmp_path / "a.png"), _photo(tmp_path / "b.png", size=(33, 60))]
    options = SegmentOptions(cache=tmp_path / "cache")
    plain, first, second = (tmp_path / name for name in ("plain", "first", "second"))
    segment_images(own_run, photos, TWO, out=plain, console=quiet())
    segment_images(own_run, photos, TWO, out=first, options=options, console=quiet())
    assert _contents(plain) == _contents(first)

    def fail(*_: object) -> None:
        raise AssertionError("encoded again")

    with monkeypatch.context() as patch:
        for part in ("encode_image", "encode_text"):
            patch.setattr(f"vilseg_core.models.ViLSeg.{part}", fail)
        segment_images(own_run, photos, TWO, out=second, options=options, console=quiet())
        assert _contents(first) == _contents(second)
        photos[0].write_bytes(photos[1].read_bytes())  # the content counts, not the name
        segment_images(own_run, photos[:1], TWO, out=second, options=options, console=quiet())
        new = parse_words("sheep")
        with pytest.raises(AssertionError, match="encoded again"):
            segment_images(own_run, photos, new, out=second, options=options, console=quiet())
        other = options._replace(inference=InferenceConfig(image_size=40))
        with pytest.raises(AssertionError, match="encoded again"):
            segment_images(own_run, photos, TWO, out=second, options=other, console=quiet())


def test_shared_tokens_are_labelled_by_themselves_and_regions_still_have_names(
    own_run: Path, tmp_path: Path
) -> None:
    photo = _photo(tmp_path / "photo.png")
    inference = InferenceConfig(softness=2.0)
    segment_images(
        own_run,
        [photo],
        TWO,
        out=tmp_path / "out",
        options=SegmentOptions(inference=inference),
        console=quiet(),
    )
    run = open_run(own_run)
    segmenter = ViLSegSegmenter(run.model, run.tokenizer, TWO.words, inference=inference)
    (answer,) = segmenter.segment([decode_image(photo)])
    with Image.open(tmp_path / "out" / "photo-labels.png") as labels:
        assert np.array_equal(np.array(labels), answer.labels(range(2)).numpy())
    about = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert about["inference"]["softness"] == 2.0
    assert sum(region["area"] for region in about["regions"]) == pytest.approx(1)
    assert all(region["word"] == region["top"][0]["word"] for region in about["regions"])


def test_a_cache_that_cannot_be_written_is_a_warning(own_run: Path, tmp_path: Path) -> None:
    photo = _photo(tmp_path / "photo.png")
    options = SegmentOptions(cache=photo / "cache")  # below a file
    console = quiet()
    assert segment_images(own_run, [photo], TWO, options=options, console=console) == []
    assert "warning: nothing could be kept in" in said(console)
    assert (own_run / "segments" / "photo.json").exists()


def test_equal_names_do_not_overwrite_one_another(own_run: Path, tmp_path: Path) -> None:
    photos = [_photo(tmp_path / d / "x.png", size=(32 + n, 32)) for n, d in enumerate("abc")]
    segment_images(own_run, photos, TWO, out=tmp_path / "out", console=quiet())
    widths = {p.name: json.loads(p.read_text())["width"] for p in (tmp_path / "out").glob("*.json")}
    assert widths == {"x.json": 32, "x-2.json": 33, "x-3.json": 34}


def test_unreadable_photos_are_returned_and_the_others_done(own_run: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    photos = [text, _photo(tmp_path / "good.png"), tmp_path / "none.png"]
    unreadable = segment_images(own_run, photos, TWO, console=quiet())
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
        segment_images(own_run, [photo], parse_words(words), console=quiet())
    assert not (own_run / "segments").exists()


def test_real_photos_of_any_shape_pass(shared_data: Path, own_run: Path) -> None:
    photos = sorted((shared_data / "fixtures").rglob("*.jpg"))[:2]
    assert photos
    assert segment_images(own_run, photos, parse_words("dog, grass, person"), console=quiet()) == []
    for photo in photos:
        about = json.loads((own_run / "segments" / f"{photo.stem}.json").read_text())
        with Image.open(photo) as image:
            assert (about["width"], about["height"]) == image.size
        assert sum(about["areas"].values()) == pytest.approx(1)
