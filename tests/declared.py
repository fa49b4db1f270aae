"""What every declared search parameter must find, said naively: the official FHIRPath on each resource in turn.

Shares the FHIRPath engine and the reading of dates and units with the hub; of the index and its queries, nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hub.errors import HubError
from hub.fhir import definitions, json, paths, temporal
from hub.fhir.paths import units
from hub.search.parameters import Parameter, Registry, alternatives
from hub.settings import Settings

registry = Registry(definitions.load())
OFFICIAL = {one["url"]: one.get("expression", "") for one in definitions.load().search_parameters}
UCUM = "http://unitsofmeasure.org"
ZONE = ZoneInfo(Settings.model_fields["time_zone"].default)  # of a date without one (R4 3.1.1.4.7)

Value = tuple[Any, str]  # what an expression finds, with its FHIR type
Test = Callable[[list[Value]], bool]


def found(parameter: Parameter, resource: dict[str, Any]) -> list[Value]:
    """What the whole official expression finds."""
    official = OFFICIAL.get(parameter.url, "")
    mended = not set(alternatives(parameter.expression)) <= set(alternatives(official))  # or one of ours: local.csv
    expression = parameter.expression if mended else official
    return [_extended(*one) for one in paths.compile(expression).typed(resource)] if expression else []


def _extended(value: Any, kind: str) -> Value:
    """A parameter on an extension means its value."""
    if kind == "Extension":
        for name, item in value.items():
            if name.startswith("value"):
                kind = name.removeprefix("value")
                return item, kind if isinstance(item, dict) else kind[0].lower() + kind[1:]
    return value, kind


def present(parameter: Parameter, values: list[Value]) -> bool:
    """Whether one of the values is of the kind the parameter searches, for ``:missing``."""
    return any(_present(parameter, *one) for one in values)


def _present(parameter: Parameter, value: Any, kind: str) -> bool:
    match parameter.type:
        case "token":
            named = isinstance(value, dict) and any(name in value for name in ("text", "display", "type"))
            return bool(tokens(value, kind)) or named or kind == "CodeableConcept"
        case "reference" if kind == "Reference":
            return any(name in value for name in ("reference", "identifier", "display"))
        case "reference" if isinstance(value, dict) and "resourceType" in value:
            return True
        case "reference" | "uri":
            return bool(links(value, kind))
        case "date":
            return bool(dates(value, kind))
        case "number" | "quantity":
            return bool(amounts(value, kind)) or kind == "SampledData"
    return bool(strings(value, kind))


@dataclass(frozen=True)
class Question:
    """A search value with modifier, and which resources it must find, by what the expression finds on each."""

    name: str
    text: str
    test: Test


def questions(parameter: Parameter, values: list[Value]) -> Iterator[Question]:
    """Searches about the values of one resource."""
    for value in values[:2]:
        for form in FORMS[parameter.type](*value):
            yield Question(parameter.code, form, _any(parameter.type, form))
    if parameter.type == "date" and values:
        for low, _ in dates(*values[0]):
            if -62e15 < low < 4e15:
                yield from _limits(parameter.code, temporal.instant(low)[:10])
    if parameter.type == "string" and values:
        for text in [one for one in strings(*values[0]) if len(one) < 900][:1]:
            yield from _modified(parameter.code, text)


def _limits(code: str, day: str) -> Iterator[Question]:
    start, end = temporal.interval(day, ZONE)

    def from_day(those: list[Value]) -> bool:
        """Some of it after the day, or all of it within (R4 3.1.1.4.7)."""
        return any(high > end or (low >= start and high <= end) for one in those for low, high in dates(*one))

    yield Question(code, f"ge{day}", from_day)
    yield Question(code, f"lt{day}", lambda those: any(low < start for one in those for low, _ in dates(*one)))


def _modified(code: str, text: str) -> Iterator[Question]:
    yield Question(f"{code}:exact", quoted(text), lambda those: any(text in strings(*one) for one in those))
    part = plain(text)[1:5].strip()
    if len(part) > 2 and text.isascii():

        def contains(those: list[Value]) -> bool:
            return any(part in plain(string) for one in those for string in strings(*one))

        yield Question(f"{code}:contains", part, contains)


def _any(type: str, form: str) -> Test:
    return lambda values: any(MATCHES[type](form, *value) for value in values)


def quoted(text: str) -> str:
    return "".join("\\" + char if char in "\\,|$" else char for char in text)


# --- token ------------------------------------------------------------------------------------------------------------


def tokens(value: Any, kind: str) -> list[tuple[str, str]]:
    match kind:
        case "Coding":
            return [(value.get("system", ""), value["code"])] if value.get("code") else []
        case "CodeableConcept":
            return [pair for one in value.get("coding", ()) for pair in tokens(one, "Coding")]
        case "Identifier" | "ContactPoint":
            return [(value.get("system", ""), value["value"])] if value.get("value") else []
        case "boolean" | "Boolean":
            return [("", "true" if value else "false")]
    return [("", str(value))] if not isinstance(value, dict) else []


def _token_forms(value: Any, kind: str) -> Iterator[str]:
    for system, code in tokens(value, kind):
        yield quoted(code)
        if system:
            yield f"{quoted(system)}|{quoted(code)}"
            yield f"{quoted(system)}|"
        elif kind in ("Coding", "CodeableConcept", "Identifier"):
            yield f"|{quoted(code)}"


def _token(form: str, value: Any, kind: str) -> bool:
    named = "|" in form.replace("\\|", "")
    for system, code in tokens(value, kind):
        if kind == "string":
            code, form = code.casefold(), form.casefold()
        forms = (
            {f"{quoted(system)}|{quoted(code)}", f"{quoted(system)}|" if system else None} if named else {quoted(code)}
        )
        if kind == "ContactPoint" and not named:
            forms.add(quoted(_number(code)))
            form_plain = _number(form)
            if form_plain in forms or form in forms:
                return True
        if form in forms:
            return True
    return False


def _number(text: str) -> str:
    return text.lower() if "@" in text else "".join(char for char in text if char not in " ().-/\u00a0")


# --- string -----------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Without accents, case and punctuation."""
    kept = [char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char)]
    letters = [char for char in "".join(kept).casefold() if unicodedata.category(char)[0] != "P"]
    return " ".join(unicodedata.normalize("NFC", "".join(letters)).split())


