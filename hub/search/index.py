"""The index entries of a resource, from its search parameters' FHIRPath, compiled once for each resource type.

Only members that are there are looked at: each alternative of an expression is filed under the member of the resource
it starts with, and under the one member of a choice that its cast allows. The entries themselves are in
``hub.search.entries``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any

from hub.errors import HubError
from hub.fhir import elements, paths
from hub.fhir.paths.direct import Walk
from hub.search.blind import Blind
from hub.search.entries import EMITTERS, FAMILY, SEEING, Emitter, Sink
from hub.search.expression import Entries, Term
from hub.search.parameters import Component, Parameter, Registry, alternatives

Resource = dict[str, Any]
Step = Callable[[Sink, Resource], None]
Emits = list[tuple[Emitter, str]]

PROPERTIES = frozenset({"_id", "_lastUpdated"})  # of the stored version, not of its text
_START = re.compile(r"\(?[A-Z]\w*\.(\w+)(?: as (\w+)\)|\.(?:as|ofType)\((\w+)\))?")
_EXTENSION_VALUE = re.compile(r"value([A-Z]\w*)")


class Indexer:
    """``entries`` of any resource. ``bases`` are own base addresses: absolute references below them become relative.

    ``blind`` hides identity numbers.
    """

    def __init__(
        self, registry: Registry, bases: tuple[str, ...] = (), zone: tzinfo = UTC, blind: Blind = SEEING
    ) -> None:
        self._registry = registry
        self._bases = bases
        self._zone = zone
        self._blind = blind
        self._plans: dict[str, dict[str, _Plan]] = {}
        self._links: dict[tuple[str, str], list[Step]] = {}

    def entries(self, resource: Resource) -> Entries:
        """All entries of a resource.

        Raises HubError("too-costly") above 250,000 entries, "type-unknown" for a type that is not R4, "structure" for a
        resource that does not have the structure of its type, where that was not checked before.
        """
        type = resource["resourceType"]
        plan = self._plans.get(type) or self._compile(type)
        sink = Sink(self._bases, self._zone, self._blind)
        try:
            for member, value in resource.items():
                if (on := plan.get(member)) is not None:
                    on.entries(sink, resource, value)
            plan[""].entries(sink, resource, None)
            if sink.contained or sink.nested:
                self._inner(sink, resource)
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            raise HubError("structure", f"this is not the structure of {type}: {error}", type) from error
        return sink.entries()

    def _inner(self, sink: Sink, resource: Resource) -> None:
        """Entries of contained and nested resources, under the parameters that refer to them."""
        within = {one.get("id"): one for one in resource.get("contained", ()) if "contained" not in one}
        inner = [(param, within[id]) for param, id in dict.fromkeys(sink.contained) if id in within]
        parameters = self._registry.of(resource["resourceType"])
        known: dict[int, Entries] = {}
        for param, one in (*sink.nested, *inner):
            type = one.get("resourceType")
            if param not in parameters or type not in parameters[param].targets:
                continue  # a Bundle is no target: nesting ends here
            if id(one) not in known:
                known[id(one)] = self.entries(one)
            sink.term(f"{param}.", type)
            for term in known[id(one)].terms:
                sink.term(f"{param}.{term.param}", term.value, term.system)
            for range in known[id(one)].ranges:
                sink.range(f"{param}.{range.param}", range.low, range.high)
            sink.check()

    def references(self, resource: Resource, code: str) -> list[Term]:
        """The terms of one reference parameter, for ``_include``."""
        type = resource["resourceType"]
        if (type, code) not in self._links:
            self._links[type, code] = [step for _, step in _steps(type, self._registry.of(type)[code])]
        sink = Sink(self._bases, self._zone, self._blind)
        for step in self._links[type, code]:
            step(sink, resource)
        return [term for term in sink.entries().terms if term.param == code]

    def _compile(self, type: str) -> dict[str, _Plan]:
        plan = {"": _Plan()}
        for parameter in self._registry.of(type).values():
            for member, step in _steps(type, parameter):
                plan.setdefault(member, _Plan()).add(member, step)
        self._plans[type] = plan
        return plan


class _Plan:
    """What is to be done with one member: with each of its values, and with the resource as a whole."""

    __slots__ = ("_many", "_one", "_steps")

    def __init__(self) -> None:
        self._one: Emits = []
        self._many: Emits = []
        self._steps: list[Step] = []

    def add(self, member: str, step: Step) -> None:
        if isinstance(step, _Direct) and step.member == member != "":
            (self._many if step.many else self._one).append((step.emit, step.code))
        else:
            self._steps.append(step)

    def entries(self, sink: Sink, resource: Resource, value: Any) -> None:
        for emit, code in self._one:
            emit(sink, code, value)
        for emit, code in self._many:
            for one in value:
                if one is not None:
                    emit(sink, code, one)
        for step in self._steps:
            step(sink, resource)


def _steps(type: str, parameter: Parameter) -> list[tuple[str, Step]]:
    """(member of the resource, step) of every alternative; member "" is always looked at."""
    if parameter.code in PROPERTIES or parameter.union or parameter.expression in ("", type):
        return []  # of a composite of the whole resource the parser makes an And of its components
    steps: list[tuple[str, Step]] = []
    for part in alternatives(parameter.expression):
        step = _composite(type, part, parameter) if parameter.components else _simple(type, part, parameter)
        steps.extend((member, step) for member in _members(type, part))
    return steps


def _members(type: str, expression: str) -> list[str]:
    found = _START.match(expression)
    if found is None or " and " in expression:
        return [""]
    cast = found[2] or found[3]
    options = elements.options(type, found[1]) or ((found[1], "", False),)
    members = [key for key, model, _ in options if cast is None or cast in elements.supertypes(model)]
    return members or [key for key, _, _ in options]


def _simple(type: str, expression: str, parameter: Parameter) -> Step:
    emitter = _Emitter(parameter.type, family=expression.endswith(".family"))
    walks = paths.walks(expression, type)
    if walks is not None and len(walks) == 1:
        return _Direct(walks[0], emitter.of(walks[0].type), parameter.code)
    values = paths.compile(expression, type).typed

    def step(sink: Sink, resource: Resource) -> None:
        for value, kind in values(resource):
            emitter.of(kind)(sink, parameter.code, value)

    return step


class _Direct:
    """The values of one way are all of one type: what to do with them is known before."""

    __slots__ = ("_values", "code", "emit", "many", "member")

    def __init__(self, walk: Walk, emit: Emitter, code: str) -> None:
        self._values, _, self.member, self.many = walk
        self.emit, self.code = emit, code

    def __call__(self, sink: Sink, resource: Resource) -> None:
        for value in self._values(resource):
            if value is not None:
                self.emit(sink, self.code, value)


class _Emitter:
    """What a parameter of a type makes of a value, by the value's type."""

    def __init__(self, type: str, *, family: bool = False) -> None:
        self._type, self._family = type, family
        self._emitters = EMITTERS[type]
        self._known: dict[str, Emitter] = {}

    def of(self, kind: str) -> Emitter:
        if kind not in self._known:
            self._known[kind] = self._made(kind)
        return self._known[kind]

    def _made(self, kind: str) -> Emitter:
        emitters = self._emitters
        if kind in emitters:
            return FAMILY if self._family else emitters[kind]
        if kind == "Extension":
            return lambda sink, param, value: _extension(emitters, sink, param, value)
        return self._resource

    def _resource(self, sink: Sink, param: str, value: Any) -> None:
        if self._type == "reference" and isinstance(value, dict) and "resourceType" in value:
            self._emitters["Resource"](sink, param, value)


