"""Jobs in processes of their own, a few at a time, each after those it needs; stopped and gone on
with at any moment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vilseg_eval.files import write_atomically
from vilseg_train.errors import RunEnded
from vilseg_train.progress import LINE_SECONDS, say
from vilseg_train.record import METRICS
from vilseg_train.reproduce.job import JOB, RUN, SCORES, Job
from vilseg_train.reproduce.variants import VARIANTS
from vilseg_train.selftrain_config import SelfTrainConfig

LOG = "log.txt"
_POLL = 0.5


class StudyEnded(RunEnded):
    """A study ended before its last job; the message says why and how to go on."""


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]


def run_jobs(jobs: Sequence[Job], *, at_once: int, console: Console) -> None:
    """Run the jobs that are not done, at most `at_once` together, with progress and time left.

    A job whose `parent` is among them waits for it. Each writes what it says into `log.txt` of its
    folder.

    Raises:
        StudyEnded: a job failed; the others under way are stopped, and all of them go on next time.
    """
    waiting = [job for job in jobs if not is_done(job)]
    running: list[_Running] = []
    board = _Board(jobs, console=console)
    try:
        with board:
            while waiting or running:
                while len(running) < at_once and (ready := _ready(waiting, running)):
                    waiting.remove(ready)
                    running.append(_start(ready))
                time.sleep(_POLL)
                board.show()
                for one in [r for r in running if r.process.poll() is not None]:
                    running.remove(one)
                    _check(one)
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()


def is_done(job: Job) -> bool:
    """Whether every row of the job has scores."""
    path = Path(job.folder) / SCORES
    if not path.is_file():
        return False
    scores = json.loads(path.read_text("utf-8"))
    return all(row.key in scores for row in job.rows)


def steps_done(job: Job) -> int:
    """The steps that the run of a job has recorded so far."""
    path = Path(job.folder) / RUN / METRICS
    if not path.is_file():
        return 0
    lines = path.read_bytes().splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except ValueError:
            continue  # a line that is being written
    return 0


def _ready(waiting: Sequence[Job], running: Sequence[_Running]) -> Job | None:
    unfinished = {str(Path(job.folder) / RUN) for job in waiting}
    unfinished |= {str(Path(one.job.folder) / RUN) for one in running}
    return next((job for job in waiting if job.parent not in unfinished), None)


def _start(job: Job) -> _Running:
    folder = Path(job.folder)
    path = folder / JOB
    write_atomically({path: job.to_json().encode()})
    command = [sys.executable, "-m", "vilseg_train.reproduce.job", str(path)]
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    return _Running(job, process)


def _check(one: _Running) -> None:
    if one.process.returncode == 0:
        return
    path = Path(one.job.folder) / LOG
    said = path.read_text("utf-8", errors="replace").strip().splitlines()
    last = said[-1] if said else "it said nothing"
    raise StudyEnded(
        f"{one.job.variant}, seed {one.job.seed}, ended with code {one.process.returncode}: {last} "
        f"(all of it in {path}); the same command goes on from here"
    )


class _Board:
    """A bar over the steps of all jobs; without a terminal, a line now and then."""

    def __init__(self, jobs: Sequence[Job], *, console: Console) -> None:
        self._jobs, self._console = jobs, console
        self._totals = [_steps_of(job) for job in jobs]
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._finished: set[int] = set()
        self._first, self._began = self._done(), time.monotonic()
        self._task: TaskID = self._bar.add_task("", total=sum(self._totals), completed=self._first)
        self._said = self._began

    def __enter__(self) -> "_Board":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.show()
        self._bar.stop()

    def show(self) -> None:
        now, plain = time.monotonic(), not self._console.is_terminal
        if plain and now - self._said < LINE_SECONDS:
            return
        done = self._done()
        what = f"{len(self._finished)} of {len(self._jobs)} runs"
        self._bar.update(self._task, completed=done, description=what)
        if plain:
            self._said = now
            rate = (done - self._first) / (now - self._began)
            left = f"{(sum(self._totals) - done) / rate / 60:.0f} min left" if rate else "starting"
            say(self._console, f"{what}, {done} of {sum(self._totals)} steps, {left}")

    def _done(self) -> int:
        """Steps of all jobs. What has finished once is not read again."""
        done = 0
        for number, (job, total) in enumerate(zip(self._jobs, self._totals, strict=True)):
            if number not in self._finished and is_done(job):
                self._finished.add(number)
            done += total if number in self._finished else min(steps_done(job), total)
        return done


def _steps_of(job: Job) -> int:
    config = job.config()
    if VARIANTS[job.variant].teaches != "self":
        return config.train.steps
    taught = config.self_train or SelfTrainConfig()
    return taught.steps * taught.rounds
