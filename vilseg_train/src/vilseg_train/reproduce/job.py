"""One variant with one seed: train it, score its rows. A process of its own, run by the scheduler.

    python -m vilseg_train.reproduce.job JOB.json

Stopped anywhere, it goes on where it was: training from its last checkpoint, scoring with the
first row that has no scores.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vilseg_core.models import ViLSeg
from vilseg_data import LabelledSet, build_labelled
from vilseg_eval import Segmenter, evaluate
from vilseg_eval.ceilings import ProbeSegmenter, TruthSegmenter
from vilseg_eval.files import write_atomically
from vilseg_train.config import RunConfig, load_config
from vilseg_train.errors import RunEnded
from vilseg_train.reproduce.compute import run_flop, steps_of_equal_compute
from vilseg_train.reproduce.plan import VARIANTS, Row
from vilseg_train.run import Run, open_run
from vilseg_train.segmenter_choice import build_segmenter
from vilseg_train.selftrain import SelfTrainer
from vilseg_train.trainer import Trainer

SCORED_SPLIT = "test"
MASKS_SPLIT = "masks"  # what the supervised ceiling learns from
JOB, SCORES, RUN = "job.json", "scores.json", "run"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process needs to know.

    Attributes:
        folder: of this variant and seed.
        preset: what is varied, a preset or a TOML file.
        overrides: changes to the preset that all variants share.
        variant: a name of `VARIANTS`.
        parent: the run that self-training starts from.
        seed: of training.
        rows: what is scored.
        images: labelled scenes to score on.
    """

    folder: str
    preset: str
    overrides: tuple[str, ...]
    variant: str
    parent: str | None
    seed: int
    rows: tuple[Row, ...]
    images: int

    def config(self) -> RunConfig:
        """The configuration of the run to train."""
        variant = VARIANTS[self.variant]
        shared = [*self.overrides, f"seed={self.seed}"]
        config = load_config(self.preset, overrides=[*shared, *variant.overrides])
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
    for row in job.rows:
        if row.key not in scores:
            scores[row.key] = score_row(row, folder / RUN, images=job.images, seed=job.seed)
            write_atomically({path: (json.dumps(scores, indent=1) + "\n").encode()})


def _train(job: Job, out: Path, *, console: Console) -> None:
    resume = (out / "checkpoints").is_dir()
    if job.parent is None:
        Trainer(job.config(), out=out, resume=resume, console=console).fit()
        return
    parent = Path(job.parent)
    data = open_run(parent).config.data
    classes = build_labelled(data.world, count=1).classes
    SelfTrainer(
        parent,
        images="world",
        words=classes.prompts,
        out=out,
        overrides=[*VARIANTS[job.variant].overrides, f"self_train.seed={job.seed}"],
        resume=resume,
        console=console,
    ).fit()


def score_row(row: Row, folder: Path, *, images: int, seed: int) -> dict[str, Any]:
    """The protocols of one row: results.json's "protocols" and "chance", and the parameters."""
    run = open_run(folder)
    data = run.config.data
    dataset = build_labelled(
        data.world, split=SCORED_SPLIT, count=images, size=data.image_size, seed=data.seed
    )
    segmenter = row_segmenter(row, run, dataset=dataset, images=images, seed=seed)
    results = evaluate(segmenter, dataset, split=SCORED_SPLIT).results
    return {
        "protocols": results["protocols"],
        "chance": results["chance"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "steps": run.step,
    }


def row_segmenter(row: Row, run: Run, *, dataset: LabelledSet, images: int, seed: int) -> Segmenter:
    """How the row reads the run."""
    if row.segmenter == "probe":
        data = run.config.data
        masks = build_labelled(
            data.world, split=MASKS_SPLIT, count=4 * images, size=data.image_size, seed=data.seed
        )
        return ProbeSegmenter(run.model, masks, seed=seed)
    if row.regions is not None:
        run = with_regions(run, row.regions)
    name = "vilseg" if row.segmenter == "truth" else row.segmenter
    words = dataset.classes.prompts
    segmenter = build_segmenter(name, run, words=words, options=row.options)
    return TruthSegmenter(segmenter, dataset) if row.segmenter == "truth" else segmenter


def with_regions(run: Run, pooling: str) -> Run:
    """The same run, regions pooled another way."""
    model = run.model
    config = model.config.model_copy(update={"region_pooling": pooling})
    changed = ViLSeg(
        config,
        image_encoder=model.image_encoder,
        text_encoder=model.text_encoder,
        clustering_head=model.clustering_head,
        projection=model.projection,
    )
    return replace(run, model=changed.eval())


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
