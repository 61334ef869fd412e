"""The trainer: batches to steps to a run folder, and nothing lost on the way."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from vilseg_core.models import build_model
from vilseg_data import CaptionSource, StreamLoader, build_captions, build_loader
from vilseg_train import __version__
from vilseg_train.ahead import Ahead
from vilseg_train.allocator import keep_freed_memory
from vilseg_train.card import write_card
from vilseg_train.checkpoint import Checkpoint, checkpoint_path, save_checkpoint
from vilseg_train.config import RunConfig, parse_config
from vilseg_train.device import choose_device
from vilseg_train.errors import TrainingStopped
from vilseg_train.folder import check_same_config, claim, list_broken, write_texts
from vilseg_train.meter import Meter
from vilseg_train.objectives import Objectives
from vilseg_train.optim import build_optimizer
from vilseg_train.parallel import Ranks
from vilseg_train.progress import say, track
from vilseg_train.record import Recorder, cut_metrics
from vilseg_train.rollback import checkpoint_before_streak, diverged
from vilseg_train.samples import sample_picture, save_picture
from vilseg_train.scores import record_retrieval
from vilseg_train.snapshot import (
    fresh_random_state,
    random_state,
    restore_device_random,
    restore_modules,
    restore_position,
    take_snapshot,
)
from vilseg_train.step import DTYPES, TrainStep
from vilseg_train.stop import StopRequest
from vilseg_train.vocabulary import learn_or_restore
from vilseg_train.watch import Watch


class Trainer:
    """Trains a ViL-Seg model as `config` says and leaves a run folder.

    On the CPU, with the same number of threads and processes, a run that is stopped and resumed
    ends with the weights and the metrics of one that was never stopped, bit for bit.

    Args:
        config: the whole configuration; the vocabulary of its text encoder is taken from the
            tokenizer.
        out: the folder of the run; the README of vilseg_train lists what is in it.
        resume: go on with the run in `out` instead of beginning one there; where torchrun started
            the processes again, a run goes on by itself.
        source: captions to train on; None builds them from `config.data`.
        console: where progress is shown; None is the terminal.
        ranks: the processes that train together, of `parallel.processes`; rank 0 alone writes to
            `out` and `console`.

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
        ranks: Ranks | None = None,
    ) -> None:
        self.out = Path(out)
        self.ranks = ranks or Ranks()
        self.console = (console or Console()) if self.ranks.leads else Console(quiet=True)
        config.train.check_processes(self.ranks.size)
        resumed = claim(self.out, resume=resume, ranks=self.ranks, console=self.console)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.device = choose_device(config.train.device, ranks=self.ranks)
        self.source = build_captions(config.data) if source is None else source
        validation = config.data.validation_split
        self.validation = build_captions(config.data, split=validation) if validation else None
        self.tokenizer = learn_or_restore(
            config.tokenizer, self.source, checkpoint=resumed, ranks=self.ranks
        )
        self.config = config.with_tokenizer(self.tokenizer)
        if resumed is not None:
            check_same_config(self.config, parse_config(resumed.facts["config"]), out=self.out)
        self.loader = build_loader(
            config.data,
            self.source,
            tokenizer=self.tokenizer,
            batch_size=config.train.batch_size // config.train.accumulate,
            seed=config.seed,
            rank=self.ranks.rank,
            world_size=self.ranks.size,
            share=self.ranks.gather if self.ranks.size > 1 else None,
        )
        torch.manual_seed(config.seed)
        model = self.config.model if resumed is None else self.config.model.without_sources()
        dtype = DTYPES[config.train.precision]
        self.model = build_model(model, group=self.ranks.group).to(self.device, dtype)
        self.objectives = Objectives(
            config.loss,
            views=config.views,
            prototypes=config.model.prototypes,
            image_size=config.model.image.image_size,
            group=self.ranks.group,
        ).to(self.device, dtype)
        self._modules = {"model": self.model, "objectives": self.objectives}
        self.optimizer = build_optimizer(self._modules, config.optim)
        self.step = 0
        self.meter = Meter()
        self.watch = Watch(self.config, console=self.console)
        self._random = fresh_random_state(config.seed, self.ranks)
        if resumed is not None:
            self._restore(resumed)
            if not restore_position(self.loader, resumed, ranks=self.ranks):
                say(self.console, "another number of processes: this epoch of the stream again")
        self._ahead = Ahead(self.loader, count=config.train.accumulate, device=self.device)
        self.stepper = TrainStep(
            self.model,
            self.objectives,
            self.optimizer,
            config=self.config,
            device=self.device,
            ranks=self.ranks,
        )

    def fit(self) -> None:
        """Train to the last step, then score retrieval; a finished run returns at once.

        Raises:
            TrainingStopped: SIGINT or SIGTERM came; the run is saved and can be resumed.
            DivergedError: too many steps in a row had no finite loss, too often.
            CheckpointError: a checkpoint could not be written; the one before it is whole.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        if self.ranks.leads:
            cut_metrics(self.out, step=self.step)
        try:
            if self.step < self.config.train.steps:
                with track("reading images", console=self.console) as progress:
                    self.loader.prepare(progress)
                torch.set_rng_state(self._random)
                self._write_folder()
            while self.step < self.config.train.steps:
                self._train()
        finally:
            self.loader.close()
        count = self.config.train.retrieval_images
        if self.ranks.leads and self.validation is not None and count:
            record_retrieval(
                self.out,
                self.model,
                self.tokenizer,
                self.validation,
                step=self.step,
                count=count,
                image_size=self.config.model.image.image_size,
                console=self.console,
            )
        if self.ranks.leads:
            write_card(self.out, config=self.config, model=self.model, step=self.step)

    def _train(self) -> None:
        """Train to the last step, or until the run goes back to a checkpoint."""
        train = self.config.train
        with self._recorder() as recorder, StopRequest() as stop:
            while self.step < train.steps:
                number = self._train_step(stop)
                went_back = self.meter.in_a_row >= train.max_nonfinite
                if went_back:
                    self._roll_back()
                else:
                    self._after_step(recorder, stopped=number is not None)
                if number is not None and self.step < train.steps:
                    raise TrainingStopped(number, step=self.step, total=train.steps, out=self.out)
                if went_back:
                    return

    def _recorder(self) -> AbstractContextManager[Recorder | None]:
        if not self.ranks.leads:
            return nullcontext()
        steps = self.config.train.steps
        return Recorder(self.out, console=self.console, total=steps, step=self.step)

    def _restore(self, checkpoint: Checkpoint) -> None:
        path = checkpoint_path(self.out / "checkpoints", checkpoint.step)
        restore_modules(checkpoint, self._modules, self.optimizer, path=path)
        self.meter = Meter(**checkpoint.facts["meter"])
        self.step = checkpoint.step
        self._random = random_state(checkpoint, seed=self.config.seed, ranks=self.ranks)
        restore_device_random(checkpoint, self.device, seed=self.config.seed, ranks=self.ranks)

    def _roll_back(self) -> None:
        """Go back to the last checkpoint before the streak; the data go on, so that the run does
        not meet the same batches again."""
        train, meter, step = self.config.train, self.meter, self.step
        if meter.rollbacks >= train.max_rollbacks:
            raise diverged(train, step=step, out=self.out)
        found = checkpoint_before_streak(self.out / "checkpoints") if self.ranks.leads else None
        self._restore(self.ranks.checkpoint_of_leader(found))
        torch.set_rng_state(self._random)
        self.meter = replace(
            self.meter, skipped=meter.skipped, in_a_row=0, rollbacks=meter.rollbacks + 1
        )
        if self.ranks.leads:
            cut_metrics(self.out, step=self.step)
        say(
            self.console,
            f"no finite loss in {train.max_nonfinite} steps up to {step}: back to step {self.step} "
            f"with the batches that follow, {self.meter.rollbacks} of {train.max_rollbacks} times",
        )

    def _write_folder(self) -> None:
        """The first checkpoint and what describes the run: from here on it can be resumed."""
        if self.step == 0:
            self._save()
        else:
            say(self.console, f"going on from step {self.step} of {self.config.train.steps}")
        if self.ranks.leads:
            about = {"config.toml": self.config.to_toml()}
            write_texts(self.out, about | {"tokenizer.json": self.tokenizer.to_json()})
        self._list_broken()

    def _list_broken(self) -> None:
        broken = self.ranks.gather(self.loader.broken)
        # Of a stream nobody knows how long it is, nor what is wrong with it before it is read.
        whole = None if isinstance(self.loader, StreamLoader) else self.source
        total = None if whole is None else len(whole) + len(whole.broken)
        if self.ranks.leads:
            list_broken(self.out, broken, total=total, console=self.console)

    def _train_step(self, stop: StopRequest) -> int | None:
        """One step; returns the signal to stop by, which all ranks agree on."""
        last = self.step + 1 == self.config.train.steps
        result = self.stepper.run(
            self._ahead.take(),
            step=self.step,
            stop=stop,
            meanwhile=None if last or self.device.type == "cpu" else self._ahead.fetch,
        )
        if result.values is None:
            self.meter.skip()
        else:
            self.meter.add(result.values)
        self.step += 1
        return result.stop

    def _after_step(self, recorder: Recorder | None, *, stopped: bool) -> None:
        train, step = self.config.train, self.step
        last = step == train.steps
        logged = step % train.log_every == 0 or last
        means = self.meter.take() if logged else {}
        if recorder is not None:
            recorder.advance(step)
            if logged:
                recorder.log(step, means, images=train.batch_size)
                self.watch.look(step, means)
            if train.sample_images and (step % train.sample_every == 0 or last):
                self._draw_samples(recorder)
        # Within a streak there is nothing that the checkpoint before it does not hold.
        due = step % train.checkpoint_every == 0 and self.meter.in_a_row == 0
        if stopped or due or last:
            if recorder is not None:
                recorder.sync()
            self._save()
            self._list_broken()

    def _save(self) -> None:
        snapshot = take_snapshot(
            self._modules,
            self.optimizer,
            step=self.step,
            position=self._ahead.position,
            facts={
                "vilseg": __version__,
                "config": self.config.model_dump(mode="json"),
                "tokenizer": self.tokenizer.to_json(),
                "meter": self.meter.state(),
            },
            device=self.device,
            ranks=self.ranks,
        )
        if self.ranks.leads:
            # The checkpoint before a streak stays until the streak is over.
            keep = None if self.meter.in_a_row else self.config.train.keep
            save_checkpoint(self.out / "checkpoints", snapshot, keep=keep)

    def _draw_samples(self, recorder: Recorder) -> None:
        picture = sample_picture(
            self.model,
            self.source if self.validation is None else self.validation,
            count=self.config.train.sample_images,
        )
        save_picture(picture, self.out / "samples" / f"step-{self.step:07d}.png")
        recorder.picture(self.step, picture)