def _extension(emitters: Any, sink: Sink, param: str, extension: dict[str, Any]) -> None:
    """A parameter on an extension means the extension's value."""
    for name, value in extension.items():
        found = _EXTENSION_VALUE.fullmatch(name)
        if found:
            kind = found[1] if found[1] in emitters else found[1][0].lower() + found[1][1:]
            emit: Emitter | None = emitters.get(kind)
            if emit is not None:
                emit(sink, param, value)


# --- composites (R4 3.1.1.4.17) ---------------------------------------------------------------------------------------


def _composite(type: str, expression: str, parameter: Parameter) -> Step:
    """Entries of the last component, for each form of the first one's token, on the same element."""
    shared = paths.compile(expression, type)
    (model,) = parameter.elements
    first, *rest = (_component(part, model) for part in parameter.components)
    code = parameter.code

    def step(sink: Sink, resource: Resource) -> None:
        for element in shared(resource):
            for form in _forms(first, sink, resource, element):
                _rest(rest, sink, f"{code}${form}", resource, element)

    return step


Part = Callable[[Sink, str, Resource, Any], None]


def _component(part: Component, model: str) -> Part:
    finds = [paths.compile(one, model).typed for one in alternatives(part.expression)]
    emitter = _Emitter(part.type)

    def component(sink: Sink, param: str, resource: Resource, element: Any) -> None:
        own = Sink(sink.bases, sink.zone, sink.blind)
        for find in finds:
            for value, kind in find(element, resource=resource):
                emitter.of(kind)(own, "", value)
        for name, *rest in own.terms:
            sink.term(param + name, *rest)
        for name, low, high in own.ranges:
            sink.range(param + name, low, high)

    return component


def _forms(first: Part, sink: Sink, resource: Resource, element: Any) -> list[str]:
    """How the first component's token may be asked for: ``code`` and ``system|code`` or ``|code``."""
    own = Sink(sink.bases, sink.zone, sink.blind)
    first(own, "", resource, element)
    forms: dict[str, None] = {}
    for name, value, system in own.terms:
        if not name:
            forms[value] = forms[f"{system}|{value}"] = None
    return list(forms)


def _rest(rest: list[Part], sink: Sink, param: str, resource: Resource, element: Any) -> None:
    if len(rest) == 1:
        rest[0](sink, param, resource, element)
        return
    own = Sink(
        sink.bases, sink.zone, sink.blind
    )  # two integers, start and end: one range, so that both are of the same element
    for part, name in zip(rest, ("start", "end"), strict=True):
        part(own, name, resource, element)
    ends = {name: low for name, low, _ in own.ranges}
    if "start" in ends and "end" in ends:
        sink.range(param, ends["start"], ends["end"])
