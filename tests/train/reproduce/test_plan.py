"""The plan: every row can be trained and scored, and equal compute is equal."""

from dataclasses import replace

import pytest

from vilseg_data.labelled.coco import coco_classes
from vilseg_data.world import WORLDS
from vilseg_train.config import load_config
from vilseg_train.reproduce.compute import run_flop, steps_of_equal_compute
from vilseg_train.reproduce.plan import STUDIES, chosen_studies, reading_only, rows_by_variant
from vilseg_train.reproduce.variants import VARIANTS
from vilseg_train.selftrain import self_train_config


def test_every_row_reads_a_variant_and_every_variant_is_read() -> None:
    rows = [row for study in STUDIES.values() for row in study.rows]
    assert {row.variant for row in rows} == set(VARIANTS)
    read = [replace(row, title="", paper={}) for row in rows]
    by_key = {row.key: row for row in read}
    # One key is read in one way, in whichever study.
    assert all(by_key[row.key] == row for row in read)


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_changes_that_the_preset_takes(name: str) -> None:
    variant = VARIANTS[name]
    plain = load_config("world")
    if variant.parent is not None and variant.teaches == "self":
        assert variant.parent in VARIANTS
        self_train_config(plain, images="world", words=["ball"], overrides=[*variant.overrides])
        return
    changed = load_config("world", overrides=variant.overrides)
    if variant.overrides and not name.endswith(f"-{plain.model.cluster.clusters}"):
        assert changed.differing_key(plain) is not None
    if variant.equal_compute:
        flop = run_flop(plain)
        steps = steps_of_equal_compute(changed, flop=flop)
        longer = changed.overridden([f"train.steps={steps}"])
        assert run_flop(longer) == pytest.approx(flop, rel=1 / plain.train.steps)
        assert steps > plain.train.steps


def test_full_comes_first_and_no_row_twice() -> None:
    rows = rows_by_variant(chosen_studies("all"))
    assert next(iter(rows)) == "full"
    keys = [row.key for of_variant in rows.values() for row in of_variant]
    assert len(keys) == len(set(keys))
    assert set(rows_by_variant(chosen_studies("fig5"))) >= {"clusters-5", "clusters-35"}


def test_some_variants_alone() -> None:
    studies = reading_only(chosen_studies("all"), ["no-vision", "clusters-5"])
    rows = [row for study in studies for row in study.rows]
    assert {row.variant for row in rows} == {"no-vision", "clusters-5"}
    whole = [row for study in STUDIES.values() for row in study.rows]
    assert rows == [row for row in whole if row.variant in ("no-vision", "clusters-5")]
    with pytest.raises(ValueError, match=r"only: expected some of full, .* came 'fulll'"):
        reading_only(studies, ["fulll"])
    with pytest.raises(ValueError, match="only: expected variants that the study reads"):
        reading_only(chosen_studies("fig5"), ["no-vision"])


def test_there_are_words_enough_for_the_longest_list() -> None:
    for world in WORLDS.values():
        others = set(coco_classes(171).prompts) - set(world.names)
        longest = max(row.words or 0 for s in STUDIES.values() for row in s.rows)
        assert longest <= len(world.names) + len(others)


def test_an_unknown_study_is_refused() -> None:
    with pytest.raises(ValueError, match=r"study: expected one of table1, .* came 'table3'"):
        chosen_studies("table3")
