"""Segmentation with what self-training learned: a classifier of tokens, open to other words."""

from collections.abc import Sequence
from dataclasses import replace

from torch.nn.functional import normalize

from vilseg_eval import InferenceConfig, PatchSegmenter, ViLSegSegmenter
from vilseg_eval.prompts import PHOTO_TEMPLATE, Prompts
from vilseg_train.run import Run


class SelfTrainedSegmenter(PatchSegmenter):
    """Every token gets the word whose row of the classifier is nearest.

    A word that the classifier was not taught keeps the embedding of the text encoder, from which
    the rows of the others began.

    Args:
        run: a run that `vilseg train --self-train` made.
        words: what may be named.
        templates: sentences around the words that were not taught.
        inference: as in `ModelSegmenter`.
    """

    name = "vilseg+st"

    def __init__(
        self,
        run: Run,
        words: Sequence[str],
        *,
        templates: Sequence[str] = (PHOTO_TEMPLATE,),
        inference: InferenceConfig | None = None,
    ) -> None:
        assert run.classifier is not None
        self._taught = run.classifier
        super().__init__(run.model, run.tokenizer, words, templates=templates, inference=inference)

    def _name(self, prompts: Prompts) -> None:
        super()._name(prompts)
        rows, owners = self.bank.rows.clone(), self.bank.owners
        for number in range(len(rows)):
            word = self.bank.words[number if owners is None else int(owners[number])]
            if word in self._taught:
                rows[number] = normalize(self._taught[word], dim=0)
        self.bank = replace(self.bank, rows=rows)


def own_segmenter(
    run: Run,
    words: Sequence[str],
    *,
    templates: Sequence[str] = (PHOTO_TEMPLATE,),
    inference: InferenceConfig | None = None,
) -> ViLSegSegmenter | SelfTrainedSegmenter:
    """How a run segments by its own method: clusters and words, or what self-training made."""
    if run.classifier is not None:
        return SelfTrainedSegmenter(run, words, templates=templates, inference=inference)
    return ViLSegSegmenter(
        run.model, run.tokenizer, words, templates=templates, inference=inference
    )
