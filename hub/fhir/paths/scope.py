"""What a running FHIRPath expression sees, and how it reads items (FHIRPath 2.0, 4.5 and 5.1)."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from hub.errors import HubError
from hub.fhir.elements import json_members, members, options, resource_model, supertypes, type_of
from hub.fhir.paths.values import Node, Quantity, Temporal, TypeInfo

Items = list[Any]
MAX_STEPS = 2_000_000

QUANTITIES = frozenset({"Quantity", "Age", "Duration", "Count", "Distance", "SimpleQuantity", "MoneyQuantity"})
INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})
TEMPORALS = {"date": "date", "dateTime": "dateTime", "instant": "dateTime", "time": "time"}
_UCUM = "http://unitsofmeasure.org"
_CALENDAR = {"a": "year", "mo": "month", "wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second"}


class Terminology(Protocol):
    """What ``memberOf`` and bindings ask."""

    def validate_code(self, value_set: str, system: str, code: str) -> bool | None:
        """Whether the code is in the value set; None when that cannot be said here."""


class Env:
    """One evaluation: the resource, variables, callbacks, the clock and the budget of steps."""

    __slots__ = ("conforms", "now", "resolver", "resource", "root", "steps", "terminology", "variables")

    def __init__(
        self,
        resource: Node,
        *,
        root: Node | None = None,
        variables: dict[str, Items] | None = None,
        resolver: Callable[[str], dict[str, Any] | None] | None = None,
        terminology: Terminology | None = None,
        conforms: Callable[[Node, str], bool] | None = None,
        now: Temporal | None = None,
    ) -> None:
        self.resource = resource
        self.root = root or resource
        self.variables = variables or {}
        self.resolver = resolver
        self.terminology = terminology
        self.conforms = conforms
        self.now = now
        self.steps = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Takes from the budget. Raises HubError ``too-costly`` when it is used up."""
        self.steps -= steps
        if self.steps < 0:
            raise HubError("too-costly", f"The expression needs more than {MAX_STEPS} steps on this resource.")


class Scope:
    """``$this``, ``$index`` and ``$total`` of the expression that runs."""

    __slots__ = ("env", "index", "this", "total", "variables")

    def __init__(
        self,
        env: Env,
        this: Items,
        index: int = 0,
        total: Items | None = None,
        variables: dict[str, Items] | None = None,
    ) -> None:
        self.env = env
        self.this = this
        self.index = index
        self.total = total
        self.variables = variables if variables is not None else {}

    def inner(self, item: Any, index: int = 0, total: Items | None = None) -> Scope:
        """The scope of a criteria expression on one item."""
        self.env.spend(1)
        return Scope(self.env, [item], index, total, dict(self.variables) if self.variables else None)


Closure = Callable[[Scope], Items]


def wrong(what: str) -> HubError:
    """A FHIRPath execution error."""
    return HubError("value", f"FHIRPath: {what}.")


# --- walking ----------------------------------------------------------------------------------------------------------


def resource_node(value: dict[str, Any], owner: Any = None, key: str | int = "") -> Node:
    """The node of a resource."""
    return Node(value, resource_model(value), None, owner, key)


def member(nodes: Items, name: str) -> Items:
    """``nodes.name``: child elements by name, choices without their type."""
    found: Items = []
    for node in nodes:
        if type(node) is Node:
            if type(node.value) is dict:
                _members(node.value, node.model, name, found)
            elif node.extra and type(node.extra) is dict and name in ("extension", "id"):
                _members(node.extra, "Element", name, found)
        elif type(node) is TypeInfo and name in ("namespace", "name"):
            found.append(getattr(node, name))
    return found


def _members(value: dict[str, Any], model: str, name: str, found: Items) -> None:
    known = options(model, name)
    if known is None:
        if not members(model) and name in value:
            _append(value, name, "", found)
        return
    for key, to, _ in known:
        if key in value or "_" + key in value:
            _append(value, key, to, found)


def _append(value: dict[str, Any], key: str, model: str, found: Items) -> None:
    raw, extra = value.get(key), value.get("_" + key)
    if type(raw) is list or type(extra) is list:
        many = raw if type(raw) is list else []
        extras = extra if type(extra) is list else []
        for index in range(max(len(many), len(extras))):
            item = many[index] if index < len(many) else None
            more = extras[index] if index < len(extras) else None
            if item is not None or more is not None:
                found.append(Node(item, _dynamic(item, model), more, many, index))
    elif raw is not None or extra is not None:
        found.append(Node(raw, _dynamic(raw, model), extra, value, key))


