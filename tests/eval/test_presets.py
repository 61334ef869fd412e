"""Settings by name and of one's own, and images warped before they are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.eval.fakes import MemorySet, ScoreSegmenter, class_list

from vilseg_eval import ClassSets, Scoring, evaluate, rescore
from vilseg_eval.presets import PRESETS, custom_protocols, expand
from vilseg_eval.protocols import PROTOCOLS
from vilseg_eval.resolution import at_resolution, image_keys

CLASSES = class_list(6, unseen=(2, 5), background=0)
SETS = ClassSets.of(CLASSES)


def case() -> tuple[MemorySet, ScoreSegmenter]:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(6, (5, 7), generator=generator) for _ in range(4)]
    scores = {f"image{i}": torch.rand(5, 5, 7, generator=generator) for i in range(4)}
    return MemorySet(CLASSES, maps), ScoreSegmenter(CLASSES, scores)


def test_every_preset_is_made_of_known_protocols() -> None:
    for name, preset in PRESETS.items():
        assert set(preset.protocols) <= set(PROTOCOLS)
        assert expand([name])[0] == preset.protocols
        assert name not in PROTOCOLS
    names, fixed = expand(["vilseg-table1", "all", "vilseg-table2"])
    assert names == ("gzlss", "all")
    assert (fixed.absent, fixed.templates, fixed.background) == ("skip", "vilseg", None)


def test_presets_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="vilseg-table1 asks for absent 'skip' and zs3 for 'zero'"):
        expand(["vilseg-table1", "zs3"])
    with pytest.raises(ValueError, match=r"protocol: expected one of gzlss, .*came 'tabel1'"):
        expand(["tabel1"])


@pytest.mark.parametrize(
    ("candidates", "score", "outside", "same_as"),
    [
        ("all", "unseen", "fp", "gzlss"),
        ("all", "seen", None, "seen"),
        (None, "all", "ignore", "all"),
        ("unseen", "unseen", "ignore", "zlss"),
    ],
)
def test_options_spell_the_named_protocols(
    candidates: str | None, score: str, outside: str | None, same_as: str
) -> None:
    dataset, segmenter = case()
    own = custom_protocols(
        candidates=candidates, score=score, outside=outside, background=False, sets=SETS
    )
    found = evaluate(segmenter, dataset, scoring=Scoring(extra=own)).results["protocols"]
    assert found["custom"] == found[same_as]


def test_classes_can_be_chosen_by_a_file_and_scored_again(tmp_path: Path) -> None:
    dataset, segmenter = case()
    file = tmp_path / "few.txt"
    file.write_text("class1\nclass2\n")
    own = custom_protocols(
        candidates=str(file), score="each", outside="ignore", background=False, sets=SETS
    )
    assert [p.name for p in own] == [
        "custom-unseen",
        "custom-seen",
        "custom-harmonic",
        "custom-all",
    ]
    result = evaluate(segmenter, dataset, scoring=Scoring(extra=own))
    counts = result.matrices["custom"].counts
    assert int(counts[:, [0, 3, 4, 5, 6]].sum()) == 0
    result.save(tmp_path / "saved")
    assert rescore(tmp_path / "saved") == result.results
    few = custom_protocols(
        candidates="seen", score="seen", outside=None, background=False, sets=SETS
    )
    with pytest.raises(ValueError, match="custom needs the matrix 'seen'"):
        rescore(tmp_path / "saved", extra=few)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    none = {"candidates": None, "score": None, "outside": None}
    assert custom_protocols(**none, background=False, sets=SETS) == ()
    (tmp_path / "names.txt").write_text("class1\nnothing\n")
    for change, message in (
        ({"outside": "drop"}, "outside: expected fp or ignore"),
        ({"candidates": "most"}, "candidates: expected all, seen, unseen or a file"),
        ({"score": str(tmp_path / "names.txt")}, r"classes: expected names .*\['nothing'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            custom_protocols(**{**none, **change}, background=False, sets=SETS)


def test_scoring_again_changes_what_is_asked_and_nothing_else(tmp_path: Path) -> None:
    dataset, segmenter = case()
    for scoring in (Scoring(), Scoring(absent="zero", bootstrap=None)):
        evaluate(segmenter, dataset, scoring=scoring).save(tmp_path / scoring.absent)
    zero = rescore(tmp_path / "skip", absent="zero")
    direct = evaluate(segmenter, dataset, scoring=Scoring(absent="zero")).results
    assert zero == direct
    assert rescore(tmp_path / "zero")["bootstrap"] is None


def test_warped_labels_are_those_of_pillows_nearest_pixel() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (37, 911))
    warped = at_resolution(MemorySet(CLASSES, [torch.from_numpy(labels)]), "warp513")
    assert (image_keys(warped), len(warped), warped.name) == (["image0"], 1, "memory")
    sample = warped[0]
    expected = Image.fromarray(labels.astype(np.uint8)).resize((513, 513), Image.Resampling.NEAREST)
    assert np.array_equal(sample.labels.numpy(), np.asarray(expected))
    assert sample.image.shape == (3, 513, 513)
    assert sample.image.dtype == torch.uint8
    with pytest.raises(ValueError, match="resolution: expected one of native, warp513"):
        at_resolution(warped, "large")
