"""Published names of classes, and the same images under several of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.eval.fakes import MemorySet, class_list

from vilseg_core.models import ViLSeg
from vilseg_data import LabelledSample, Tokenizer
from vilseg_data.labelled import VOC_CLASSES, coco_classes, context_classes
from vilseg_eval import (
    NAME_SETS,
    BackgroundRule,
    ClassSets,
    PatchSegmenter,
    ViLSegSegmenter,
    evaluate,
    name_set,
)
from vilseg_eval.audit import Cell, audit, audit_summary
from vilseg_eval.by_class import ByClass
from vilseg_eval.naming import flat

CLASSES = class_list(4, unseen=(2,), background=0)


class Photos(MemorySet):
    """Label maps with images of noise."""

    def __getitem__(self, index: int, /) -> LabelledSample:
        sample = super().__getitem__(index)
        generator = torch.Generator().manual_seed(index)
        noise = torch.randint(0, 256, sample.image.shape, generator=generator, dtype=torch.uint8)
        return LabelledSample(sample.key, noise, sample.labels)


def test_the_data_sets_own_words_are_one_a_class() -> None:
    assert name_set(VOC_CLASSES, "dataset", data="voc") == tuple(
        (prompt,) for prompt in VOC_CLASSES.prompts[1:]
    )


@pytest.mark.parametrize(
    ("classes", "data", "schemes"),
    [
        (VOC_CLASSES, "voc", ("groupvit", "maskclip", "sclip")),
        (context_classes(59), "context", ("groupvit", "maskclip")),
        (context_classes(60), "context-60", ("groupvit", "maskclip")),
        (context_classes(33), "context-33", ("groupvit", "maskclip")),
        (coco_classes(171), "coco-stuff", ("maskclip",)),
        (coco_classes(81), "coco-object", ("maskclip",)),
    ],
    ids=str,
)
def test_published_schemes_name_every_class(
    classes: object, data: str, schemes: tuple[str, ...]
) -> None:
    sets = ClassSets.of(classes)  # type: ignore[arg-type]
    for scheme in NAME_SETS[1:]:
        if scheme in schemes:
            named = name_set(classes, scheme, data=data)  # type: ignore[arg-type]
            assert len(named) == len(sets.foreground)
        else:
            with pytest.raises(ValueError, match=f"a scheme that covers {data} .*came '{scheme}'"):
                name_set(classes, scheme, data=data)  # type: ignore[arg-type]


def test_schemes_differ_where_they_are_known_to() -> None:
    boat = VOC_CLASSES.names.index("boat") - 1
    person = VOC_CLASSES.names.index("person") - 1
    sclip = name_set(VOC_CLASSES, "sclip", data="voc")
    assert sclip[boat] == ("ship",)
    assert len(sclip[person]) == 7
    words, owners = flat(sclip, ids=range(1, 21))
    assert len(words) == len(owners) == 30
    assert owners.count(person + 1) == 7


def test_files_name_all_classes_or_some(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("one\ntwo, zwei\n\nthree\n")
    assert name_set(CLASSES, str(file), data="x") == (("one",), ("two", "zwei"), ("three",))
    file.write_text("class2: deux, dos\n")
    assert name_set(CLASSES, str(file), data="x") == (("word 1",), ("deux", "dos"), ("word 3",))
    for text, message in (
        ("one\n", "expected 3 lines in .*came 1"),
        ("class9: nine\n", "class9, which are no foreground classes"),
        ("one\nOne\nthree\n", "expected different words"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            name_set(CLASSES, str(file), data="x")
    with pytest.raises(ValueError, match="names: expected one of dataset, groupvit"):
        name_set(CLASSES, "nonsense", data="x")


@pytest.mark.parametrize("kind", [ViLSegSegmenter, PatchSegmenter])
def test_one_pass_over_all_ways_of_naming_is_an_evaluation_of_each(
    kind: type[PatchSegmenter], model: ViLSeg, tokenizer: Tokenizer
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(4, (9, 12 + i), generator=generator) for i in range(3)]
    dataset = Photos(CLASSES, maps)
    rule = BackgroundRule.parse("words:sky, wall")
    ways = {
        "plain": (("dog", "grass", "red car", *rule.words), (1, 2, 3, 0, 0)),
        "many": (("hound", "puppy", "lawn", "auto", *rule.words), (1, 1, 2, 3, 0, 0)),
    }
    cells = [
        Cell(names=n, template_set=t, words=words, word_classes=owners, templates=(sentence,))
        for n, (words, owners) in ways.items()
        for t, sentence in (("a", "a photo of a {}"), ("b", "{}"))
    ]
    parts = [kind(model, tokenizer, cell.words, templates=cell.templates) for cell in cells]
    labels = [f"{word} {cell.label}" for cell in cells for word in cell.words]
    rows = torch.cat([part.word_embeddings for part in parts])
    joint = parts[0].with_embeddings(labels, rows)
    grid = audit(joint, dataset, cells, background=rule)
    for cell, part in zip(cells, parts, strict=True):
        foreground = [c for c in cell.word_classes if c]
        alone = evaluate(part, dataset, background=rule, word_classes=foreground)
        together = grid[cell.names, cell.template_set]
        assert together.results["protocols"] == alone.results["protocols"]
        assert together.results["words"] == alone.results["words"]
        assert together.results["templates"] == list(cell.templates)
    summary = audit_summary(grid)
    assert (summary["names"], summary["templates"]) == (["plain", "many"], ["a", "b"])
    found = summary["protocols"]["all"]
    values = [value for row in found["miou"] for value in row]
    assert found["miou"][1][0] == grid["many", "a"].results["protocols"]["all"]["miou"]
    assert found["spread"] == max(values) - min(values)
    with pytest.raises(ValueError, match="background: expected a rule without calibration"):
        audit(joint, dataset, cells, background=BackgroundRule.parse("auto:train"))


def test_words_of_a_class_are_drawn_as_one(model: ViLSeg, tokenizer: Tokenizer) -> None:
    words, owners = ("hound", "puppy", "lawn", "auto", "sky"), (1, 1, 2, 3, 0)
    segmenter = PatchSegmenter(model, tokenizer, words)
    image = torch.randint(0, 256, (3, 16, 24), dtype=torch.uint8)
    grouped = ByClass(segmenter, word_classes=owners, sets=ClassSets.of(CLASSES))
    assert grouped.words == ("hound", "lawn", "auto")
    (answer,), (plain,) = grouped.segment([image], [""]), segmenter.segment([image], [""])
    labels = plain.labels(range(5))
    expected = torch.tensor([0, 0, 1, 2, -1])[labels]
    assert torch.equal(answer.labels(range(3)), expected)  # type: ignore[arg-type]
