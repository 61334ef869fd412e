"""What a whole run costs, so that a cheaper objective can be given the same compute."""

import math
from functools import cache

from vilseg_train.config import RunConfig
from vilseg_train.estimate import estimate

# The parts of a step that begin with L_cluster.
_LATE = ("image encoder, changed view", "clustering head", "mutual information")


def run_flop(config: RunConfig) -> int:
    """FLOP of all steps of a run, L_cluster counted from where it begins."""
    # The seed has no say, and counting builds the model: once for all seeds.
    return _flop(config.model_copy(update={"seed": 0}).model_dump_json())


@cache
def _flop(text: str) -> int:
    config = RunConfig.model_validate_json(text)
    work = estimate(config).work
    every = sum(part.flop for name, part in work.items() if name not in _LATE)
    late = sum(part.flop for name, part in work.items() if name in _LATE)
    steps = config.train.steps
    return every * steps + late * (steps - math.ceil(config.loss.cluster_start * steps))


def steps_of_equal_compute(config: RunConfig, *, flop: int) -> int:
    """How many steps of `config` take `flop` in all, to the nearest."""
    return max(1, round(config.train.steps * flop / run_flop(config)))
