"""What the user may ask of an evaluation, as given; and what it means for a labelled set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vilseg_data import ClassList
from vilseg_eval import BackgroundRule, Bootstrap, ClassSets, Scoring
from vilseg_eval.naming import DATASET, flat, name_set
from vilseg_eval.presets import Preset, absent_rule, custom_protocols, expand
from vilseg_eval.prompts import PHOTO_TEMPLATE, template_set
from vilseg_eval.protocols import PROTOCOLS
from vilseg_eval.resolution import NATIVE, RESOLUTIONS


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """Options of `vilseg eval` beside the data; None and empty are the usual ones.

    Args:
        protocols: those to show, presets included; all unless given. Every one is always saved.
        background, absent, resolution: rules as text.
        candidates, score, outside: of a protocol of one's own.
        names: name sets or files.
        unseen: the zero-shot split of the set.
        batch_size: images at a time.
        replicates, level, seed: of the bootstrap; 0 replicates for no intervals.
        segmenter_options: values by name.
        device: auto, cpu or cuda.
        resume: whether to go on where an evaluation of the same things was interrupted.
    """

    protocols: tuple[str, ...] = ()
    background: str | None = None
    absent: str | None = None
    resolution: str | None = None
    candidates: str | None = None
    score: str | None = None
    outside: str | None = None
    names: tuple[str, ...] = ()
    unseen: str | None = None
    batch_size: int = 8
    replicates: int = 1000
    level: float = 0.95
    seed: int = 0
    segmenter_options: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    resume: bool = False

    def rule(self) -> BackgroundRule:
        """The background rule; a preset may ask for one."""
        asked = self._fixed().background
        if self.background is None:
            return BackgroundRule(kind=asked or "ignore")
        rule = BackgroundRule.parse(self.background)
        if asked == "class" and not rule.counted:
            raise ValueError(
                "background: expected a rule that counts background as a class for the protocols "
                "asked for, came ignore; leave --background out"
            )
        return rule

    def scoring(self, sets: ClassSets) -> Scoring:
        """How matrices become scores."""
        rule = self.rule()
        extra = custom_protocols(
            candidates=self.candidates,
            score=self.score,
            outside=self.outside,
            background=rule.counted,
            sets=sets,
        )
        absent = self._settled("absent", self.absent) or "skip"
        return Scoring(absent=absent_rule(absent), bootstrap=self.bootstrap(), extra=extra)

    def bootstrap(self) -> Bootstrap | None:
        """None for no intervals."""
        if self.replicates == 0:
            return None
        return Bootstrap(replicates=self.replicates, level=self.level, seed=self.seed)

    def seen_at(self) -> str:
        """The resolution."""
        resolution = self._settled("resolution", self.resolution) or NATIVE
        if resolution not in RESOLUTIONS:
            raise ValueError(
                f"--resolution: expected one of {', '.join(RESOLUTIONS)}, came {resolution!r}; "
                "a short side of 448 with windows is --segmenter-option image_size=448 "
                "resize=short window=448 stride=224"
            )
        return resolution

    def template_sets(self, given: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Sentences by the name of their set: names and files each, sentences all together."""
        fixed = self._fixed().templates
        if fixed is not None and given and [*given] not in ([fixed], list(template_set(fixed))):
            raise ValueError(
                f"--templates: the protocols asked for are with {fixed!r}, came {list(given)}; "
                "leave --templates out"
            )
        chosen = list(given) or [fixed or "single"]
        own = tuple(text for text in chosen if "{}" in text)
        found = {Path(n).stem: template_set(n) for n in chosen if "{}" not in n}
        if own:
            found["single" if own == (PHOTO_TEMPLATE,) else "own"] = own
        return found

    def shown(self, results: Mapping[str, Any]) -> tuple[str, ...]:
        """The protocols to show of what `results` holds.

        Raises:
            ValueError: one counts background as a class, and `results` ignores it.
        """
        there = tuple(results["protocols"])
        asked = expand(self.protocols)[0] if self.protocols else there
        missing = [name for name in asked if name not in there]
        if missing:
            raise ValueError(missing_protocol(missing[0]))
        return (
            *asked,
            *(name for name in there if name.startswith("custom") and name not in asked),
        )

    def check(self) -> None:
        """Refuse, before any work, what does not fit together."""
        rule = self.rule()
        for name in expand(self.protocols)[0]:
            if name in PROTOCOLS and PROTOCOLS[name].background and not rule.counted:
                raise ValueError(missing_protocol(name))
        self.seen_at()
        absent_rule(self._settled("absent", self.absent) or "skip")
        self.bootstrap()

    def _fixed(self) -> Preset:
        return expand(self.protocols)[1]

    def _settled(self, option: str, given: str | None) -> str | None:
        fixed: str | None = getattr(self._fixed(), option)
        if fixed is not None and given not in (None, fixed):
            raise ValueError(
                f"--{option}: the protocols asked for are with {fixed!r}, came {given!r}; "
                f"leave --{option} out, or name protocols that leave it open (gzlss, all, ...)"
            )
        return fixed if given is None else given


def missing_protocol(name: str) -> str:
    """Why a protocol is not in the results."""
    if name in PROTOCOLS:
        return (
            f"--protocol: {name} counts background as a class; add --background class, "
            "words:LIST, threshold:T or auto:SPLIT"
        )
    return f"--protocol: {name} is not there; add --candidates, --score or --outside"


@dataclass(frozen=True)
class Words:
    """The words of a segmenter and the class id of each; those of background come last."""

    words: tuple[str, ...]
    word_classes: tuple[int, ...]

    @classmethod
    def of(cls, classes: ClassList, name: str, *, data: str, rule: BackgroundRule) -> "Words":
        """By the name set `name`."""
        sets = ClassSets.of(classes)
        words, owners = flat(name_set(classes, name, data=data), ids=sets.foreground)
        behind: tuple[str, ...] = ()
        if sets.background is not None:
            behind = rule.segmenter_words(classes.prompts[sets.background])
        ids = (-1 if sets.background is None else sets.background,) * len(behind)
        return cls((*words, *behind), (*owners, *ids))


def chosen_names(options: EvalOptions) -> dict[str, str]:
    """The name sets asked for, by the label they are shown under."""
    return {Path(name).stem if Path(name).is_file() else name: name for name in options.names} or {
        DATASET: DATASET
    }
