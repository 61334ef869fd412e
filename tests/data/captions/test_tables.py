"""Tables of captions: CSV, TSV and JSON lines, with rows that cannot be used."""

import json
from pathlib import Path

import pytest
from tests.data.sources import photo

from vilseg_data import BrokenSampleError, CaptionSource, TableCaptions


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for value, name in enumerate(("a.png", "b.png", "sub/c d.png"), start=1):
        (folder / name).write_bytes(photo(value))
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


CSV = 'image,caption,likes\nb.png,"one, two",3\na.png,first,1\nb.png,second,2\nsub/c d.png,x,0\n'
TSV = "image\tcaption\nb.png\tone, two\na.png\tfirst\nb.png\tsecond\nsub/c d.png\tx\n"
JSONL = "\n".join(
    json.dumps({"image": name, "caption": caption})
    for name, caption in (
        ("b.png", ["one, two", "second"]),
        ("a.png", "first"),
        ("sub/c d.png", "x"),
    )
)


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", CSV), ("t.tsv", TSV), ("t.jsonl", JSONL), ("t.txt", CSV), ("u.txt", TSV)],
)
def test_rows_of_one_image_are_its_captions(images: Path, name: str, text: str) -> None:
    source = TableCaptions(write(images.parent / name, text), images=images)
    assert isinstance(source, CaptionSource)
    assert (len(source), source.broken, source.name) == (3, [], name[0])
    assert [source[k].key for k in range(3)] == ["b.png", "a.png", "sub/c d.png"]
    assert [source.captions(k) for k in range(3)] == [("one, two", "second"), ("first",), ("x",)]
    assert [int(source[k].image[0, 0, 0]) for k in range(3)] == [2, 1, 3]


def test_images_are_found_beside_the_table_and_squashed(images: Path) -> None:
    source = TableCaptions(write(images / "t.csv", CSV), image_size=5)
    assert source[0].image.shape == (3, 5, 5)


def test_a_byte_order_mark_and_other_columns(images: Path) -> None:
    table = write(images / "t.csv", "\ufefffile,text\na.png,hello\n")
    source = TableCaptions(table, image_column="file", caption_column="text")
    assert source.captions(0) == ("hello",)


def test_rows_that_cannot_be_used_are_listed(images: Path) -> None:
    text = "image,caption\na.png,one\n,two\nb.png,\nlost.png,x\nlost.png,y\nb.png\n\0.png,z\n"
    source = TableCaptions(write(images / "t.csv", text))
    assert [source[k].key for k in range(len(source))] == ["a.png"]
    assert source.broken == [
        ("t.csv line 3", "no image"),
        ("b.png", "no caption in line 4"),
        ("b.png", "no caption in line 7"),
        ("lost.png", f"no such file in {images} (2 captions)"),
        ("\0.png", f"no such file in {images} (1 captions)"),
    ]


def test_json_lines_that_cannot_be_used_are_listed(images: Path) -> None:
    lines = [
        '{"image": "a.png", "caption": "one"}',
        "",
        "{",
        "[1]",
        '{"image": 3, "caption": "x"}',
        '{"image": "b.png", "caption": 5}',
        '{"caption": "x"}',
        '{"image": "b.png", "caption": ' + "1" * 5000 + "}",
    ]
    source = TableCaptions(write(images / "t.jsonl", "\n".join(lines)))
    assert len(source) == 1
    assert [key for key, _ in source.broken] == [
        "t.jsonl line 3",
        "t.jsonl line 4",
        "t.jsonl line 5",
        "b.png",
        "t.jsonl line 7",
        "t.jsonl line 8",
    ]
    assert [reason for _, reason in source.broken[1:4]] == [
        "not a JSON object but list",
        "no image",
        "no caption in line 6",
    ]


