"""Pinyin for search and similarity."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminology import pinyin


@pytest.mark.parametrize(
    ("text", "spelled"), [("高血压", "gaoxueya"), ("女", "nv"), ("维生素B12", "weishengsuB12"), ("", "")]
)
def test_first_readings(text: str, spelled: str) -> None:
    assert pinyin.spell(text) == spelled


@pytest.mark.parametrize(("text", "reading"), [("藏族", "zangzu"), ("藏族", "zz"), ("重度", "zhongdu"), ("率", "lv")])
def test_a_character_with_several_readings_is_found_by_each(text: str, reading: str) -> None:
    assert reading in pinyin.variants(text)


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x9FFF), min_size=1, max_size=30))
def test_variants_are_few_and_begin_with_a_reading_of_every_character(text: str) -> None:
    found = pinyin.variants(text)
    assert 2 <= len(found) <= 2 * pinyin.MAX_VARIANTS
    assert len(found[1]) == len(text)
    assert len(pinyin.syllables(text)) == len(text)
