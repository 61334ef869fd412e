"""What the paper claims of its rows, judged on the scores of a study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vilseg_train.reproduce.plan import KMEANS_SWEEP
from vilseg_train.reproduce.summary import Line
from vilseg_train.reproduce.variants import CLUSTER_SWEEP


@dataclass(frozen=True, kw_only=True)
class Above:
    """A row has at least `times` the mean mIoU of another, or more than it where `times` is 1.

    Attributes:
        text: what is claimed.
        row: key of the row that is to be above.
        others: keys of the rows that it is to be above: of that with the highest mean.
        times: the ratio of the means that is asked for.
        deviations: asked for in place of a ratio: the means differ by more than so many standard
            deviations of a seed's score, sqrt((s^2 + s'^2) / 2) of the two rows. One seed has
            none.
    """

    text: str
    row: str
    others: tuple[str, ...]
    times: float = 1.0
    deviations: float | None = None

    def judged(self, lines: Mapping[str, Line]) -> "Verdict | None":
        """None where the study has not scored all that is compared."""
        if not {self.row, *self.others} <= lines.keys():
            return None
        row = lines[self.row]
        other = max((lines[key] for key in self.others), key=lambda line: line.mean)
        ratio = self.times if self.deviations is None else 1.0
        won = sum(_reaches(a, b, ratio) for a, b in zip(row.miou, other.miou, strict=True))
        seeds = f"{won} of {len(row.miou)}"
        if self.deviations is None:
            asked = "above" if self.times == 1 else f"{self.times:.2f} times"
            found = f"{row.mean / other.mean:.2f} times" if other.mean else "of nothing"
            holds = _reaches(row.mean, other.mean, self.times)
            return Verdict(self.text, asked, found, seeds, holds)
        asked = f"{self.deviations:g} deviations"
        points = row.mean - other.mean
        found = f"{100 * points:.1f} points"
        if row.deviation is None or other.deviation is None:
            return Verdict(self.text, asked, found, seeds, None)
        deviation = math.sqrt((row.deviation**2 + other.deviation**2) / 2)
        if deviation:
            found += f", {points / deviation:.1f} deviations"
        return Verdict(self.text, asked, found, seeds, points > self.deviations * deviation)


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Of rows in order, the one with the highest mean is neither the first nor the last."""

    text: str
    rows: tuple[str, ...]

    def judged(self, lines: Mapping[str, Line]) -> "Verdict | None":
        """None where the study has not scored all of the rows."""
        if not set(self.rows) <= lines.keys():
            return None
        swept = [lines[key] for key in self.rows]
        ends = (0, len(swept) - 1)

        def best(scores: Sequence[float]) -> int:
            return max(range(len(scores)), key=scores.__getitem__)

        means = best([line.mean for line in swept])
        by_seed = [
            best(scores) not in ends for scores in zip(*(x.miou for x in swept), strict=True)
        ]
        seeds = f"{sum(by_seed)} of {len(by_seed)}"
        return Verdict(self.text, "neither end", swept[means].row.title, seeds, means not in ends)


@dataclass(frozen=True)
class Verdict:
    """A claim beside what was found.

    Attributes:
        claim: what is claimed.
        asked: what it takes.
        found: the same of the scores.
        seeds: in how many seeds it is so taken alone (of a difference in deviations: has its sign).
        holds: of the means; None where one seed cannot say.
    """

    claim: str
    asked: str
    found: str
    seeds: str
    holds: bool | None


_PAPER_KMEANS, _PAPER_CLIP, _PAPER_ST = 1.08, 1.25, 1.05
_BEST_KMEANS = tuple(f"kmeans-{k}" for k in KMEANS_SWEEP)

VERDICT_HEADING = ["claim", "asked", "found", "seeds", "holds"]
_ABOVE_PATCHES = Above(
    text="above single patches of its own encoder", row="vilseg", others=("patch",)
)

CLAIMS: Mapping[str, tuple[Above | Inside, ...]] = {
    "table1": (
        Above(text="above CLIP + Seg", row="vilseg", others=("clip-seg",), times=_PAPER_CLIP),
        Above(text="self-training adds", row="self-trained", others=("vilseg",), times=_PAPER_ST),
    ),
    "table2": (
        Above(text="a share of the supervised ceiling", row="vilseg", others=("probe",), times=0.6),
        Above(
            text="above CLIP + Seg, equal steps",
            row="vilseg",
            others=("clip-seg",),
            times=_PAPER_CLIP,
        ),
        Above(
            text="above CLIP + Seg, equal compute",
            row="vilseg",
            others=("clip-seg-equal-compute",),
            times=_PAPER_CLIP,
        ),
        _ABOVE_PATCHES,
        Above(
            text="above K-means with the paper's k",
            row="vilseg",
            others=("kmeans-25",),
            times=_PAPER_KMEANS,
        ),
        Above(
            text="above K-means with its best k",
            row="vilseg",
            others=_BEST_KMEANS,
            times=_PAPER_KMEANS,
        ),
        Above(
            text="above K-means, both with regions by their mean",
            row="vilseg-mean",
            others=("kmeans-25-mean",),
            times=_PAPER_KMEANS,
        ),
        Above(
            text="above K-means, both with tokens shared",
            row="vilseg-shared",
            others=("kmeans-25-shared",),
            times=_PAPER_KMEANS,
        ),
        Above(
            text="above training without L_vision, equal steps",
            row="vilseg",
            others=("no-vision",),
            deviations=2,
        ),
        Above(
            text="above training without L_vision, equal compute",
            row="vilseg",
            others=("no-vision-equal-compute",),
            deviations=2,
        ),
        Above(
            text="above training without L_vision, regions by their mean",
            row="vilseg-mean",
            others=("no-vision-mean",),
            deviations=2,
        ),
        Above(
            text="above training without L_vision, tokens shared",
            row="vilseg-shared",
            others=("no-vision-shared",),
            deviations=2,
        ),
        Above(text="self-training adds", row="self-trained", others=("vilseg",), times=_PAPER_ST),
        Above(
            text="self-training adds more than labels of single patches do",
            row="self-trained",
            others=("self-distilled",),
        ),
    ),
    "fig5": (
        Inside(
            text="the best C lies inside the sweep",
            rows=tuple(f"clusters-{c}" for c in CLUSTER_SWEEP),
        ),
    ),
    "fig6": (_ABOVE_PATCHES,),
}


def verdicts(study: str, lines: Sequence[Line]) -> list[Verdict]:
    """The claims of a study that its lines can judge."""
    by_key = {line.row.key: line for line in lines}
    judged = (claim.judged(by_key) for claim in CLAIMS.get(study, ()))
    return [verdict for verdict in judged if verdict is not None]


def verdict_rows(found: Sequence[Verdict]) -> list[list[str]]:
    """Cells under `VERDICT_HEADING`."""
    said = {True: "yes", False: "no", None: "one seed cannot say"}
    return [[v.claim, v.asked, v.found, v.seeds, said[v.holds]] for v in found]


def _reaches(score: float, other: float, times: float) -> bool:
    return score > other if times == 1 else score >= times * other
