"""The model card says what is in the run folder, and is renewed when that grows."""

import json
from pathlib import Path

from tests.train.conftest import quiet

from vilseg_train import open_run
from vilseg_train.card import CARD, count_parameters, model_card, renew_scores
from vilseg_train.evaluation import evaluate_folder


def test_training_leaves_a_card(finished_run: Path) -> None:
    text = (finished_run / CARD).read_text()
    model = open_run(finished_run).model
    total = sum(p.numel() for p in model.parameters())
    assert sum(count_parameters(model).values()) == total
    assert f"| total | {total:,} |" in text
    assert "6 of 6" in text
    assert "built-in world, 20 drawn scenes" in text
    retrieval = json.loads((finished_run / "retrieval.json").read_text())
    assert f"{100 * retrieval['image_to_text']['R@10']:.1f}" in text
    assert "adds them here" not in text
    assert "Segmentation" not in text


def test_evaluating_renews_it(own_run: Path) -> None:
    evaluate_folder(own_run, data="world", count=2, console=quiet())
    scores = json.loads((own_run / "eval/world/results.json").read_text())["protocols"]
    row = f"| world val | vilseg | 2 | {100 * scores['all']['miou']:.1f} |"
    assert row in (own_run / CARD).read_text()


def test_evaluating_elsewhere_leaves_the_run_alone(own_run: Path, tmp_path: Path) -> None:
    before = (own_run / CARD).read_text()
    evaluate_folder(own_run, data="world", count=2, out=tmp_path / "scores", console=quiet())
    assert (own_run / CARD).read_text() == before


def test_without_scores_it_says_how_to_get_them(finished_run: Path) -> None:
    config = open_run(finished_run).config
    text = model_card(config, parameters={"image_encoder": 3}, step=1)
    assert "None yet: `vilseg eval" in text
    assert text.count("\n## ") == 6


def test_what_its_owner_wrote_stays(own_run: Path) -> None:
    (own_run / CARD).write_text(f"Mine.\n\n{(own_run / CARD).read_text()}\n## More\n\nMine too.\n")
    before = (own_run / CARD).read_text()
    renew_scores(own_run)
    assert (own_run / CARD).read_text() == before
    (own_run / CARD).write_text("Mine alone.\n")
    renew_scores(own_run)
    assert (own_run / CARD).read_text() == "Mine alone.\n"
