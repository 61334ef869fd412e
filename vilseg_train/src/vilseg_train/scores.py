"""The scores at the end of a run, computed once and put on record."""

import json
from pathlib import Path

from rich.console import Console

from vilseg_core.models import ViLSeg
from vilseg_data import CaptionSource, Tokenizer
from vilseg_train.folder import write_texts
from vilseg_train.progress import say, track
from vilseg_train.record import METRICS
from vilseg_train.tables import retrieval_table
from vilseg_train.validation import score_retrieval


def record_retrieval(
    out: Path,
    model: ViLSeg,
    tokenizer: Tokenizer,
    validation: CaptionSource,
    *,
    step: int,
    count: int,
    image_size: int,
    console: Console,
) -> None:
    """Score retrieval over the first `count` images of `validation`, unless `retrieval.json` has it
    already; record and show it."""
    path = out / "retrieval.json"
    if path.exists():
        scores = json.loads(path.read_text("utf-8"))
    else:
        with track("retrieval", console=console) as progress:
            scores = score_retrieval(
                model,
                tokenizer,
                validation,
                count=count,
                image_size=image_size,
                progress=progress,
            )
        for broken in scores["broken"]:
            say(console, f"retrieval without {broken['key']}: {broken['reason']}")
        write_texts(out, {path.name: json.dumps(scores, indent=2) + "\n"})
    with (out / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "retrieval": scores}) + "\n")
    console.print(retrieval_table(scores))
