"""What is wrong with a run, in words, from the numbers that it recorded: pure functions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vilseg_train.config import RunConfig

Numbers = Mapping[str, float]

# Below this share of the clusters the others count as dead.
LEAST_CLUSTERS_SHARE = 0.4
# Nats. Targets that say less than this of an image say nothing (they differ by rounding).
LEAST_INFORMATION = 0.02
# Nats; exact Eq. 2 is below a hundredth after 100 steps.
LEAST_MEAN_ENTROPY = 0.5
# Of the other texts; chance is 0.5.
LEAST_NEARER = 0.55


@dataclass(frozen=True)
class Finding:
    """Something that collapsed: a short name of it, and what was seen and what to change."""

    name: str
    text: str


def examine(numbers: Numbers, config: RunConfig) -> list[Finding]:
    """What one line of `metrics.jsonl`, past the warm-up, says against the run; often nothing.

    numbers: by name, as recorded; a number that is not there is not judged.
    """
    found = [check(numbers, config) for check in _CHECKS]
    return [warning for warning in found if warning is not None]


def examine_all(lines: Sequence[Numbers], config: RunConfig) -> dict[int, list[Finding]]:
    """`examine` for every line past the warm-up that has something against it, by its step."""
    late = [line for line in lines if "retrieval" not in line and line["step"] > warm_up(config)]
    judged = {int(line["step"]): examine(line, config) for line in late}
    return {step: warnings for step, warnings in judged.items() if warnings}


def warm_up(config: RunConfig) -> int:
    """Steps before which nothing is judged: weights that know nothing look collapsed as well."""
    return min(max(config.optim.warmup_steps, 100), config.train.steps // 2)


def _not_finite(numbers: Numbers, _: RunConfig) -> Finding | None:
    share = numbers.get("skipped", 0) / max(numbers.get("step", 1), 1)
    if share <= 0.01:
        return None
    return Finding(
        "skipped",
        f"{numbers['skipped']:.0f} steps had no finite loss; lower optim.lr or optim.clip",
    )


def _clusters_dead(numbers: Numbers, config: RunConfig) -> Finding | None:
    used, clusters = numbers.get("clusters_used"), config.model.cluster.clusters
    if used is None or used >= LEAST_CLUSTERS_SHARE * clusters or _head_is_new(numbers, config):
        return None
    return Finding(
        "clusters_used",
        f"only {used:.1f} of {clusters} clusters win pixels; raise loss.entropy_weight "
        f"(now {config.loss.entropy_weight:g}; 1.1 to 1.2 is usual), lower optim.head_lr, or set "
        "model.cluster.normalize=batch",
    )


def _clusters_uniform(numbers: Numbers, config: RunConfig) -> Finding | None:
    pixel, clusters = numbers.get("pixel_entropy"), config.model.cluster.clusters
    if pixel is None or pixel < 0.99 * math.log(clusters) or _head_is_new(numbers, config):
        return None
    return Finding(
        "pixel_entropy",
        f"every pixel is in all {clusters} clusters alike; lower loss.entropy_weight "
        f"(now {config.loss.entropy_weight:g}) to 1.2 or less, or raise optim.head_lr",
    )


def _head_is_new(numbers: Numbers, config: RunConfig) -> bool:
    """Whether L_cluster began too short a while ago to judge the clustering head."""
    begins = config.loss.cluster_start * config.train.steps
    return numbers.get("step", math.inf) <= begins + warm_up(config)


def _projection_constant(numbers: Numbers, config: RunConfig) -> Finding | None:
    whole, own = numbers.get("mean_target_entropy"), numbers.get("target_entropy")
    if whole is None or own is None:
        return None
    if whole >= LEAST_MEAN_ENTROPY and whole - own >= LEAST_INFORMATION:
        return None
    sinkhorn = config.loss.vision_targets == "sinkhorn"
    remedy = (
        "lower loss.global_temperature or loss.vision"
        if sinkhorn
        else "set loss.vision_targets=sinkhorn, or loss.vision=0 to save its time"
    )
    return Finding(
        "target_entropy",
        f"the targets of L_vision are the same for every image (they tell {whole - own:.3f} nats "
        f"of one); {remedy}",
    )


def _temperature_at_its_clamp(numbers: Numbers, config: RunConfig) -> Finding | None:
    temperature = numbers.get("temperature")
    if temperature is None or temperature > 1.001 / config.loss.max_scale:
        return None
    return Finding(
        "temperature",
        f"the temperature is at its least, {1 / config.loss.max_scale:g}: images and texts of the "
        "batch are told apart already, and nothing more is learned from them; enlarge "
        "train.batch_size, lower optim.lr, or train for fewer steps",
    )


def _retrieval_at_chance(numbers: Numbers, _: RunConfig) -> Finding | None:
    nearer = numbers.get("nearer")
    if nearer is None or nearer >= LEAST_NEARER:
        return None
    return Finding(
        "nearer",
        f"an image is nearer to its caption than to {nearer:.0%} of the others, by chance it would "
        "be to 50%: nothing is learned of the captions; lower optim.lr, lengthen "
        "optim.warmup_steps, lower loss.vision, or look at the data (vilseg data inspect)",
    )


_CHECKS: tuple[Callable[[Numbers, RunConfig], Finding | None], ...] = (
    _not_finite,
    _clusters_dead,
    _clusters_uniform,
    _projection_constant,
    _temperature_at_its_clamp,
    _retrieval_at_chance,
)
