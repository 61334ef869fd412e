"""`vilseg train --profile`: a few steps under torch's profiler, a trace and a table of parts."""

import io
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from vilseg_eval.files import write_atomically
from vilseg_train.config import RunConfig
from vilseg_train.folder import claim_new
from vilseg_train.progress import say
from vilseg_train.spans import Spans, watching
from vilseg_train.trainer import Trainer

TRACE = "trace.json"
TABLE = "parts.json"
WARMUP, STEPS = 3, 10


def profile_run(
    config: RunConfig, *, out: Path, steps: int = STEPS, warmup: int = WARMUP, console: Console
) -> Spans:
    """Run `warmup` + `steps` steps of `config` with every loss on; measure the latter.

    Leaves in `out` a Chrome trace, `trace.json` (chrome://tracing, ui.perfetto.dev), and
    `parts.json`, seconds a step by part. No run is left: this is not training.

    Raises:
        ValueError: `out` is not empty, or what `Trainer` refuses.
    """
    claim_new(out)
    quiet = Console(file=io.StringIO())
    with tempfile.TemporaryDirectory() as room:
        trainer = Trainer(short(config, warmup + steps), out=Path(room) / "run", console=quiet)
        activities = [ProfilerActivity.CPU]
        if trainer.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        profiler = profile(activities=activities)
        spans = Spans(
            warmup=warmup,
            count=steps,
            device=trainer.device,
            at_start=profiler.start,
            at_end=profiler.stop,
        )
        with watching(trainer, spans):
            trainer.fit()
        draft = Path(room) / TRACE
        profiler.export_chrome_trace(str(draft))
        parts = json.dumps({"steps": steps, "seconds": spans.per_step()}, indent=2) + "\n"
        write_atomically({out / TRACE: draft.read_bytes(), out / TABLE: parts.encode()})
    console.print(parts_table(spans, images=config.train.batch_size))
    say(console, f"written to {out}: {TRACE} for chrome://tracing or ui.perfetto.dev, {TABLE}")
    return spans


def short(config: RunConfig, steps: int) -> RunConfig:
    """`config` with that many steps, every loss from the first, and nothing beside the steps."""
    return config.overridden(
        [
            f"train.steps={steps}",
            f"train.checkpoint_every={steps}",
            "train.sample_images=0",
            "train.retrieval_images=0",
            "loss.cluster_start=0",
        ]
    )


def parts_table(spans: Spans, *, images: int) -> Table:
    """Milliseconds and share of a step by part."""
    parts = spans.per_step()
    whole = sum(parts.values())
    title = f"A step of {images} images, mean of {spans.count}: {images / whole:.1f} images/s"
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    for part, seconds in parts.items():
        table.add_row(part, f"{1e3 * seconds:.1f}", f"{seconds / whole:.1%}")
    table.add_section()
    table.add_row("total", f"{1e3 * whole:.1f}", "100%")
    return table
