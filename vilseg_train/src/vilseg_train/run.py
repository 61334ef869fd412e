"""Open what training left: a run folder becomes a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vilseg_core.models import ViLSeg, build_model
from vilseg_data import Tokenizer
from vilseg_train.checkpoint import Checkpoint, CheckpointError, load_module, newest_checkpoint
from vilseg_train.config import RunConfig, parse_config

# What self-training adds to a checkpoint, beside `model`.
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Run:
    """A trained model, ready for use, with what belongs to it.

    `classifier` is what self-training made, a row of numbers for each of its words; None without.
    `warnings` says which newer checkpoints were refused, and why.
    """

    folder: Path
    model: ViLSeg
    tokenizer: Tokenizer
    config: RunConfig
    step: int
    warnings: tuple[str, ...]
    classifier: Mapping[str, Tensor] | None = None


def open_run(folder: Path | str) -> Run:
    """The model of a run folder in evaluation mode, from its newest checkpoint that is whole.

    `CheckpointError` where the folder, or a usable checkpoint in it, is missing.
    """
    folder = Path(folder)
    if not (folder / "checkpoints").is_dir():
        raise CheckpointError(
            f"{folder} is not a run: it has no folder checkpoints; give the --out of vilseg train"
        )
    checkpoint, path, refused = newest_checkpoint(folder / "checkpoints")
    config = parse_config(checkpoint.facts["config"])
    model = build_model(config.model.without_sources())
    load_module(model, checkpoint.part("model"), path=path)
    return Run(
        folder=folder,
        model=model.eval(),
        tokenizer=Tokenizer.from_json(checkpoint.facts["tokenizer"]),
        config=config,
        step=checkpoint.step,
        warnings=tuple(f"{error}; using {path.name}" for error in refused),
        classifier=_classifier(checkpoint, config),
    )


def _classifier(checkpoint: Checkpoint, config: RunConfig) -> dict[str, Tensor] | None:
    if config.self_train is None:
        return None
    rows = checkpoint.part(CLASSIFIER)["weight"]
    return dict(zip(config.self_train.words, rows, strict=True))
