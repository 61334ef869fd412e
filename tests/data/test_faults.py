"""What strangers' data holds, through every source: good samples arrive, the others are named."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.captions.shard_files import pack
from tests.data.sources import bomb, photo
from torch import Tensor

from vilseg_data import (
    ArchiveCaptions,
    CaptionLoader,
    ShardCaptions,
    ShardStream,
    StreamLoader,
    TableCaptions,
    Tokenizer,
)

LONG = "w" * 100_000
TOKENIZER = Tokenizer.train(["a dog runs"], vocab_size=260, context_length=8)


class Given(NamedTuple):
    """A sample, and what is said of it if it cannot be read."""

    name: str
    image: bytes
    caption: bytes = b"a dog"
    heard: str = "a dog"
    reason: str | None = None


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(Image.new("RGB", (8, 4), "teal"), "JPEG", exif=exif)


FRAMES = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
DEEP = Image.fromarray(np.full((4, 5), 40_000, dtype=np.uint16))
GIVEN = [
    Given("first.png", photo(1)),
    Given("empty.png", b"", reason="empty file"),
    Given("dot.png", photo(2, size=(1, 1))),
    Given("cmyk.jpg", encode(Image.new("CMYK", (6, 5), (0, 90, 90, 0)), "JPEG")),
    Given("deep.png", encode(DEEP, "PNG")),
    Given("palette.png", encode(Image.new("P", (4, 4), 3), "PNG")),
    Given("turned.jpg", turned()),
    Given("frames.gif", encode(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])),
    Given("grey.jpg", encode(Image.new("L", (7, 7), 90), "JPEG")),
    Given("bomb.png", bomb(), reason="pixels"),
    Given("cut.jpg", encode(NOISE, "JPEG")[:-300], reason="truncated"),
    Given("text.jpg", b"<html>not found</html>", reason="not an image"),
    Given("long.png", photo(3), LONG.encode(), LONG),
    Given(
        "emoji.png", photo(4), "a \U0001f9a9 in a caf\u00e9".encode(), "a \U0001f9a9 in a caf\u00e9"
    ),
    Given("bytes.png", photo(5), b"bad \xff bytes", "bad \ufffd bytes"),
    Given("odd \u202e\U0001f9a9 name.png", photo(6)),
    Given("last.png", photo(7)),
]
HOSTILE = ("../../up.png", "/etc/passwd.png", "a\x1b[31mred.png", "x" * 300 + ".png")


def members(names: bool) -> list[Given]:
    return [*GIVEN[:-1], *(Given(name, photo(8)) for name in HOSTILE if names), GIVEN[-1]]


def stem(key: str) -> str:
    """The name of a sample without its shard and its ending, of which tars say nothing."""
    return re.sub(r"\.(png|jpg|gif)$", "", key.removeprefix("s.tar/"))


def tar(folder: Path, samples: list[Given]) -> Path:
    parts = [
        part
        for sample in samples
        for part in (
            (sample.name, sample.image),
            (f"{stem(sample.name)}.txt", sample.caption),
        )
    ]
    path = folder / "s.tar"
    path.write_bytes(pack(parts))
    return path


def rows(samples: list[Given]) -> list[tuple[bytes, bytes]]:
    """Names and captions as JSON strings that hold the captions' bytes as they are."""
    return [(json.dumps(s.name).encode(), b'"' + s.caption + b'"') for s in samples]


def listed(folder: Path, samples: list[Given]) -> CaptionLoader:
    return loader_of(ShardCaptions(tar(folder, samples), image_size=8))


def stream(folder: Path, samples: list[Given]) -> StreamLoader:
    source = ShardStream(tar(folder, samples), seed=0, shuffle=5)
    return StreamLoader(
        source, Heard(), batch_size=1, image_size=8, max_broken=1.0, drop_last=False
    )


