"""What a run would lack if it began now."""

from collections.abc import Callable

from vilseg_data import build_captions
from vilseg_train.config import RunConfig
from vilseg_train.device import choose_device
from vilseg_train.objectives import Objectives


def find_missing(config: RunConfig, *, processes: int) -> list[str]:
    """One line for each thing without which the run could not start; in each, what to do.

    Listed sources are listed, as the run would; of a stream only its shards are looked for.
    """
    named: list[tuple[str, Callable[[], object]]] = [
        ("data", lambda: build_captions(config.data)),
        ("validation data", lambda: _validation(config)),
        ("tokenizer", lambda: config.tokenizer.build() if config.tokenizer.path else None),
        ("weights", lambda: _weights(config)),
        ("losses", lambda: _objectives(config)),
        ("device", lambda: choose_device(config.train.device)),
    ]
    lacking = [f"{what}: {why}" for what, check in named if (why := _refusal(check))]
    if processes < config.train.processes:
        lacking.append(
            f"processes: expected the {config.train.processes} that train.processes names, came "
            f"{processes}; start with torchrun, or set train.processes={processes} and what of "
            "train.batch_size fits"
        )
    return lacking


def _refusal(check: Callable[[], object]) -> str | None:
    """Why a check fails; None where it does not."""
    try:
        check()
    except OSError as error:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ValueError as error:
        return str(error)
    return None


def _validation(config: RunConfig) -> object:
    split = config.data.validation_split
    return build_captions(config.data, split=split) if split else None


def _weights(config: RunConfig) -> None:
    path = config.model.image.checkpoint
    if path is not None and not path.is_file():
        raise ValueError(f"model.image.checkpoint: there is no file {path}; correct the path")


def _objectives(config: RunConfig) -> Objectives:
    return Objectives(
        config.loss,
        views=config.views,
        prototypes=config.model.prototypes,
        image_size=config.model.image.image_size,
    )
