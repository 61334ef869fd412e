"""What an evaluation leaves behind: the scores, and the matrices that they are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from vilseg_eval.confusion import ConfusionMatrix
from vilseg_eval.files import write_atomically
from vilseg_eval.protocols import ClassSets, score_protocols

RESULTS_FILE = "results.json"
MATRICES_FILE = "confusion.npz"

_PREFIX = "counts_"


@dataclass(frozen=True)
class EvalResult:
    """`results` is what `results.json` holds; `matrices` one matrix for each candidate set.

    `results` has "segmenter", "data", "split", "images", "names" (the words given to the model),
    "templates", "background", "versions", and "protocols" and "chance": by protocol
    `{"miou", "accuracy": {"unseen_recall", "overall", "class_mean"}, "iou": {class: number}}`,
    fractions, None where undefined. A protocol that the segmenter cannot answer is None.
    """

    results: dict[str, Any]
    matrices: Mapping[str, ConfusionMatrix]
    sets: ClassSets

    @classmethod
    def of(
        cls,
        matrices: Mapping[str, ConfusionMatrix],
        *,
        sets: ClassSets,
        about: Mapping[str, Any],
    ) -> EvalResult:
        """Score the matrices; `about` are the keys of `results` that no matrix holds."""
        counts = {name: matrix.counts.numpy() for name, matrix in matrices.items()}
        measured, chance = score_protocols(counts, sets=sets)
        return cls({**about, "protocols": measured, "chance": chance}, dict(matrices), sets)

    def save(self, folder: Path | str) -> Path:
        """Write `results.json` and `confusion.npz`; both whole, or neither."""
        target = Path(folder)
        write_atomically({target / name: content for name, content in self.files().items()})
        return target

    def files(self) -> dict[str, bytes]:
        """What `save` writes, by file name."""
        about = {k: v for k, v in self.results.items() if k not in ("protocols", "chance")}
        header = {
            "about": about,
            "names": list(self.sets.names),
            "unseen": list(self.sets.unseen),
            "background": self.sets.background,
        }
        archive = BytesIO()
        arrays = {_PREFIX + name: matrix.counts.numpy() for name, matrix in self.matrices.items()}
        np.savez_compressed(
            archive,
            allow_pickle=False,
            header=np.array(json.dumps(header)),
            names=np.array(self.sets.names),
            **arrays,
        )
        text = json.dumps(self.results, indent=2, ensure_ascii=False, allow_nan=False)
        return {MATRICES_FILE: archive.getvalue(), RESULTS_FILE: (text + "\n").encode()}


def load_result(folder: Path | str) -> EvalResult:
    """A saved evaluation, its scores computed again from `confusion.npz` alone."""
    path = Path(folder) / MATRICES_FILE
    if not path.is_file():
        raise ValueError(
            f"folder: no {MATRICES_FILE} in {folder}; give the folder of a saved evaluation"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].item())
            sets = ClassSets(tuple(header["names"]), tuple(header["unseen"]), header["background"])
            matrices = {
                name.removeprefix(_PREFIX): ConfusionMatrix.from_counts(
                    torch.from_numpy(archive[name])
                )
                for name in archive.files
                if name.startswith(_PREFIX)
            }
            return EvalResult.of(matrices, sets=sets, about=header["about"])
    except (BadZipFile, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"folder: {path} is not a file of confusion matrices, or is damaged ({error}); "
            "evaluate again"
        ) from error


def rescore(folder: Path | str) -> dict[str, Any]:
    """The results of a saved evaluation from its matrices, without model, images or masks."""
    return load_result(folder).results
