"""Walking a tar: like the standard library on sound ones, never lost on damaged ones."""

import gzip
import io
import tarfile
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.captions.shard_files import Members, pack, samples

from vilseg_data.captions.shard import ShardDamage, ShardSample, read_shard
from vilseg_data.captions.tar import Readable, TarReader


class Forwards:
    """A stream that cannot seek and gives as few bytes as it likes."""

    def __init__(self, data: bytes, *, most: int = 700) -> None:
        self._file, self._most = io.BytesIO(data), most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))

    def close(self) -> None:
        self._file.close()


def opened(data: bytes, *, seekable: bool) -> Readable:
    return cast(Readable, io.BytesIO(data)) if seekable else Forwards(data)


def walk(data: bytes, *, seekable: bool = True) -> tuple[list[tuple[str, bytes]], list[str]]:
    reader = TarReader(opened(data, seekable=seekable))
    return [(member.name, reader.read(member)) for member in reader.members()], reader.damage


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=160
).filter(lambda name: not name.endswith("/"))


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.booleans(),
)
@settings(max_examples=200)
def test_it_reads_what_the_standard_library_wrote(
    members: Members, form: int, seekable: bool
) -> None:
    data = pack(members, form=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [info.name for info in tar]
    found, damage = walk(data, seekable=seekable)
    assert [name for name, _ in found] == expected
    assert [content for _, content in found] == [content for _, content in members]
    assert damage == []


def test_taking_no_data_leads_to_the_same_members() -> None:
    data = pack(samples(range(4)))
    for seekable in (True, False):
        reader = TarReader(opened(data, seekable=seekable))
        names = [member.name for member in reader.members()]
        assert names == [name for name, _ in samples(range(4))]
        assert reader.damage == []


WHOLE = samples(range(6), captions=2)
TAR = pack(WHOLE)


def read_all(data: bytes, *, seekable: bool, images: bool = True) -> list[object]:
    return list(read_shard(opened(data, seekable=seekable), name="s.tar", images=images))


SOUND = [item for item in read_all(TAR, seekable=True) if isinstance(item, ShardSample)]


@given(st.integers(0, len(TAR) - 1), st.booleans(), st.booleans())
@settings(max_examples=300)
def test_a_tar_cut_anywhere_gives_its_whole_samples_and_says_so(
    cut: int, seekable: bool, images: bool
) -> None:
    expected = read_all(TAR, seekable=True, images=images)
    items = read_all(TAR[:cut], seekable=seekable, images=images)
    good = [item for item in items if isinstance(item, ShardSample)]
    # Without its JSON a sample has the first caption only; it is the last, if it is there at all.
    whole = sum(1 for end in sample_ends() if end <= cut)
    assert good[:whole] == expected[:whole]
    assert [g.key for g in good[whole:]] in ([], [SOUND[min(whole, 5)].key])
    assert all(g.image == SOUND[k].image or not images for k, g in enumerate(good))
    damage = [item for item in items if isinstance(item, ShardDamage)]
    # The last block of the two that mark the end may be missing too.
    assert [d.key for d in damage] == (["s.tar"] if cut < end_mark() else [])
    assert all("cut short: ends at byte" in d.reason for d in damage)


def sample_ends() -> list[int]:
    """Where the data of the last member of every sample ends."""
    with tarfile.open(fileobj=io.BytesIO(TAR)) as tar:
        infos = [info for info in tar if info.name.endswith(".json")]
    return [info.offset_data + info.size for info in infos]


def end_mark() -> int:
    return -(-sample_ends()[-1] // 512) * 512 + 1024


@given(st.integers(0, end_mark() // 512 - 3), st.binary(min_size=512, max_size=512), st.booleans())
@settings(max_examples=200)
def test_a_damaged_block_costs_one_sample_at_most(block: int, noise: bytes, seekable: bool) -> None:
    damaged = TAR[: block * 512] + noise + TAR[(block + 1) * 512 :]
    items = read_all(damaged, seekable=seekable)
    good = {item.key: item for item in items if isinstance(item, ShardSample)}
    hit = sum(1 for end in sample_ends() if end <= block * 512)
    for number, sample in enumerate(SOUND):
        if number != hit:
            assert good[sample.key] == sample


def header(name: bytes, *, size: bytes, kind: bytes = b"0") -> bytes:
    """A header whose checksum is right, whatever else is not."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (header(b"a.png", size=b"\xff" * 12), "no valid header at byte 0"),
        (header(b"a.png", size=b"77777777777\0"), "cut short"),
        (header(b"a.png", size=b"\x80" + b"\x7f" * 11), "cut short"),
        (header(b"a.png", size=b"what"), "no valid header at byte 0"),
        (header(b"x", size=b"00000001000\0", kind=b"x") + b"\xff" * 512, ""),
        (header(b"x", size=b"77777777777\0", kind=b"x"), "cut short"),
        (header(b"x", size=b"77777777777\0", kind=b"L"), "cut short"),
        (b"\x1f\x8b" + b"\x42" * 510, "no valid header at byte 0"),
    ],
)
def test_headers_that_lie(bad: bytes, reason: str, seekable: bool) -> None:
    items = read_all(bad + TAR, seekable=seekable)
    damage = [item.reason for item in items if isinstance(item, ShardDamage)]
    assert damage[0].startswith(reason) if reason else damage == []
    if "cut" not in reason:
        good = [item for item in items if isinstance(item, ShardSample)]
        assert [item._replace(offset=item.offset - len(bad)) for item in good] == SOUND


def test_starting_at_a_sample_gives_the_rest() -> None:
    for start in range(8):
        for seekable in (True, False):
            file = opened(TAR, seekable=seekable)
            assert list(read_shard(file, name="s.tar", start=start)) == SOUND[start:]


def test_a_compressed_tar_says_so() -> None:
    members, damage = walk(gzip.compress(TAR, compresslevel=0))
    assert members == []
    assert damage[0] == "no valid header at byte 0; compressed, unpack it first"
