"""Check characters of China's identifiers: published vectors, and what the algorithms guarantee."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminology import identifiers as ids

QUICK = settings(deadline=None, max_examples=100)
BODIES = st.text("0123456789", min_size=17, max_size=17)
ORGANIZATIONS = st.text("0123456789ABCDEFGHJKLMNPQRTUWXY", min_size=8, max_size=8)


@pytest.mark.parametrize(
    ("number", "born", "sex"),
    [
        ("109901198503070013", date(1985, 3, 7), "male"),
        ("109901198503070021", date(1985, 3, 7), "female"),
        ("109903202001010039", date(2020, 1, 1), "male"),
    ],
)
def test_resident_id_says_birthday_and_sex(number: str, born: date, sex: str) -> None:
    assert ids.resident_id(number) == ids.ResidentId(number, number[:6], born, sex)


@pytest.mark.parametrize(
    "text",
    [
        "109902200102290011",  # 2001-02-29 does not exist; the check character is right
        "109901198503070014",
        "10990119850307001",
        "1099011985030700130",
        "",
        "X",
        "１０９９０１１９８５０３０７００１３",
        "10990119850307001\n",
    ],
)
def test_what_is_no_resident_id(text: str) -> None:
    assert ids.resident_id(text) is None


def test_a_resident_id_of_the_future_is_none_when_today_is_given() -> None:
    assert ids.resident_id("109903202001010039", today=date(2019, 12, 31)) is None
    assert ids.resident_id("109903202001010039", today=date(2020, 1, 1)) is not None


def test_a_lower_case_x_is_read() -> None:
    body = next(b for b in (f"10990119850307{n:03}" for n in range(1000)) if ids.resident_check(b) == "X")
    found = ids.resident_id(body + "x")
    assert found is not None
    assert found.number == body + "X"


def test_a_15_digit_number_becomes_one_of_18() -> None:
    assert ids.resident_id_from_15("109901850307001") == "109901198503070013"
    assert ids.resident_id_from_15("109901850230001") is None
    assert ids.resident_id_from_15("10990185030700") is None


@pytest.mark.parametrize(
    "code", ["12109901YY000001X9", "12109902YY0000028P", "12109902YY0000036J", "52109901YY0000044T"]
)
def test_uscc_vectors(code: str) -> None:
    assert ids.uscc(code)
    assert ids.organization_code(code[8:17])
    assert ids.organization_code(f"{code[8:16]}-{code[16]}")


@pytest.mark.parametrize("code", ["12109901YY000001X8", "12109901YY00000IX9", "12109901YY0000019X", "", "1" * 18])
def test_what_is_no_uscc(code: str) -> None:
    assert not ids.uscc(code)


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("YY000001X10990111A1001", ("YY000001X", "109901", "11", "A100", "1")),
        ("YY000002810990211A1001", ("YY0000028", "109902", "11", "A100", "1")),
        ("YY000003610990211C2201", ("YY0000036", "109902", "11", "C220", "1")),
        ("YY000004410990111A1002", ("YY0000044", "109901", "11", "A100", "2")),
        ("47033256033018311A2221", ("470332560", "330183", "11", "A222", "1")),
        ("47033256-033018311A2221", ("470332560", "330183", "11", "A222", "1")),
    ],
)
def test_institution_codes_say_their_parts(code: str, parts: tuple[str, ...]) -> None:
    assert ids.institution_code(code) == ids.InstitutionCode(*parts)


@pytest.mark.parametrize("code", ["YY000001110990111A1001", "YY000001X10990111A100", "YY000001X1099O111A1001"])
def test_what_is_no_institution_code(code: str) -> None:
    assert ids.institution_code(code) is None


@QUICK
@given(BODIES, st.integers(0, 17), st.integers(1, 9))
def test_no_single_digit_error_passes_in_a_resident_id(body: str, place: int, shift: int) -> None:
    number = body + ids.resident_check(body)
    old = number[place]
    new = str((int(old) + shift) % 10) if old != "X" else str(shift)
    wrong = number[:place] + new + number[place + 1 :]
    assert ids.resident_check(wrong[:17]) != wrong[17]


@QUICK
@given(BODIES, st.integers(0, 16))
def test_no_transposition_of_neighbours_passes_in_a_resident_id(body: str, place: int) -> None:
    number = body + ids.resident_check(body)
    wrong = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    same = wrong == number or "X" in wrong[:17]
    assert same or ids.resident_check(wrong[:17]) != wrong[17]


@QUICK
@given(ORGANIZATIONS, st.integers(0, 17), st.data())
def test_no_single_character_error_passes_in_a_uscc(organization: str, place: int, data: st.DataObject) -> None:
    body = f"12109901{organization}{ids.organization_check(organization)}"
    code = body + ids.uscc_check(body)
    assert ids.uscc(code)
    other = data.draw(st.sampled_from([c for c in ids.USCC_CHARACTERS if c != code[place]]))
    assert not ids.uscc(code[:place] + other + code[place + 1 :])


@QUICK
@given(st.text("0123456789", min_size=8, max_size=8), st.integers(0, 8), st.integers(1, 9))
def test_no_single_digit_error_passes_in_an_organization_code(body: str, place: int, shift: int) -> None:
    code = body + ids.organization_check(body)
    old = code[place]
    new = str((int(old) + shift) % 10) if old != "X" else str(shift)
    assert not ids.organization_code(code[:place] + new + code[place + 1 :])


@QUICK
@given(st.text(max_size=25))
def test_no_text_crashes_a_check(text: str) -> None:
    assert ids.resident_id(text) is None or len(text) == 18
    assert ids.uscc(text) in (True, False)
    assert ids.organization_code(text) in (True, False)
    assert ids.institution_code(text) is None or len(text) >= 22
    assert ids.resident_id_from_15(text) is None or len(text) == 15