def test_a_row_too_long_for_the_csv_reader_is_listed(images: Path) -> None:
    text = f"image,caption\na.png,one\nb.png,{'w' * 200_000}\nsub/c d.png,two\n"
    source = TableCaptions(write(images / "t.csv", text))
    assert [source[k].key for k in range(len(source))] == ["a.png", "sub/c d.png"]
    assert source.broken[0].key == "t.csv line 3"
    assert "field larger than field limit" in source.broken[0].reason


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(images: Path, end: str) -> None:
    (images / "t.csv").write_text("\ufeff" + CSV.replace("\n", end), "utf-8", newline="")
    source = TableCaptions(images / "t.csv")
    assert source.broken == []
    assert [source.captions(k) for k in range(3)] == [("one, two", "second"), ("first",), ("x",)]


@pytest.mark.parametrize(("name", "mark"), [("t.csv", "comma"), ("t.tsv", "tab")])
def test_a_caption_that_falls_apart_is_listed_not_cut(images: Path, name: str, mark: str) -> None:
    text = "image,caption\na.png,a dog, a cat\nb.png,whole,\n"
    table = write(images / name, text if mark == "comma" else text.replace(",", "\t"))
    source = TableCaptions(table)
    assert [source[k].captions for k in range(len(source))] == [("whole",)]
    assert source.broken == [
        (f"{name} line 2", f"more cells than the 2 columns: quote those with a {mark}")
    ]


def test_a_quotation_mark_that_takes_in_rows_is_refused(images: Path) -> None:
    table = write(images / "t.tsv", 'image\tcaption\na.png\t"run" he says\nb.png\t"a dog\n' + TSV)
    with pytest.raises(
        ValueError, match=r"t\.tsv: expected every quotation mark .* closed, came .* double it"
    ):
        TableCaptions(table)


def test_an_unreadable_image_is_named(images: Path) -> None:
    (images / "a.png").write_bytes(b"junk")
    source = TableCaptions(write(images / "t.csv", CSV))
    with pytest.raises(BrokenSampleError, match=r"^a\.png: not an image$"):
        source[1]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_missing_column_names_the_nearest(images: Path, name: str) -> None:
    text = "image,captoin\na.png,x\n" if name == "t.csv" else '{"image": "a.png", "captoin": "x"}'
    message = r"expected a column 'caption', came \['image', 'captoin'\]; the nearest is 'captoin'"
    with pytest.raises(ValueError, match=message):
        TableCaptions(write(images / name, text))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", r"expected a column 'image', came \[\]"),
        ("t.csv", "w" * 200_000, r"expected a first line of column names, came: field larger"),
        ("t.csv", "image,caption\n", "came 0 rows and none usable; check"),
        ("t.jsonl", "", "came 0 rows and none usable; check"),
        (
            "t.csv",
            "image,caption\nx.png,y\n",
            r"came 1 rows and none usable, first x\.png: no such",
        ),
        ("t.arrow", "", r"table: expected a file that ends in one of \('\.csv', .*, came t\.arrow"),
    ],
)
def test_tables_that_give_nothing(images: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TableCaptions(write(images / name, text))


def test_paths_that_are_not_there(images: Path) -> None:
    with pytest.raises(ValueError, match="table: expected a file, came"):
        TableCaptions(images / "absent.csv")
    with pytest.raises(ValueError, match="images: expected a folder, came"):
        TableCaptions(write(images / "t.csv", CSV), images=images / "absent")


def test_real_photos_and_captions(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "fixtures" / "flickr8k"
    spoken: dict[str, list[str]] = json.loads((folder / "captions.json").read_text())
    lines = (json.dumps({"image": key, "caption": value}) for key, value in spoken.items())
    table = write(tmp_path / "t.jsonl", "\n".join(lines))
    source = TableCaptions(table, images=folder, image_size=64)
    assert (len(source), source.broken) == (16, [])
    for index in range(16):
        sample = source[index]
        assert sample.image.shape == (3, 64, 64)
        assert list(sample.captions) == [caption.strip() for caption in spoken[sample.key]]
