"""Finds code systems, value sets and concept maps by canonical url and version.

Where several places know a url, the first of them answers: resources of the hub's users (``put``), releases loaded from
files (``attach``), the rules, China's tables, then HL7's packages, the newest (THO) before R4's own. A version, if
asked for, is found in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from terminology import china, rules, sections, shape
from terminology.errors import TerminologyError
from terminology.sections import Entry
from terminology.system import ListedSystem, Resource, System

V2_OID = "urn:oid:2.16.840.1.113883.12."  # and the number of the table


def split(canonical: str) -> tuple[str, str]:
    """``url|version`` -> url, version ("" if none)."""
    url, _, version = canonical.partition("|")
    return url, version


def newest(version: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key for versions: numbers by value, before words."""
    return tuple((0, int(p)) if p.isdigit() else (1, p) for p in re.split(r"[.\-+]", version))


class Registry:
    """All canonical resources. ``generation`` changes with every change, for the caches of those who ask.

    A change replaces the dict it is in, so that readers in other threads see the whole of it or nothing.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._shipped: dict[tuple[str, str], list[Entry]] = {}
        self._aliases: dict[str, str] = {}
        self._implicit: dict[str, str] = {}
        self._own: dict[tuple[str, str], dict[str, Resource]] = {}
        self._attached: dict[str, list[System]] = {}
        self._systems: dict[tuple[str, str], System] = {}
        for entry in (*china.entries(), *_packaged()):
            self._shipped.setdefault((entry.type, entry.url), []).append(entry)
            if entry.oid:
                self._aliases.setdefault(entry.oid, entry.url)
            if entry.implicit:
                self._implicit.setdefault(entry.implicit, entry.url)

    # --- changes ------------------------------------------------------------------------------------------------------

    def put(self, resource: Resource) -> None:
        """Add or replace a resource by type, url and version. TerminologyError("invalid") without type or url."""
        shape.check(resource)
        key = resource["resourceType"], resource.get("url", "")
        if not key[1]:
            raise TerminologyError("invalid", f"a {key[0]} needs a url to be found by")
        self._own = {**self._own, key: {**self._own.get(key, {}), resource.get("version", ""): resource}}
        self._changed()

    def remove(self, kind: str, url: str, version: str = "") -> None:
        """Take back what ``put`` added; what is shipped stays."""
        versions = {v: r for v, r in self._own.get((kind, url), {}).items() if v != version}
        others = {key: value for key, value in self._own.items() if key != (kind, url)}
        self._own = {**others, (kind, url): versions} if versions else others
        self._changed()

    def attach(self, system: System) -> None:
        """Add a code system that is kept elsewhere; the last attached is the default version."""
        others = [s for s in self._attached.get(system.url, ()) if s.version != system.version]
        self._attached = {**self._attached, system.url: [system, *others]}
        self._changed()

    def detach(self, url: str, version: str) -> None:
        """Take back what ``attach`` added."""
        others = [s for s in self._attached.get(url, ()) if s.version != version]
        self._attached = {**self._attached, url: others}
        self._changed()

    def close(self) -> None:
        """Close what is attached."""
        for systems in self._attached.values():
            for system in systems:
                system.close()

    def _changed(self) -> None:
        self._systems = {}
        self.generation += 1

    # --- questions ----------------------------------------------------------------------------------------------------

    def resource(self, kind: str, canonical: str) -> Resource | None:
        """The resource of ``url`` or ``url|version``; without a version the preferred one."""
        url, version = split(canonical)
        own = self._own.get((kind, url), {})
        if version in own:
            return own[version]
        if not version and own:
            return own[max(own, key=newest)]
        for entry in self._shipped.get((kind, url), ()):
            if not version or entry.version == version:
                return _read(entry)
        return None

    def standard(self, system: str) -> bool:
        """The code system is shipped, loaded, defined by rule or named by HL7: no institution's own."""
        url = self.url(system)
        if url in rules.systems() or url in self._attached or ("CodeSystem", url) in self._shipped:
            return True
        return url in self._named

    @cached_property
    def _named(self) -> frozenset[str]:
        return frozenset(sections.table("naming-systems")["oids"].values())

    def by_id(self, kind: str, id: str) -> Resource | None:
        """The shipped resource with this logical id, of China's tables or HL7's packages, the preferred one."""
        for (shipped, url), entries in self._shipped.items():
            if shipped == kind and url.endswith(f"/{id}"):
                resource = _read(entries[0])
                if resource.get("id") == id:
                    return resource
        return None

    def versions(self, kind: str, url: str) -> list[str]:
        """The known versions of a url, the preferred one first."""
        own = sorted(self._own.get((kind, url), ()), key=newest, reverse=True)
        attached = [s.version for s in self._attached.get(url, ())] if kind == "CodeSystem" else []
        ruled = [rules.systems()[url].version] if kind == "CodeSystem" and url in rules.systems() else []
        shipped = [entry.version for entry in self._shipped.get((kind, url), ())]
        return list(dict.fromkeys([*own, *attached, *ruled, *shipped]))

    def url(self, system: str) -> str:
        """The url of a code system by its url or OID (``urn:oid:...``)."""
        if not system.startswith("urn:oid:"):
            return system
        if system.startswith(V2_OID) and system[len(V2_OID) :].isdigit():
            return f"http://terminology.hl7.org/CodeSystem/v2-{system[len(V2_OID) :]:0>4}"
        named: dict[str, str] = sections.table("naming-systems")["oids"]
        return self._aliases.get(system) or named.get(system, system)

    def system(self, canonical: str) -> System | None:
        """The code system of ``url``, ``url|version`` or ``urn:oid:...``."""
        url, version = split(canonical)
        key = (self.url(url), version)
        systems = self._systems  # a change begins a new one: what is put here then is not kept
        found = systems.get(key)
        if found is None:
            found = self._find_system(*key)
            if found is not None:
                systems[key] = found
        return found

    def _find_system(self, url: str, version: str) -> System | None:
        own = self._own.get(("CodeSystem", url), {})
        supplied = any(own[v].get("content") in ("complete", "fragment", "example") for v in own)
        for attached in () if supplied and not version else self._attached.get(url, ()):
            if not version or attached.version == version:
                return attached
        ruled = rules.systems().get(url)
        if ruled is not None and not supplied and version in ("", ruled.version):
            return ruled
        resource = self.resource("CodeSystem", f"{url}|{version}")
        if resource is None or resource.get("content") in ("not-present", "supplement"):
            return None
        return ListedSystem(resource, china.translations().get(url))

    def value_set(self, canonical: str) -> Resource | None:
        """The ValueSet of ``url`` or ``url|version``, also an implicit one (R4 4.3.15, 4.3.3.1)."""
        return self.resource("ValueSet", canonical) or self._implicit_value_set(split(canonical)[0])

    def _implicit_value_set(self, url: str) -> Resource | None:
        """All codes of a system (CodeSystem.valueSet, ``?fhir_vs``), ``?fhir_vs=isa/CODE``, LOINC answer lists."""
        include: Resource
        base, mark, query = url.partition("?fhir_vs")
        if mark:
            include = {"system": base}
            if query.startswith("=isa/"):
                include["filter"] = [{"property": "concept", "op": "is-a", "value": query[5:]}]
            elif query:
                return None
        elif url == "http://loinc.org/vs":
            include = {"system": "http://loinc.org"}
        elif url.startswith("http://loinc.org/vs/LL"):
            answers = {"property": "answer-list", "op": "=", "value": url.rpartition("/")[2]}
            include = {"system": "http://loinc.org", "filter": [answers]}
        else:
            own = (
                u
                for (k, u), v in self._own.items()
                if k == "CodeSystem" and any(r.get("valueSet") == url for r in v.values())
            )
            system = self._implicit.get(url) or next(own, None)
            if system is None:
                return None
            include = {"system": system}
        return {"resourceType": "ValueSet", "url": url, "status": "active", "compose": {"include": [include]}}

    def canonicals(self, kind: str) -> Iterator[tuple[str, str]]:
        """Url and preferred version of every resource of a type."""
        urls = {u: None for k, u in (*self._own, *self._shipped) if k == kind}
        if kind == "CodeSystem":
            urls |= dict.fromkeys((*self._attached, *rules.systems()))
        for url in urls:
            for version in self.versions(kind, url)[:1]:
                yield url, version

    def concept_maps(self) -> Iterable[Resource]:
        """Every ConceptMap, in its preferred version."""
        for url, version in self.canonicals("ConceptMap"):
            found = self.resource("ConceptMap", f"{url}|{version}")
            if found is not None:
                yield found


def _packaged() -> Iterator[Entry]:
    for name in sections.NAMES:
        yield from (entry for entry in sections.section(name).entries if entry.type in shape.TYPES)


def _read(entry: Entry) -> Resource:
    return china.record(entry) if entry.section == "china" else sections.section(entry.section).record(entry.number)
