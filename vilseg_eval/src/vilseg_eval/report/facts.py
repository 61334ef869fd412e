"""How results were made: everything that changes their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vilseg_eval.report.curves import abstention_sentence
from vilseg_eval.report.html import details

_FOLDED = 40


def facts(result: Mapping[str, Any]) -> dict[str, str]:
    """What is recorded of one result, by name, in words; what is not recorded is left out."""
    bootstrap = result.get("bootstrap")
    run = result.get("run")
    versions = ", ".join(f"{name} {v}" for name, v in (result.get("versions") or {}).items())
    known = {
        "command": result.get("command"),
        "segmenter": result["segmenter"],
        "run": run.get("step") if isinstance(run, Mapping) else run,
        "names": result.get("name_set"),
        "words": ", ".join(_words(result)),
        "templates": " / ".join(result["templates"]) or "none",
        "template set": result.get("template_set"),
        "background": result["background"],
        "background words": ", ".join(result.get("background_words") or []),
        "abstention": abstention_sentence(result),
        "absent classes": result.get("absent"),
        "resolution": result.get("resolution"),
        "inference": ", ".join(f"{k} {v}" for k, v in (result.get("inference") or {}).items()),
        "intervals": f"{bootstrap['replicates']:,} resamplings of the images, level "
        f"{bootstrap['level']}, seed {bootstrap['seed']}"
        if bootstrap
        else None,
        "list of images": _hash(result.get("list_hash")),
        "weights": _hash(result.get("weights_hash")),
        "versions": versions or "not recorded",
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def facts_list(result: Mapping[str, Any]) -> str:
    """`facts` as a list inside a page; many words are folded away."""
    items = "".join(
        f"<dt>{name}</dt><dd>{_value(name, value, result)}</dd>"
        for name, value in facts(result).items()
    )
    return f"<dl>{items}</dl>"


def _value(name: str, value: str, result: Mapping[str, Any]) -> str:
    count = len(result["names"])
    if name == "words" and count > _FOLDED:
        return details(f"{count} words", escape(value))
    return f"<code>{escape(value)}</code>" if name == "command" else escape(value)


def _words(result: Mapping[str, Any]) -> list[str]:
    return [
        name if len(words) < 2 else f"{name} ({', '.join(words[1:])})"
        for name, words in zip(
            result["names"], result.get("words") or [[n] for n in result["names"]], strict=False
        )
    ]


def _hash(value: str | None) -> str | None:
    return None if value is None else f"sha256 {value}"
