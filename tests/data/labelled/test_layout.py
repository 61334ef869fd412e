"""Lists of ids, and what is said of a root that holds nothing known."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.labelled.layouts import write_list

from vilseg_data.labelled.layout import Form, compare_list, find_form, list_hash, read_split

FORMS = (
    Form("one", {"images": ["a/", "x/a/"], "list": ["list.json"]}),
    Form("two", {"images": ["a/", "x/a/"]}),
)


def test_the_first_whole_form_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x" / "a").mkdir(parents=True)
    found = find_form(tmp_path, FORMS, what="it")
    assert (found.form, found.parts) == ("two", {"images": tmp_path / "x" / "a"})
    (tmp_path / "list.json").touch()
    assert find_form(tmp_path, FORMS, what="it").form == "one"
    assert find_form(tmp_path, FORMS, what="it", form="two").form == "two"


def test_a_file_in_the_place_of_a_folder_is_not_it(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "list.json").mkdir()
    for k in range(9):
        (tmp_path / f"b{k}").touch()
    with pytest.raises(ValueError, match="root: expected it in one of its forms") as caught:
        find_form(tmp_path, FORMS, what="it")
    text = str(caught.value)
    assert "which holds a, b0, b1, b2, b3, b4, b5, b6 and 3 more; looked for" in text
    assert "one (no a/ or x/a/; no list.json), two (no a/ or x/a/); give" in text
    with pytest.raises(ValueError, match=r"in the form, came .*/absent, which is no folder"):
        find_form(tmp_path / "absent", FORMS, what="it", form="one")


@given(st.permutations([f"{k:012d}" for k in range(7)]))
def test_lists_are_sorted_whatever_their_order(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    folder = write_list(tmp_path_factory.mktemp("lists"), "val", ids)
    found, path = read_split([folder / "absent", folder], "val")
    assert (found, path) == (sorted(ids), folder / "val.txt")
    assert list_hash(ids) == list_hash(found)


def test_the_hash_of_a_list() -> None:
    # printf 'a\nb\n' | sha256sum
    expected = "911169ddaaf146aff539f58c26c489af"
    assert list_hash(["b", "a"]).startswith(expected)


@pytest.mark.parametrize(
    ("known", "notes"),
    [
        (None, 0),
        ({"count": 2}, 0),
        ({"count": 3}, 1),
        ({"count": 2, "sha256": list_hash("ab")}, 0),
        ({"count": 2, "sha256": list_hash("ac")}, 1),
    ],
)
def test_a_list_is_known_by_its_hash_or_its_length(
    known: dict[str, object] | None, notes: int
) -> None:
    assert len(compare_list(["a", "b"], known, split="val")) == notes
