"""Normal forms of identifiers and names."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.mpi import compare

VALID = [
    ("109901198503070013", "109901198503070013", "1985-03-07", "male"),
    ("109901198503070021", "109901198503070021", "1985-03-07", "female"),
    (" 109901 19850307 0013 ", "109901198503070013", "1985-03-07", "male"),
    ("１０９９０１１９８５０３０７００１３", "109901198503070013", "1985-03-07", "male"),
    ("109901850307001", "109901198503070013", "1985-03-07", "male"),
    ("109903202001010039", "109903202001010039", "2020-01-01", "male"),
]
INVALID = [
    "",
    "109901198503070014",
    "109902200102290011",
    "11010119000101",
    "10990119850307001A",
    "1" * 18,
    "x",
    "٠" * 18,
]


@pytest.mark.parametrize(("text", "number", "born", "gender"), VALID)
def test_resident_id_is_read(text: str, number: str, born: str, gender: str) -> None:
    assert compare.resident_id(text) == compare.ResidentId(number, born, gender)


@pytest.mark.parametrize("text", INVALID)
def test_what_is_no_resident_id_is_none(text: str) -> None:
    assert compare.resident_id(text) is None


def test_lower_case_check_letter_is_the_same_number() -> None:
    first17 = next(
        number for order in range(1000) if compare.check_digit(number := f"10990119850307{order:03d}") == "X"
    )
    lower, upper = compare.resident_id(first17 + "x"), compare.resident_id(first17 + "X")
    assert lower is not None
    assert lower == upper


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2026, 1, 1)), st.integers(0, 999), st.data())
@settings(deadline=None, max_examples=100)
def test_check_digit_catches_every_wrong_digit_and_neighbour_swap(
    born: datetime.date, order: int, data: st.DataObject
) -> None:
    first17 = f"109901{born:%Y%m%d}{order:03d}"
    number = first17 + compare.check_digit(first17)
    assert compare.resident_id(number) is not None
    place = data.draw(st.integers(0, 16))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != number[place]]))
    assert compare.resident_id(number[:place] + other + number[place + 1 :]) is None
    swap = data.draw(st.integers(0, 15))
    swapped = number[:swap] + number[swap + 1] + number[swap] + number[swap + 2 :]
    assert swapped == number or compare.resident_id(swapped) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("阿不都·热依木", "阿不都•热依木"),
        ("阿不都·热依木", "阿不都・热依木"),
        ("王 小明", "王小明"),
        ("ＷＡＮＧ ming", "Wang Ming"),
    ],
)
def test_names_that_differ_in_writing_only_are_equal(one: str, other: str) -> None:
    assert compare.name_form(one) == compare.name_form(other)


def test_card_index_takes_codes_and_refuses_others() -> None:
    index = "0123456789abcdef" * 4
    assert compare.card_index(f"{index}:1") == index.upper()
    assert compare.card_index(index[:-1]) is None
    assert compare.card_index("g" * 64) is None


@given(st.text(max_size=400))
@settings(deadline=None, max_examples=100)
def test_any_text_is_taken(text: str) -> None:
    number, index = compare.resident_id(text), compare.card_index(text)
    assert number is None or len(number.number) == 18
    assert index is None or len(index) == 64
    assert compare.name_form(compare.name_form(text)) == compare.name_form(text)
