"""What the paper claims, as runs to train and rows to score.

A `Variant` is a change to a preset that is trained; a `Row` is one way to read what was trained. A
`Study` is a table or figure of the paper: rows, in order, with the paper's own numbers beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CLUSTER_SWEEP = (5, 10, 15, 20, 25, 35)
KMEANS_SWEEP = (5, 8, 12, 18, 25)


@dataclass(frozen=True)
class Variant:
    """A change to the preset.

    Attributes:
        name: of its folder.
        overrides: "key=value" as for `vilseg train --set`.
        equal_compute: train for the FLOP that `full` takes in place of as many steps.
        parent: self-training starts from this variant's run; `overrides` are then its own keys.
    """

    name: str
    overrides: tuple[str, ...] = ()
    equal_compute: bool = False
    parent: str | None = None


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
        paper: the paper's figures, in per cent, by "SET.measure".
    """

    key: str
    title: str
    variant: str
    segmenter: str = "vilseg"
    regions: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A table or figure: `protocol` is what its rows are compared by."""

    name: str
    title: str
    protocol: str
    rows: tuple[Row, ...]


def _contrast(name: str, *, equal_compute: bool = False) -> Variant:
    return Variant(name, ("loss.vision=0", "loss.cluster=0"), equal_compute)


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("full"),
        Variant("no-vision", ("loss.vision=0",)),
        Variant("no-vision-equal-compute", ("loss.vision=0",), equal_compute=True),
        _contrast("contrast"),
        _contrast("contrast-equal-compute", equal_compute=True),
        Variant("no-augmentation", ("views.gain=0", "views.bias=0", "views.augmentation_flip=0")),
        Variant("into-encoder", ("loss.cluster_gradient=encoder",)),
        Variant("mean-pooling", ("model.image.pooling=mean", "model.region_pooling=mean")),
        Variant(
            "exact-eq2",
            (
                "loss.vision_targets=none",
                "loss.vision=1",
                "loss.local_temperature=1",
                "loss.global_temperature=1",
            ),
        ),
        Variant("self-trained", parent="full"),
        *(Variant(f"clusters-{c}", (f"model.cluster.clusters={c}",)) for c in CLUSTER_SWEEP),
    )
}

_PATCH = Row(key="patch", title="per patch, same encoder", variant="full", segmenter="patch")

_TABLE1 = Study(
    "table1",
    "Unseen classes, generalised setting (Table 1)",
    "gzlss",
    (
        Row(
            key="clip-seg",
            title="CLIP + Seg: contrast alone, per patch",
            variant="contrast",
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
            segmenter="vilseg",
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
            key="self-trained",
            title="ViL-Seg + ST",
            variant="self-trained",
            segmenter="vilseg",
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
        _PATCH,
        Row(
            key="clip-seg",
            title="CLIP + Seg: contrast alone, per patch, equal steps",
            variant="contrast",
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

_FIG6 = Study("fig6", "Every class (Fig. 6)", "all", (_TABLE2.rows[0], _PATCH))

STUDIES: Mapping[str, Study] = {s.name: s for s in (_TABLE1, _TABLE2, _FIG5, _FIG6)}


def chosen_studies(name: str) -> list[Study]:
    """The study of that name, or every one for "all"; ValueError for another."""
    if name != "all" and name not in STUDIES:
        raise ValueError(f"study: expected one of {', '.join(STUDIES)} or all, came {name!r}")
    return list(STUDIES.values()) if name == "all" else [STUDIES[name]]


def rows_by_variant(studies: list[Study]) -> dict[str, list[Row]]:
    """What to train, in order, and for each what is scored; a row of two studies stands once.

    `full` comes first: self-training starts from it, and its speed sets that of equal compute.
    """
    rows: dict[str, dict[str, Row]] = {"full": {}}
    for study in studies:
        for row in study.rows:
            rows.setdefault(row.variant, {})[row.key] = row
    return {variant: list(by_key.values()) for variant, by_key in rows.items()}
