"""What one element value contributes to the index, by the type of the parameter and the type of the element.

The namespace of a string term is the text as it is, so that one entry serves the normalised search and ``:exact``.
Variants of one parameter are parameters of their own, named here and nowhere else:

========================  ============================================================================================
``code:text``             token: text, display or Identifier.type.text, normalised; reference: display (``:text``)
``identifier:of-type``    token: ``code|value`` of an Identifier in the system of its type's coding (``:of-type``)
``subject:identifier``    reference: its logical identifier as a token (``:identifier``)
``value|system|unit``     quantity: the number in this unit; UCUM units of one dimension in their common base unit
``value||unit``           quantity: the number where this is the code in any other system, or the human unit
``component$code``        composite: entries of the last component, where the first component has this ``code``,
                          ``system|code`` or ``|code`` (no system) on the same element
``medication.code``       reference to a contained resource, or resource in a Bundle: that resource's own entries, for a
                          chain (R4 3.1.1.5.5); ``medication.`` has its type
========================  ============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, Final

from hub.errors import HubError
from hub.fhir import temporal
from hub.fhir.paths import units
from hub.fhir.reference import parse
from hub.search.blind import Blind
from hub.search.expression import Entries, Number, Range, Term
from hub.search.text import normalised
from hub.search.values import canonical

UCUM: Final = "http://unitsofmeasure.org"
CURRENCY: Final = "urn:iso:std:iso:4217"
MAX_ENTRIES: Final = 250_000
MAX_TERM: Final = 1_000  # characters; a longer text is found by its beginning
FIRST: Final = -(2**62)
LAST: Final = 2**62

Element = dict[str, Any]
SEEING: Final = Blind()
"""Hides nothing."""
_PUNCTUATION = re.compile(r"[\s().\-/]")


@dataclass(slots=True)
class Sink:
    """Collects the entries of one resource without duplicates.

    ``bases`` are the addresses this server is known by; ``contained`` the (parameter, id) of references to contained
    resources; ``nested`` the (parameter, resource) of resources found in a Bundle's entries.
    """

    bases: tuple[str, ...] = ()
    zone: tzinfo = UTC
    blind: Blind = SEEING
    terms: dict[tuple[str, str, str], None] = field(default_factory=dict)
    ranges: dict[tuple[str, Number, Number], None] = field(default_factory=dict)
    contained: list[tuple[str, str]] = field(default_factory=list)
    nested: list[tuple[str, Element]] = field(default_factory=list)

    def term(self, param: str, value: Any, system: Any = "") -> None:
        if isinstance(value, str) and value:
            self.terms[param, value[:MAX_TERM], system if isinstance(system, str) else ""] = None

    def range(self, param: str, low: Number, high: Number) -> None:
        if low <= high:
            self.ranges[param, low, high] = None

    def check(self) -> None:
        """HubError("too-costly") above MAX_ENTRIES."""
        if len(self.terms) + len(self.ranges) > MAX_ENTRIES:
            raise HubError(
                "too-costly", f"the resource has more than {MAX_ENTRIES} index entries; split it into several"
            )

    def entries(self) -> Entries:
        self.check()
        return Entries(tuple(map(Term._make, self.terms)), tuple(map(Range._make, self.ranges)))


Emitter = Callable[[Sink, str, Any], None]

# --- token ------------------------------------------------------------------------------------------------------------


def _coding(sink: Sink, param: str, value: Element) -> None:
    sink.term(param, value.get("code"), value.get("system", ""))
    _text(sink, param, value.get("display"))


def _concept(sink: Sink, param: str, value: Element) -> None:
    for coding in value.get("coding", ()):
        _coding(sink, param, coding)
    _text(sink, param, value.get("text"))


def _identifier(sink: Sink, param: str, value: Element) -> None:
    number, system = value.get("value"), value.get("system", "")
    if isinstance(number, str) and isinstance(system, str):
        number = sink.blind.hide(number, system)
    sink.term(param, number, system)
    kind = value.get("type")
    if kind:
        for coding in kind.get("coding", ()):
            sink.term(f"{param}:of-type", f"{coding.get('code')}|{number}", coding.get("system", ""))
            _text(sink, param, coding.get("display"))
        _text(sink, param, kind.get("text"))


def _contact(sink: Sink, param: str, value: Element) -> None:
    """As written, and without punctuation and case; the namespace is ContactPoint.system, e.g. phone."""
    number = value.get("value")
    if isinstance(number, str):
        plain = number.lower() if "@" in number else _PUNCTUATION.sub("", number)
        for form in (number, plain):
            sink.term(param, form, value.get("system", ""))


def _folded(sink: Sink, param: str, value: Any) -> None:
    sink.term(param, str(value).casefold())


def _boolean(sink: Sink, param: str, value: Any) -> None:
    sink.term(param, "true" if value is True else "false")


def _literal(sink: Sink, param: str, value: Any) -> None:
    sink.term(param, str(value))


def _text(sink: Sink, param: str, value: Any) -> None:
    if isinstance(value, str):
        sink.term(f"{param}:text", normalised(value[:MAX_TERM]))


# --- string -----------------------------------------------------------------------------------------------------------


def _string(sink: Sink, param: str, value: Any) -> None:
    if isinstance(value, str):
        text = value[:MAX_TERM]
        sink.term(param, normalised(text) or text, text)


def _family(sink: Sink, param: str, value: Any) -> None:
    """A family name and each of its words: Carreno Quinones is found by Quinones (R4 3.1.1.4.8)."""
    _string(sink, param, value)
    for word in normalised(str(value)[:MAX_TERM]).split(" ")[1:]:
        sink.term(param, word)


def _name(sink: Sink, param: str, value: Element) -> None:
    """Each part of a HumanName, its text, and the parts joined: Chinese family first, others given first."""
    family, given = value.get("family"), value.get("given", ())
    for part in (value.get("text"), *given, *value.get("prefix", ()), *value.get("suffix", ())):
        _string(sink, param, part)
    if isinstance(family, str):
        _family(sink, param, family)
        names = [part for part in given if isinstance(part, str)]
        joined = "".join((family, *names)) if family >= "\u2e80" else " ".join((*names, family))
        sink.term(param, normalised(joined[:MAX_TERM]))


def _address(sink: Sink, param: str, value: Element) -> None:
    for name in ("text", "city", "district", "state", "postalCode", "country"):
        _string(sink, param, value.get(name))
    for line in value.get("line", ()):
        _string(sink, param, line)


def _concept_string(sink: Sink, param: str, value: Element) -> None:
    _string(sink, param, value.get("text"))
    for coding in value.get("coding", ()):
        _string(sink, param, coding.get("display"))
        _string(sink, param, coding.get("code"))


# --- reference and uri ------------------------------------------------------------------------------------------------


def _reference(sink: Sink, param: str, value: Element) -> None:
    text = value.get("reference")
    if isinstance(text, str) and text:
        if text[0] == "#":
            sink.contained.append((param, text[1:]))
        else:
            sink.term(param, _target(sink, text))
    identifier = value.get("identifier")
    if identifier:
        _identifier(sink, f"{param}:identifier", identifier)
    _text(sink, param, value.get("display"))


def _target(sink: Sink, text: str) -> str:
    found = parse(text)
    own = not found.base or found.base.rstrip("/") in sink.bases
    return found.key if found.key and own else found.url


def _canonical(sink: Sink, param: str, value: Any) -> None:
    sink.term(param, *canonical(str(value)))


def _uri(sink: Sink, param: str, value: Any) -> None:
    sink.term(param, str(value))


def _nested(sink: Sink, param: str, value: Element) -> None:
    """A resource inside another, as the first entry of a document or message Bundle (R4 3.1.1.4.12)."""
    sink.nested.append((param, value))
    sink.term(f"{param}.", value.get("resourceType"))
    if isinstance(value.get("id"), str):
        sink.term(param, f"{value.get('resourceType')}/{value['id']}")


def _attachment(sink: Sink, param: str, value: Element) -> None:
    sink.term(param, value.get("url"))


# --- date -------------------------------------------------------------------------------------------------------------


def _interval(sink: Sink, value: Any) -> tuple[int, int] | None:
    try:
        return temporal.interval(value, sink.zone) if isinstance(value, str) else None
    except (HubError, ValueError):
        return None


def _date(sink: Sink, param: str, value: Any) -> None:
    found = _interval(sink, value)
    if found:
        sink.range(param, *found)


def _period(sink: Sink, param: str, value: Element) -> None:
    start, end = _interval(sink, value.get("start")), _interval(sink, value.get("end"))
    if start or end:
        sink.range(param, start[0] if start else FIRST, end[1] if end else LAST)


def _timing(sink: Sink, param: str, value: Element) -> None:
    """Only the outer limits matter (R4 3.1.1.4.7)."""
    spans = [found for event in value.get("event", ()) if (found := _interval(sink, event))]
    bounds = value.get("repeat", {}).get("boundsPeriod")
    if bounds:
        start, end = _interval(sink, bounds.get("start")), _interval(sink, bounds.get("end"))
        spans.append((start[0] if start else FIRST, end[1] if end else LAST))
    if spans:
        sink.range(param, min(low for low, _ in spans), max(high for _, high in spans))


# --- number and quantity ----------------------------------------------------------------------------------------------


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
    return number if abs(number.adjusted()) < 300 else None


def _number(sink: Sink, param: str, value: Any) -> None:
    number = _decimal(value)
    if number is not None:
        sink.range(param, float(number), float(number))


def _number_range(sink: Sink, param: str, value: Element) -> None:
    low, high = (_decimal(value.get(edge, {}).get("value")) for edge in ("low", "high"))
    if low is not None or high is not None:
        sink.range(param, float(low) if low is not None else FIRST, float(high) if high is not None else LAST)


def unit_names(system: str | None, code: str | None, unit: str | None) -> Iterator[tuple[str, Decimal]]:
    """The suffixes under which a quantity in this unit is indexed or asked for, with the factor to each."""
    if code and system == UCUM:
        factor, base = units.canonical(code) or (Decimal(1), code)
        yield f"|{UCUM}|{base}", factor
    elif code:
        if system:
            yield f"|{system}|{code}", Decimal(1)
        yield f"||{code}", Decimal(1)
    if unit and unit != code:
        yield f"||{unit}", Decimal(1)


def _span(sink: Sink, param: str, low: Decimal | None, high: Decimal | None, of: Element) -> None:
    """low..high in the unit of the Quantity ``of``; None is open."""
    if low is None and high is None:
        return
    for suffix, factor in (("", Decimal(1)), *unit_names(of.get("system"), of.get("code"), of.get("unit"))):
        sink.range(
            f"{param}{suffix}",
            FIRST if low is None else float(low * factor),
            LAST if high is None else float(high * factor),
        )


def _quantity(sink: Sink, param: str, value: Element) -> None:
    number = _decimal(value.get("value"))
    comparator = value.get("comparator", "")
    low = None if comparator.startswith("<") else number
    high = None if comparator.startswith(">") else number
    _span(sink, param, low, high, value)


def _money(sink: Sink, param: str, value: Element) -> None:
    number = _decimal(value.get("value"))
    _span(sink, param, number, number, {"system": CURRENCY, "code": value.get("currency")})


def _range(sink: Sink, param: str, value: Element) -> None:
    low, high = value.get("low", {}), value.get("high", {})
    _span(sink, param, _decimal(low.get("value")), _decimal(high.get("value")), low or high)


def _sampled(sink: Sink, param: str, value: Element) -> None:
    """SampledData from its least to its greatest sample: origin + factor * datum (R4 2.24.0.7)."""
    origin = value.get("origin", {})
    zero, factor = _decimal(origin.get("value", 0)), _decimal(value.get("factor", 1))
    samples = [
        Decimal(one) for one in str(value.get("data", "")).split() if re.fullmatch(r"-?\d{1,30}(\.\d{1,30})?", one)
    ]
    if samples and zero is not None and factor is not None:
        ends = sorted(zero + factor * one for one in (min(samples), max(samples)))
        _span(sink, param, ends[0], ends[1], origin)


# --- special ----------------------------------------------------------------------------------------------------------


def _position(sink: Sink, param: str, value: Element) -> None:
    """Location.position for ``near``: two ranges, latitude and longitude in degrees."""
    for name in ("latitude", "longitude"):
        number = _decimal(value.get(name))
        if number is not None:
            sink.range(f"{param}:{name}", float(number), float(number))


EMITTERS: Final[Mapping[str, Mapping[str, Emitter]]] = {
    "token": {
        "Coding": _coding,
        "CodeableConcept": _concept,
        "Identifier": _identifier,
        "ContactPoint": _contact,
        "boolean": _boolean,
        "Boolean": _boolean,
        "string": _folded,
        **dict.fromkeys(("code", "id", "uri", "url", "canonical", "oid", "uuid", "date", "integer"), _literal),
    },
    "string": {
        "HumanName": _name,
        "Address": _address,
        "CodeableConcept": _concept_string,
        **dict.fromkeys(("string", "markdown", "code", "id", "uri", "url", "canonical"), _string),
    },
    "reference": {
        "Reference": _reference,
        "canonical": _canonical,
        "uri": _uri,
        "url": _uri,
        "Attachment": _attachment,
        "Resource": _nested,
    },
    "uri": {"canonical": _canonical, **dict.fromkeys(("uri", "url", "oid", "uuid"), _uri)},
    "date": {**dict.fromkeys(("date", "dateTime", "instant", "string"), _date), "Period": _period, "Timing": _timing},
    "number": {
        **dict.fromkeys(("integer", "decimal", "positiveInt", "unsignedInt"), _number),
        "Range": _number_range,
    },
    "quantity": {
        **dict.fromkeys(("Quantity", "SimpleQuantity", "Age", "Duration", "Count", "Distance"), _quantity),
        "Money": _money,
        "Range": _range,
        "SampledData": _sampled,
    },
    "special": {"BackboneElement": _position},
}
FAMILY: Final[Emitter] = _family
