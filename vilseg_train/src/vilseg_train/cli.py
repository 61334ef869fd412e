"""The `vilseg` command: parse, build, call.

Nothing heavy is imported before a command runs, so that `vilseg --help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vilseg_train import data_command, eval_command, report_command
from vilseg_train.errors import RunEnded, SaidElsewhere
from vilseg_train.train_options import check_together

if TYPE_CHECKING:
    from rich.console import Console

    from vilseg_train.config import RunConfig

USER_ERROR = 2
INTERRUPTED = 130


class _Group(TyperGroup):
    """The one place where errors become a line and an exit code.

    By the house rule a `ValueError` is about what the user gave, and so is an `OSError`; anything
    else is a defect of ours and shows its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, RunEnded) as error:
            if ctx.params.get("traceback"):
                raise
            code = error.exit_code if isinstance(error, RunEnded) else USER_ERROR
            if not isinstance(error, SaidElsewhere):
                typer.echo(f"vilseg: {_text(error)}", err=True)
            raise typer.Exit(code) from error
        except KeyboardInterrupt as error:
            typer.echo("vilseg: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learn to segment images with free words from image-caption pairs alone.",
)
app.add_typer(data_command.app, name="data")
app.command("eval")(eval_command.evaluate)
app.command("report")(report_command.report)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _console() -> "Console":
    from rich.console import Console

    return Console()


@app.callback()
def _options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Learn to segment images with free words from image-caption pairs alone."""


@app.command()
def train(
    preset: Annotated[
        str | None,
        typer.Argument(metavar="PRESET|FILE.toml", help="What to train; world by default."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. optim.lr=1e-3."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/NAME by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it costs and what is missing; train nothing."),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Measure a few steps into --out; train nothing."),
    ] = False,
    self_train: Annotated[
        Path | None,
        typer.Option("--self-train", metavar="RUN", help="Teach this run by its predictions."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(help="With --self-train: a folder of images, world (the default) or world2."),
    ] = None,
    words: Annotated[
        str | None, typer.Option(help='With --self-train: "dog, grass" or a file of words.')
    ] = None,
) -> None:
    """Train a model on images with captions and leave a run folder."""
    check_together(
        self_train=self_train is not None,
        training={"PRESET": preset, "--dry-run": dry, "--profile": profile},
        teaching={"--images": images, "--words": words},
    )
    if self_train is not None:
        scenes = images or "world"
        _self_train(self_train, images=scenes, words=words, sets=sets, out=out, resume=resume)
        return
    from vilseg_train.config import load_config
    from vilseg_train.folder import saved_config
    from vilseg_train.parallel import processes
    from vilseg_train.trainer import Trainer

    folder = out or Path("runs") / (Path(preset).stem if preset else "world")

    def configure() -> "RunConfig":
        if resume and preset is None:
            return saved_config(folder).overridden(sets or [])
        return load_config(preset or "world", overrides=sets or [])

    if dry:
        from vilseg_train.dry_run import dry_run

        raise typer.Exit(1 if dry_run(configure(), console=_console()) else 0)
    if profile:
        from vilseg_train.profiling import profile_run

        config = configure()
        profile_run(config, out=out or Path("profiles") / config.name, console=_console())
        return
    with processes() as ranks:
        config = ranks.from_leader(configure)
        Trainer(config, out=folder, resume=resume, console=_console(), ranks=ranks).fit()
        if ranks.leads:
            typer.echo(f"run: {folder}")


def _self_train(
    run: Path,
    *,
    images: str,
    words: str | None,
    sets: list[str] | None,
    out: Path | None,
    resume: bool,
) -> None:
    from vilseg_train.selftrain import SelfTrainer
    from vilseg_train.words import read_words

    folder = out or run.with_name(f"{run.name}+st")
    SelfTrainer(
        run,
        images=images,
        words=read_words(words or ""),
        out=folder,
        overrides=sets or [],
        resume=resume,
        console=_console(),
    ).fit()
    typer.echo(f"run: {folder}")


@app.command()
def segment(
    run: Annotated[Path, typer.Argument(help="A run.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Photos, folders, patterns; - reads paths from standard input."
        ),
    ],
    words: Annotated[
        str | None,
        typer.Option(help='What to look for: "dog, grass" or "dog; person: man, woman".'),
    ] = None,
    words_file: Annotated[
        Path | None, typer.Option(help="The same, a word a line, synonyms after a colon.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/segments by default.")
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option(help="single, simple, sub7, clip80, a file, or a sentence with {}."),
    ] = None,
    combine: Annotated[str, typer.Option(help="Synonyms: mean or max.")] = "mean",
    options: Annotated[
        list[str] | None,
        typer.Option("--segmenter-option", metavar="KEY=VALUE", help="E.g. window=224, refine=10."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of kept features; RUN/cache by default.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep nothing.")] = False,
) -> None:
    """Cut photos into the things that you name."""
    from vilseg_train.segment_command import segment_from_command

    unreadable = segment_from_command(
        run,
        images,
        words=words,
        words_file=words_file,
        out=out,
        templates=templates or [],
        combine=combine,
        options=options or [],
        device=device,
        cache=None if no_cache else cache or run / "cache",
        console=_console(),
    )
    for error in unreadable:
        typer.echo(f"vilseg: cannot read {error}", err=True)
    if unreadable:
        raise typer.Exit(1)


@app.command("reproduce")
def reproduce_study(
    study: Annotated[
        str, typer.Argument(help="table1, table2, fig5, fig6, generalisation or all.")
    ],
    preset: Annotated[
        str, typer.Option(metavar="PRESET|FILE.toml", help="On one of the built-in worlds.")
    ] = "world",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key for every row."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each row.")] = 3,
    only: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Variants to train; rows of others are left out."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Labelled scenes to score on.")] = 400,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; one a core by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/reproduce"),
) -> None:
    """Rerun a table or figure of the paper; stopped, the same command goes on."""
    from vilseg_train.reproduce.study import Setting, reproduce

    setting = Setting(preset=preset, overrides=tuple(sets or ()), images=images)
    reproduce(
        study,
        out=out,
        setting=setting,
        seeds=seeds,
        only=only.split(",") if only else (),
        at_once=jobs,
        console=_console(),
    )


@app.command()
def doctor(
    run: Annotated[Path, typer.Argument(help="A run, finished or under way.")],
) -> None:
    """Say what is wrong with a run and what to change; exit code 1 if anything is."""
    from vilseg_train.doctor import report

    if not report(run, console=_console()):
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run.")],
    out: Annotated[Path, typer.Option(help="The file to write, such as model.onnx or model.pt2.")],
    form: Annotated[str, typer.Option("--format", help="onnx or torch.")] = "onnx",
    words: Annotated[
        str | None,
        typer.Option(help='"dog, grass" or a file of words: write their embeddings beside it.'),
    ] = None,
) -> None:
    """Write the image branch for use without vilseg, checked against the checkpoint."""
    from vilseg_train.export import export_run
    from vilseg_train.words import read_words

    export_run(
        run, out=out, form=form, words=read_words(words) if words else (), console=_console()
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with, or show again, the demo in --out.")
    ] = False,
) -> None:
    """Learn the built-in world from captions and segment it: minutes on two CPU cores."""
    from vilseg_train.demo import run_demo

    run_demo(out, seed=seed, resume=resume, console=_console())
