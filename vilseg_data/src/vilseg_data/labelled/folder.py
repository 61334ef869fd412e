"""Any folder of images and masks with a list of classes.

`images/`, `masks/` with a PNG of class ids for each image, and `classes.txt`: a class a line, whose
ids count from 0, or lines of "id: name". The class `background` is what belongs to no other; ids
named `ignore`, `void` or `unlabeled` count as 255. Splits are folders (`images/val/`, `masks/val/`)
or lists (`splits/val.txt`); `unseen.txt`, if there is one, names the unseen classes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from vilseg_data.decode import IMAGE_SUFFIXES
from vilseg_data.labelled.classes import IGNORE, ClassList, colour_map
from vilseg_data.labelled.files import LabelledFiles
from vilseg_data.labelled.layout import Form, find_form, read_split
from vilseg_data.labelled.masks import MaskFolder, stems, value_table

_IGNORED = frozenset(("ignore", "void", "unlabeled", "unlabelled"))
_NUMBERED = re.compile(r"(\d+)\s*:\s*(.+)")


class FolderSet(LabelledFiles):
    """Images and masks of the user's own, in the layout above."""

    def __init__(self, root: str | Path, *, split: str = "val", count: int | None = None) -> None:
        """Read the classes and list the images of `split`; a folder without splits has one, all.

        Raises:
            ValueError: the root, the list, an image, a mask or a class name is missing.
        """
        found = find_form(Path(root), _forms(split), what="a folder set")
        names = read_classes(found.parts["classes"])
        images, masks = found.parts["images"], MaskFolder(found.parts["masks"])
        photos = stems(images, suffixes=IMAGE_SUFFIXES)
        notes: tuple[str, ...] = ()
        if found.form == "lists":
            ids, _ = read_split([found.parts["lists"]], split)
        else:
            ids = sorted(photos.keys() | masks.keys())
        if not ids:
            raise ValueError(
                f"{images}: expected images of {', '.join(IMAGE_SUFFIXES)}, came none; add them"
            )
        if found.form == "all":
            notes = (f"{split}: the folder has no splits, so it is all {len(ids)} images",)
        kept = [name for name in names.values() if name not in _IGNORED]
        table = {k: IGNORE if n in _IGNORED else kept.index(n) for k, n in names.items()}
        super().__init__(
            name="folder",
            classes=_class_list(kept, unseen=_read_unseen(Path(root))),
            split=split,
            form=found.form,
            ids=ids,
            photos=photos,
            photo_folder=images,
            masks=masks,
            table=value_table(table | {IGNORE: IGNORE}),
            notes=notes,
            count=count,
        )


def _forms(split: str) -> tuple[Form, ...]:
    whole = {"classes": ["classes.txt"], "images": ["images/"], "masks": ["masks/"]}
    parted = {
        "classes": ["classes.txt"],
        "images": [f"images/{split}/"],
        "masks": [f"masks/{split}/"],
    }
    return (
        Form("folders", parted),
        Form("lists", whole | {"lists": ["splits/"]}),
        Form("all", whole),
    )


def read_classes(path: Path) -> dict[int, str]:
    """The name of each id in a list of classes, in the order of the ids.

    Raises:
        ValueError: the list is empty, has an empty line, a name or id twice, or an id above 254.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    if not lines or "" in lines:
        what = "an empty line" if lines else "nothing"
        raise ValueError(f"{path}: expected a class name on every line, came {what}; add it")
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = [(int(m[1]), m[2]) for m in matches if m]
    if pairs and len(pairs) < len(lines):
        plain = next(line for line, m in zip(lines, matches, strict=True) if not m)
        raise ValueError(
            f'{path}: expected "id: name" on every line or on none, came {plain!r}; give it an id'
        )
    pairs = sorted(pairs) or list(enumerate(lines))
    for what, values in (
        ("id", [str(k) for k, _ in pairs]),
        ("name", [name for _, name in pairs if name not in _IGNORED]),
    ):
        repeated = sorted({value for value in values if values.count(value) > 1})
        if repeated:
            raise ValueError(f"{path}: expected every {what} once, came {repeated} twice; drop one")
    high = [k for k, name in pairs if k > IGNORE or (k == IGNORE and name not in _IGNORED)]
    if high:
        raise ValueError(
            f"{path}: expected ids 0 to {IGNORE - 1}, came {high[:5]}; {IGNORE} is for pixels to "
            "ignore, and masks are 8 bits deep"
        )
    return dict(pairs)


def _read_unseen(root: Path) -> Sequence[str]:
    path = root / "unseen.txt"
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _class_list(names: Sequence[str], *, unseen: Sequence[str]) -> ClassList:
    unknown = [name for name in unseen if name not in names or name == "background"]
    if unknown:
        raise ValueError(f"unseen.txt: expected names of classes.txt, came {unknown}; correct them")
    return ClassList(
        names=tuple(names),
        prompts=tuple(name.replace("_", " ") for name in names),
        unseen=tuple(sorted(names.index(name) for name in unseen)),
        background=names.index("background") if "background" in names else None,
        palette=colour_map(len(names)),
    )
