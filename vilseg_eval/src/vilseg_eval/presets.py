"""Published settings by name, and settings of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vilseg_eval.protocols import PROTOCOLS, ClassSets, Protocol, Selection, Which
from vilseg_eval.scores import ABSENT_RULES, Absent

SELECTIONS: Mapping[str, Which] = {"all": "all", "seen": "seen", "unseen": "unseen"}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The protocols of a publication and what it fixes beside; None is left to the user.

    `background`: "class" where background counts as a class, "ignore" where its pixels are
    dropped. `templates` is a template set.
    """

    protocols: tuple[str, ...]
    background: Literal["ignore", "class"] | None = None
    absent: Absent | None = None
    templates: str | None = None
    resolution: str | None = None


PRESETS: Mapping[str, Preset] = {
    "vilseg-table1": Preset(
        protocols=("gzlss",), absent="skip", templates="vilseg", resolution="native"
    ),
    "vilseg-table2": Preset(
        protocols=("all",), absent="skip", templates="vilseg", resolution="native"
    ),
    "spnet": Preset(protocols=("zlss", "gzlss"), absent="skip", resolution="warp513"),
    "cagnet": Preset(protocols=("gzlss", "seen", "harmonic"), absent="skip", resolution="warp513"),
    "zs3": Preset(
        protocols=("gzlss-background", "seen-background", "harmonic-background"),
        background="class",
        absent="zero",
    ),
    "ovs": Preset(protocols=("all",), absent="skip", resolution="native"),
    "ovs-background": Preset(
        protocols=("all-background",), background="class", absent="skip", resolution="native"
    ),
}


def expand(names: Sequence[str]) -> tuple[tuple[str, ...], Preset]:
    """The protocols that `names` (of protocols or presets) stand for, and what the presets fix.

    Raises:
        ValueError: an unknown name, or two presets that fix the same thing differently.
    """
    protocols: dict[str, None] = {}
    fixed: dict[str, tuple[str, str]] = {}
    for name in names:
        if name in PROTOCOLS or name.startswith("custom"):
            protocols[name] = None
            continue
        if name not in PRESETS:
            raise ValueError(
                f"protocol: expected one of {', '.join((*PROTOCOLS, *PRESETS))}, came {name!r}; "
                "choose one, or leave it out for all of them"
            )
        preset = PRESETS[name]
        protocols |= dict.fromkeys(preset.protocols)
        for option in ("background", "absent", "templates", "resolution"):
            value = getattr(preset, option)
            if value is None:
                continue
            other, before = fixed.setdefault(option, (name, value))
            if before != value:
                raise ValueError(
                    f"protocol: {other} asks for {option} {before!r} and {name} for {value!r}; "
                    "evaluate them one after the other"
                )
    values = {option: value for option, (_, value) in fixed.items()}
    return tuple(protocols), Preset(protocols=tuple(protocols), **values)  # type: ignore[arg-type]


def custom_protocols(
    *,
    candidates: str | None,
    score: str | None,
    outside: str | None,
    background: bool,
    sets: ClassSets,
) -> tuple[Protocol, ...]:
    """The protocols "custom" of three options; none if all are None.

    Args:
        candidates: all (by default), seen, unseen, or a file of class names.
        score: all (by default), seen, unseen, a file of class names, or each: the three of them
            and the harmonic mean.
        outside: "fp" (by default): a scored class predicted on pixels of another class is wrong;
            "ignore": those pixels are dropped.
        background: whether background counts as a class.
    """
    if candidates is score is outside is None:
        return ()
    if outside not in (None, "fp", "ignore"):
        raise ValueError(f"outside: expected fp or ignore, came {outside!r}; choose one")
    allowed = selection(candidates or "all", option="candidates", sets=sets)

    def one(name: str, scored: Selection, *, harmonic: bool = False) -> Protocol:
        return Protocol(
            name=name,
            title=f"{name}: candidates {candidates or 'all'}, scored {score or 'all'}",
            candidates=allowed,
            scored=scored,
            keep_outside=outside != "ignore",
            background=background,
            harmonic=harmonic,
        )

    if score == "each":
        return (
            one("custom-unseen", "unseen"),
            one("custom-seen", "seen"),
            one("custom-harmonic", "all", harmonic=True),
            one("custom-all", "all"),
        )
    return (one("custom", selection(score or "all", option="score", sets=sets)),)


def selection(text: str, *, option: str, sets: ClassSets) -> Selection:
    """Classes by "all", "seen", "unseen", or a file of class names, one a line."""
    if text in SELECTIONS:
        return SELECTIONS[text]
    path = Path(text)
    if not path.is_file():
        more = ", each" if option == "score" else ""
        raise ValueError(
            f"{option}: expected {', '.join(SELECTIONS)}{more} or a file of class names, "
            f"came {text!r}; check the spelling or the path"
        )
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    names = tuple(line for line in lines if line)
    sets.ids(names)
    return names


def absent_rule(text: str) -> Absent:
    """One of `ABSENT_RULES`."""
    for rule in ABSENT_RULES:
        if text == rule:
            return rule
    raise ValueError(f"absent: expected {', '.join(ABSENT_RULES)}, came {text!r}; choose one")
