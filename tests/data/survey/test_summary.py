import io
from pathlib import Path

import pytest
from PIL import Image
from tests.data.survey.files import picture, write_folder

from vilseg_data import Tokenizer
from vilseg_data.survey import contact_sheet, inspect_source, records_of_path
from vilseg_data.survey.records import FolderRecords
from vilseg_data.survey.summary import Picture


def _write(folder: Path) -> Path:
    for number, (size, text) in enumerate(
        [((40, 20), "a dog's ball"), ((20, 20), "A Dog, a cat."), ((30, 60), "the end of it")]
    ):
        kind = "jpg" if number else "png"
        Image.new("L" if number else "RGB", size).save(folder / f"{number}.{kind}")
        (folder / f"{number}.txt").write_text(text)
    (folder / "3.png").write_bytes(b"")
    (folder / "3.txt").write_text("nothing")
    (folder / "4.png").write_bytes(picture(0))
    return folder


def test_the_numbers_are_those_of_the_files(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["the end of it"], vocab_size=270, context_length=8)
    summary, _ = inspect_source(FolderRecords(_write(tmp_path)), tokenizer=tokenizer)
    assert (summary.samples, summary.captions) == (3, 3)
    assert summary.bytes == sum((tmp_path / n).stat().st_size for n in ("0.png", "1.jpg", "2.jpg"))
    assert summary.formats == {"JPEG": 2, "PNG": 1}
    assert summary.modes == {"L": 2, "RGB": 1}
    assert summary.captions_per_image == {1: 3}
    assert summary.unusable == {"empty-image": 1, "missing-caption": 1}
    for spread, wanted in (
        (summary.width, (20, 30, 40, 30)),
        (summary.height, (20, 20, 60, 33.3333)),
        (summary.aspect, (0.5, 1, 2, 1.1667)),
        (summary.caption_words, (3, 4, 4, 3.6667)),
    ):
        assert spread is not None
        assert (spread.least, spread.median, spread.most, spread.mean) == wanted
    assert (summary.different_words, summary.words["a"], summary.words["dog's"]) == (9, 3, 1)
    lengths = [len(tokenizer.encode(t)) for t in ("a dog's ball", "A Dog, a cat.", "the end of it")]
    assert summary.caption_tokens is not None
    assert (summary.caption_tokens.least, summary.caption_tokens.most) == (
        min(lengths),
        max(lengths),
    )
    assert summary.cut == sum(length > 6 for length in lengths) > 0
    plain = summary.to_json()
    assert plain["broken"] == [
        {"key": "3.png", "reason": "0 bytes"},
        {"key": "4.png", "reason": "no .txt or .json beside"},
    ]
    assert plain["width"] == {
        "least": 20, "low": 21, "median": 30, "high": 39, "most": 40, "mean": 30
    }  # fmt: skip


def test_what_is_drawn_depends_on_the_keys_alone(tmp_path: Path) -> None:
    records = FolderRecords(write_folder(tmp_path, 20))
    _, few = inspect_source(records, pictures=5)
    _, more = inspect_source(records, pictures=9)
    keys = [picture.key for picture in few]
    assert len(set(keys)) == 5
    assert set(keys) < {picture.key for picture in more}
    assert keys == sorted(keys)
    assert inspect_source(records, pictures=0)[1] == []
    assert len(inspect_source(records, pictures=50)[1]) == 20


def test_every_sample_is_drawn_about_as_often(tmp_path: Path) -> None:
    write_folder(tmp_path, 12)
    counts = dict.fromkeys(range(12), 0)
    for turn in range(60):
        folder = tmp_path / f"{turn}"
        folder.mkdir()
        for number in range(12):
            name = f"{turn}-{number}"
            (folder / f"{name}.png").write_bytes(picture(0, side=4))
            (folder / f"{name}.txt").write_text("x")
        for shown in inspect_source(FolderRecords(folder), pictures=3)[1]:
            counts[int(shown.key.removesuffix(".png").partition("-")[2])] += 1
    # 15 expected, standard deviation 3.4.
    assert min(counts.values()) > 3
    assert max(counts.values()) < 30


def test_a_source_without_a_sample_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "0.txt").write_text("x")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match="came 1 empty-image, 1 missing-caption in"):
        inspect_source(FolderRecords(tmp_path))


def test_a_sheet_shows_every_picture_at_its_place() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    pictures = []
    for number, colour in enumerate(colours):
        file = io.BytesIO()
        Image.new("RGB", (60, 30), colour).save(file, "PNG")
        pictures.append(Picture(f"key-{number}", file.getvalue(), ("a colour", "again")))
    sheet = Image.open(io.BytesIO(contact_sheet(pictures, columns=3))).convert("RGB")
    assert sheet.width == 3 * 214 + 14
    tile = sheet.height // 2
    for number, colour in enumerate(colours):
        centre = (14 + 214 * (number % 3) + 100, 14 + tile * (number // 3) + 100)
        assert sheet.getpixel(centre) == colour
    assert contact_sheet(pictures) == contact_sheet(pictures)


@pytest.mark.parametrize(
    "caption", ["x" * 100_000, "word " * 20_000, "\x00\x1b[2J", "\U0001f600 \u4e2d\u6587", "\n"]
)
def test_a_sheet_bears_any_caption_and_a_broken_picture(caption: str) -> None:
    pictures = [Picture("k" * 500, picture(0), (caption,)), Picture("b", b"none", (caption,))]
    assert Image.open(io.BytesIO(contact_sheet(pictures))).width == 2 * 214 + 14


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="pictures: expected at least one, came none"):
        contact_sheet([])
    with pytest.raises(ValueError, match="columns: expected at least 1, came 0"):
        contact_sheet([Picture("k", picture(0), ("x",))], columns=0)


def test_the_cc12m_tar(shared_data: Path) -> None:
    summary, pictures = inspect_source(
        records_of_path(shared_data / "cc12m" / "cc12m-train-0000.tar")
    )
    assert (summary.samples, summary.captions, summary.formats) == (32, 32, {"JPEG": 32})
    assert summary.unusable == {}
    assert len(pictures) == 24
