"""What an evaluation leaves behind: the scores, and the matrices that they are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from vilseg_eval.confusion import ConfusionMatrix
from vilseg_eval.files import write_atomically
from vilseg_eval.image_counts import ImageCounts, Ints
from vilseg_eval.image_scores import example_keys, image_table, score_images
from vilseg_eval.intervals import Bootstrap, intervals
from vilseg_eval.protocols import ClassSets, Protocol, usual_protocols
from vilseg_eval.scores import Absent, score_protocols

SCHEMA = 2

RESULTS_FILE = "results.json"
MATRICES_FILE = "confusion.npz"
IMAGES_FILE = "images.csv"

_COUNTS = "counts_"


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How matrices become scores: what can be changed without model and images.

    Args:
        absent: what a class in neither ground truth nor prediction counts, see `scores`.
        bootstrap: of the confidence intervals; None for none.
        extra: protocols scored beside the usual ones.
    """

    absent: Absent = "skip"
    bootstrap: Bootstrap | None = field(default_factory=Bootstrap)
    extra: tuple[Protocol, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """`results` is what `results.json` holds; the README of the package lists its keys.

    `keys` are the image ids, `images` the matrices of every image and `matrices` their sums, by
    candidate set (`Protocol.matrix`); `levels` the confidence of all images (`pooled_levels`).
    """

    results: dict[str, Any]
    sets: ClassSets
    keys: tuple[str, ...]
    images: Mapping[str, ImageCounts]
    matrices: Mapping[str, ConfusionMatrix]
    about: Mapping[str, Any]
    scoring: Scoring
    levels: Ints | None = None

    @classmethod
    def of(
        cls,
        images: Mapping[str, ImageCounts],
        *,
        keys: Sequence[str],
        sets: ClassSets,
        about: Mapping[str, Any],
        scoring: Scoring,
        levels: Ints | None = None,
    ) -> EvalResult:
        """Score the matrices; `about` are the keys of `results` that no matrix holds."""
        protocols = (*usual_protocols(background=about["background"] != "ignore"), *scoring.extra)
        counts = {name: image.pooled() for name, image in images.items()}
        measured, chance = score_protocols(
            counts, sets=sets, protocols=protocols, absent=scoring.absent
        )
        ends: dict[str, dict[str, Any]] = {}
        if scoring.bootstrap is not None:
            ends = intervals(
                images, protocols, sets=sets, bootstrap=scoring.bootstrap, absent=scoring.absent
            )
        results = {
            "schema": SCHEMA,
            **about,
            "absent": scoring.absent,
            "bootstrap": None if scoring.bootstrap is None else asdict(scoring.bootstrap),
            "examples": example_keys(score_images(images["all"], keys=keys, sets=sets)),
            "protocols": {
                name: None if found is None else {**found, "interval": ends.get(name)}
                for name, found in measured.items()
            },
            "chance": chance,
        }
        matrices = {
            name: ConfusionMatrix.from_counts(torch.from_numpy(pooled))
            for name, pooled in counts.items()
        }
        return cls(
            results=results,
            sets=sets,
            keys=tuple(keys),
            images=dict(images),
            matrices=matrices,
            about=dict(about),
            scoring=scoring,
            levels=levels,
        )

    def rescored(self, scoring: Scoring) -> EvalResult:
        """The same evaluation scored in another way.

        Raises:
            ValueError: an extra protocol whose candidates were not evaluated.
        """
        for protocol in scoring.extra:
            if protocol.matrix not in self.images:
                raise ValueError(
                    f"protocol: {protocol.name} needs the matrix {protocol.matrix!r}, the saved "
                    f"evaluation has {', '.join(self.images)}; evaluate again with these candidates"
                )
        return EvalResult.of(
            self.images,
            keys=self.keys,
            sets=self.sets,
            about=self.about,
            scoring=scoring,
            levels=self.levels,
        )

    def save(self, folder: Path | str) -> Path:
        """Write `results.json`, `confusion.npz` and `images.csv`; all whole, or none."""
        target = Path(folder)
        write_atomically({target / name: content for name, content in self.files().items()})
        return target

    def files(self) -> dict[str, bytes]:
        """What `save` writes, by file name; the same evaluation gives the same bytes."""
        header = {
            "about": self.about,
            "names": list(self.sets.names),
            "unseen": list(self.sets.unseen),
            "background": self.sets.background,
            "scoring": asdict(self.scoring),
        }
        arrays: dict[str, NDArray[Any]] = {
            "header": np.array(json.dumps(header)),
            "names": np.array(self.sets.names),
            "keys": np.array(self.keys),
        }
        for name, images in self.images.items():
            arrays[_COUNTS + name] = self.matrices[name].counts.numpy()
            arrays |= images.arrays(name)
        if self.levels is not None:
            arrays["levels"] = self.levels
        archive = BytesIO()
        np.savez_compressed(archive, allow_pickle=False, **arrays)
        text = json.dumps(self.results, indent=2, ensure_ascii=False, allow_nan=False)
        table = image_table(image_scores(self))
        return {
            MATRICES_FILE: archive.getvalue(),
            IMAGES_FILE: table.encode(),
            RESULTS_FILE: (text + "\n").encode(),
        }


def image_scores(result: EvalResult, matrix: str = "all") -> list[dict[str, Any]]:
    """`{"key", "pixels", "accuracy", "miou"}` of each image, see `score_images`."""
    return score_images(result.images[matrix], keys=result.keys, sets=result.sets)


def load_result(folder: Path | str) -> EvalResult:
    """A saved evaluation, its scores computed again from `confusion.npz` alone."""
    path = Path(folder) / MATRICES_FILE
    if not path.is_file():
        raise ValueError(
            f"folder: no {MATRICES_FILE} in {folder}; give the folder of a saved evaluation"
        )
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays["header"].item())
        sets = ClassSets(tuple(header["names"]), tuple(header["unseen"]), header["background"])
        keys = tuple(arrays["keys"].tolist())
        images = {}
        for name in (n.removeprefix(_COUNTS) for n in arrays if n.startswith(_COUNTS)):
            images[name] = ImageCounts.from_arrays(arrays, name, classes=len(sets.names))
            if len(images[name]) != len(keys):
                raise ValueError(f"{name} has {len(images[name])} images of {len(keys)}")
            if not np.array_equal(images[name].pooled(), arrays[_COUNTS + name]):
                raise ValueError(f"the images of {name} do not add up")
        return EvalResult.of(
            images,
            keys=keys,
            sets=sets,
            about=header["about"],
            scoring=_scoring(header["scoring"]),
            levels=arrays.get("levels"),
        )
    except (BadZipFile, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"folder: {path} is not a file of confusion matrices, or is damaged ({error}); "
            "evaluate again"
        ) from error


def rescore(
    folder: Path | str,
    *,
    absent: Absent | None = None,
    bootstrap: Bootstrap | None = None,
    extra: Sequence[Protocol] = (),
) -> dict[str, Any]:
    """The results of a saved evaluation from its matrices, without model, images or masks.

    What is left out stays as it was saved.
    """
    saved = load_result(folder)
    scoring = replace(
        saved.scoring,
        absent=absent or saved.scoring.absent,
        bootstrap=bootstrap or saved.scoring.bootstrap,
        extra=(*saved.scoring.extra, *extra),
    )
    return saved.rescored(scoring).results if scoring != saved.scoring else saved.results


def _scoring(saved: Mapping[str, Any]) -> Scoring:
    bootstrap = saved["bootstrap"]
    return Scoring(
        absent=saved["absent"],
        bootstrap=None if bootstrap is None else Bootstrap(**bootstrap),
        extra=tuple(_protocol(fields) for fields in saved["extra"]),
    )


def _protocol(fields: Mapping[str, Any]) -> Protocol:
    # JSON has lists where a selection of classes by name has a tuple.
    plain: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()
    }
    return Protocol(**plain)
