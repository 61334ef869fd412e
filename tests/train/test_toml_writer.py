import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilseg_train.toml_writer import dumps

# Surrogates cannot be written as UTF-8 at all.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars | st.lists(scalars, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=5))
def test_reads_back_as_written(document: dict[str, object]) -> None:
    assert tomllib.loads(dumps(document)) == document


def test_values_stand_before_sections() -> None:
    text = dumps({"inner": {"b": [1, 2.5]}, "a": True})
    assert text == "a = true\n\n[inner]\nb = [1, 2.5]\n"


def test_lists_of_tables_have_a_header_each() -> None:
    text = dumps({"a": {"list": [{"x": 1, "inner": {"y": 2}}, {}], "b": [{"z": 3}, 4]}})
    assert text == (
        "[a]\nb = [{z = 3}, 4]\n\n[[a.list]]\nx = 1\n\n[a.list.inner]\ny = 2\n\n[[a.list]]\n"
    )


def test_null_is_refused() -> None:
    with pytest.raises(ValueError, match="TOML cannot hold None"):
        dumps({"a": None})
