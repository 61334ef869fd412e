"""Self-training: a model's confident predictions on unlabelled images become its labels.

Rounds: the model labels the images (by its clusters at first, by its classifier later), the most
confident tokens of each word are kept, and image encoder and a cosine classifier, begun at the
words' embeddings, learn them on images with other colours and flips.

Legend: m images, k words, d embedding dimension, (h, w) the token grid.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vilseg_data import InvertibleAugmentation
from vilseg_data.seeding import generator_for
from vilseg_eval.prompts import Prompts, clean_words
from vilseg_train import __version__
from vilseg_train.card import write_card
from vilseg_train.checkpoint import Checkpoint, load_module, save_checkpoint
from vilseg_train.classifier import Classifier
from vilseg_train.config import ConfigError, RunConfig, parse_config
from vilseg_train.device import choose_device
from vilseg_train.errors import DivergedError, TrainingStopped
from vilseg_train.folder import check_same_config, claim_new, claim_resumed, write_texts
from vilseg_train.meter import Meter
from vilseg_train.optim import load_optimizer_tensors, optimizer_tensors
from vilseg_train.progress import say, track
from vilseg_train.pseudo_labels import IGNORED, keep_confident, region_labels, token_labels
from vilseg_train.record import Recorder, cut_metrics
from vilseg_train.run import CLASSIFIER, open_run
from vilseg_train.selftrain_config import SelfTrainConfig
from vilseg_train.stop import StopRequest
from vilseg_train.unlabelled import load_unlabelled
from vilseg_train.words import warnings_about

_ENCODE = 64


def self_train_config(
    base: RunConfig, *, images: str, words: Sequence[str], overrides: Sequence[str] = ()
) -> RunConfig:
    """The configuration of a run made of one of `base` by self-training.

    overrides: keys of `self_train` alone, "self_train.rounds=2": the rest is as it was trained.
    """
    for override in overrides:
        if not override.strip().startswith("self_train."):
            raise ConfigError(
                f"--set: expected keys of self_train, came {override!r}; the rest is the run's own"
            )
    listed = json.dumps(clean_words(words), ensure_ascii=False)
    given = [f"self_train.images={json.dumps(images)}", f"self_train.words={listed}"]
    config = base.overridden([*given, *overrides])
    return config.model_copy(update={"name": f"{base.name}+st"})


class SelfTrainer:
    """Makes, of a run, another that was taught by its own predictions.

    The folder is that of a run: `vilseg eval` and `vilseg segment` take it, and `open_run`
    gives the classifier with the model. Stopped and resumed it ends in the same bits, on the CPU.

    Args:
        folder: the run to begin with; not changed.
        images: a folder of images, or the name of a built-in world.
        words: the k words to tell apart.
        out: the folder of the new run.
        overrides: keys of `self_train`.
        resume: go on with the run in `out`.
        console: where progress is shown.

    Raises:
        ValueError: run, images, words or keys cannot be used; nothing is written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        images: str,
        words: Sequence[str],
        out: Path,
        overrides: Sequence[str] = (),
        resume: bool = False,
        console: Console,
    ) -> None:
        self.out, self.console = out, console
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(
                "--self-train: expected one process, came several; leave torchrun out"
            )
        resumed = claim_resumed(out) if resume else None
        if resumed is None:
            claim_new(out)
        for error in resumed[2] if resumed else ():
            say(console, f"warning: {error}; going on from an earlier one")
        run = open_run(folder)
        for warning in warnings_about(run, words):
            say(console, f"warning: {warning}")
        self.config = self_train_config(run.config, images=images, words=words, overrides=overrides)
        assert self.config.self_train is not None
        self.options: SelfTrainConfig = self.config.self_train
        if self.config.train.threads:
            torch.set_num_threads(self.config.train.threads)
        self.device = choose_device(self.config.train.device)
        self.model, self.tokenizer = run.model.to(self.device), run.tokenizer
        prompts = Prompts(self.options.words, templates=self.options.templates)
        self.classifier = Classifier(prompts.embed(self.model, self.tokenizer)).to(self.device)
        self.images = load_unlabelled(
            self.options, image_size=self.config.model.image.image_size, console=console
        )
        side = self.config.model.image.image_size // run.model.image_encoder.patch_size
        self.labels = torch.full((len(self.images), side, side), IGNORED, dtype=torch.int16)
        self.step = 0
        self.meter = Meter()
        self._augmentation = InvertibleAugmentation(
            gain=self.options.gain, bias=self.options.bias, flip=self.options.flip
        )
        self.optimizer = self._optimizer()
        if resumed is not None:
            self._restore(*resumed[:2])

    @property
    def total(self) -> int:
        """The steps of all rounds."""
        return self.options.rounds * self.options.steps

    def fit(self) -> None:
        """Train to the last step of the last round; a finished run returns at once.

        Raises:
            TrainingStopped: SIGINT or SIGTERM came; the run is saved and can be resumed.
            DivergedError: a step had no finite loss.
        """
        cut_metrics(self.out, step=self.step)
        if self.step < self.total:
            self._train()
        write_card(self.out, config=self.config, model=self.model, step=self.step)

    def _train(self) -> None:
        if self.step == 0:
            self._save()  # from here on it can be resumed
        write_texts(
            self.out,
            {"config.toml": self.config.to_toml(), "tokenizer.json": self.tokenizer.to_json()},
        )
        with (
            Recorder(self.out, console=self.console, total=self.total, step=self.step) as recorder,
            StopRequest() as stop,
        ):
            while self.step < self.total:
                if self.step % self.options.steps == 0:
                    self._begin_round()
                self.meter.add(self._train_step())
                self.step += 1
                number = stop.number
                self._after_step(recorder, stopped=number is not None)
                if number is not None and self.step < self.total:
                    raise TrainingStopped(number, step=self.step, total=self.total, out=self.out)

    def _begin_round(self) -> None:
        """Label the images with the model as it is; the optimiser begins anew."""
        options, words = self.options, self.classifier.weight.detach()
        regions = self.step == 0 and options.labels == "regions"

        def label(pixels: Tensor) -> tuple[Tensor, Tensor]:
            if regions:
                return region_labels(self.model, pixels, words=words, scale=options.scale)
            return token_labels(pixels, words=words, scale=options.scale)

        with track("labelling images", console=self.console) as progress:
            labels, confidence = self._label(label, progress=progress)
        kept = keep_confident(labels, confidence, share=options.share)
        self.labels = kept.to(torch.int16)
        self.optimizer = self._optimizer()
        taught = len(torch.unique(kept[kept != IGNORED]))
        share = float((kept != IGNORED).float().mean())
        say(
            self.console,
            f"round {self.step // options.steps + 1} of {options.rounds}: {share:.0%} of the "
            f"tokens of {len(self.images)} images are labels, for {taught} of "
            f"{len(options.words)} words",
        )

    @torch.no_grad()
    def _label(
        self,
        label: Callable[[Tensor], tuple[Tensor, Tensor]],
        *,
        progress: Callable[[int, int], None],
    ) -> tuple[Tensor, Tensor]:
        found, sure = [], []
        for start in range(0, len(self.images), _ENCODE):
            pixels = self._pixels(self._floats(self.images[start : start + _ENCODE]))
            labels, confidence = label(pixels)
            found.append(labels.cpu())
            sure.append(confidence.cpu())
            progress(min(start + _ENCODE, len(self.images)), len(self.images))
        return torch.cat(found), torch.cat(sure)

    def _train_step(self) -> dict[str, float]:
        options = self.options
        rows = self._rows()
        labels = self.labels[rows].long().to(self.device)
        state = int(generator_for(options.seed, 1, self.step).integers(2**62))
        generator = torch.Generator().manual_seed(state)
        params = self._augmentation.sample(len(rows), generator=generator, device=self.device)
        changed = self._augmentation.apply(self._floats(self.images[rows]), params).clamp(0, 1)
        with torch.set_grad_enabled(options.encoder == "tuned"):
            pixels = self._pixels(changed)
        pixels, _ = self._augmentation.invert(pixels, params)
        logits = options.scale * self.classifier(pixels)
        loss = cross_entropy(logits, labels, ignore_index=IGNORED)
        if not math.isfinite(loss.item()):
            raise DivergedError(
                f"no finite loss in step {self.step + 1}; begin again with a lower self_train.lr"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], 1.0
        )
        self.optimizer.step()
        kept = labels != IGNORED
        agreed = (logits.argmax(1) == labels)[kept].float().mean()
        return {"loss": loss.item(), "agreement": agreed.item()}

    def _rows(self) -> Tensor:
        """The images of this step: every one with a label once an epoch of a round."""
        labelled = (self.labels != IGNORED).flatten(1).any(1).nonzero().flatten()
        size = min(self.options.batch_size, len(labelled))
        number, steps = divmod(self.step % self.options.steps, max(1, len(labelled) // size))
        round_ = self.step // self.options.steps
        order = generator_for(self.options.seed, 2, round_, number).permutation(len(labelled))
        return labelled[torch.from_numpy(order[steps * size : (steps + 1) * size])]

    def _after_step(self, recorder: Recorder, *, stopped: bool) -> None:
        step, options = self.step, self.options
        last = step % options.steps == 0
        recorder.advance(step)
        if step % options.log_every == 0 or last:
            recorder.log(step, self.meter.take(), images=options.batch_size)
        if stopped or last or step % options.checkpoint_every == 0:
            recorder.sync()
            self._save()

    def _optimizer(self) -> torch.optim.AdamW:
        named = [("classifier.weight", self.classifier.weight)]
        if self.options.encoder == "tuned":
            encoder = self.model.image_encoder.named_parameters()
            named += [(f"image_encoder.{name}", parameter) for name, parameter in encoder]
        names, parameters = zip(*named, strict=True)
        options = self.options
        return torch.optim.AdamW(
            [{"params": list(parameters), "names": list(names)}],
            lr=options.lr,
            weight_decay=options.weight_decay,
        )

    def _pixels(self, images: Tensor) -> Tensor:
        # In evaluation mode throughout: self-training moves no running statistics.
        pixels: Tensor = self.model.encode_image(images).pixels
        return pixels.float()

    def _floats(self, images: Tensor) -> Tensor:
        return images.to(self.device).float().div_(255)

    def _save(self) -> None:
        tensors = {"pseudo/labels": self.labels}
        for prefix, state in (
            ("model", self.model.state_dict()),
            (CLASSIFIER, self.classifier.state_dict()),
            ("optimizer", optimizer_tensors(self.optimizer)),
        ):
            tensors |= {f"{prefix}/{name}": tensor for name, tensor in state.items()}
        facts = {
            "vilseg": __version__,
            "config": self.config.model_dump(mode="json"),
            "tokenizer": self.tokenizer.to_json(),
            "meter": self.meter.state(),
        }
        checkpoint = Checkpoint(step=self.step, tensors=tensors, facts=facts)
        save_checkpoint(self.out / "checkpoints", checkpoint, keep=self.config.train.keep)

    def _restore(self, checkpoint: Checkpoint, path: Path) -> None:
        check_same_config(self.config, parse_config(checkpoint.facts["config"]), out=self.out)
        load_module(self.model, checkpoint.part("model"), path=path)
        load_module(self.classifier, checkpoint.part(CLASSIFIER), path=path)
        load_optimizer_tensors(self.optimizer, checkpoint.part("optimizer"))
        self.labels = checkpoint.tensors["pseudo/labels"]
        self.meter = Meter(**checkpoint.facts["meter"])
        self.step = checkpoint.step
        say(self.console, f"going on from step {self.step} of {self.total}")