def strings(value: Any, kind: str) -> list[str]:
    match kind:
        case "HumanName":
            parts = [value.get("text"), value.get("family")]
            parts += [*value.get("given", ()), *value.get("prefix", ()), *value.get("suffix", ())]
        case "Address":
            parts = [value.get(name) for name in ("text", "city", "district", "state", "postalCode", "country")]
            parts += value.get("line", ())
        case "CodeableConcept":
            parts = [value.get("text")]
            parts += [one.get(name) for one in value.get("coding", ()) for name in ("display", "code")]
        case _:
            parts = [value]
    return [part[:1000] for part in parts if isinstance(part, str) and part]


def _string_forms(value: Any, kind: str) -> Iterator[str]:
    for text in strings(value, kind)[:2]:
        if plain(text) and len(text) < 200:
            yield quoted(text)


def _string(form: str, value: Any, kind: str) -> bool:
    wanted = plain(form.replace("\\", ""))
    return any(plain(text).startswith(wanted) for text in strings(value, kind))


# --- reference and uri ------------------------------------------------------------------------------------------------


def links(value: Any, kind: str) -> list[str]:
    if isinstance(value, dict):
        if "resourceType" in value:
            return [f"{value['resourceType']}/{value['id']}"] if "id" in value else []
        value = value.get("reference") or (value.get("url") if kind == "Attachment" else None)
    if not isinstance(value, str) or (kind == "Reference" and value.startswith("#")):
        return []
    kept = value.partition("/_history/")[0]
    return [kept if kept.startswith("#") else kept.partition("#")[0]]


def _link_forms(value: Any, kind: str) -> Iterator[str]:
    for text in links(value, kind):
        yield quoted(text) if kind != "canonical" else text
        url, _, version = text.partition("|")
        if kind == "canonical" and version:
            yield url


def _link(form: str, value: Any, kind: str) -> bool:
    for text in links(value, kind):
        if kind == "canonical" and form == text.partition("|")[0]:
            return True
        if form in (text, quoted(text)):
            return True
    return False


# --- date, number and quantity ----------------------------------------------------------------------------------------


def dates(value: Any, kind: str) -> list[tuple[int, int]]:
    """[low, high) of each moment or period."""
    if kind == "Period":
        low, high = (_moment(value.get(name)) for name in ("start", "end"))
        if low is None and high is None:
            return []
        return [(low[0] if low else -(2**62), high[1] if high else 2**62)]
    if kind == "Timing":
        spans = [one for event in value.get("event", ()) if (one := _moment(event))]
        if bounds := value.get("repeat", {}).get("boundsPeriod"):
            spans += dates(bounds, "Period")
        return [(min(low for low, _ in spans), max(high for _, high in spans))] if spans else []
    one = _moment(value)
    return [one] if one else []


def _moment(text: Any) -> tuple[int, int] | None:
    try:
        return temporal.interval(text, ZONE) if isinstance(text, str) else None
    except HubError:
        return None


def _date_forms(value: Any, kind: str) -> Iterator[str]:
    texts = [value] if isinstance(value, str) else [value.get("start"), *value.get("event", ())[:1]]
    for text in texts:
        if isinstance(text, str) and _moment(text):
            yield text
            yield text[:4]


