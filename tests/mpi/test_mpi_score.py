"""Levels, weights and guards of the score, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.mpi import explain, hanzi, rules, score
from hub.mpi.features import Features, compile_patient

RULES = rules.load()
WEIGHTS = RULES.score
MALE, TWIN = "109901198503070013", "109901198503070099"
CARD = "AB" * 32
WRONG = "109901198503070014"
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"


def features(
    name: str = "王小明",
    born: str = "1985-03-07",
    number: str = "",
    card: str = "",
    phone: str = "",
    address: str = "",
    gender: str = "male",
    source: str = "urn:oid:2.999.1",
    id: str = "x",
) -> Features:
    identifiers: list[dict[str, Any]] = [{"system": source, "value": id}]
    for code, value in (("NI", number), ("HC", card)):
        if value:
            identifiers.append({"type": {"coding": [{"system": TYPES, "code": code}]}, "value": value})
    patient: dict[str, Any] = {
        "resourceType": "Patient", "id": id, "identifier": identifiers, "name": [{"text": name}], "birthDate": born,
        "gender": gender, "telecom": [{"system": "phone", "value": phone}], "address": [{"text": address}],
    }  # fmt: skip
    return compile_patient(patient, RULES)


LEVELS = [
    ("name", {"name": "王小明"}, {"name": "王 小 明"}, "equal"),
    ("name", {"name": "王小明"}, {"name": "王晓鸣"}, "homophone"),
    ("name", {"name": "張偉強"}, {"name": "张伟强"}, "equal"),
    ("name", {"name": "单曉鳴"}, {"name": "SHAN XIAOMING"}, "homophone"),
    ("name", {"name": "欧阳娜娜"}, {"name": "欧阳*娜"}, "homophone"),
    ("name", {"name": "阿不都·热依木"}, {"name": "阿不都•热依木"}, "equal"),
    ("name", {"name": "王小明"}, {"name": "王小朋"}, "one-character"),
    ("name", {"name": "王小明"}, {"name": "李大刚"}, "differs"),
    ("name", {"name": "无名氏"}, {"name": "无名氏"}, "missing"),
    ("name", {"name": "王芳之子"}, {"name": "王芳之子"}, "missing"),
    ("name", {"name": ""}, {"name": "王小明"}, "missing"),
    ("born", {"born": "1985-03-07"}, {"born": "1985-07-03"}, "near"),
    ("born", {"born": "1985-03-07"}, {"born": "1985-03-08"}, "near"),
    ("born", {"born": "1985-03-07"}, {"born": "1958-03-07"}, "near"),
    ("born", {"born": "1985-03-07"}, {"born": "1990-12-31"}, "differs"),
    ("born", {"born": "1900-01-01"}, {"born": "1900-01-01"}, "missing"),
    ("born", {"born": "1985"}, {"born": "1985-03-07"}, "missing"),
    ("id", {"number": MALE}, {"number": "109901850307001"}, "equal"),
    ("id", {"number": MALE}, {"number": "109901198503070014"}, "near"),
    ("id", {"number": MALE}, {"number": "109901198503700013"}, "near"),
    ("id", {"number": MALE}, {"number": "109903202001010039"}, "differs"),
    ("id", {"number": MALE}, {"number": "无"}, "missing"),
    ("card", {"card": CARD}, {"card": f"{CARD.lower()}:1"}, "equal"),
    ("card", {"card": CARD}, {"card": "CD" * 32}, "differs"),
    ("phone", {"phone": "139 0000 1111"}, {"phone": "+8613900001111"}, "equal"),
    ("phone", {"phone": "13900001111"}, {"phone": "13900001112"}, "near"),
    ("phone", {"phone": "00000000"}, {"phone": "00000000"}, "missing"),
    ("address", {"address": "示例省信和市安平县青年路1号"}, {"address": "安平县青年路1号"}, "equal"),
    ("address", {"address": "信和市安平县青年路50号20栋"}, {"address": "信和市安平县青年路50号21栋"}, "street"),
    ("address", {"address": "信和市安平县青年路1号"}, {"address": "信和市安平县学府路9号"}, "county"),
    ("address", {"address": "信和市安平县青年路1号"}, {"address": "信和市新禾县学府路9号"}, "differs"),
    ("gender", {"gender": "male"}, {"gender": "unknown"}, "missing"),
]


@pytest.mark.parametrize(("field", "one", "other", "level"), LEVELS)
def test_levels(field: str, one: dict[str, str], other: dict[str, str], level: str) -> None:
    assert score.FIELDS[field](features(**one), features(**other)) == level
    assert score.FIELDS[field](features(**other), features(**one)) == level


ADDRESS, PHONE = "示例省信和市安平县青年路1号", "13900001111"
HOME = {"phone": PHONE, "address": ADDRESS}
OBJECTIONS = [
    ("the same data", {**HOME}, {**HOME}, ""),
    ("a twin", {**HOME, "name": "王小明"}, {**HOME, "name": "王小亮"}, "other-name"),
    ("a newborn", {**HOME}, {**HOME, "name": "李芳之子"}, "no-own-name"),
    ("nobody's name", {**HOME}, {**HOME, "name": "无名氏"}, "no-own-name"),
    ("father and son of one name", {**HOME}, {**HOME, "born": "2012-05-30"}, "other-birth"),
    ("a shared card", {"card": CARD}, {"card": CARD, "name": "李大刚", "born": "1990-12-31"}, "shared-document"),
    ("a mistyped number and name", {**HOME, "number": MALE}, {**HOME, "number": WRONG, "name": "王小朋"}, ""),
    ("a name and a home only", {**HOME, "born": ""}, {**HOME, "phone": "13800002222"}, "possible-match"),
    ("a name and a telephone", {**HOME, "born": ""}, {**HOME, "address": ""}, ""),
    ("one hospital, two numbers", {**HOME, "id": "a"}, {**HOME, "id": "b", "source": "urn:oid:2.999.1"}, "same-source"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "one", "other", "objection"), OBJECTIONS)
def test_guards(what: str, one: dict[str, str], other: dict[str, str], objection: str) -> None:
    a, b = features(**one), features(**{"source": "urn:oid:2.999.2", **other})
    result = score.compare(a, b, RULES.score)
    assert score.guard(a, b, result, WEIGHTS) == objection == score.guard(b, a, score.compare(b, a, WEIGHTS), WEIGHTS)


def test_agreement_inside_the_number_is_not_counted_twice() -> None:
    result = score.compare(features(number=MALE), features(number=MALE), RULES.score)
    assert result.parts["born"] == result.parts["gender"] == 0
    wrong = score.compare(features(number=MALE), features(number=MALE, born="1990-12-31"), RULES.score)
    assert wrong.parts["born"] < 0


def test_a_household_does_not_count_twice() -> None:
    both = score.compare(features(**HOME), features(**HOME), RULES.score).parts
    alone = score.compare(features(phone=PHONE), features(phone=PHONE), RULES.score).parts
    assert both["phone"] + both["address"] < 1.3 * alone["phone"]


@given(st.text("0123456789X", min_size=8, max_size=18), st.data())
@settings(deadline=None, max_examples=100)
def test_one_keystroke_is_a_slip_and_two_far_ones_are_not(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("abc"))
    for other in (
        text[:place] + letter + text[place + 1 :],
        text[:place] + letter + text[place:],
        text[:place] + text[place + 1 :],
        text[:place] + text[place : place + 2][::-1] + text[place + 2 :],
    ):
        assert score.slip(text, other)
        assert score.slip(other, text)
    assert not score.slip(text, "y" + text[1:-1] + "z")


NAMES, DAYS = st.text(max_size=6), st.dates().map(str)


@given(
    st.builds(features, name=NAMES, born=DAYS, phone=st.text(max_size=12)),
    st.builds(features, name=NAMES, born=DAYS, address=st.text(max_size=30)),
)
@settings(deadline=None, max_examples=100)
def test_comparing_is_symmetric(one: Features, other: Features) -> None:
    assert score.compare(one, other, RULES.score) == score.compare(other, one, RULES.score)


def test_every_level_is_explained() -> None:
    for field, levels in RULES.score.bits.items():
        for level in ("", score.MISSING, *levels):
            assert all(explain.words()[field, level])
    assert {field for field, _ in explain.words()} == set(score.FIELDS)
    assert set(RULES.score.bits) <= set(score.FIELDS)


def test_explanation_names_every_field() -> None:
    answer = explain.explain(features(**HOME), features(**{**HOME, "name": "王小亮"}), RULES, linked=False)
    assert answer["decision"] == "review"
    assert "twins" in answer["reason"]
    assert [row["level"] for row in answer["fields"]][2:4] == ["one-character", "equal"]
    assert abs(sum(row["bits"] for row in answer["fields"]) - answer["bits"]) < 0.1


def test_surnames_have_their_own_reading() -> None:
    assert hanzi.syllables("单单") == ("shan", "dan")
    assert hanzi.syllables("解解") == ("xie", "jie")


@pytest.mark.parametrize(
    ("old", "new"),
    [('form = "card-index"', 'form = "magic"'), ("residents = 1_000_000", "residents = 0"), ('version = "2"', "")],
)
def test_rules_that_contradict_themselves_are_refused(old: str, new: str) -> None:
    from importlib.resources import files

    text = files("hub.mpi").joinpath("rules.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(HubError) as error:
        rules.parse(text.replace(old, new))
    assert error.value.name == "configuration"
