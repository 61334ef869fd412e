"""What the paper claims, as rows to score.

A `Row` is one way to read what was trained, a variant of a preset. A `Study` is a table or figure
of the paper: rows, in order, with the paper's own numbers beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vilseg_data.world import Compositions
from vilseg_eval.prompts import PHOTO_TEMPLATE
from vilseg_train.reproduce.variants import CLUSTER_SWEEP, VARIANTS, WRONG_CAPTIONS

KMEANS_SWEEP = (5, 8, 12, 18, 25)
WORD_LISTS = (5, 10, 50, 100, 180)
_SHARED_BY_HEAD = {"softness": "2"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table.

    Attributes:
        key: its name in files.
        title: its name to read.
        variant: which run is scored.
        segmenter: "vilseg" (of a self-trained run, its classifier), "kmeans", "patch", "probe" or
            "truth".
        regions: how regions are pooled; None as the run says.
        options: of the segmenter.
        template: the sentence around a word.
        synonyms: 0 or 1 to call every class by another name of it.
        words: how many may be named: some of the world's classes, whose pixels alone count, or all
            of them and further words, none of them in any scene. None for its classes.
        compositions: of the scenes that are scored, as in `vilseg_data.WorldLabelled`.
        held_out_things: whether the mIoU is over the things of held-out pairs alone.
        image_size: of the scenes that are scored; None as in training.
        paper: the paper's figures, in per cent, by "SET.measure".
    """

    key: str
    title: str
    variant: str
    segmenter: str = "vilseg"
    regions: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    template: str = PHOTO_TEMPLATE
    synonyms: int | None = None
    words: int | None = None
    compositions: Compositions = "any"
    held_out_things: bool = False
    image_size: int | None = None
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A table or figure: `protocol` is what its rows are compared by."""

    name: str
    title: str
    protocol: str
    rows: tuple[Row, ...]


_PATCH = Row(key="patch", title="per patch, same encoder", variant="full", segmenter="patch")

_TABLE1 = Study(
    "table1",
    "Unseen classes, generalised setting (Table 1)",
    "gzlss",
    (
        Row(
            key="clip-seg",
            title="CLIP + Seg: contrast alone, per patch",
            variant="no-vision",
            segmenter="patch",
            paper={"voc.miou": 27.40, "context.miou": 14.52, "coco-stuff.miou": 13.20},
        ),
        Row(
            key="vilseg",
            title="ViL-Seg",
            variant="full",
            paper={"voc.miou": 34.42, "context.miou": 16.32, "coco-stuff.miou": 16.43},
        ),
        Row(
            key="vilseg-mean",
            title="ViL-Seg, regions by their mean (paper)",
            variant="full",
            regions="mean",
        ),
        Row(
            key="self-trained",
            title="ViL-Seg + ST",
            variant="self-trained",
            paper={"voc.miou": 37.30, "context.miou": 18.94, "coco-stuff.miou": 18.05},
        ),
    ),
)

_TABLE2 = Study(
    "table2",
    "All classes, ablation (Table 2)",
    "all",
    (
        Row(
            key="vilseg",
            title="ViL-Seg",
            variant="full",
            paper={"voc.miou": 33.61, "context.miou": 15.89, "coco-stuff.miou": 16.41},
        ),
        Row(
            key="vilseg-mean",
            title="ViL-Seg, regions by their mean (paper)",
            variant="full",
            regions="mean",
        ),
        Row(
            key="vilseg-max",
            title="ViL-Seg, regions by their maximum",
            variant="full",
            regions="max",
        ),
        Row(
            key="vilseg-shared",
            title="ViL-Seg, tokens shared among regions (not in the paper)",
            variant="full",
            options=_SHARED_BY_HEAD,
        ),
        Row(
            key="self-trained",
            title="ViL-Seg + ST",
            variant="self-trained",
        ),
        Row(
            key="self-distilled",
            title="control of ST: labels of single patches",
            variant="self-distilled",
        ),
        Row(
            key="no-vision",
            title="without L_vision, equal steps",
            variant="no-vision",
            paper={"voc.miou": 22.05, "context.miou": 13.14, "coco-stuff.miou": 13.52},
        ),
        Row(
            key="no-vision-equal-compute",
            title="without L_vision, equal compute",
            variant="no-vision-equal-compute",
        ),
        Row(
            key="no-vision-mean",
            title="without L_vision, equal steps, regions by their mean",
            variant="no-vision",
            regions="mean",
        ),
        Row(
            key="no-vision-shared",
            title="without L_vision, equal steps, tokens shared",
            variant="no-vision",
            options=_SHARED_BY_HEAD,
        ),
        *(
            Row(
                key=f"kmeans-{k}",
                title=f"offline K-means, k = {k}",
                variant="full",
                segmenter="kmeans",
                options={"clusters": str(k)},
                paper={"voc.miou": 30.97, "context.miou": 14.82, "coco-stuff.miou": 15.81}
                if k == 25
                else {},
            )
            for k in KMEANS_SWEEP
        ),
        Row(
            key="kmeans-25-mean",
            title="offline K-means, k = 25, regions by their mean",
            variant="full",
            segmenter="kmeans",
            options={"clusters": "25"},
            regions="mean",
        ),
        Row(
            key="kmeans-25-shared",
            title="offline K-means, k = 25, tokens shared",
            variant="full",
            segmenter="kmeans",
            options={"clusters": "25", "softness": "0.1"},
        ),
        _PATCH,
        Row(
            key="clip-seg",
            title="CLIP + Seg: contrast alone, per patch, equal steps",
            variant="no-vision",
            segmenter="patch",
        ),
        Row(
            key="clip-seg-equal-compute",
            title="CLIP + Seg, equal compute",
            variant="contrast-equal-compute",
            segmenter="patch",
        ),
        Row(
            key="no-augmentation",
            title="without the invertible augmentation",
            variant="no-augmentation",
        ),
        Row(key="into-encoder", title="L_cluster teaches the encoder too", variant="into-encoder"),
        Row(key="mean-pooling", title="mean pooling throughout", variant="mean-pooling"),
        Row(key="exact-eq2", title="exact Eq. 2", variant="exact-eq2"),
        Row(
            key="truth",
            title="cluster ceiling: its regions, named by the masks",
            variant="full",
            segmenter="truth",
        ),
        Row(
            key="probe",
            title="supervised ceiling: a linear head on its encoder, trained on masks",
            variant="full",
            segmenter="probe",
        ),
    ),
)

_FIG5 = Study(
    "fig5",
    "The number of clusters C (Fig. 5)",
    "all",
    tuple(
        Row(key=f"clusters-{c}", title=f"C = {c}", variant=f"clusters-{c}") for c in CLUSTER_SWEEP
    ),
)

_GENERALISATION = Study(
    "generalisation",
    "Other words, scenes and captions than those of training",
    "all",
    (
        _TABLE2.rows[0],
        *(
            Row(key=f"synonyms-{k}", title=title, variant="full", synonyms=k)
            for k, title in enumerate(("every class by a synonym", "every class by another"))
        ),
        Row(key="bare-words", title="words without a sentence", variant="full", template="{}"),
        *(
            Row(
                key=f"words-{n}",
                title=f"{n} words to choose from",
                variant="full",
                words=n,
            )
            for n in WORD_LISTS
        ),
        Row(key="size-96", title="scenes of 96 pixels", variant="full", image_size=96),
        Row(
            key="held-out-pairs",
            title="pairs of thing and texture never seen: those things",
            variant="seen-compositions",
            compositions="held-out",
            held_out_things=True,
        ),
        Row(
            key="seen-pairs",
            title="the same things in the textures seen",
            variant="seen-compositions",
            compositions="seen",
            held_out_things=True,
        ),
        *(
            Row(key=f"wrong-{w}", title=f"{w} % wrong captions", variant=f"wrong-{w}")
            for w in WRONG_CAPTIONS
        ),
    ),
)

_FIG6 = Study("fig6", "Every class (Fig. 6)", "all", (_TABLE2.rows[0], _PATCH))

STUDIES: Mapping[str, Study] = {
    s.name: s for s in (_TABLE1, _TABLE2, _FIG5, _FIG6, _GENERALISATION)
}


def chosen_studies(name: str) -> list[Study]:
    """The study of that name, or every one for "all"; ValueError for another."""
    if name != "all" and name not in STUDIES:
        raise ValueError(f"study: expected one of {', '.join(STUDIES)} or all, came {name!r}")
    return list(STUDIES.values()) if name == "all" else [STUDIES[name]]


def reading_only(studies: Sequence[Study], variants: Sequence[str]) -> list[Study]:
    """The studies without the rows that read other variants; ValueError where none is left."""
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise ValueError(f"only: expected some of {', '.join(VARIANTS)}, came {unknown[0]!r}")
    left = [
        replace(study, rows=tuple(row for row in study.rows if row.variant in variants))
        for study in studies
    ]
    left = [study for study in left if study.rows]
    if not left:
        raise ValueError(f"only: expected variants that the study reads, came {list(variants)}")
    return left


def rows_by_variant(studies: list[Study]) -> dict[str, list[Row]]:
    """What to train, in order, and for each what is scored; a row of two studies stands once.

    `full` comes first: self-training starts from it, and its speed sets that of equal compute.
    """
    rows: dict[str, dict[str, Row]] = {"full": {}}
    for study in studies:
        for row in study.rows:
            rows.setdefault(row.variant, {})[row.key] = row
    return {variant: list(by_key.values()) for variant, by_key in rows.items()}
