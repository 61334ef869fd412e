"""What became of a run, in words: read from what it left behind, with what to change."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vilseg_eval import load_result
from vilseg_eval.results import MATRICES_FILE
from vilseg_train.config import ConfigError, RunConfig, load_config
from vilseg_train.health import Finding, Numbers, examine_all, warm_up
from vilseg_train.progress import say
from vilseg_train.record import METRICS

# A word that is named on this share of the pixels, and on this many times its own share, draws
# everything to itself.
HUB_SHARE, HUB_TIMES = 0.3, 3.0
# Against a random labelling with the same class shares.
LEAST_TIMES_CHANCE = 1.5
# Against chance, on the validation split.
LEAST_RETRIEVAL = 2.0
# Of the gradient norms since warm-up, this share above the clip at which training is held back.
CLIPPED_SHARE, CLIPPED_TIMES = 0.5, 5.0
# Nats of L_cross between the halves of a run.
LEAST_CHANGE = 0.1


@dataclass(frozen=True)
class Symptom:
    """Something that went wrong.

    Attributes:
        finding: what was seen and what to change.
        steps: from the first to the last step at which it was seen; None of a finished run's
            scores.
        lasting: whether it was still so at the end.
    """

    finding: Finding
    steps: tuple[int, int] | None = None
    lasting: bool = True


def diagnose(folder: Path) -> list[Symptom]:
    """Everything that the files of a run say against it, what lasted to the end first.

    Raises:
        ValueError: the folder is not a run, or the run has recorded nothing yet.
    """
    config, lines = _read(folder)
    symptoms = [*_collapses(lines, config), *_course(lines, config)]
    symptoms += [Symptom(found) for found in _retrieval(folder)]
    symptoms += [Symptom(found) for found in _evaluations(folder)]
    return sorted(symptoms, key=lambda symptom: not symptom.lasting)


def report(folder: Path, *, console: Console) -> bool:
    """Print the diagnosis; whether nothing was found."""
    symptoms = diagnose(folder)
    _, lines = _read(folder)
    last = lines[-1]
    shown = [f"{k} {v:.3g}" for k, v in last.items() if k != "step" and not k.startswith("lr")]
    say(console, f"{folder}: {last['step']:.0f} steps recorded; the last line: {', '.join(shown)}")
    if not symptoms:
        say(console, "nothing looks wrong")
        return True
    table = Table(title_justify="left", show_lines=True)
    table.add_column("when")
    table.add_column("what is wrong, and what to change", overflow="fold")
    for symptom in symptoms:
        table.add_row(_when(symptom), symptom.finding.text)
    console.print(table)
    return False


def _read(folder: Path) -> tuple[RunConfig, list[Numbers]]:
    path = folder / METRICS
    if not path.is_file() or not (folder / "config.toml").is_file():
        raise ConfigError(
            f"{folder} is not a run that has trained: it lacks {METRICS} or config.toml; give the "
            "--out of vilseg train"
        )
    entries = [
        json.loads(line) for line in path.read_bytes().splitlines(True) if line[-1:] == b"\n"
    ]
    lines = [entry for entry in entries if "retrieval" not in entry]
    if not lines:
        raise ConfigError(f"{path} holds no line yet; wait for train.log_every steps")
    return load_config(folder / "config.toml"), lines


def _collapses(lines: Sequence[Numbers], config: RunConfig) -> list[Symptom]:
    """What `health` sees, each with the span of steps in which it was so."""
    by_step = examine_all(lines, config)
    last = max(int(line["step"]) for line in lines)
    spans: dict[str, list[int]] = {}
    newest: dict[str, Finding] = {}
    for step, findings in sorted(by_step.items()):
        for finding in findings:
            spans.setdefault(finding.name, []).append(step)
            newest[finding.name] = finding
    return [
        Symptom(newest[name], (steps[0], steps[-1]), lasting=steps[-1] == last)
        for name, steps in spans.items()
    ]


def _course(lines: Sequence[Numbers], config: RunConfig) -> list[Symptom]:
    """Whether the contrastive loss fell, and whether the gradient was held back all the time.

    Where that loss falls, a gradient that is cut has done no harm: Adam does not see its length.
    """
    late = [line for line in lines if line["step"] > warm_up(config)]
    symptoms = []
    falls = False
    crosses = [line["cross"] for line in late if "cross" in line]
    chance = math.log(config.train.batch_size)
    if len(crosses) >= 4:
        half = len(crosses) // 2
        before, after = statistics.fmean(crosses[:half]), statistics.fmean(crosses[half:])
        falls = after < before - LEAST_CHANGE
        if after > before + LEAST_CHANGE:
            text = (
                f"L_cross rose from {before:.2f} to {after:.2f} in the second half; lower optim.lr "
                f"(now {config.optim.lr:g}) or lengthen optim.warmup_steps"
            )
            symptoms.append(Symptom(Finding("rising", text)))
        elif after > 0.97 * chance:
            text = (
                f"L_cross stayed at {after:.2f}, and {chance:.2f} is what guessing among "
                f"{config.train.batch_size} gives; change optim.lr (now {config.optim.lr:g}) by a "
                "factor of 3 either way, and look at the captions (vilseg data inspect)"
            )
            symptoms.append(Symptom(Finding("flat", text)))
    norms = [line["gradient_norm"] for line in late if "gradient_norm" in line]
    limit = CLIPPED_TIMES * config.optim.clip
    if config.optim.clip and norms and not falls and _share(norms, above=limit) > CLIPPED_SHARE:
        text = (
            f"the gradient was over {limit:g} most of the time and cut to {config.optim.clip:g}, "
            "and L_cross does not fall; lower optim.lr, lengthen optim.warmup_steps, or raise "
            "optim.clip"
        )
        symptoms.append(Symptom(Finding("clipped", text)))
    return symptoms


def _share(values: Sequence[float], *, above: float) -> float:
    return sum(value > above for value in values) / len(values)


def _retrieval(folder: Path) -> list[Finding]:
    path = folder / "retrieval.json"
    if not path.is_file():
        return []
    scores = json.loads(path.read_text("utf-8"))
    found = []
    for way in ("image_to_text", "text_to_image"):
        value, chance = scores[way]["R@10"], scores["chance"][way]["R@10"]
        if value < LEAST_RETRIEVAL * chance:
            text = (
                f"{way.replace('_', ' ')} retrieval on the validation split is at chance: R@10 "
                f"{value:.1%}, chance {chance:.1%}; if L_cross fell, the run knows its batches by "
                "heart: take more data, fewer epochs, or a smaller model"
            )
            found.append(Finding(f"retrieval-{way}", text))
    return found


def _evaluations(folder: Path) -> list[Finding]:
    """Whether pixels found their words, of every evaluation that the run's folder holds."""
    found = []
    for path in sorted((folder / "eval").glob(f"**/{MATRICES_FILE}")):
        result = load_result(path.parent)
        found += alignment(
            result.results, result.matrices["all"].counts.sum(0).tolist(), path.parent
        )
    return found


