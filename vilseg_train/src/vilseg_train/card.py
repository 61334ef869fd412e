"""The model card of a run: what the model is, what it was trained on, how well it does, its limits.

Written at the end of training, and again when the run is evaluated.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vilseg_core.models import ViLSeg
from vilseg_data import CaptionsConfig
from vilseg_train import __version__
from vilseg_train.config import RunConfig
from vilseg_train.folder import write_texts

CARD = "README.md"
_NO_SCORES = "None yet: `vilseg eval THIS_FOLDER --data ...` adds them here."
_LIMITS = (
    "- It was taught by captions alone and saw no mask: edges follow the patch grid, and what "
    "captions seldom name is seldom found.\n"
    "- Every pixel gets one of the words that you give. Without a word for the rest (such as "
    '"wall" or "sky") the rest gets a wrong one.\n'
    "- At most {clusters} regions an image; two things of one cluster get one word.\n"
    "- Images are squashed to {side} x {side} pixels.\n"
    "- What the captions say of people and places, the model repeats. It is not made for decisions "
    "about persons."
)


def write_card(folder: Path, *, config: RunConfig, model: ViLSeg, step: int) -> None:
    """Write `README.md` into the folder of a run, from what lies there and what is given."""
    write_texts(
        folder,
        {
            CARD: model_card(
                config,
                parameters=count_parameters(model),
                step=step,
                scores=_scores_in(folder),
            )
        },
    )


def renew_scores(folder: Path) -> None:
    """Put the scores that lie in the folder of a run into its card, if it has one."""
    path = folder / CARD
    text = path.read_text("utf-8") if path.is_file() else ""
    before, heading, rest = text.partition("## Scores\n")
    _, limits, after = rest.partition("## Limits\n")
    if heading and limits:
        scores = "\n\n".join(_scores_in(folder))
        write_texts(folder, {CARD: f"{before}{heading}\n{scores}\n\n{limits}{after}"})


def count_parameters(model: ViLSeg) -> dict[str, int]:
    """Parameters by part, in the order of the model; they add up to the whole."""
    numbers = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    return {name: number for name, number in numbers.items() if number}


def model_card(
    config: RunConfig,
    *,
    parameters: Mapping[str, int],
    step: int,
    scores: Sequence[str] = (_NO_SCORES,),
) -> str:
    """Markdown.

    Args:
        parameters: part of the model -> how many.
        step: training steps done.
        scores: paragraphs and tables.
    """
    model = config.model
    sections = [
        f"# {config.name}",
        "A model that segments an image with free words, learned from images with captions alone "
        f"(ViL-Seg, ECCV 2022). Trained with vilseg {__version__}.",
        "## Use",
        '```\nvilseg segment THIS_FOLDER PHOTO.jpg --words "dog, grass, person"\n```',
        "```python\n"
        "from vilseg_eval import ViLSegSegmenter\nfrom vilseg_train import open_run\n\n"
        'run = open_run("THIS_FOLDER")\n'
        'segmenter = ViLSegSegmenter(run.model, run.tokenizer, ["dog", "grass", "person"])\n'
        "```",
        "## Training",
        _table(
            ("", ""),
            [
                ("captions", _data(config.data)),
                ("steps", _steps(config, step)),
                ("batch", f"{config.train.batch_size}"),
                ("image encoder", _image(config)),
                ("text encoder", _text(config)),
                ("clusters", f"{model.cluster.clusters}"),
                ("losses", _losses(config)),
                ("learning rate", f"{config.optim.lr:g}"),
                ("weight decay", f"{config.optim.weight_decay:g}"),
                ("seed", f"{config.seed}"),
                *_self_training(config),
            ],
        ),
        "All of it is in `config.toml`.",
        "## Parameters",
        _table(
            ("part", "number"),
            [(name.replace("_", " "), f"{number:,}") for name, number in parameters.items()]
            + [("total", f"{sum(parameters.values()):,}")],
        ),
        "## Scores",
        *scores,
        "## Limits",
        _LIMITS.format(clusters=model.cluster.clusters, side=model.image.image_size),
        "## Licence",
        "The licence of the training data is not known to vilseg and decides what these weights "
        "may be used for: find it out before you publish or sell anything made with them. vilseg "
        "itself is under the MIT licence.",
    ]
    return "\n\n".join(sections) + "\n"


def _scores_in(folder: Path) -> list[str]:
    evaluations = sorted(folder.glob("eval/*/results.json"))
    return _scores(_json(folder / "retrieval.json"), [_json(path) or {} for path in evaluations])


def _scores(
    retrieval: Mapping[str, Any] | None, evaluations: Iterable[Mapping[str, Any]]
) -> list[str]:
    found = []
    if retrieval is not None:
        rows = [
            (way.replace("_", " "), *(_percent(value) for value in retrieval[way].values()))
            for way in ("image_to_text", "text_to_image")
        ]
        chance = retrieval["chance"]["image_to_text"]
        rows.append(("chance, image to text", *(_percent(value) for value in chance.values())))
        about = f"{retrieval['images']} images and {retrieval['captions']} captions"
        found += [
            f"Retrieval on {retrieval['source']}, {about}, per cent:",
            _table(("", *retrieval["image_to_text"]), rows),
        ]
    rows = [_evaluation_row(result) for result in evaluations if result.get("protocols")]
    if rows:
        heading = (
            "data",
            "segmenter",
            "images",
            "mIoU, all classes",
            "mIoU, unseen",
            "chance, all",
        )
        found += ["Segmentation, per cent:", _table(heading, rows)]
    return found or [_NO_SCORES]


def _evaluation_row(result: Mapping[str, Any]) -> tuple[str, ...]:
    protocols, chance = result["protocols"], result["chance"]
    unseen = protocols.get("gzlss") or {}
    return (
        f"{result['data']} {result['split']}",
        str(result["segmenter"]),
        str(result["images"]),
        _percent((protocols.get("all") or {}).get("miou")),
        _percent(unseen.get("miou")),
        _percent((chance.get("all") or {}).get("miou")),
    )


def _data(config: CaptionsConfig) -> str:
    if config.kind == "world":
        return f"vilseg's built-in world, {config.count:,} drawn scenes, seed {config.seed}"
    if config.kind == "mix":
        return "a mix of " + "; ".join(_data(source) for source in config.sources)
    place = {"archive": config.root, "table": config.table, "shards": config.shards}[config.kind]
    split = f", split {config.split}" if config.kind == "archive" else ""
    return f"{config.kind} {place}{split}"


def _image(config: RunConfig) -> str:
    image = config.model.image
    return f"{image.name}, {image.image_size} pixels, pooling {image.pooling}"


def _text(config: RunConfig) -> str:
    text = config.model.text
    kind = f"transformer of {text.layers} layers" if text.layers else "bag of words"
    size = f"{text.vocab_size:,} tokens, at most {text.context_length} a text"
    return f"{kind}, width {text.width}, {size}"


def _steps(config: RunConfig, step: int) -> str:
    # The steps of self-training are counted by themselves.
    done = step if config.self_train is None else config.train.steps
    return f"{done:,} of {config.train.steps:,}"


def _self_training(config: RunConfig) -> list[tuple[str, str]]:
    options = config.self_train
    if options is None:
        return []
    seen = "those that are scored later" if options.transductive else "others than are scored"
    about = f"{options.rounds} x {options.steps} steps on images of {options.images} ({seen})"
    return [("self-training", f"{about}, for {len(options.words)} words")]


def _losses(config: RunConfig) -> str:
    loss = config.loss
    parts = [f"{name} {getattr(loss, name):g}" for name in ("cross", "vision", "cluster")]
    return ", ".join([*parts, *(f"{table.name} {table.weight:g}" for table in loss.active_extra)])


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded
