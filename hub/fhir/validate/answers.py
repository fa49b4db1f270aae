"""What an item of a Questionnaire demands of its answers' values: lengths, limits, patterns, how many (R4 and SDC)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hub.errors import HubError
from hub.fhir.definitions import CANONICAL
from hub.fhir.paths.operators import order
from hub.fhir.paths.scope import system
from hub.fhir.paths.strings import pattern
from hub.fhir.paths.values import Node
from hub.fhir.validate import parts
from hub.fhir.validate.report import Place, Report

Json = dict[str, Any]


def limits(definition: Json) -> dict[str, Any]:
    """The item's extensions that limit its answers: name -> value."""
    found: dict[str, Any] = {}
    for one in parts.objects(definition, "extension"):
        url = parts.string(one, "url")
        value = next((one[name] for name in one if name.startswith("value")), None)
        if url.startswith(CANONICAL) and value is not None:
            found[url.removeprefix(CANONICAL).removeprefix("questionnaire-")] = value
    if isinstance(definition.get("maxLength"), int):
        found["maxLength"] = definition["maxLength"]
    return found


def count(definition: Json, given: int, place: Place, report: Report) -> None:
    """minOccurs and maxOccurs."""
    rules = limits(definition)
    least, most = rules.get("minOccurs"), rules.get("maxOccurs")
    if isinstance(least, int) and 0 < given < least:
        _report(definition, f"minOccurs = {least}", place, report)
    if isinstance(most, int) and given > most:
        _report(definition, f"maxOccurs = {most}", place, report)


def value(definition: Json, member: str, value: Any, place: Place, report: Report) -> None:
    """One answer."""
    for name, limit in limits(definition).items():
        check = _CHECKS.get(name)
        if check is not None and check(limit, value, member) is False:
            _report(definition, f"{name} = {limit}", place, report)


def _report(definition: Json, expected: str, place: Place, report: Report) -> None:
    report.add("item-limit", place, value=definition.get("linkId"), expected=expected)


def _longest(limit: Any, value: Any, member: str) -> bool:
    return not (isinstance(value, str) and isinstance(limit, int) and len(value) > limit)


def _shortest(limit: Any, value: Any, member: str) -> bool:
    return not (isinstance(value, str) and isinstance(limit, int) and len(value) < limit)


def _pattern(limit: Any, value: Any, member: str) -> bool:
    """A pattern that is none, or might run for ever, demands nothing."""
    if not (isinstance(limit, str) and isinstance(value, str)):
        return True
    try:
        return pattern(limit, value).fullmatch(value) is not None
    except HubError:
        return True


def _places(limit: Any, value: Any, member: str) -> bool:
    if not isinstance(limit, int) or not isinstance(value, Decimal):
        return True
    exponent = value.as_tuple().exponent
    return not isinstance(exponent, int) or -exponent <= limit


def _compared(limit: Any, value: Any, member: str) -> int | None:
    model = member.removeprefix("value")
    model = model if isinstance(value, dict) else model[:1].lower() + model[1:]
    try:
        return order(system(Node(value, model)), system(Node(limit, model)))
    except HubError:
        return None


_CHECKS: dict[str, Callable[[Any, Any, str], bool]] = {
    "maxLength": _longest,
    "minLength": _shortest,
    "regex": _pattern,
    "maxDecimalPlaces": _places,
    "minValue": lambda limit, value, member: _compared(limit, value, member) != -1,
    "maxValue": lambda limit, value, member: _compared(limit, value, member) != 1,
}
