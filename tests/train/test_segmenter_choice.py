"""A name becomes a segmenter, or a line that says why not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vilseg_data import WorldLabelled
from vilseg_eval import KMeansSegmenter, PatchSegmenter, evaluate
from vilseg_train import open_run
from vilseg_train.segmenter_choice import SEGMENTERS, build_segmenter, open_segmenter

OWN = "tests.train.own_segmenters"
CLASSES = WorldLabelled(count=1).classes


def test_model_segmenters_take_their_options_as_text(finished_run: Path) -> None:
    options = {"clusters": "3", "seed": "4", "image_size": "40", "upsampling": "nearest"}
    made = open_segmenter("kmeans", finished_run, classes=CLASSES, options=options, device="cpu")
    assert isinstance(made, KMeansSegmenter)
    assert made.words == CLASSES.prompts
    found = {name: made.settings[name] for name in options}
    assert found == {"clusters": 3, "seed": 4, "image_size": 40, "upsampling": "nearest"}
    run = open_run(finished_run)
    patch = build_segmenter("patch", run, words=["grass"], templates=["{}"])
    assert isinstance(patch, PatchSegmenter)
    assert (patch.words, patch.templates) == (("grass",), ("{}",))


@pytest.mark.parametrize("name", ["kmeans", f"{OWN}:FirstWord"])
def test_any_segmenter_is_evaluated(name: str, finished_run: Path) -> None:
    dataset = WorldLabelled(count=2)
    made = open_segmenter(name, finished_run, classes=dataset.classes, device="cpu")
    assert evaluate(made, dataset).results["images"] == 2


def test_a_segmenter_of_one_s_own_gets_source_words_and_options(tmp_path: Path) -> None:
    made: Any = open_segmenter(
        f"{OWN}:FirstWord",
        tmp_path,
        classes=CLASSES,
        words=["a", "b"],
        templates=["the {}"],
        options={"label": "1"},
        device="cpu",
    )
    assert (made.source, made.words, made.templates) == (tmp_path, ("a", "b"), ("the {}",))
    assert (made.label, made.device) == (1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("other", {}, "--segmenter: expected one of vilseg, kmeans, patch, predictions"),
        ("no.such:Thing", {}, "no module named 'no'"),
        (f"{OWN}:NO_FACTORY", {}, "to be a class or a function, came int"),
        (f"{OWN}:not_a_segmenter", {}, "has no name, words, templates, segment"),
        ("kmeans", {"cluster": "3"}, "unknown key cluster; did you mean clusters?"),
        ("vilseg", {"window": "wide"}, "window: expected a valid integer, .* came 'wide'"),
        ("patch", {"clusters": "3"}, "unknown key clusters"),
        ("predictions", {"window": "16"}, "unknown key window"),
        ("groupvit", {"assignment": "firm"}, "assignment: expected 'soft' or 'hard', came 'firm'"),
        ("clipseg", {"assignment": "soft"}, "unknown key assignment"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, options: dict[str, str], message: str, finished_run: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        open_segmenter(name, finished_run, classes=CLASSES, options=options, device="cpu")


def test_a_folder_that_is_no_model_of_transformers_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(ValueError, match=r"readable config\.json; save model and processor"):
        open_segmenter("clipseg", tmp_path, classes=CLASSES, device="cpu")


def test_the_names_are_a_promise() -> None:
    assert SEGMENTERS == ("vilseg", "kmeans", "patch", "predictions", "groupvit", "clipseg")
