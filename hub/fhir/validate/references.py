"""References: form, target type, and whether what they name is where it must be (R4 2.3)."""

from __future__ import annotations

import re
from typing import Any

from hub.fhir import definitions
from hub.fhir.reference import parse
from hub.fhir.validate import parts
from hub.fhir.validate.report import Frame, Report, Visit

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_RELATIVE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}(/_history/[A-Za-z0-9\-.]{1,64})?(#\S*)?")
_SEARCH = re.compile(r"[A-Z][A-Za-z]+\?\S+")


def check(visit: Visit, report: Report) -> None:
    """One Reference."""
    text, named = parts.string(visit.value, "reference"), parts.string(visit.value, "type")
    if not text:
        if named:
            _target(named, visit, report)
        return
    if text.startswith("#"):
        _contained(text, visit, report)
        return
    if not _formed(text):
        report.add("reference-format", (visit.place, "reference"), value=text[:80])
        return
    target = resolve(text, visit.frame)
    found = parts.string(target, "resourceType") or parse(text).type or text.partition("?")[0]
    if found not in definitions.load().resource_types:
        found = ""
    if named and found and named.rpartition("/")[2] != found:
        report.add("reference-named", (visit.place, "type"), value=named, found=found)
    if found or named:
        _target(found or named, visit, report)


def _formed(text: str) -> bool:
    """Absolute, or Type/id or a conditional reference Type?criteria with a type of R4."""
    if _ABSOLUTE.fullmatch(text):
        return True
    relative = _RELATIVE.fullmatch(text) or _SEARCH.fullmatch(text)
    return relative is not None and re.split(r"[/?]", text)[0] in definitions.load().resource_types


def _contained(text: str, visit: Visit, report: Report) -> None:
    root = visit.frame.root
    if text == "#":
        if visit.frame.role != "contained":
            report.add("reference-contained", (visit.place, "reference"), value="")
        return
    for item in parts.objects(root.resource, "contained"):
        if item.get("id") == text[1:]:
            _target(parts.string(item, "resourceType"), visit, report)
            return
    report.add("reference-contained", (visit.place, "reference"), value=text[1:])


def _target(found: str, visit: Visit, report: Report) -> None:
    """Whether the element allows the type."""
    profiles = [url for kind in visit.element.get("type", ()) for url in kind.get("targetProfile", ())]
    allowed = [url.rpartition("/")[2] for url in profiles]
    if allowed and "Resource" not in allowed and found.rpartition("/")[2] not in allowed:
        report.add("reference-type", visit.place, found=found, expected=", ".join(allowed))


def resolve(text: str, frame: Frame) -> dict[str, Any] | None:
    """The resource a reference means among the entries of the Bundles around it (R4 2.36.4.1)."""
    holder: Frame | None = frame
    while holder is not None:
        if holder.role == "entry" and holder.parent is not None:
            found = _in_bundle(text, holder)
            if found is not None:
                return found
        holder = holder.parent
    return None


def _in_bundle(text: str, frame: Frame) -> dict[str, Any] | None:
    bundle = frame.parent
    assert bundle is not None
    index = bundle.facts.get("entries")
    if index is None:
        index = bundle.facts["entries"] = entries(bundle.resource)
    reference = parse(text)
    if reference.base or not reference.id:
        found = index.get(reference.url)
    else:
        base = _base(frame, bundle)
        found = index.get(base + reference.key) if base else None
        found = found or index.get("/" + reference.key)
    return found if found is None or isinstance(found, dict) else None


def entries(bundle: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """fullUrl, and ``/Type/id``, -> resource of every entry."""
    found: dict[str, dict[str, Any]] = {}
    for entry in parts.objects(bundle, "entry"):
        resource = parts.object(entry, "resource")
        if not resource:
            continue
        found.setdefault(f"/{resource.get('resourceType')}/{resource.get('id')}", resource)
        if isinstance(entry.get("fullUrl"), str):
            found.setdefault(entry["fullUrl"], resource)
    return found


def _base(frame: Frame, bundle: Frame) -> str:
    """The service base of the entry a resource is in, from its fullUrl."""
    bases: dict[int, str] | None = bundle.facts.get("bases")
    if bases is None:
        found = parts.objects(bundle.resource, "entry")
        bases = {id(entry.get("resource")): parse(parts.string(entry, "fullUrl")).base for entry in found}
        bundle.facts["bases"] = bases
    return bases.get(id(frame.resource), "")
