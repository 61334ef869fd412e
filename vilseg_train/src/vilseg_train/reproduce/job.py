"""One variant with one seed: train it, score its rows. A process of its own, run by the scheduler.

    python -m vilseg_train.reproduce.job JOB.json

Stopped anywhere, it goes on where it was: training from its last checkpoint, scoring with the
first row that has no scores.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vilseg_core.models import ViLSeg
from vilseg_data import CaptionSource, build_labelled
from vilseg_data.captions.noise import with_wrong_captions
from vilseg_eval.files import write_atomically
from vilseg_train.config import RunConfig, load_config
from vilseg_train.errors import RunEnded
from vilseg_train.reproduce.compute import run_flop, steps_of_equal_compute
from vilseg_train.reproduce.plan import Row
from vilseg_train.reproduce.scenes import KeptScenes
from vilseg_train.reproduce.scoring import Scorer
from vilseg_train.reproduce.variants import VARIANTS
from vilseg_train.run import open_run
from vilseg_train.selftrain import SelfTrainer
from vilseg_train.trainer import Trainer

JOB, SCORES, RUN = "job.json", "scores.json", "run"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process needs to know.

    Attributes:
        folder: of this variant and seed.
        preset: what is varied, a preset or a TOML file.
        overrides: changes to the preset that all variants share.
        variant: a name of `VARIANTS`.
        parent: the run that this one starts from.
        scenes: folder of the training scenes that all runs share.
        seed: of training.
        rows: what is scored.
        images: labelled scenes to score on.
    """

    folder: str
    preset: str
    overrides: tuple[str, ...]
    variant: str
    parent: str | None
    scenes: str
    seed: int
    rows: tuple[Row, ...]
    images: int

    def config(self) -> RunConfig:
        """The configuration of the run to train."""
        variant = VARIANTS[self.variant]
        shared = [*self.overrides, f"seed={self.seed}"]
        config = load_config(self.preset, overrides=[*shared, *variant.overrides])
        if variant.teaches == "head":
            return head_only(config)
        if variant.equal_compute:
            flop = run_flop(load_config(self.preset, overrides=shared))
            steps = steps_of_equal_compute(config, flop=flop)
            config = config.overridden([f"train.steps={steps}"])
        return config

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, default=dict)

    @classmethod
    def from_json(cls, text: str) -> "Job":
        values = json.loads(text)
        values["rows"] = tuple(Row(**row) for row in values["rows"])
        values["overrides"] = tuple(values["overrides"])
        return cls(**values)


def run_job(job: Job, *, console: Console) -> None:
    """Train what is not trained yet and score what is not scored yet."""
    folder = Path(job.folder)
    _train(job, folder / RUN, console=console)
    path = folder / SCORES
    scores: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if not path.is_file():
        # A run that others start from may have no rows: that it is done must be seen all the same.
        write_atomically({path: b"{}\n"})
    scorer = Scorer(open_run(folder / RUN), images=job.images, seed=job.seed)
    for row in job.rows:
        if row.key not in scores:
            scores[row.key] = scorer.score(row)
            write_atomically({path: (json.dumps(scores, indent=1) + "\n").encode()})


def _train(job: Job, out: Path, *, console: Console) -> None:
    resume = (out / "checkpoints").is_dir()
    if VARIANTS[job.variant].teaches == "self":
        _self_train(job, out, resume=resume, console=console)
        return
    config = job.config()
    source = training_scenes(config, folder=Path(job.scenes))
    trainer = Trainer(config, out=out, resume=resume, source=source, console=console)
    if job.parent is not None and not resume:
        take_encoders(trainer.model, open_run(Path(job.parent)).model)
    trainer.fit()


def _self_train(job: Job, out: Path, *, resume: bool, console: Console) -> None:
    assert job.parent is not None
    data = open_run(Path(job.parent)).config.data
    SelfTrainer(
        Path(job.parent),
        images=data.world,
        words=build_labelled(data.world, count=1).classes.prompts,
        out=out,
        overrides=[*VARIANTS[job.variant].overrides, f"self_train.seed={job.seed}"],
        resume=resume,
        console=console,
    ).fit()


def head_only(config: RunConfig) -> RunConfig:
    """L_cluster alone, for as many steps as it has in a whole run."""
    steps = config.train.steps - math.ceil(config.loss.cluster_start * config.train.steps)
    changes = (
        "loss.cross=0",
        "loss.vision=0",
        "loss.cluster_start=0",
        "train.retrieval_images=0",
        "train.sample_images=0",
    )
    return config.overridden([*changes, f"train.steps={max(1, steps)}"])


def take_encoders(model: ViLSeg, parent: ViLSeg) -> None:
    """Give a model all of the parent's weights but those of the clustering head."""
    kept = {k: v for k, v in parent.state_dict().items() if not k.startswith("clustering_head.")}
    missing = model.load_state_dict(kept, strict=False).missing_keys
    assert all(name.startswith("clustering_head.") for name in missing), missing


def training_scenes(config: RunConfig, *, folder: Path) -> CaptionSource:
    """The captions that `config` trains on, of scenes that are drawn once for all runs."""
    data = config.data
    scenes = KeptScenes(data, folder=folder)
    if data.wrong_captions == 0:
        return scenes
    return with_wrong_captions(scenes, share=data.wrong_captions, seed=data.seed)


def main(arguments: Sequence[str]) -> int:
    """Run the job of a file; exit code 0, or that of the run's end."""
    (path,) = arguments
    job = Job.from_json(Path(path).read_text("utf-8"))
    try:
        run_job(job, console=Console())
    except RunEnded as ended:
        sys.stderr.write(f"{ended}\n")
        return ended.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
