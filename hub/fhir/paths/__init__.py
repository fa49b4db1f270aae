"""FHIRPath (N1 2.0 with the additions of R4 2.9) compiled to closures.

``compile("Patient.name.given", "Patient")(patient)`` is a list of JSON values. A plain path (members, casts, unions) on
a known root runs on a direct route without nodes; everything else runs on typed nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from hub.fhir.elements import resource_model
from hub.fhir.paths import direct, types
from hub.fhir.paths.compile import closure
from hub.fhir.paths.parse import parse
from hub.fhir.paths.scope import Env, Items, Scope, Terminology, resource_node, type_info
from hub.fhir.paths.values import Node, Quantity, Temporal, TypeInfo, plain

__all__ = ["Env", "Node", "Path", "Terminology", "compile", "walks"]

_NAMES = {"DateTime": "dateTime", "Quantity": "Quantity"}


class Path:
    """A compiled expression. Immutable, callable from any thread."""

    __slots__ = ("_direct", "_run", "expression", "root")

    def __init__(self, expression: str, root: str | None = None, strict: bool = False) -> None:
        self.expression = expression
        self.root = root
        tree = parse(expression)
        if strict and root:
            types.check(tree, root)
        self._run = closure(tree)
        self._direct: Callable[[dict[str, Any]], list[tuple[Any, str]]] | None = (
            direct.route(tree, root) if root else None
        )

    def __call__(self, resource: Any, /, **env: Any) -> list[Any]:
        """The values on a resource, or on an element when the root is a model such as ``Observation.component``.

        ``env`` are the arguments of :class:`Env`, and ``resource`` for the resource an element stands in. Elements come
        as JSON, dates as text, System.Quantity as a FHIR Quantity. Raises HubError ``value`` for an execution error.
        """
        return [value for value, _ in self.typed(resource, **env)]

    def typed(self, resource: Any, /, **env: Any) -> list[tuple[Any, str]]:
        """The values with their FHIR type names; a System type has the name of the FHIR type (``boolean``)."""
        if self._direct is not None:
            try:
                return self._direct(resource)
            except (AttributeError, TypeError):
                pass  # not the shape that the definitions promise: the general route looks at every step
        return [pair for item in self.items(resource, **env) if (pair := _plain(item)) is not None]

    def items(self, value: Any, *, resource: Any = None, **env: Any) -> Items:
        """The collection itself: nodes and System values."""
        focus = Node(value, resource_model(value) or self.root or "")
        holder = focus if resource is None else resource_node(resource)
        return self.on(focus, Env(holder, **env))

    def on(self, focus: Node, env: Env) -> Items:
        """The collection on one node in a prepared environment."""
        return self._run(Scope(env, [focus]))


@lru_cache(maxsize=8192)
def compile(expression: str, root: str | None = None, *, strict: bool = False) -> Path:
    """The compiled expression; ``strict`` also refuses members that the root's definition does not have.

    Raises HubError ``value`` for what is not FHIRPath, ``too-costly`` for what is too long.
    """
    return Path(expression, root, strict)


def walks(expression: str, root: str) -> list[direct.Walk] | None:
    """The ways of a plain path on a resource that has the shape of its definition; None when the path is not plain."""
    return direct.walks(parse(expression), root)


def _plain(item: Any) -> tuple[Any, str] | None:
    if type(item) is Node:
        return None if item.value is None else (item.value, type_info(item).name)
    name = type_info(item).name
    if isinstance(item, Temporal):
        return item.text, _NAMES.get(name, name.lower())
    if isinstance(item, Quantity):
        return _quantity(item), "Quantity"
    if isinstance(item, TypeInfo):
        return {"namespace": item.namespace, "name": item.name}, "SimpleTypeInfo"
    return item, name.lower()


def _quantity(item: Quantity) -> dict[str, Any]:
    return {"value": Decimal(plain(item.value)), "unit": item.unit}
