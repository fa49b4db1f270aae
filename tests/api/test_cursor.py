"""Page links: what is sealed opens, and only that, and only there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.services.cursor import MAX_LENGTH, Signer

SIGNER = Signer(b"k" * 32)
CONTENT = st.lists(
    st.none() | st.integers(-(2**63), 2**63) | st.text(max_size=30) | st.floats(allow_nan=False), max_size=8
)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20), CONTENT)
def test_what_is_sealed_opens(place: str, content: list[object]) -> None:
    assert SIGNER.open(place, SIGNER.seal(place, content)) == content


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_changed_letter_is_refused(data: st.DataObject) -> None:
    text = SIGNER.seal("fhir/Patient", ["search", 7, "abc"])
    at = data.draw(st.integers(0, len(text) - 2))  # the last letter may hold unused bits
    letter = data.draw(st.sampled_from("ABCxyz019-_=é").filter(lambda one: one != text[at]))
    with pytest.raises(HubError, match="not one of ours"):
        SIGNER.open("fhir/Patient", text[:at] + letter + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "A", "====", "x" * (MAX_LENGTH + 1), "\x00", "Ж" * 20])
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(HubError, match="not one of ours"):
        SIGNER.open("fhir/Patient", text)


def test_a_link_opens_nowhere_else() -> None:
    text = SIGNER.seal("fhir/Patient", [1])
    with pytest.raises(HubError, match="not one of ours"):
        SIGNER.open("emr/Patient", text)
    with pytest.raises(HubError, match="not one of ours"):
        Signer(b"other key").open("fhir/Patient", text)


def test_a_query_too_long_for_a_link_is_said() -> None:
    import random

    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    with pytest.raises(HubError) as raised:
        SIGNER.seal("fhir/Patient", [noise])
    assert raised.value.name == "too-long"
