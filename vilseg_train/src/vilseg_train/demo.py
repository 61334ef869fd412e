"""The first thing to run: learn the built-in world from captions, then segment it with words."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vilseg_data import WorldLabelled
from vilseg_eval.files import write_atomically
from vilseg_eval.report import described, evaluation_report
from vilseg_train.config import load_config
from vilseg_train.evaluation import eval_folder, score
from vilseg_train.progress import say
from vilseg_train.reporting import asked
from vilseg_train.run import open_run
from vilseg_train.segmenter_choice import build_segmenter
from vilseg_train.tables import demo_table
from vilseg_train.trainer import Trainer

_TITLES = {"vilseg": "ViL-Seg", "patch": "per-patch classification"}
# A third of the preset's steps, on half of its scenes: what can be waited for.
_SHORTER = ("train.steps=2200", "data.count=16000")
_INTRODUCTION = (
    "Trained on generated scenes with captions alone; the masks were seen by nobody before this "
    "evaluation. ViL-Seg cuts an image into clusters and names each by the nearest word; per-patch "
    "classification names every patch of the same encoder by itself."
)


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    images: int = 300,
    overrides: Sequence[str] = (),
    console: Console,
) -> Path:
    """Train the `world` preset, cut short, in `out` and evaluate it beside its baselines; returns
    the report.

    Args:
        seed: of the weights and of the order of the captions.
        resume: go on with, or show again, the demo in `out`.
        images: labelled scenes to evaluate on.
        overrides: changes to the preset, as in `load_config`.
    """
    config = load_config("world", overrides=[f"seed={seed}", *_SHORTER, *overrides])
    trainer = Trainer(config, out=out, resume=resume, console=console)
    say(
        console,
        f"training on {config.data.count} scenes with captions, "
        f"{config.train.steps} steps of {config.train.batch_size}",
    )
    trainer.fit()
    run = open_run(out)
    split = "val"
    dataset = WorldLabelled(
        split=split, count=images, image_size=config.data.image_size, seed=config.data.seed
    )
    segmenters = {
        title: build_segmenter(name, run, words=dataset.classes.prompts)
        for name, title in _TITLES.items()
    }
    evaluations = {}
    for name, title in _TITLES.items():
        result = score(segmenters[title], dataset, split=split, console=console)
        result = described(result, segmenters[title], dataset, command=asked())
        result.save(eval_folder(out, data=dataset.name, segmenter=name))
        evaluations[title] = result
    contents = evaluation_report(
        evaluations,
        segmenters,
        dataset,
        title="vilseg demo: the built-in world",
        introduction=_INTRODUCTION,
    )
    write_atomically({out / name: content for name, content in contents.items()})
    report = out / "report.html"
    console.print(demo_table({title: e.results for title, e in evaluations.items()}))
    say(console, f"report: {report.resolve()}")
    return report
