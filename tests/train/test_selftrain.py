"""Self-training: a run like any other, seeded and resumable, that leaves its source alone."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.train.conftest import quiet, said, sets
from typer.testing import CliRunner

from vilseg_data import WorldCaptions
from vilseg_eval import PatchSegmenter
from vilseg_train import open_run
from vilseg_train.cli import app
from vilseg_train.config import ConfigError
from vilseg_train.evaluation import evaluate_folder
from vilseg_train.pseudo_labels import token_labels
from vilseg_train.selftrain import SelfTrainer
from vilseg_train.selftrained import SelfTrainedSegmenter

WORDS = ("grass", "brick", "ball", "kite")
SHORT = (
    "self_train.count=12", "self_train.steps=4", "self_train.rounds=2", "self_train.batch_size=4",
    "self_train.checkpoint_every=3", "self_train.log_every=2",
)  # fmt: skip


def trainer(run: Path, out: Path, *overrides: str, resume: bool = False) -> SelfTrainer:
    return SelfTrainer(
        run, images="world", words=WORDS, out=out, overrides=[*SHORT, *overrides], resume=resume,
        console=quiet(),
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    run = open_run(folder)
    assert run.classifier is not None
    return {**run.model.state_dict(), **run.classifier}


def same(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def taught(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "run"
    trainer(finished_run, out).fit()
    return out


def test_the_same_seed_gives_the_same_run_and_another_another(
    finished_run: Path, taught: Path, tmp_path: Path
) -> None:
    trainer(finished_run, tmp_path / "again").fit()
    assert same(taught, tmp_path / "again")
    for name in ("metrics.jsonl", "config.toml"):
        assert (taught / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    trainer(finished_run, tmp_path / "other", "self_train.seed=1").fit()
    assert not same(taught, tmp_path / "other")


@pytest.mark.parametrize("stop", [0, 2, 5])
def test_stopped_and_resumed_it_ends_in_the_same_bits(
    finished_run: Path, taught: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    step = SelfTrainer._train_step

    def killed(self: SelfTrainer) -> dict[str, float]:
        if self.step == stop:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(SelfTrainer, "_train_step", killed)
    begun = trainer(finished_run, out, "self_train.checkpoint_every=1")
    with pytest.raises(KeyboardInterrupt):
        begun.fit()
    monkeypatch.undo()
    trainer(finished_run, out, "self_train.checkpoint_every=1", resume=True).fit()
    assert same(taught, out)
    assert (taught / "metrics.jsonl").read_bytes() == (out / "metrics.jsonl").read_bytes()


def test_what_learns_is_what_the_configuration_says(finished_run: Path, tmp_path: Path) -> None:
    before = open_run(finished_run).model.state_dict()
    trainer(finished_run, tmp_path / "tuned").fit()
    trainer(finished_run, tmp_path / "frozen", "self_train.encoder=frozen").fit()
    tuned, frozen = weights(tmp_path / "tuned"), weights(tmp_path / "frozen")
    moved = {name for name, value in before.items() if not torch.equal(value, tuned[name])}
    assert moved
    assert all(name.startswith("image_encoder.") for name in moved)
    assert all(torch.equal(value, frozen[name]) for name, value in before.items())
    assert not torch.equal(tuned["grass"], frozen["grass"])


def test_the_first_labels_may_be_those_of_single_tokens(finished_run: Path, tmp_path: Path) -> None:
    changes = ("labels=tokens", "share=1", "steps=1", "rounds=1")
    begun = trainer(finished_run, tmp_path / "run", *(f"self_train.{key}" for key in changes))
    with torch.no_grad():
        pixels = begun.model.encode_image(begun.images / 255).pixels
    labels, _ = token_labels(pixels, words=begun.classifier.weight.detach(), scale=20.0)
    begun.fit()
    assert torch.equal(begun.labels.long(), labels)


def test_scenes_are_of_the_world_that_is_named(finished_run: Path, tmp_path: Path) -> None:
    begun = SelfTrainer(
        finished_run, images="world2", words=WORDS, out=tmp_path / "run", overrides=SHORT,
        console=quiet(),
    )  # fmt: skip
    scenes = WorldCaptions(world="world2", count=12, image_size=32)
    assert torch.equal(begun.images, torch.stack([scenes[i].image for i in range(12)]))


def test_it_is_a_run_like_any_other(finished_run: Path, taught: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (taught / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert all(0 <= line["agreement"] <= 1 for line in lines)
    result = evaluate_folder(taught, data="world", count=3, out=tmp_path, console=quiet())
    assert result.results["segmenter"] == "vilseg+st"
    assert "+st" in (taught / "README.md").read_text()
    run = open_run(taught)
    assert run.config.self_train is not None
    assert run.config.self_train.words == WORDS
    assert open_run(finished_run).classifier is None


def test_words_that_were_not_taught_keep_their_embeddings(taught: Path) -> None:
    run = open_run(taught)
    assert run.classifier is not None
    words = ["ball", "water"]
    own = SelfTrainedSegmenter(run, words).word_embeddings
    plain = PatchSegmenter(run.model, run.tokenizer, words).word_embeddings
    torch.testing.assert_close(own[0], torch.nn.functional.normalize(run.classifier["ball"], dim=0))
    assert not torch.equal(own[0], plain[0])
    assert torch.equal(own[1], plain[1])


def test_from_the_command_on_a_folder_of_photos(finished_run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, colour in enumerate(("green", "red", "blue")):
        Image.new("RGB", (40, 30), colour).save(photos / f"{number}.png")
    (photos / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "words.txt").write_text("grass\nbrick\n")
    out = tmp_path / "run"
    arguments = [
        "train", "--self-train", str(finished_run), "--images", str(photos),
        "--words", str(tmp_path / "words.txt"), "--out", str(out), *sets(SHORT),
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "broken.jpg: not an image" in result.output
    assert "tokens of 3 images are labels" in result.output
    result = CliRunner().invoke(
        app, ["segment", str(out), str(photos / "0.png"), "--words", "grass, brick"]
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("images", "words", "override", "message"),
    [
        ("nowhere", WORDS, "self_train.steps=1", "--images: expected a folder or a built-in world"),
        ("world", ("a", "a"), "self_train.steps=1", "words: expected different words"),
        ("world", WORDS, "optim.lr=1", "--set: expected keys of self_train"),
        ("world", WORDS, "self_train.shaer=1", r"unknown key self_train\.shaer; did you mean"),
    ],
)
def test_what_cannot_be_used_is_refused(
    finished_run: Path,
    tmp_path: Path,
    images: str,
    words: Sequence[str],
    override: str,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        SelfTrainer(
            finished_run, images=images, words=words, out=tmp_path / "run", overrides=[override],
            console=quiet(),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_another_configuration_does_not_resume(finished_run: Path, taught: Path) -> None:
    with pytest.raises(ConfigError, match=r"self_train\.lr"):
        trainer(finished_run, taught, "self_train.lr=1e-3", resume=True)
    console = quiet()
    again = SelfTrainer(
        finished_run, images="world", words=WORDS, out=taught, overrides=SHORT, resume=True,
        console=console,
    )  # fmt: skip
    again.fit()
    assert "going on from step 8 of 8" in said(console)
