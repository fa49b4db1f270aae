"""PATCH bodies: JSON Patch (RFC 6902) and FHIRPath Patch (R4 3.1.0.12.1).

Both work on a copy; the resource given stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hub.errors import HubError
from hub.fhir import paths
from hub.fhir.elements import is_primitive, options, resource_model
from hub.fhir.paths.values import Node

Json = dict[str, Any]
MAX_OPERATIONS = 10_000


def json_patch(resource: Json, operations: Any) -> Json:
    """The resource after a JSON Patch.

    Raises HubError ``structure`` for what is no patch, ``value`` for a path that leads nowhere, ``business-rule`` for a
    failed test; nothing is changed then.
    """
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise HubError("structure", f"A JSON Patch is an array of at most {MAX_OPERATIONS} operations.")
    document: Any = copy.deepcopy(resource)
    for index, operation in enumerate(operations):
        at = f"[{index}]"
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise HubError("structure", "An operation is an object with op and path.", at)
        document = _json_operation(document, operation, at)
    if not isinstance(document, dict):
        raise HubError("value", "The patch leaves no resource.")
    return document


def _json_operation(document: Any, operation: Json, at: str) -> Any:
    path = _pointer(operation["path"], at)
    match operation.get("op"):
        case "add":
            return _add(document, path, copy.deepcopy(_value(operation, at)), at)
        case "remove":
            return _remove(document, path, at)[0]
        case "replace":
            _get(document, path, at)
            return _add(
                _remove(document, path, at)[0] if path else None, path, copy.deepcopy(_value(operation, at)), at
            )
        case "move":
            source = _pointer(operation.get("from"), at)
            if path[: len(source)] == source and path != source:
                raise HubError("value", "A value cannot be moved into itself.", at)
            document, moved = _remove(document, source, at)
            return _add(document, path, moved, at)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, _pointer(operation.get("from"), at), at)), at)
        case "test":
            if not _equal(_get(document, path, at), _value(operation, at)):
                raise HubError("business-rule", f"The test of {operation['path']} failed.", at)
            return document
    raise HubError("structure", f"{operation.get('op')!r} is not an operation of JSON Patch.", at)


def _value(operation: Json, at: str) -> Any:
    if "value" not in operation:
        raise HubError("structure", "The operation has no value.", at)
    return operation["value"]


def _pointer(text: Any, at: str) -> list[str]:
    """A JSON Pointer (RFC 6901) taken apart."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise HubError("structure", "A JSON Pointer is empty or begins with a slash.", at)
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(target: list[Any], part: str, at: str, extra: int = 0) -> int:
    if not part.isdigit() or (part[0] == "0" and part != "0") or len(part) > 9 or int(part) >= len(target) + extra:
        raise HubError("value", f"There is no item {part}.", at)
    return int(part)


def _get(document: Any, path: list[str], at: str) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(document, part, at)]
        else:
            raise HubError("value", f"There is no {part}.", at)
    return document


def _add(document: Any, path: list[str], value: Any, at: str) -> Any:
    if not path:
        return value
    target = _get(document, path[:-1], at)
    if isinstance(target, dict):
        target[path[-1]] = value
    elif isinstance(target, list):
        target.insert(len(target) if path[-1] == "-" else _index(target, path[-1], at, 1), value)
    else:
        raise HubError("value", f"Nothing can be added at {path[-1]}.", at)
    return document


def _remove(document: Any, path: list[str], at: str) -> tuple[Any, Any]:
    removed = _get(document, path, at)
    if not path:
        return None, removed
    target = _get(document, path[:-1], at)
    del target[path[-1] if isinstance(target, dict) else int(path[-1])]
    return document, removed


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


# --- FHIRPath Patch ---------------------------------------------------------------------------------------------------