def alignment(results: Mapping[str, Any], predicted: Sequence[int], folder: Path) -> list[Finding]:
    """What one evaluation says of pixels and words.

    predicted: pixels by predicted class id, outside last.
    """
    found = []
    score, chance = (results[key]["all"]["miou"] for key in ("protocols", "chance"))
    if score is not None and chance and score < LEAST_TIMES_CHANCE * chance:
        found.append(
            Finding(
                f"alignment-{folder.name}",
                f"{folder.name}: mIoU {score:.1%} is close to that of a random labelling "
                f"({chance:.1%}): pixels are not near their words; pool images and regions alike "
                "(model.image.pooling and model.region_pooling), mean where objects fill the "
                "photos and lse where they are small",
            )
        )
    total = sum(predicted)
    names = results["labels"]
    for name, pixels in zip(names, predicted, strict=False):
        share = pixels / total if total else 0.0
        if share > HUB_SHARE and share * len(names) > HUB_TIMES:
            found.append(
                Finding(
                    f"hub-{folder.name}",
                    f"{folder.name}: {share:.0%} of all pixels are named {name!r}: one word is the "
                    "nearest to almost everything; use a less sharp pooling, several templates "
                    "(--templates clip80), or other words",
                )
            )
    return found


def _when(symptom: Symptom) -> str:
    if symptom.steps is None:
        return "at the end"
    first, last = symptom.steps
    span = f"step {first}" if first == last else f"steps {first} to {last}"
    return span if symptom.lasting else f"{span}, not at the end"
