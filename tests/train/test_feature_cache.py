"""What is kept is what was put; the folder stays below its size; damage is absence."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vilseg_eval.features import Encoded
from vilseg_train.feature_cache import CachedImages, CachedWords, FeatureCache
from vilseg_train.image_paths import image_paths


def _entry(value: float) -> dict[str, torch.Tensor]:
    return {"x": torch.full((100,), value)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_was_put_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "deep" / "cache")
    assert cache.get("a") is None
    tensors = {"x": torch.randn(3, 4), "y": torch.tensor([1, 2])}
    cache.put("a", tensors)
    found = FeatureCache(tmp_path / "deep" / "cache").get("a")
    assert found is not None
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
    assert cache.get("b") is None
    assert cache.failure is None


def test_damaged_entries_are_absent_and_written_anew(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.put("a", _entry(1))
    [path] = tmp_path.iterdir()
    for damage in (b"", b"no tensors", path.read_bytes()[:-7]):
        path.write_bytes(damage)
        assert cache.get("a") is None
    cache.put("a", _entry(2))
    found = cache.get("a")
    assert found is not None
    assert torch.equal(found["x"], _entry(2)["x"])


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    for number, key in enumerate("abcd"):
        cache.put(key, _entry(number))
    for number, path in enumerate(sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)):
        os.utime(path, ns=(number, number))
    one = _size(tmp_path) // 4
    assert cache.get("a") is not None  # used just now
    small = FeatureCache(tmp_path, limit_bytes=3 * one)
    small.put("e", _entry(5))
    assert [key for key in "abcde" if small.get(key)] == ["a", "d", "e"]


@given(sizes=st.lists(st.integers(1, 60), max_size=12), limit=st.integers(1, 1200))
@settings(max_examples=15)
def test_the_folder_stays_below_its_size(
    sizes: list[int], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = FeatureCache(folder, limit_bytes=limit)
    for number, size in enumerate(sizes):
        cache.put(str(number), {"x": torch.zeros(size)})
        assert _size(folder) <= limit
    assert not list(folder.glob("*.part"))


def test_a_full_disk_loses_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache = FeatureCache(tmp_path)
    monkeypatch.setattr(os, "replace", full)
    cache.put("a", _entry(1))
    assert cache.failure is not None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="limit_bytes: expected at least 1, came 0"):
        FeatureCache(tmp_path, limit_bytes=0)


def test_weights_and_ways_are_kept_apart(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    device = torch.device("cpu")
    encoded = Encoded(torch.randn(2, 3, 4), torch.randn(5, 3, 4))
    images = CachedImages(cache, weights="w", way="whole")
    images.put(b"photo", encoded)
    found = images.get(b"photo", device=device)
    assert found is not None
    assert found.logits is not None
    assert torch.equal(found.pixels, encoded.pixels)
    for other in (
        CachedImages(cache, weights="v", way="whole"),
        CachedImages(cache, weights="w", way="windows"),
    ):
        assert other.get(b"photo", device=device) is None
    rows = torch.randn(4, 8)
    words = CachedWords(cache, weights="w")
    words["dog"] = rows[1]
    assert torch.equal(CachedWords(cache, weights="w")["dog"], rows[1])
    assert CachedWords(cache, weights="v").get("dog") is None


def test_paths_come_from_files_folders_patterns_and_lines(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/c.webp", "deep/d.txt", "x[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [tmp_path / name for name in ("a.JPG", "b.png", "deep/c.webp", "x[1].png")]
    assert image_paths([str(tmp_path)]) == names
    assert image_paths([str(tmp_path / "*.png"), str(tmp_path)])[:2] == [names[1], names[3]]
    assert set(image_paths([str(tmp_path / "**" / "*")])) == {*names, tmp_path / "deep" / "d.txt"}
    assert image_paths([str(names[3])]) == [names[3]]
    missing = tmp_path / "none.png"
    lines = [f"{missing}\n", "\n", f"{names[1]}\r\n"]
    assert image_paths(["-", str(names[1])], lines=lines) == [missing, names[1]]
    for texts, message in (
        ([str(tmp_path / "*.gif")], "no image matches"),
        ([str(tmp_path / "empty")], "no image in the folder"),
        (["-"], "expected at least one image"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=message):
            image_paths(texts)