def fhirpath_patch(resource: Json, parameters: Json) -> Json:
    """The resource after a FHIRPath Patch, a Parameters resource with ``operation`` parameters.

    Raises HubError ``structure`` for what is no patch and ``value`` for a path that does not lead to one element.
    """
    operations = parameters.get("parameter", [])
    if parameters.get("resourceType") != "Parameters" or len(operations) > MAX_OPERATIONS:
        raise HubError(
            "structure", f"A FHIRPath Patch is a Parameters resource with at most {MAX_OPERATIONS} operations."
        )
    patched = copy.deepcopy(resource)
    for index, operation in enumerate(operations):
        at = f"Parameters.parameter[{index}]"
        parts = {part.get("name"): part for part in operation.get("part", ()) if isinstance(part, dict)}
        kind, path = _plain(parts.get("type")), _plain(parts.get("path"))
        if operation.get("name") != "operation" or not isinstance(path, str) or kind not in _OPERATIONS:
            raise HubError("structure", "A parameter is an operation with the parts type and path.", at)
        _OPERATIONS[kind](patched, path, parts, at)
    return patched


def _plain(part: Json | None) -> Any:
    """The value of a part, whatever its type."""
    return next((value for key, value in (part or {}).items() if key.startswith("value")), None)


def _nodes(resource: Json, path: str, at: str) -> list[Node]:
    found = paths.Path(path, resource_model(resource)).items(resource)  # not compile(): a client's text is not kept
    if not all(type(item) is Node for item in found):
        raise HubError("value", f"{path} does not lead to elements.", at)
    return found


def _one(resource: Json, path: str, at: str) -> Node:
    found = _nodes(resource, path, at)
    if len(found) != 1:
        raise HubError("value", f"{path} leads to {len(found)} elements; one is needed.", at)
    return found[0]


def _content(part: Json | None, model: str, at: str) -> tuple[Any, Any]:
    """The value of a part and, for a primitive, its companion; parts of parts make an element defined in place."""
    if part is None:
        raise HubError("structure", "The operation has no value.", at)
    if "part" not in part:
        name = next((key for key in part if key.startswith("value") or key == "resource"), None)
        other = next((key for key in part if key.startswith("_value")), None)
        return (part[name] if name else None), (part[other] if other else None)
    value: Json = {}
    for inner in part["part"]:
        element = str(inner.get("name"))
        content, extra = _content(inner, _model(model, element), at)
        _put(value, model, element, inner, content, extra, at)
    return value, None


def _known(model: str, name: str) -> tuple[tuple[str, str, bool], ...] | None:
    return options(model, name) if len(name) <= 64 else None


def _model(model: str, name: str) -> str:
    known = _known(model, name) or ()
    return known[0][1] if len(known) == 1 else ""


def _member(model: str, name: str, part: Json, at: str) -> tuple[str, str, bool]:
    """The JSON member, model and multiplicity for an element that is to be added."""
    known = _known(model, name)
    if known is None:
        raise HubError("value", f"There is no element {name}.", at)
    if len(known) == 1:
        return known[0]
    given = (key.removeprefix("_") for key in part)
    suffix = next((key.removeprefix("value") for key in given if key.startswith("value")), "")
    for key, to, many in known:
        if key == name + suffix:
            return key, to, many
    raise HubError("value", f"{name} cannot have this type.", at)


def _put(target: Json, model: str, name: str, part: Json, value: Any, extra: Any, at: str) -> None:
    key, to, many = _member(model, name, part, at)
    if many:
        items = target.setdefault(key, [])
        items.append(value)
        if is_primitive(to) and (extra is not None or "_" + key in target):
            companions = target.setdefault("_" + key, [])
            companions += [None] * (len(items) - 1 - len(companions))
            companions.append(extra)
        return
    if value is not None:
        target[key] = value
    if extra is not None:
        target["_" + key] = extra


def _fhir_add(resource: Json, path: str, parts: dict[Any, Json], at: str) -> None:
    node, name = _one(resource, path, at), _plain(parts.get("name"))
    if not isinstance(name, str) or not isinstance(node.value, dict):
        raise HubError("structure", "add needs the name of an element of an object.", at)
    part = parts.get("value")
    _, model, _ = _member(node.model, name, part or {}, at)
    value, extra = _content(part, model, at)
    _put(node.value, node.model, name, part or {}, value, extra, at)


