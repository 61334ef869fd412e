"""The trainer: batches to steps to a run folder, and nothing lost on the way."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from vilseg_core.models import build_model
from vilseg_data import CaptionSource, StreamLoader, Tokenizer, build_captions, build_loader
from vilseg_train import __version__
from vilseg_train.allocator import keep_freed_memory
from vilseg_train.checkpoint import Checkpoint, load_module, save_checkpoint
from vilseg_train.config import RunConfig, parse_config
from vilseg_train.device import choose_device
from vilseg_train.errors import DivergedError, TrainingStopped
from vilseg_train.folder import (
    check_same_config,
    claim_new,
    claim_resumed,
    list_broken,
    write_texts,
)
from vilseg_train.meter import Meter
from vilseg_train.objectives import Objectives
from vilseg_train.optim import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from vilseg_train.progress import say, track
from vilseg_train.record import METRICS, Recorder, cut_metrics
from vilseg_train.run import without_sources
from vilseg_train.samples import sample_picture, save_picture
from vilseg_train.stop import StopRequest
from vilseg_train.tables import retrieval_table
from vilseg_train.validation import score_retrieval

# After this many in a row without a finite loss, the next one will not be finite either.
MAX_NONFINITE = 10


class Trainer:
    """Trains a ViL-Seg model as `config` says and leaves a run folder.

    On the CPU, with the same number of threads, a run that is stopped and resumed ends with the
    weights and the metrics of one that was never stopped, bit for bit.

    Args:
        config: the whole configuration; the vocabulary of its text encoder is taken from the
            tokenizer.
        out: the folder of the run: `config.toml`, `tokenizer.json`, `metrics.jsonl`,
            `broken.jsonl`, `retrieval.json`, `checkpoints/`, `tensorboard/`, `samples/`.
        resume: go on with the run in `out` instead of beginning one there.
        source: captions to train on; None builds them from `config.data`.
        console: where progress is shown; None is the terminal.

    Raises:
        ValueError: the folder, the data or the configuration cannot be used; nothing is written.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        out: Path | str,
        resume: bool = False,
        source: CaptionSource | None = None,
        console: Console | None = None,
    ) -> None:
        self.out = Path(out)
        self.console = console or Console()
        resumed = self._claim(resume)
        checkpoint = resumed[0] if resumed else None
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.device = choose_device(config.train.device)
        self.source = build_captions(config.data) if source is None else source
        validation = config.data.validation_split
        self.validation = build_captions(config.data, split=validation) if validation else None
        self.tokenizer = self._build_tokenizer(config, checkpoint)
        self.config = config.with_tokenizer(self.tokenizer)
        if checkpoint is not None:
            check_same_config(self.config, parse_config(checkpoint.facts["config"]), out=self.out)
        self.loader = build_loader(
            config.data,
            self.source,
            tokenizer=self.tokenizer,
            batch_size=config.train.batch_size,
            seed=config.seed,
        )
        torch.manual_seed(config.seed)
        model = self.config.model if checkpoint is None else without_sources(self.config.model)
        self.model = build_model(model).to(self.device)
        self.objectives = Objectives(
            config.loss,
            views=config.views,
            prototypes=config.model.prototypes,
            image_size=config.model.image.image_size,
        ).to(self.device)
        self.optimizer = build_optimizer(
            {"model": self.model, "objectives": self.objectives}, config.optim
        )
        self.step = 0
        self.meter = Meter()
        self._random = torch.get_rng_state()
        if resumed is not None:
            self._restore(*resumed)

    def fit(self) -> None:
        """Train to the last step, then score retrieval; a finished run returns at once.

        Raises:
            TrainingStopped: SIGINT or SIGTERM came; the run is saved and can be resumed.
            DivergedError: too many steps in a row had no finite loss.
            CheckpointError: a checkpoint could not be written; the one before it is whole.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        cut_metrics(self.out, step=self.step)
        try:
            if self.step < self.config.train.steps:
                self._train()
        finally:
            self.loader.close()
        self._score_retrieval()

    def _train(self) -> None:
        total = self.config.train.steps
        with track("reading images", console=self.console) as progress:
            self.loader.prepare(progress)
        torch.set_rng_state(self._random)
        self._write_folder()
        with (
            Recorder(self.out, console=self.console, total=total, step=self.step) as recorder,
            StopRequest() as stop,
        ):
            while self.step < total:
                self._train_step()
                number = stop.number
                self._after_step(recorder, stopped=number is not None)
                if number is not None and self.step < total:
                    raise TrainingStopped(number, step=self.step, total=total, out=self.out)

    def _claim(self, resume: bool) -> tuple[Checkpoint, Path] | None:
        if not resume:
            claim_new(self.out)
            return None
        checkpoint, path, refused = claim_resumed(self.out)
        for error in refused:
            say(self.console, f"warning: {error}; going on from {path.name}")
        return checkpoint, path

    def _build_tokenizer(self, config: RunConfig, checkpoint: Checkpoint | None) -> Tokenizer:
        if checkpoint is not None:
            return Tokenizer.from_json(checkpoint.facts["tokenizer"])
        return config.tokenizer.build(
            text for i in range(len(self.source)) for text in self.source.captions(i)
        )

    def _restore(self, checkpoint: Checkpoint, path: Path) -> None:
        load_module(self.model, checkpoint.part("model"), path=path)
        load_module(self.objectives, checkpoint.part("objectives"), path=path)
        load_optimizer_tensors(self.optimizer, checkpoint.part("optimizer"))
        self.loader.load_state_dict(checkpoint.facts["loader"])
        self.meter = Meter(**checkpoint.facts["meter"])
        self.step = checkpoint.step
        self._random = checkpoint.tensors["rng/cpu"]
        if self.device.type == "cuda" and "rng/cuda" in checkpoint.tensors:
            torch.cuda.set_rng_state(checkpoint.tensors["rng/cuda"], self.device)

    def _write_folder(self) -> None:
        """The first checkpoint and what describes the run: from here on it can be resumed."""
        if self.step == 0:
            self._save()
            about = {
                "config.toml": self.config.to_toml(),
                "tokenizer.json": self.tokenizer.to_json(),
            }
            write_texts(self.out, about)
        else:
            say(self.console, f"going on from step {self.step} of {self.config.train.steps}")
        self._list_broken()

    def _list_broken(self) -> None:
        # Of a stream nobody knows how long it is, nor what is wrong with it before it is read.
        whole = None if isinstance(self.loader, StreamLoader) else self.source
        total = None if whole is None else len(whole) + len(whole.broken)
        list_broken(self.out, self.loader.broken, total=total, console=self.console)

    def _train_step(self) -> None:
        config, total = self.config, self.config.train.steps
        batch = self.loader.next_batch()
        lr = set_learning_rate(self.optimizer, config.optim, step=self.step, total=total)
        buffers = [*self.model.buffers(), *self.objectives.buffers()]
        before = [buffer.clone() for buffer in buffers]
        loss, parts = self.objectives(
            self.model,
            batch.images.to(self.device, non_blocking=True).float().div_(255),
            tokens=batch.tokens.to(self.device, non_blocking=True),
            generator=self._generator(),
            step=self.step,
            total=total,
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, config.optim.clip or math.inf)
        # One transfer from the device for all the numbers of a step.
        measured = {"loss": loss.detach(), **parts, "gradient_norm": norm}
        values = torch.stack([value.float() for value in measured.values()]).tolist()
        if all(map(math.isfinite, values)):
            self.optimizer.step()
            self.meter.add(dict(zip(measured, values, strict=True)) | {"lr": lr})
        else:
            # Running statistics have seen the numbers that the weights were spared.
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            self.meter.skip()
        self.step += 1

    def _generator(self) -> torch.Generator:
        # From (seed, step) alone: the views of a step do not depend on the steps before it.
        state = np.random.SeedSequence([self.config.seed, self.step]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]))

    def _after_step(self, recorder: Recorder, *, stopped: bool) -> None:
        train, step = self.config.train, self.step
        last = step == train.steps
        if self.meter.in_a_row >= MAX_NONFINITE:
            raise DivergedError(
                f"no finite loss in the {MAX_NONFINITE} steps up to step {step}, which changed no "
                f"weights; {self.out / 'checkpoints'} holds those from before. Begin again with a "
                "lower optim.lr or optim.clip or a longer optim.warmup_steps, or look at the data"
            )
        recorder.advance(step)
        if step % train.log_every == 0 or last:
            recorder.log(step, self.meter.take(), images=train.batch_size)
        if train.sample_images and (step % train.sample_every == 0 or last):
            self._draw_samples(recorder)
        if stopped or step % train.checkpoint_every == 0 or last:
            self._save()
            self._list_broken()

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {"rng/cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        for prefix, state in (
            ("model", self.model.state_dict()),
            ("objectives", self.objectives.state_dict()),
            ("optimizer", optimizer_tensors(self.optimizer)),
        ):
            tensors |= {f"{prefix}/{name}": tensor for name, tensor in state.items()}
        facts = {
            "vilseg": __version__,
            "config": self.config.model_dump(mode="json"),
            "tokenizer": self.tokenizer.to_json(),
            "loader": self.loader.state_dict(),
            "meter": self.meter.state(),
        }
        save_checkpoint(
            self.out / "checkpoints",
            Checkpoint(step=self.step, tensors=tensors, facts=facts),
            keep=self.config.train.keep,
        )

    def _draw_samples(self, recorder: Recorder) -> None:
        picture = sample_picture(
            self.model,
            self.source if self.validation is None else self.validation,
            count=self.config.train.sample_images,
        )
        save_picture(picture, self.out / "samples" / f"step-{self.step:07d}.png")
        recorder.picture(self.step, picture)

    def _score_retrieval(self) -> None:
        count = self.config.train.retrieval_images
        if self.validation is None or count == 0:
            return
        path = self.out / "retrieval.json"
        if path.exists():
            scores = json.loads(path.read_text("utf-8"))
        else:
            with track("retrieval", console=self.console) as progress:
                scores = score_retrieval(
                    self.model,
                    self.tokenizer,
                    self.validation,
                    count=count,
                    image_size=self.config.model.image.image_size,
                    progress=progress,
                )
            for broken in scores["broken"]:
                say(self.console, f"retrieval without {broken['key']}: {broken['reason']}")
            write_texts(self.out, {path.name: json.dumps(scores, indent=2) + "\n"})
        with (self.out / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, "retrieval": scores}) + "\n")
        self.console.print(retrieval_table(scores))