def _dynamic(value: Any, model: str) -> str:
    if model == "Resource":
        return resource_model(value)
    if model:
        return model
    if type(value) is bool:
        return "boolean"
    if type(value) is int:
        return "integer"
    return "string" if type(value) is str else "decimal" if isinstance(value, decimal.Decimal) else ""


def children(node: Any) -> Items:
    """The child elements of a node, in the order of the text."""
    found: Items = []
    if type(node) is not Node:
        return found
    if type(node.value) is dict:
        known = json_members(node.model)
        for key in node.value:
            name = key.removeprefix("_")
            if name != key and name in node.value:
                continue
            if name in known:
                _append(node.value, name, known[name][1], found)
            elif not known and name != "resourceType":
                _append(node.value, name, "", found)
    elif type(node.extra) is dict:
        for name in ("id", "extension"):
            _members(node.extra, "Element", name, found)
    return found


def descendants(env: Env, nodes: Items) -> Iterator[Node]:
    """All elements below, depth first; no recursion."""
    stack = list(reversed(nodes))
    first = len(nodes)
    roots = {id(node) for node in nodes[:first]}
    while stack:
        node = stack.pop()
        env.spend(1)
        if id(node) not in roots:
            yield node
        stack.extend(reversed(children(node)))


# --- reading items ----------------------------------------------------------------------------------------------------


def system(item: Any) -> Any:
    """The System value of a primitive or Quantity node (FHIR R4 2.9.1.1); None of one without value; else the item."""
    if type(item) is not Node:
        return item
    value, model = item.value, item.model
    if value is None:
        return None
    if type(value) is str:
        if model in TEMPORALS:
            return Temporal.parse(value, TEMPORALS[model]) or value
        return value
    if type(value) is dict and model in QUANTITIES:
        return quantity(value) or item
    return item if type(value) in (dict, list) else value


def quantity(value: dict[str, Any]) -> Quantity | None:
    """The System.Quantity of a FHIR Quantity: the UCUM code, else the unit as written."""
    number = value.get("value")
    if not isinstance(number, (int, decimal.Decimal)) or isinstance(number, bool) or value.get("comparator"):
        return None
    code = value.get("code")
    if value.get("system") == _UCUM and isinstance(code, str):
        return Quantity(decimal.Decimal(number), _CALENDAR.get(code, code))
    unit = code if isinstance(code, str) else value.get("unit")
    return Quantity(decimal.Decimal(number), unit if isinstance(unit, str) else "1")


def values(items: Items) -> Items:
    """System values of the items; primitives without a value drop out."""
    return [value for item in items if (value := system(item)) is not None]


def one(items: Items, what: str = "operand") -> Any:
    """The System value of a collection of at most one item, or None. Raises HubError ``value`` for more."""
    if not items:
        return None
    if len(items) > 1:
        raise wrong(f"one item is expected as {what}, not {len(items)}")
    return system(items[0])


def text(items: Items, what: str = "string") -> str | None:
    """The only item as string, or None."""
    value = one(items, what)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Temporal):
        return str(value)
    raise wrong(f"a string is expected as {what}")


def integer(items: Items, what: str = "integer") -> int | None:
    """The only item as integer, or None."""
    value = one(items, what)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise wrong(f"an integer is expected as {what}")


def truth(items: Items, what: str = "criteria") -> bool | None:
    """Singleton evaluation of a collection as Boolean (FHIRPath 2.0, 4.5): one item that is no Boolean is true."""
    value = one(items, what)
    return value if value is None or isinstance(value, bool) else True


def logical(value: bool | None) -> Items:
    """A Boolean result, or empty."""
    return [] if value is None else [value]


# --- types ------------------------------------------------------------------------------------------------------------


def type_info(item: Any) -> TypeInfo:
    """Namespace and name of an item's type."""
    if type(item) is Node:
        return TypeInfo("FHIR", type_of(item.model) if item.model else "Element")
    return TypeInfo("System", _system_name(item))


def _system_name(item: Any) -> str:
    if isinstance(item, bool):
        return "Boolean"
    if isinstance(item, int):
        return "Integer"
    if isinstance(item, decimal.Decimal):
        return "Decimal"
    if isinstance(item, Temporal):
        return {"date": "Date", "dateTime": "DateTime", "time": "Time"}[item.kind]
    return "String" if isinstance(item, str) else type(item).__name__


def is_type(item: Any, name: str) -> bool:
    """Whether the item is of that type or a subtype; it may be qualified (``FHIR.Patient``, ``System.String``)."""
    space, _, local = name.rpartition(".")
    info = type_info(item)
    if info.namespace == "System":
        return space in ("", "System") and (info.name == local or local == "Any")
    if space == "System":
        return False
    return local in supertypes(info.name) or local == info.name
