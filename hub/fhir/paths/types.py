"""Static types of an expression: finds members that no value can have (FHIRPath 2.0, 11.1, strict evaluation)."""

from __future__ import annotations

from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.elements import members, options, supertypes, type_of
from hub.fhir.paths.parse import Binary, Call, External, Index, Literal, Member, Sign, Tree, TypeTest, Variable

# The models an expression can give; None when that is open.
Models = frozenset[str] | None

_SAME = frozenset(
    [
        "where",
        "first",
        "last",
        "tail",
        "skip",
        "take",
        "single",
        "distinct",
        "trace",
        "exclude",
        "intersect",
        "sort",
        "defineVariable",
        "checkModifiers",
    ]
)
_STRINGS = frozenset(
    ["startsWith", "endsWith", "matches", "indexOf", "substring", "upper", "lower", "replace", "toChars", "length"]
)


def check(tree: Tree, root: str) -> None:
    """Raises HubError ``value`` when a member is not in the definitions of what it is asked of."""
    _models(tree, frozenset({root}), first=True)


def _models(tree: Tree, focus: Models, first: bool = False) -> Models:
    match tree:
        case Variable("this"):
            return focus
        case Member(None, name):
            if first and name in definitions.load().types:
                return _root(name, focus)
            return _member(focus, name)
        case Member(target, name) if target is not None:
            return _member(_models(target, focus, first), name)
        case Index(target, _):
            return _models(target, focus, first)
        case Sign(_, operand):
            _models(operand, focus, first)
        case TypeTest(operator, operand, name):
            return _cast(_models(operand, focus, first), name) if operator == "as" else None
        case Binary(operator, left, right):
            one, two = _models(left, focus, first), _models(right, focus, first)
            return one | two if operator == "|" and one is not None and two is not None else None
        case Call(target, name, arguments):
            return _call(focus if target is None else _models(target, focus, first), name, arguments)
        case Literal() | External() | Variable():
            pass
    return None


def _root(name: str, focus: Models) -> Models:
    if focus is not None and not any(name in supertypes(model) or "." in model for model in focus):
        raise HubError("value", f"FHIRPath: {name} is not what the expression is evaluated on.")
    return focus


def _member(models: Models, name: str) -> Models:
    if models is None or any(model == "Resource" or not members(model) for model in models):
        return None
    found = frozenset(to for model in models for _, to, _ in options(model, name) or ())
    if models and not found:
        raise HubError("value", f"FHIRPath: {', '.join(sorted(map(type_of, models)))} has no element {name}.")
    return None if "Resource" in found else found


def _cast(models: Models, name: str) -> Models:
    if models is None:
        return None
    kept = frozenset(model for model in models if name.removeprefix("FHIR.") in supertypes(type_of(model)))
    return kept or None


def _call(models: Models, name: str, arguments: tuple[Tree, ...]) -> Models:
    if (
        name in _STRINGS
        and models
        and not any(definitions.load().types.get(model) == "primitive-type" for model in models)
    ):
        raise HubError("value", f"FHIRPath: {name}() needs a string.")
    if name in ("where", "all", "exists", "select"):
        projected = [_models(argument, models) for argument in arguments]
        if name == "select":
            return projected[0]
    if name in ("as", "ofType") and arguments and isinstance(arguments[0], Member) and arguments[0].target is None:
        return _cast(models, arguments[0].name)
    return models if name in _SAME else None
