"""Which words captions never said, as far as the tokenizer tells."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.train.conftest import tiny_config

from vilseg_data import Tokenizer, WorldCaptions, build_captions
from vilseg_data.labelled.coco import coco_classes
from vilseg_data.world import FIRST
from vilseg_train import open_run
from vilseg_train.words import unread_words, warnings_about

LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=9)


@settings(deadline=None, max_examples=25)
@given(st.sets(LETTERS, min_size=2, max_size=12), st.data())
def test_words_of_the_captions_are_read_and_others_are_not(
    words: set[str], data: st.DataObject
) -> None:
    read = sorted(words)
    captions = [f"a photo of the {word} and a {word}" for word in read for _ in range(3)]
    tokenizer = Tokenizer.train(captions, vocab_size=4096)
    assert unread_words(tokenizer, [*read, "a photo", read[0].upper()]) == []
    # No pair with these letters was ever merged.
    other = data.draw(LETTERS).translate(
        str.maketrans("abcdefghijklmnopqrstuvwxyz", "жщюяэ" * 5 + "ы")
    )
    assert unread_words(tokenizer, [read[0], other]) == [other]
    assert unread_words(tokenizer, [f"{read[0]} {other}", f"({read[1]})"]) == [f"{read[0]} {other}"]
    tokenizer.rules = "foreign"
    assert unread_words(tokenizer, [other]) == []


def test_the_words_of_the_world_are_read_and_those_of_photos_are_not() -> None:
    source = build_captions(tiny_config("data.count=3000").data)
    assert isinstance(source, WorldCaptions)
    captions = [text for index in range(len(source)) for text in source.captions(index)]
    tokenizer = Tokenizer.train(captions, vocab_size=1024)
    synonyms = [word for others in FIRST.synonyms.values() for word in others]
    assert unread_words(tokenizer, [*FIRST.names, *synonyms]) == []
    known = {*FIRST.names, *synonyms}
    photos = [word for word in coco_classes(171).prompts if not known & set(word.split())]
    assert unread_words(tokenizer, photos) == photos


def test_a_run_warns_of_them(finished_run: Path) -> None:
    run = replace(open_run(finished_run), warnings=("first",))
    asked = [f"zebra{letter}" for letter in "abcdefghij"]
    first, unread = warnings_about(run, ["a", *asked])
    assert first == "first"
    assert unread.startswith("10 of 11 words are no token of their own: zebraa, zebrab, ")
    assert "zebrah and 2 more. The captions of training hardly say them" in unread
    assert warnings_about(run, ["a"]) == ["first"]
