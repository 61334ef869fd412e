"""`vilseg data`: describe, check and pack a source of captions before training on it."""

from pathlib import Path
from typing import Annotated

import typer

FINDINGS = 1

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="A preset or FILE.toml as for train; or a table (.csv, .tsv, .jsonl, .parquet), "
        "a .zip, tars, a folder. world by default.",
        show_default=False,
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. data.split=dev."),
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of a table's images; the table's own by default.")
]
Json = Annotated[
    Path | None,
    typer.Option("--json", "--report", metavar="FILE", help="Write what was found as JSON."),
]

app = typer.Typer(
    no_args_is_help=True,
    help="Look at captions before training on them: what is there, what is broken; pack them.",
)


@app.command("inspect")
def inspect_data(
    source: Source = None,
    sets: Sets = None,
    images: Images = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Counts tokens: a tokenizer.json, or CLIP's .txt.gz; trained otherwise."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw sample pictures.")
    ] = None,
    json: Json = None,
) -> None:
    """Say what is in a source: samples, sizes, lengths of captions, words, pictures."""
    from vilseg_train.data_survey import Given, inspect_given

    given = Given(source, sets=sets or [], images=images)
    inspect_given(given, tokenizer=tokenizer, sheet=sheet, report=json)


@app.command("check")
def check_data(
    source: Source = None,
    sets: Sets = None,
    images: Images = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="SET|FOLDER",
            help="Images that must not be in it: a labelled set as for eval, or a folder.",
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the set of --against.")] = None,
    split: Annotated[str, typer.Option(help="Split of the set of --against.")] = "val",
    near: Annotated[
        int, typer.Option(min=0, max=16, help="Bits of 64 in which the hashes of copies differ.")
    ] = 6,
    min_side: Annotated[int, typer.Option(min=1, help="Least side of an image, pixels.")] = 16,
    max_words: Annotated[
        int, typer.Option(min=1, help="Most words of a caption; CLIP's context holds 75.")
    ] = 75,
    max_characters: Annotated[
        int, typer.Option(min=1, help="Most characters of a caption.")
    ] = 1000,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Pass over findings of a kind; may be repeated."),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Remember what was seen; go on there the next time."),
    ] = None,
    json: Json = None,
) -> None:
    """Find what is broken, double, or of an evaluation set. Exit code 0: nothing, 1: something."""
    from vilseg_train.data_survey import Given, check_given

    given = Given(source, sets=sets or [], images=images)
    clean = check_given(
        given,
        against=against,
        root=root,
        split=split,
        near=near,
        least_side=min_side,
        max_words=max_words,
        max_characters=max_characters,
        ignore=ignore or [],
        journal=journal,
        report=json,
    )
    if not clean:
        raise typer.Exit(FINDINGS)


@app.command("pack")
def pack_data(
    source: Source = None,
    out: Annotated[Path, typer.Option(help="Folder of the shards.")] = Path("shards"),
    sets: Sets = None,
    images: Images = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Samples a shard.")] = 1000,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Scale the shorter side down to this, as JPEG; else no change."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out.")] = False,
    json: Json = None,
) -> None:
    """Copy a source into webdataset shards. Exit code 1: some samples had to be left out."""
    from vilseg_train.data_survey import Given, pack_given

    given = Given(source, sets=sets or [], images=images)
    whole = pack_given(given, out=out, shard_size=shard_size, size=size, resume=resume, report=json)
    if not whole:
        raise typer.Exit(FINDINGS)