def _fhir_insert(resource: Json, path: str, parts: dict[Any, Json], at: str) -> None:
    items, model, companions = _list(resource, path, at)
    index = _position(parts, "index", len(items), at)
    value, extra = _content(parts.get("value"), model, at)
    items.insert(index, value)
    if companions is not None:
        companions.insert(index, extra)


def _fhir_delete(resource: Json, path: str, parts: dict[Any, Json], at: str) -> None:
    found = _nodes(resource, path, at)
    if len(found) > 1:
        raise HubError("value", f"{path} leads to {len(found)} elements; at most one can be deleted.", at)
    for node in found:
        if node.owner is None:
            raise HubError("value", "The resource itself cannot be deleted by a patch.", at)
        if isinstance(node.owner, dict):
            node.owner.pop(node.key, None)
            node.owner.pop(f"_{node.key}", None)
        else:
            _delete_item(resource, node.owner, int(node.key), at)
    _prune(resource)


def _delete_item(resource: Json, items: list[Any], index: int, at: str) -> None:
    """Takes an item out of a list, and out of its companions; those that are none after that go all."""
    if index >= len(items):
        raise HubError("value", "An item without a value cannot be deleted.", at)
    companions = _companions(resource, items) or []
    del items[index]
    del companions[index : index + 1]
    if not any(companions):
        companions.clear()


def _fhir_replace(resource: Json, path: str, parts: dict[Any, Json], at: str) -> None:
    node = _one(resource, path, at)
    if node.owner is None:
        raise HubError("value", "The resource itself cannot be replaced by a patch.", at)
    value, extra = _content(parts.get("value"), node.model, at)
    node.owner[node.key] = value
    if extra is not None and isinstance(node.owner, dict):
        node.owner[f"_{node.key}"] = extra


def _fhir_move(resource: Json, path: str, parts: dict[Any, Json], at: str) -> None:
    items, _, companions = _list(resource, path, at)
    source = _position(parts, "source", len(items) - 1, at)
    target = _position(parts, "destination", len(items) - 1, at)
    for one in (items, companions or []):
        if one:
            one.insert(target, one.pop(source))


_OPERATIONS: dict[Any, Callable[[Json, str, dict[Any, Json], str], None]] = {
    "add": _fhir_add,
    "insert": _fhir_insert,
    "delete": _fhir_delete,
    "replace": _fhir_replace,
    "move": _fhir_move,
}


def _list(resource: Json, path: str, at: str) -> tuple[list[Any], str, list[Any] | None]:
    """The one array that a path leads into, the model of its items, and the companions of primitives."""
    found = _nodes(resource, path, at)
    if not found or not isinstance(found[0].owner, list) or any(node.owner is not found[0].owner for node in found):
        raise HubError("value", f"{path} does not lead into one list.", at)
    items = found[0].owner
    companions = _companions(resource, items)
    if companions is not None:
        companions += [None] * (len(items) - len(companions))
    return items, found[0].model, companions


def _companions(value: Any, items: list[Any]) -> list[Any] | None:
    """The array ``_name`` beside the array ``items``, wherever that stands in the resource."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            for key, child in one.items():
                if child is items:
                    companions = one.get("_" + key)
                    return companions if isinstance(companions, list) else None
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return None


def _position(parts: dict[Any, Json], name: str, most: int, at: str) -> int:
    index = _plain(parts.get(name))
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= most:
        raise HubError("value", f"{name} is a number from 0 to {most}.", at)
    return index


def _prune(value: Any) -> bool:
    """Takes out objects and arrays that have become empty; whether this one is empty now."""
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if isinstance(item, (dict, list)) and _prune(item)]:
            del value[key]
        return not value
    if isinstance(value, list):
        value[:] = [item for item in value if not (isinstance(item, (dict, list)) and _prune(item))]
        return not value
    return False
