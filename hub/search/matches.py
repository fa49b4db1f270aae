"""What one value of a search parameter asks of the index, by the parameter's type (R4 3.1.1.4.6 to 3.1.1.4.12).

Each function takes the parameter asked and one value (escapes still in it) and raises ValueError, in words for the
client, when the value does not have the form of its type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Protocol

from hub.errors import HubError
from hub.fhir import reference, temporal
from hub.search import prefixes, values
from hub.search.entries import UCUM, unit_names
from hub.search.expression import NONE, Contains, Equals, Expression, In, InSystem, Match, Number, Prefix, either
from hub.search.parameters import Parameter, Registry
from hub.search.text import normalised

_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_NUMBER = re.compile(r"[+-]?\d{1,200}(\.\d{1,200})?([eE][+-]?\d{1,3})?")


class Terminology(Protocol):
    """What ``:in``, ``:not-in``, ``:above`` and ``:below`` ask of the terminology service."""

    def members(self, value_set: str) -> Sequence[tuple[str, str]] | None:
        """(system, code) of a value set's expansion; None when it is unknown or cannot be expanded."""

    def related(self, system: str, code: str, direction: str) -> Sequence[str] | None:
        """Codes that subsume ("above") or are subsumed by ("below") the code, itself included; None when not known."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a value's meaning depends on: own base address, server time zone, now (microseconds), terminology."""

    base: str = ""
    zone: tzinfo = UTC
    now: int = 0
    terminology: Terminology | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameter a value is for."""

    types: tuple[str, ...]
    parameter: Parameter
    about: Circumstances
    registry: Registry

    @property
    def code(self) -> str:
        return self.parameter.code


Handler = Callable[[Asked, str], Expression]


def merged(parts: Sequence[Expression]) -> Expression:
    """Or of the parts; equalities of one parameter in one system become one In."""
    terms: dict[tuple[str, str | None], list[str]] = {}
    others: list[Expression] = []
    for part in parts:
        if isinstance(part, Match) and isinstance(part.test, Equals):
            terms.setdefault((part.param, part.test.system), []).append(part.test.value)
        else:
            others.append(part)
    merged = [
        Match(param, Equals(found[0], system) if len(found) == 1 else In(tuple(dict.fromkeys(found)), system))
        for (param, system), found in terms.items()
    ]
    return either((*merged, *others))


# --- token (R4 3.1.1.4.10) --------------------------------------------------------------------------------------------


def token_of(asked: Asked, value: str) -> Expression:
    return _token_match(asked.code, asked.parameter, values.token(value))


def _token_match(param: str, parameter: Parameter, token: values.Token) -> Expression:
    system = token.system
    if parameter.elements and parameter.elements <= {"code", "boolean", "id", "string", "uri"}:
        if system and parameter.systems and system not in parameter.systems:
            return NONE
        system = None  # that of a code is implied by its binding, the others have none
    if token.code is None:
        return Match(param, InSystem(token.system or ""))
    if parameter.elements == {"string"}:
        return Match(param, Equals(token.code.casefold()))
    exact = Match(param, Equals(token.code, system))
    if "string" in parameter.elements and token.code.casefold() != token.code:
        return either((exact, Match(param, Equals(token.code.casefold(), system))))
    return exact


def token_text(asked: Asked, value: str) -> Expression:
    return Match(f"{asked.code}:text", Prefix(_plain(value)))


def of_type(asked: Asked, value: str) -> Expression:
    parts = [values.literal(part) for part in values.split(value, "|")]
    if len(parts) != 3 or not all(parts):
        raise ValueError("expected system|code|value of an identifier's type and value")
    return Match(f"{asked.code}:of-type", Equals(f"{parts[1]}|{parts[2]}", parts[0]))


def in_value_set(asked: Asked, value: str) -> Expression:
    if asked.about.terminology is None:
        raise ValueError("this server has no terminology service to expand a value set with")
    members = asked.about.terminology.members(values.literal(value))
    if members is None:
        raise ValueError("the value set is not known or cannot be expanded")
    systems: dict[str, list[str]] = {}
    for system, code in members:
        systems.setdefault(system, []).append(code)
    implied = asked.parameter.elements == {"code"}
    return either(Match(asked.code, In(tuple(codes), None if implied else system)) for system, codes in systems.items())


def subsuming(direction: str) -> Handler:
    def handler(asked: Asked, value: str) -> Expression:
        token = values.token(value)
        if direction == "below" and token.system is None and token.code and "/" in token.code:
            code = token.code.split(";")[0].strip()  # a MIME type (R4 3.1.1.4.10.1)
            return either((Match(asked.code, Equals(code)), Match(asked.code, Prefix(code + ";"))))
        if asked.about.terminology is None:
            raise ValueError("this server has no terminology service to ask for the hierarchy")
        implied = asked.parameter.systems
        system = token.system or (next(iter(implied)) if len(implied) == 1 else "")
        if not system or token.code is None:
            raise ValueError("expected system|code")
        codes = asked.about.terminology.related(system, token.code, direction)
        if codes is None:
            raise ValueError("the code is not known to the terminology service")
        return Match(asked.code, In(tuple(codes), None if implied else system))

    return handler


# --- string (R4 3.1.1.4.8) --------------------------------------------------------------------------------------------


def _plain(value: str) -> str:
    text = normalised(values.literal(value))
    if not text:
        raise ValueError("it has no letter or digit to search for")
    return text


def string_of(asked: Asked, value: str) -> Expression:
    return Match(asked.code, Prefix(_plain(value)))


def string_contains(asked: Asked, value: str) -> Expression:
    return Match(asked.code, Contains(_plain(value)))


def string_exact(asked: Asked, value: str) -> Expression:
    text = values.literal(value)
    return Match(asked.code, Equals(normalised(text) or text, text))


# --- reference and uri (R4 3.1.1.4.9, 3.1.1.4.12) ---------------------------------------------------------------------


def reference_to(asked: Asked, value: str) -> Expression:
    text = values.literal(value)
    if _ID.fullmatch(text):
        named = [f"{target}/{text}" for target in asked.parameter.targets]
        if not asked.parameter.elements <= {"Reference"}:
            named.append(text)  # a canonical may be any uri
        return merged([Match(asked.code, Equals(name)) for name in named])
    found = reference.parse(text)
    if found.key and found.base.rstrip("/") in ("", asked.about.base):
        return Match(asked.code, Equals(found.key))
    return _uri_match(asked.code, found.url if found.key else text)


def typed_reference(type: str) -> Handler:
    def handler(asked: Asked, value: str) -> Expression:
        text = values.literal(value)
        id = text if _ID.fullmatch(text) else reference.parse(text).key.removeprefix(f"{type}/")
        if not _ID.fullmatch(id):
            raise ValueError(f"expected the id of a {type}")
        return Match(asked.code, Equals(f"{type}/{id}"))

    return handler


def reference_identifier(asked: Asked, value: str) -> Expression:
    token = values.token(value)
    param = f"{asked.code}:identifier"
    if token.code is None:
        return Match(param, InSystem(token.system or ""))
    return Match(param, Equals(token.code, token.system))


def reference_below(asked: Asked, value: str) -> Expression:
    if "canonical" not in asked.parameter.elements:
        raise ValueError(":below is offered for canonical references only")
    url, version = values.canonical(values.literal(value))
    if not version:
        return Match(asked.code, Equals(url))
    raise ValueError("a version prefix is not offered; leave the version out or name it whole without :below")


def uri_of(asked: Asked, value: str) -> Expression:
    return _uri_match(asked.code, values.literal(value))


def _uri_match(param: str, text: str) -> Expression:
    url, version = values.canonical(text)
    if not version:
        return Match(param, Equals(text))
    return either((Match(param, Equals(text)), Match(param, Equals(url, version))))


def uri_below(asked: Asked, value: str) -> Expression:
    url = _url(value)
    return either((Match(asked.code, Equals(url)), Match(asked.code, Prefix(url + "/"))))


def uri_above(asked: Asked, value: str) -> Expression:
    scheme, rest = _url(value).split("://", 1)
    segments = rest.split("/")
    urls = [f"{scheme}://{'/'.join(segments[: end + 1])}" for end in range(len(segments))]
    return Match(asked.code, In((*urls, *(url + "/" for url in urls))))


def _url(value: str) -> str:
    url = values.literal(value).rstrip("/")
    if "://" not in url:
        raise ValueError(":above and :below apply to URLs, not to URNs")
    return url


# --- date, number, quantity (R4 3.1.1.4.6, 3.1.1.4.7, 3.1.1.4.11) -----------------------------------------------------


def date_of(asked: Asked, value: str) -> Expression:
    prefix, text = prefixes.split(values.literal(value))
    try:
        low, high = temporal.interval(text.replace(" ", "+"), asked.about.zone)
    except HubError as error:
        raise ValueError(error.diagnostics) from error
    bounds = prefixes.date_bounds(low, high, asked.about.now)
    return prefixes.compared(asked.code, prefixes.DATE[prefix], bounds)


def number_of(asked: Asked, value: str) -> Expression:
    return _number_match(asked.code, values.literal(value))


def _number_match(param: str, value: str, factor: Decimal = Decimal(1)) -> Expression:
    prefix, bounds = number_bounds(value, factor)
    return prefixes.compared(param, prefixes.NUMBER[prefix], bounds)


def number_bounds(value: str, factor: Decimal = Decimal(1)) -> tuple[str, dict[str, Number]]:
    prefix, text = prefixes.split(value)
    if not _NUMBER.fullmatch(text):
        raise ValueError("expected a number, perhaps with a prefix such as ge")
    return prefix, prefixes.number_bounds(text, factor)


def quantity_of(asked: Asked, value: str) -> Expression:
    return _quantity_match(asked.code, value)


def _quantity_match(param: str, value: str) -> Expression:
    parts = [values.literal(part) for part in values.split(value, "|")]
    if len(parts) not in (1, 3):
        raise ValueError("expected number, number|system|code or number||code")
    number = parts[0]
    system, code = (parts[1], parts[2]) if len(parts) == 3 else ("", "")
    if not code:
        if system:
            raise ValueError("a unit system needs a code: number|system|code")
        return _number_match(param, number)
    names = list(unit_names(UCUM, code, None)) if system in ("", UCUM) else [(f"|{system}|{code}", Decimal(1))]
    if not system:
        names.append((f"||{code}", Decimal(1)))
    return either(_number_match(param + suffix, number, factor) for suffix, factor in names)