def zipped(folder: Path, samples: list[Given]) -> CaptionLoader:
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        for sample in samples:
            archive.writestr(sample.name, sample.image)
    text = b",".join(name + b":" + caption for name, caption in rows(samples))
    (folder / "train.captions.json").write_bytes(b"{" + text + b"}")
    return loader_of(ArchiveCaptions(folder, image_size=8))


def table(folder: Path, samples: list[Given]) -> CaptionLoader:
    for sample in samples:
        (folder / sample.name).write_bytes(sample.image)
    lines = [b'{"image":' + name + b',"caption":' + text + b"}" for name, text in rows(samples)]
    (folder / "t.jsonl").write_bytes(b"\n".join(lines))
    return loader_of(TableCaptions(folder / "t.jsonl", image_size=8))


class Heard:
    """A tokenizer that remembers what it was given."""

    def __init__(self) -> None:
        self.captions: list[str] = []

    def __call__(self, captions: Sequence[str]) -> Tensor:
        self.captions += captions
        return TOKENIZER(captions)


def loader_of(source: ShardCaptions | ArchiveCaptions | TableCaptions) -> CaptionLoader:
    return CaptionLoader(
        source,
        Heard(),
        batch_size=1,
        image_size=8,
        seed=0,
        cache=False,
        max_broken=1.0,
        drop_last=False,
    )


Build = Callable[[Path, list[Given]], CaptionLoader | StreamLoader]


@pytest.mark.parametrize(
    ("build", "names"), [(listed, True), (stream, True), (zipped, True), (table, False)]
)
def test_nothing_crashes_and_every_sample_is_delivered_or_named(
    tmp_path: Path, build: Build, names: bool
) -> None:
    samples = members(names)
    loader = build(tmp_path, samples)
    given = {stem(sample.name): sample for sample in samples}
    delivered: dict[str, Tensor] = {}
    for batch in iter(loader.next_batch, None):
        if batch.epoch:
            break
        (name,) = batch.keys
        assert stem(name) not in delivered
        delivered[stem(name)] = batch.images[0]
    loader.close()
    good = {name for name, sample in given.items() if sample.reason is None}
    assert delivered.keys() == good
    assert all(image.shape == (3, 8, 8) for image in delivered.values())
    assert torch.equal(delivered["dot"], torch.full((3, 8, 8), 2, dtype=torch.uint8))
    assert delivered["frames"][:, 0, 0].tolist() == [255, 0, 0]
    assert torch.unique(delivered["deep"]).tolist() == [40_000 // 257]
    assert isinstance(loader.tokenizer, Heard)
    assert {sample.heard for sample in samples} <= set(loader.tokenizer.captions)
    named = {stem(key): reason for key, reason in loader.broken}
    assert named.keys() == given.keys() - good
    assert len(loader.broken) == len(named)
    for name, reason in named.items():
        assert str(given[name].reason) in reason


def test_control_characters_of_a_text_are_left_out(tmp_path: Path) -> None:
    path = tar(tmp_path, [Given("a.png", photo(1), b"nul\x00l and \x1b[31mred")])
    assert ShardCaptions(path).captions(0) == ("null and [31mred",)
    (sample,) = ShardStream(path, seed=0)
    assert sample.caption == "null and [31mred"


def test_rows_that_name_no_file_of_a_folder_are_named(tmp_path: Path) -> None:
    samples = [Given("a.png", photo(1)), Given("b\0.png", b""), Given("y" * 300 + ".png", b"")]
    (tmp_path / "a.png").write_bytes(photo(1))
    lines = [b'{"image":' + name + b',"caption":' + text + b"}" for name, text in rows(samples)]
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
    source = TableCaptions(tmp_path / "t.jsonl")
    assert [source[k].key for k in range(len(source))] == ["a.png"]
    assert [fault.key for fault in source.broken] == [s.name for s in samples[1:]]
    assert all("no such file" in fault.reason for fault in source.broken)