def _date(form: str, value: Any, kind: str) -> bool:
    wanted = temporal.interval(form, ZONE)
    return any(wanted[0] <= low and high <= wanted[1] for low, high in dates(value, kind))


def amounts(value: Any, kind: str) -> list[tuple[Decimal | None, Decimal | None, str, str]]:
    """(low, high, system, code)."""
    if isinstance(value, (int, float, Decimal)):
        number = Decimal(str(value))
        return [(number, number, "", "")]
    if not isinstance(value, dict):
        return []
    if kind == "Range":
        low, high = value.get("low", {}), value.get("high", {})
        return [(_decimal(low), _decimal(high), (low or high).get("system", ""), (low or high).get("code", ""))]
    if kind == "Money":
        return [(_decimal(value), _decimal(value), "urn:iso:std:iso:4217", value.get("currency", ""))]
    if kind == "SampledData" or _decimal(value) is None:
        return []
    mark, number = value.get("comparator", ""), _decimal(value)
    low, high = (None if mark[:1] == "<" else number), (None if mark[:1] == ">" else number)
    return [(low, high, value.get("system", ""), value.get("code", ""))]


def _decimal(value: dict[str, Any]) -> Decimal | None:
    return Decimal(str(value["value"])) if "value" in value else None


def _amount_forms(value: Any, kind: str) -> Iterator[str]:
    for low, high, system, code in amounts(value, kind):
        if low is not None and low == high and abs(low) < Decimal("1e15"):
            yield f"{low:f}"
            if code and kind not in ("integer", "decimal", "positiveInt", "unsignedInt"):
                yield f"{low:f}|{quoted(system)}|{quoted(code)}"


def _amount(form: str, value: Any, kind: str) -> bool:
    text, _, unit = form.partition("|")
    number = Decimal(text)
    half = Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)
    for low, high, system, code in amounts(value, kind):
        factor = Decimal(1)
        if unit:
            own, wanted = _unit(system, code), _unit(*unit.replace("\\", "").split("|"))
            if own[0] != wanted[0] or low is None or high is None:
                continue
            factor = own[1] / wanted[1]
        if low is None or high is None:
            continue
        if float(number - half) <= float(low * factor) and float(high * factor) < float(number + half):
            return True
    return False


def _unit(system: str, code: str) -> tuple[str, Decimal]:
    found = units.canonical(code) if system == UCUM else None
    return (f"{UCUM}|{found[1]}", found[0]) if found else (f"{system}|{code}", Decimal(1))


FORMS: dict[str, Callable[[Any, str], Iterator[str]]] = {
    "token": _token_forms,
    "string": _string_forms,
    "reference": _link_forms,
    "uri": _link_forms,
    "date": _date_forms,
    "number": _amount_forms,
    "quantity": _amount_forms,
    "special": lambda value, kind: iter(()),
}
MATCHES: dict[str, Callable[[str, Any, str], bool]] = {
    "token": _token,
    "string": _string,
    "reference": _link,
    "uri": _link,
    "date": _date,
    "number": _amount,
    "quantity": _amount,
}


# --- composite --------------------------------------------------------------------------------------------------------


def composite(parameter: Parameter, resource: dict[str, Any]) -> list[list[list[Value]]]:
    """For each element the composite is about: what each component finds on it."""
    elements = []
    for value, kind in paths.compile(OFFICIAL[parameter.url] or parameter.expression).typed(resource):
        model = next(iter(parameter.elements), kind)
        row = []
        for part in parameter.components:
            items = paths.compile(part.expression, model).typed(value, resource=resource)
            row.append([_extended(*one) for one in items])
        elements.append(row)
    return elements


def composites(parameter: Parameter, elements: list[list[list[Value]]]) -> Iterator[tuple[str, list[str]]]:
    """(search value, form of each component) about the first element."""
    for row in elements[:1]:
        forms = [[form for value in values for form in FORMS[part.type](*value)] for part, values in
                 zip(parameter.components, row, strict=True)]  # fmt: skip
        if all(forms):
            for index in range(min(2, *map(len, forms))):
                chosen = [one[index] for one in forms]
                yield "$".join(chosen), chosen


def meets(parameter: Parameter, elements: list[list[list[Value]]], forms: list[str]) -> bool:
    """Whether one element has a match in every component."""
    return any(
        all(any(MATCHES[part.type](form, *value) for value in values) for part, form, values in
            zip(parameter.components, forms, row, strict=True))
        for row in elements
    )  # fmt: skip


def decode(data: bytes) -> dict[str, Any]:
    return json.decode(data.removeprefix(b"\xef\xbb\xbf"))
