"""The report of evaluations that were just made, with their model and data at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vilseg_data import LabelledSet
from vilseg_eval.image_scores import score_images
from vilseg_eval.report.clusters import Clusterer, cluster_usage
from vilseg_eval.report.confusions import ConfusionTable
from vilseg_eval.report.examples import chosen, collect_examples, placed
from vilseg_eval.report.examples_file import EXAMPLES_FILE, examples_bytes, read_examples
from vilseg_eval.report.output import report_files
from vilseg_eval.results import EvalResult
from vilseg_eval.segmenters import KMeansSegmenter, Segmenter


def described(
    evaluation: EvalResult,
    segmenter: Segmenter,
    dataset: LabelledSet,
    *,
    command: str | None = None,
) -> EvalResult:
    """The same evaluation with what else a report shows: "clusters", see `ClusterUsage.facts`, and
    the "command" that asked for it; None where there is none."""
    usage = None
    # The clusters of K-means are those of one image: their numbers mean nothing in the next.
    if isinstance(segmenter, Clusterer) and not isinstance(segmenter, KMeansSegmenter):
        usage = cluster_usage(segmenter, dataset).facts()
    about = {**evaluation.about, "clusters": usage, "command": command}
    # In the order in which scoring again writes them.
    first = {"schema": evaluation.results["schema"], **about}
    return replace(evaluation, results={**first, **evaluation.results, **about}, about=about)


def evaluation_report(
    evaluations: Mapping[str, EvalResult],
    segmenters: Mapping[str, Segmenter],
    dataset: LabelledSet,
    *,
    title: str,
    introduction: str = "",
) -> dict[str, bytes]:
    """What `report_files` gives, and `examples.npz`, by name.

    The examples are the best, median and worst images of the first evaluation.

    Args:
        evaluations: by the title of their column.
        segmenters: by the same titles; their words are those of the foreground classes, in order.
        dataset: what they were evaluated on.
    """
    first = next(iter(evaluations.values()))
    places, positions = chosen(first.results["examples"], keys=first.keys)
    examples = placed(
        collect_examples(segmenters, dataset, positions=positions),
        places=places,
        scores={label: _image_scores(e) for label, e in evaluations.items()},
    )
    # The page shows what is kept, so that a page made from it later is the same.
    kept = examples_bytes(examples)
    files = report_files(
        {label: evaluation.results for label, evaluation in evaluations.items()},
        title=title,
        examples=read_examples(kept),
        introduction=introduction,
        confusions={label: ConfusionTable.of_evaluation(e) for label, e in evaluations.items()},
    )
    return {**files, EXAMPLES_FILE: kept}


def _image_scores(evaluation: EvalResult) -> dict[str, float | None]:
    scored = score_images(evaluation.images["all"], keys=evaluation.keys, sets=evaluation.sets)
    return {image["key"]: image["miou"] for image in scored}
