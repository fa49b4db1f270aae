"""FHIR JSON: token for token, and no bomb gets through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.fhir import json, location

LITERALS = ["1E+5", "1.10", "0.00000010", "-0", "-0.0", "1e245", "12345678901234567890123456789", "0", "1.0", "-1.5e-7"]


@pytest.mark.parametrize("literal", LITERALS)
def test_a_number_comes_back_token_for_token(literal: str) -> None:
    text = f'{{"value":{literal}}}'.encode()
    assert json.encode(json.decode(text)) == text


def test_members_keep_their_order() -> None:
    text = '{"z":1,"a":{"c":true,"b":null},"名":"张"}'.encode()
    assert json.encode(json.decode(text)) == text


REFUSED = [
    (b'{"a":1,"a":2}', "line 1 column 8", "twice"),
    (b'{"a\\u0062":1,"ab":2}', "line 1 column 14", "twice"),
    (b'{"a":NaN}', "line 1 column 6", "not JSON"),
    (b'{"a":-Infinity}', "line 1 column 6", "not JSON"),
    (b"[" * 100_000, "line 1 column 65", "deeper"),
    (b'{"a":' * 3000, "line 1 column 321", "deeper"),
    (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "line 1 column 69", "deeper"),
    (b'{"a":"\\ud800"}', "line 1 column 7", "surrogate"),
    (b'{"\\ud800":1}', "line 1 column 3", "surrogate"),
    (b'{"a":"\\u0000"}', "line 1 column 7", "U+0000"),
    (b'{"a":"\xff"}', "line 1 column 7", "UTF-8"),
    (b'{"a":\x0b}', "line 1 column 6", "not JSON"),
    (b"", "line 1 column 1", "ends"),
    (b"[]", "line 1 column 1", "object"),
    (b'{"a":1} x', "line 1 column 9", "after the end"),
    (b'{"a":01}', "line 1 column 6", "not JSON"),
    (b'{\n "a": 1,\n}', "line 3 column 1", "does not fit"),
    (b'{"a":1e99999999}', "line 1 column 6", "range"),
    (b'{"a":' + b"1" * 5000 + b"}", "line 1 column 6", "range"),
]


@pytest.mark.parametrize(("text", "at", "says"), REFUSED, ids=range(len(REFUSED)))
def test_a_bad_text_is_refused_with_its_place(text: bytes, at: str, says: str) -> None:
    with pytest.raises(HubError) as refusal:
        json.decode(text)
    assert refusal.value.name == "structure"
    assert refusal.value.at == at
    assert says in refusal.value.diagnostics


def test_a_text_over_the_limit_is_refused() -> None:
    with pytest.raises(HubError) as refusal:
        json.decode(b'{"a":"' + b"x" * 100 + b'"}', max_bytes=100)
    assert refusal.value.name == "too-long"


def test_what_only_looks_dangerous_passes() -> None:
    text = b'{"a":"\\\\u0000","b":"[[[[\\"[","c":"\\ud83d\\ude00"}'
    assert json.decode(b"\xef\xbb\xbf" + text) == {"a": "\\u0000", "b": '[[[["[', "c": "\U0001f600"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\{[ü', max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text("abc", min_size=1), VALUES))
def test_what_is_encoded_is_decoded_the_same(value: dict[str, Any]) -> None:
    assert json.decode(json.encode(value)) == value


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40) | st.text('{}[]",:\\u0d8 1e-.\n', max_size=40).map(str.encode))
def test_any_bytes_give_a_value_or_a_located_error(data: bytes) -> None:
    try:
        assert isinstance(json.decode(data), dict)
    except HubError as refusal:
        assert refusal.at.startswith("line ")


def test_places_are_those_of_names_and_items() -> None:
    found = location.places(b'{"a":[1,{"b":2}],\n "c":{"d":"x"}}')
    assert found[("a", 1, "b")] == (1, 10)
    assert found[("c",)] == (2, 2)
    assert found[("c", "d")] == (2, 7)
