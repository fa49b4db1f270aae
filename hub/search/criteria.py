"""One search criterion, a parameter with its modifier and value, as an expression over index entries (R4 3.1.1.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hub.errors import HubError
from hub.search import matches, prefixes, values
from hub.search.expression import (
    Compare,
    Exists,
    Expression,
    Match,
    Not,
    Number,
    both,
    either,
)
from hub.search.matches import Asked, Circumstances, Handler
from hub.search.parameters import Component, Parameter, Registry
from hub.search.special import near

MAX_VALUE: Final = 900  # characters of one value, below the length an index term is cut at
MAX_ALTERNATIVES: Final = 2_000


def criterion(
    types: tuple[str, ...], parameter: Parameter, modifier: str, value: str, about: Circumstances, registry: Registry
) -> Expression:
    """The expression of ``code:modifier=value``; comma-separated alternatives are an Or (R4 3.1.1.4.17).

    Raises HubError("parameter-value") that names parameter and value.
    """
    name = f"{parameter.code}:{modifier}" if modifier else parameter.code
    if modifier == "missing":
        return _missing(parameter, name, value, registry, types)
    parts = values.split(value, ",")
    if len(parts) > MAX_ALTERNATIVES:
        raise refused(name, value, f"at most {MAX_ALTERNATIVES} alternatives are answered")
    if parameter.union:
        return _united(types, parameter, modifier, value, about, registry)
    handler = _HANDLERS.get((parameter.type, modifier))
    if handler is None and parameter.type == "reference" and modifier in registry.types:
        handler = matches.typed_reference(modifier)
    if handler is None:
        raise HubError(
            "parameter-unknown",
            f"the modifier :{modifier} is not offered for the {parameter.type} parameter {parameter.code!r}",
            name,
        )
    negative = modifier in ("not", "not-in")
    asked = Asked(types, parameter, about, registry)
    found_parts = []
    for part in parts:
        if not 0 < len(part) <= MAX_VALUE:
            raise refused(name, part, f"a value has 1 to {MAX_VALUE} characters")
        try:
            found_parts.append(handler(asked, part))
        except ValueError as error:
            raise refused(name, part, str(error)) from error
    found = matches.merged(found_parts)
    return Not(found) if negative else found


def refused(name: str, value: str, why: str) -> HubError:
    """HubError("parameter-value") for this parameter and value."""
    shown = value if len(value) <= 80 else value[:77] + "..."
    return HubError(
        "parameter-value", f"the value {shown!r} of the search parameter {name!r} is not valid: {why}", name
    )


def _united(
    types: tuple[str, ...], parameter: Parameter, modifier: str, value: str, about: Circumstances, registry: Registry
) -> Expression:
    """A parameter such as combo-code: what any of its parts finds; a negation is of all of them."""
    positive = {"not": "", "not-in": "in"}.get(modifier, modifier)
    own = registry.common(types)
    found = either(criterion(types, own[code], positive, value, about, registry) for code in parameter.union)
    return found if positive == modifier else Not(found)


def _missing(parameter: Parameter, name: str, value: str, registry: Registry, types: tuple[str, ...]) -> Expression:
    if value not in ("true", "false"):
        raise refused(name, value, "expected true or false")
    if parameter.type in ("composite", "special"):
        raise HubError("parameter-unknown", f"the modifier :missing is not offered for {parameter.code!r}", name)
    variants = {
        "token": ("", ":text", ":of-type"),
        "reference": ("", ":identifier", ":identifier:text", ":text", "."),
    }
    codes = parameter.union or (parameter.code,)
    present = either(Match(code + suffix, Exists()) for code in codes for suffix in variants.get(parameter.type, ("",)))
    return Not(present) if value == "true" else present


# --- composite (R4 3.1.1.4.17) ----------------------------------------------------------------------------------------


def _composite(asked: Asked, value: str) -> Expression:
    parts = values.split(value, "$")
    components = asked.parameter.components
    if len(parts) != len(components) or not all(parts):
        raise ValueError(f"expected {'$'.join(part.code for part in components)}")
    if asked.parameter.expression in asked.types:
        own = asked.registry.common(asked.types)
        return both(
            *(
                criterion(asked.types, own[part.code], "", text, asked.about, asked.registry)
                for part, text in zip(components, parts, strict=True)
            )
        )
    first = values.token(parts[0])
    if first.code is None:
        raise ValueError("the first component needs a code")
    param = f"{asked.code}${first.code if first.system is None else f'{first.system}|{first.code}'}"
    if len(components) == 3:
        return _start_and_end(param, parts[1], parts[2])
    return _component(asked, param, components[1], parts[1])


def _component(asked: Asked, param: str, component: Component, value: str) -> Expression:
    own = asked.registry.common(asked.types)[component.code]
    return _HANDLERS[component.type, ""](replace(asked, parameter=replace(own, code=param)), value)


def _start_and_end(param: str, start: str, end: str) -> Expression:
    """Two numbers of one element are one range, the first its low, the second its high: all tests on one entry."""
    return either(
        Match(param, Compare((*low, *high))) for low in _edge_tests("low", start) for high in _edge_tests("high", end)
    )


def _edge_tests(edge: prefixes.Edge, value: str) -> list[list[tuple[prefixes.Edge, prefixes.Sign, Number]]]:
    prefix, bounds = matches.number_bounds(value)
    return [[(edge, sign, bounds[name]) for _, sign, name in tests] for tests in prefixes.NUMBER[prefix]]


def _near(asked: Asked, value: str) -> Expression:
    return near(asked.code, [values.literal(part) for part in values.split(value, "|")])


_HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    ("token", ""): matches.token_of,
    ("token", "not"): matches.token_of,
    ("token", "text"): matches.token_text,
    ("token", "of-type"): matches.of_type,
    ("token", "in"): matches.in_value_set,
    ("token", "not-in"): matches.in_value_set,
    ("token", "above"): matches.subsuming("above"),
    ("token", "below"): matches.subsuming("below"),
    ("string", ""): matches.string_of,
    ("string", "contains"): matches.string_contains,
    ("string", "exact"): matches.string_exact,
    ("reference", ""): matches.reference_to,
    ("reference", "identifier"): matches.reference_identifier,
    ("reference", "text"): matches.token_text,
    ("reference", "below"): matches.reference_below,
    ("uri", ""): matches.uri_of,
    ("uri", "below"): matches.uri_below,
    ("uri", "above"): matches.uri_above,
    ("date", ""): matches.date_of,
    ("number", ""): matches.number_of,
    ("quantity", ""): matches.quantity_of,
    ("composite", ""): _composite,
    ("special", ""): _near,
}


def modifiers(parameter: Parameter) -> tuple[str, ...]:
    """The modifiers that are offered for a parameter, for the CapabilityStatement's documentation."""
    if parameter.code == "_id":
        return ("missing", "not")
    offered = [modifier for type, modifier in _HANDLERS if type == parameter.type and modifier]
    return tuple(offered) if parameter.type in ("composite", "special") else ("missing", *offered)
