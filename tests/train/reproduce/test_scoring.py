"""Rows of one run: other words, other scenes, more words, and the scenes that they share."""

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.conftest import quiet, tiny_config

from vilseg_data import WorldCaptions, build_captions
from vilseg_data.labelled.classes import IGNORE
from vilseg_data.reading import WholeSource
from vilseg_data.world import FIRST
from vilseg_train import Trainer, open_run
from vilseg_train.reproduce.job import training_scenes
from vilseg_train.reproduce.plan import Row
from vilseg_train.reproduce.scoring import Scorer


@pytest.fixture(scope="module")
def scorer(finished_run: Path) -> Scorer:
    return Scorer(open_run(finished_run), images=4, seed=0)


def test_further_words_are_offered_and_not_counted(scorer: Scorer) -> None:
    plain = Row(key="a", title="", variant="full")
    more = Row(key="b", title="", variant="full", words=31)
    few, many = scorer.dataset(plain), scorer.dataset(more)
    assert many.classes.prompts[:22] == few.classes.prompts
    assert len(set(many.classes.prompts)) == 31
    assert scorer.segmenter(more, many).words == many.classes.prompts
    scores = scorer.score(more)["protocols"]["all"]
    own = [scores["iou"][name] for name in FIRST.names if scores["iou"][name] is not None]
    assert scores["miou"] == pytest.approx(statistics.fmean(own))


def test_a_few_words_are_scored_on_their_own_pixels(scorer: Scorer) -> None:
    few = Row(key="a", title="", variant="full", words=5)
    all_words, some = scorer.dataset(replace(few, words=22)), scorer.dataset(few)
    assert some.classes.names == tuple(FIRST.names[k] for k in (0, 4, 8, 13, 17))
    assert some.classes.unseen == tuple(
        k for k, name in enumerate(some.classes.names) if name in FIRST.unseen
    )
    kept = 0
    for index in range(len(some)):
        whole, part = all_words[index].labels, some[index].labels
        for k, name in enumerate(some.classes.names):
            here = whole == FIRST.names.index(name)
            assert torch.equal(part == k, here)
            kept += int(here.sum())
        assert torch.equal(all_words[index].image, some[index].image)
    assert kept == sum(int((some[i].labels != IGNORE).sum()) for i in range(len(some)))
    scores = scorer.score(few)["protocols"]["all"]
    assert set(scores["iou"]) == set(some.classes.names)
    defined = [iou for iou in scores["iou"].values() if iou is not None]
    assert scores["miou"] == pytest.approx(statistics.fmean(defined))


def test_synonyms_and_sentences_change_the_words_alone(scorer: Scorer) -> None:
    row = Row(key="a", title="", variant="full", synonyms=1, template="{}")
    scenes = scorer.dataset(row)
    segmenter = scorer.segmenter(row, scenes)
    assert segmenter.words == tuple(FIRST.synonyms[name][1] for name in FIRST.names)
    assert segmenter.templates == ("{}",)
    assert scenes.classes.names == FIRST.names


def test_held_out_pairs_are_scored_on_their_things(scorer: Scorer) -> None:
    row = Row(key="a", title="", variant="full", compositions="held-out", held_out_things=True)
    scores = scorer.score(row)["protocols"]["all"]
    things = [scores["iou"][name] for name in FIRST.held_out if scores["iou"][name] is not None]
    assert scores["miou"] == pytest.approx(statistics.fmean(things))
    any_pair = scorer.dataset(Row(key="b", title="", variant="full"))
    differing = [not torch.equal(scorer.dataset(row)[i].image, any_pair[i].image) for i in range(4)]
    assert any(differing)


@pytest.mark.parametrize("wrong", [0.0, 0.5])
def test_kept_scenes_are_those_of_the_world(tmp_path: Path, wrong: float) -> None:
    config = tiny_config(
        "data.captions_per_image=2", "data.compositions=seen", f"data.wrong_captions={wrong}"
    )
    expected = build_captions(config.data)
    images = torch.stack([expected[i].image for i in range(len(expected))])
    for _ in range(2):
        source = training_scenes(config, folder=tmp_path)
        assert isinstance(source, WholeSource)
        assert torch.equal(source.images(), images)
        assert [source.captions(i) for i in range(len(source))] == [
            expected.captions(i) for i in range(len(expected))
        ]


def test_a_run_on_kept_scenes_is_the_run_on_the_world(finished_run: Path, tmp_path: Path) -> None:
    config = tiny_config()
    for number in range(2):
        source = training_scenes(config, folder=tmp_path / "scenes")
        Trainer(config, out=tmp_path / f"{number}", source=source, console=quiet()).fit()
        ours, theirs = open_run(tmp_path / f"{number}"), open_run(finished_run)
        for name, weight in theirs.model.state_dict().items():
            assert torch.equal(ours.model.state_dict()[name], weight)
    assert isinstance(source, WorldCaptions)
