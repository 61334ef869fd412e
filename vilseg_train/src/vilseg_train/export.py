"""Write the model of a run for use elsewhere: ONNX or torch.export, checked against the checkpoint.

Legend: b images of side s, d embedding dimension, c clusters, k words.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import interpolate

from vilseg_eval.files import write_atomically
from vilseg_eval.prompts import PHOTO_TEMPLATE, Prompts
from vilseg_train import __version__
from vilseg_train.deployment import Deployment
from vilseg_train.errors import ExportError
from vilseg_train.folder import check_file_target
from vilseg_train.progress import say
from vilseg_train.run import Run, open_run

INPUTS = ("images", "words")
OUTPUTS = ("labels", "clusters", "scores")
# Cosines; float32 on another runtime differs by some 1e-6.
SCORE_TOLERANCE = 1e-4
# Share of the pixels: two clusters may be equal there but for rounding.
LABEL_TOLERANCE = 1e-3

Answer = Callable[[Tensor, Tensor], Sequence[Tensor]]
Writer = Callable[[Deployment, tuple[Tensor, Tensor], Path], None]


class Parity(NamedTuple):
    """How far a written file is from the checkpoint.

    Attributes:
        scores: largest difference of a cosine.
        labels: share of the pixels with another word.
    """

    scores: float
    labels: float

    def within_tolerance(self) -> bool:
        """Whether the file may be used in place of the checkpoint."""
        return self.scores <= SCORE_TOLERANCE and self.labels <= LABEL_TOLERANCE


def export_run(
    folder: Path,
    *,
    out: Path,
    form: str = "onnx",
    words: Sequence[str] = (),
    templates: Sequence[str] = (PHOTO_TEMPLATE,),
    console: Console,
) -> Parity:
    """Write the image branch of a run to `out`, and what it is to `<out>.json`.

    The file takes images (b, 3, s, s) in [0, 1] and words (k, d), b and k free, and answers as
    `Deployment.forward`. With `words` their embeddings go to `<out>.words.npz`, arrays "words" (k)
    and "embeddings" (k, d). Nothing is written unless the file answers as the checkpoint does.

    Raises:
        ValueError: the format, the run or the words cannot be used, or the format's library is not
            installed; nothing is written.
        ExportError: the file does not answer as the checkpoint does; nothing is written.
    """
    if form not in FORMATS:
        raise ValueError(
            f"--format: expected one of {', '.join(FORMATS)}, came {form!r}; choose one"
        )
    check_file_target(out)
    write, read = FORMATS[form]
    run = open_run(folder)
    for warning in run.warnings:
        say(console, f"warning: {warning}")
    embeddings = (
        Prompts(words, templates=templates).embed(run.model, run.tokenizer) if words else None
    )
    module = Deployment(run.model).eval()
    with tempfile.TemporaryDirectory() as room:
        draft = Path(room) / f"model.{_ENDINGS[form]}"
        write(module, _example(run), draft)
        parity = compare(module, read(draft), run=run, embeddings=embeddings)
        if not parity.within_tolerance():
            raise ExportError(
                f"--format {form}: expected the file to answer as the checkpoint, came scores up "
                f"to {parity.scores:.1e} apart (at most {SCORE_TOLERANCE:.0e}) and "
                f"{parity.labels:.2%} of the labels different; nothing was written. Try the other "
                "--format or another version of its library"
            )
        contents = {out: draft.read_bytes(), sidecar(out): _about(run, form=form)}
    if embeddings is not None:
        contents[words_file(out)] = _words(words, embeddings)
    write_atomically(contents)
    say(
        console,
        f"written to {', '.join(map(str, contents))}; largest difference from the checkpoint "
        f"{parity.scores:.1e} in a score, {parity.labels:.2%} of the labels",
    )
    return parity


def sidecar(out: Path) -> Path:
    """The description beside an exported file."""
    return out.with_name(f"{out.name}.json")


def words_file(out: Path) -> Path:
    """The embeddings of words beside an exported file."""
    return out.with_name(f"{out.name}.words.npz")


def compare(
    module: Deployment, answer: Answer, *, run: Run, embeddings: Tensor | None = None
) -> Parity:
    """How far `answer` is from `module` on drawn images, for other numbers of images and words."""
    random = torch.Generator().manual_seed(0)
    side, dim = run.config.model.image.image_size, run.config.model.embed_dim
    scores, labels = 0.0, 0.0
    for images, words in ((1, 2), (3, 7)):
        # Smooth pictures: of noise every cluster gets some tokens and none a shape.
        small = torch.rand(images, 3, 4, 4, generator=random)
        pictures = interpolate(small, size=(side, side), mode="bicubic").clamp(0, 1)
        vectors = torch.randn(words, dim, generator=random) if embeddings is None else embeddings
        with torch.no_grad():
            expected, came = module(pictures, vectors), answer(pictures, vectors)
        scores = max(scores, float((came[2] - expected[2]).abs().max()))
        labels = max(labels, float((came[0] != expected[0]).float().mean()))
    return Parity(scores, labels)


def _example(run: Run) -> tuple[Tensor, Tensor]:
    # Two of each: an exporter takes a size of 1 as fixed.
    side = run.config.model.image.image_size
    return torch.rand(2, 3, side, side), torch.randn(2, run.config.model.embed_dim)


def _dynamic() -> dict[str, dict[int, Any]]:
    return {"images": {0: torch.export.Dim("batch")}, "words": {0: torch.export.Dim("count")}}


def _write_torch(module: Deployment, example: tuple[Tensor, Tensor], path: Path) -> None:
    program = torch.export.export(module, example, dynamic_shapes=_dynamic())
    torch.export.save(program, path)


def _read_torch(path: Path) -> Answer:
    program = torch.export.load(path).module()
    answer: Answer = program
    return answer


def _write_onnx(module: Deployment, example: tuple[Tensor, Tensor], path: Path) -> None:
    _onnx("onnxscript")
    torch.onnx.export(
        module,
        example,
        path,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=_dynamic(),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _read_onnx(path: Path) -> Answer:
    session = _onnx("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(images: Tensor, words: Tensor) -> list[Tensor]:
        outputs = session.run(OUTPUTS, {"images": images.numpy(), "words": words.numpy()})
        return [torch.from_numpy(output) for output in outputs]

    return answer


def _onnx(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(
            f"--format onnx: expected the library {name}, which is not installed; "
            "pip install 'vilseg-train[export]', or use --format torch"
        ) from error


FORMATS: dict[str, tuple[Writer, Callable[[Path], Answer]]] = {
    "onnx": (_write_onnx, _read_onnx),
    "torch": (_write_torch, _read_torch),
}
# Torch warns of any other; the user's own name may be anything.
_ENDINGS = {"onnx": "onnx", "torch": "pt2"}


def _about(run: Run, *, form: str) -> bytes:
    side, config = run.config.model.image.image_size, run.config.model
    about = {
        "format": form,
        "vilseg": __version__,
        "run": run.config.name,
        "step": run.step,
        "inputs": {
            "images": f"float32 (b, 3, {side}, {side}), RGB in [0, 1]",
            "words": f"float32 (k, {config.embed_dim}), embeddings of the words",
        },
        "outputs": {
            "labels": f"int64 (b, {side}, {side}), the word of each pixel",
            "clusters": f"int64 (b, {side}, {side}), the cluster of each pixel",
            "scores": f"float32 (b, {config.cluster.clusters}, k), cosine of cluster and word",
        },
    }
    return (json.dumps(about, indent=2) + "\n").encode()


def _words(words: Sequence[str], embeddings: Tensor) -> bytes:
    file = BytesIO()
    np.savez(file, words=np.array(words), embeddings=embeddings.cpu().numpy())
    return file.getvalue()
