"""Syntax tree to closures."""

from __future__ import annotations

from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.paths import fhir, functions, numbers, strings
from hub.fhir.paths.operators import OPERATORS
from hub.fhir.paths.parse import Binary, Call, External, Index, Literal, Member, Sign, Tree, TypeTest, Variable
from hub.fhir.paths.scope import Closure, Items, Scope, integer, is_type, member, one, wrong
from hub.fhir.paths.values import Node, Quantity, number

EAGER = functions.EAGER | strings.EAGER | numbers.EAGER | fhir.EAGER
LAZY = functions.LAZY
TYPED = frozenset({"is", "as", "ofType"})

_CONSTANTS = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}
_CANONICALS = {"vs-": "http://hl7.org/fhir/ValueSet/", "ext-": "http://hl7.org/fhir/StructureDefinition/"}


def closure(tree: Tree) -> Closure:
    """The tree as a function of the scope. Raises HubError ``value`` for an unknown function or variable form."""
    match tree:
        case Literal(items):
            constant = list(items)
            return lambda scope: constant
        case Variable(name):
            return _variable(name)
        case External(name):
            return _external(name)
        case Member(target, name):
            return _member(target, name)
        case Index(target, index):
            return _index(closure(target), closure(index))
        case Sign(operator, operand):
            return _sign(operator, closure(operand))
        case Binary(operator, left, right):
            return _binary(operator, closure(left), closure(right))
        case TypeTest(operator, operand, name):
            return _typed(operator, closure(operand), name)
        case Call(target, name, arguments):
            return _call(_focus if target is None else closure(target), name, arguments)


def _focus(scope: Scope) -> Items:
    return scope.this


def _variable(name: str) -> Closure:
    if name == "this":
        return _focus
    if name == "index":
        return lambda scope: [scope.index]
    return lambda scope: scope.total if scope.total is not None else []


def _external(name: str) -> Closure:
    if name in ("resource", "context"):
        return lambda scope: scope.env.variables.get(name) or [scope.env.resource]
    if name == "rootResource":
        return lambda scope: [scope.env.root]
    if name in _CONSTANTS:
        constant = [_CONSTANTS[name]]
        return lambda scope: constant
    for prefix, base in _CANONICALS.items():
        if name.startswith(prefix):
            canonical = [base + name.removeprefix(prefix)]
            return lambda scope: canonical

    def variable(scope: Scope) -> Items:
        for known in (scope.variables, scope.env.variables):
            if name in known:
                return known[name]
        raise wrong(f"%{name} is not defined")

    return variable


def _member(target: Tree | None, name: str) -> Closure:
    if target is not None:
        source = closure(target)
        return lambda scope: member(source(scope), name)
    if name[0].islower() or name not in definitions.load().types:  # "code" is a member, not the type
        return lambda scope: member(scope.this, name)

    def root(scope: Scope) -> Items:
        return [item for item in scope.this if type(item) is Node and is_type(item, name)]

    return root


def _index(source: Closure, index: Closure) -> Closure:
    def indexed(scope: Scope) -> Items:
        items, place = source(scope), integer(index(scope), "index")
        return [items[place]] if place is not None and 0 <= place < len(items) else []

    return indexed


def _sign(operator: str, source: Closure) -> Closure:
    def signed(scope: Scope) -> Items:
        value = one(source(scope))
        if value is None:
            return []
        if isinstance(value, Quantity):
            return [value if operator == "+" else Quantity(-value.value, value.unit)]
        if not number(value):
            raise wrong(f"{operator} needs a number")
        return [value if operator == "+" else -value]

    return signed


def _binary(operator: str, left: Closure, right: Closure) -> Closure:
    apply = OPERATORS[operator]
    if operator in ("and", "or", "implies"):
        shortcut = [operator == "or"]

        def lazy(scope: Scope) -> Items:
            first = left(scope)
            if operator != "implies" and first == shortcut and first[0] is shortcut[0]:
                return first
            if operator == "implies" and first == shortcut:
                return [True]
            return apply(first, right(scope))

        return lazy
    return lambda scope: apply(left(scope), right(scope))


def _typed(operator: str, source: Closure, name: str) -> Closure:
    _known(name)
    if operator == "is":

        def test(scope: Scope) -> Items:
            items = source(scope)
            if len(items) > 1:
                raise wrong("is needs one item")
            return [is_type(items[0], name)] if items else []

        return test
    other = {"DateTime": "dateTime"}.get(name, name)  # as R4's own search parameters spell it
    return lambda scope: [item for item in source(scope) if is_type(item, name) or is_type(item, other)]


_SYSTEM = frozenset(
    {"Any", "Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "TypeInfo"}
)
_DERIVED = frozenset({"SimpleQuantity", "MoneyQuantity"})


def _known(name: str) -> None:
    space, _, local = name.rpartition(".")
    if not (local in _SYSTEM or local in _DERIVED or local in definitions.load().types) or space not in (
        "",
        "FHIR",
        "System",
    ):
        raise wrong(f"{name} is not a type")


def _call(target: Closure, name: str, arguments: tuple[Tree, ...]) -> Closure:
    if name in TYPED:
        (argument,) = _counted(name, arguments, 1, 1)
        return _typed("is" if name == "is" else "as", target, _type_name(argument))
    if name in LAZY:
        lazy = LAZY[name]
        criteria = [closure(item) for item in _counted(name, arguments, lazy.least, lazy.most)]
        run = lazy.run
        return lambda scope: run(scope, target(scope), *criteria)
    if name not in EAGER:
        raise HubError("value", f"FHIRPath: there is no function {name}().")
    eager = EAGER[name]
    compute = eager.run
    given = [closure(item) for item in _counted(name, arguments, eager.least, eager.most)]
    if not given:
        return lambda scope: compute(scope, target(scope))
    return lambda scope: compute(scope, target(scope), *[item(scope) for item in given])


def _counted(name: str, arguments: tuple[Tree, ...], least: int, most: int) -> tuple[Tree, ...]:
    if not least <= len(arguments) <= most:
        raise HubError("value", f"FHIRPath: {name}() takes {least} to {most} arguments, not {len(arguments)}.")
    return arguments


def _type_name(tree: Tree) -> str:
    match tree:
        case Member(None, name):
            return name
        case Member(Member(None, space), name):
            return f"{space}.{name}"
    raise HubError("value", "FHIRPath: the name of a type is expected.")
