"""ValueSet/$expand (R4 4.9.17.1): the codes of a value set, as rows that are cached and a ValueSet that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from terminology import pinyin
from terminology.errors import TerminologyError
from terminology.system import Concept, Resource, System
from terminology.valueset import Clause, ValueSet

MAX_CODES = 200_000
MAX_UNPAGED = 20_000
MAX_DEPTH = 30


@dataclass(frozen=True, slots=True)
class Row:
    """One code of an expansion."""

    system: str
    version: str
    concept: Concept


@dataclass(frozen=True, slots=True)
class Options:
    """The parameters of $expand that shape what is shown."""

    filter: str = ""
    offset: int | None = None
    count: int | None = None
    active_only: bool = False
    include_designations: bool = False
    designations: tuple[str, ...] = ()
    include_definition: bool = False
    exclude_nested: bool = False
    exclude_not_for_ui: bool = False
    display_language: str = ""


@dataclass
class Expansion:
    """All rows of a value set, in order. ``tree`` is the code system if the set is one whole hierarchy."""

    rows: list[Row]
    tree: System | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @cached_property
    def texts(self) -> list[str]:
        """What the text filter looks at: code, displays and their pinyin (R4: the server's own way of matching)."""
        return [_searchable(row.concept) for row in self.rows]


def _searchable(concept: Concept) -> str:
    names = list(dict.fromkeys(name for name in concept.displays() if name))
    spelled = [text for name in names if not name.isascii() for text in pinyin.variants(name)]
    return "\n".join((concept.code, *names, *spelled)).lower()


def expansion(value_set: ValueSet) -> Expansion:
    """Every code of the set. TerminologyError("too-costly") over MAX_CODES or where codes are formed by rule."""
    rows: dict[tuple[str, str], Row] = {}
    for clause in value_set.includes:
        for row in _rows(clause):
            rows.setdefault((row.system, row.concept.code), row)
            if len(rows) > MAX_CODES:
                raise TerminologyError("too-costly", f"the value set has more than {MAX_CODES} codes")
    for clause in value_set.excludes:
        _exclude(rows, clause)
    kept = [row for row in rows.values() if not (value_set.active_only and row.concept.inactive)]
    versions = {row.system: row.version for row in kept if row.version}
    return Expansion(kept, _tree(value_set), versions)


def searched(value_set: ValueSet, text: str) -> Expansion | None:
    """The rows that can match the text filter, where a large code system finds them itself; else None."""
    words = text.lower().split()
    if not words or len(value_set.includes) != 1 or value_set.excludes:
        return None
    clause = value_set.includes[0]
    hits = clause.system.search(words) if clause.system and clause.listed is None and not clause.sets else None
    if hits is None or clause.system is None:
        return None
    version = clause.system.version
    rows = [Row(clause.url, version, concept) for concept in hits if all(test(concept) for test in clause.tests)]
    kept = [row for row in rows if not (value_set.active_only and row.concept.inactive)]
    return Expansion(kept, None, {clause.url: version})


def _rows(clause: Clause) -> list[Row]:
    if not clause.only_sets:
        version = clause.system.version if clause.system else ""
        found = [Row(clause.url, version, concept) for concept in clause.candidates()]
        others = clause.sets
    else:
        found, others = expansion(clause.sets[0]).rows, clause.sets[1:]
    return [row for row in found if all(other.find(row.system, row.concept.code) for other in others)]


def _exclude(rows: dict[tuple[str, str], Row], clause: Clause) -> None:
    for key in [key for key in rows if clause.find(*key) is not None]:
        del rows[key]


def _tree(value_set: ValueSet) -> System | None:
    """The code system, if the set is all of one that has a hierarchy."""
    if len(value_set.includes) != 1 or value_set.excludes:
        return None
    clause = value_set.includes[0]
    whole = clause.listed is None and not clause.tests and not clause.sets
    return clause.system if whole and clause.system and clause.system.enumerable else None


def shown(value_set: ValueSet, all_rows: Expansion, options: Options, *, identifier: str, timestamp: str) -> Resource:
    """The ValueSet resource that answers $expand."""
    rows = _selected(all_rows, options)
    paged = options.offset is not None or options.count is not None
    if not paged and len(rows) > MAX_UNPAGED:
        raise TerminologyError(
            "too-costly", f"the expansion has {len(rows)} codes: ask for pages with count and offset"
        )
    start = options.offset or 0
    page = rows[start : None if options.count is None else start + options.count]
    body: Resource = {"identifier": identifier, "timestamp": timestamp, "total": len(rows)}
    if paged:
        body["offset"] = start
    body["parameter"] = _parameters(all_rows, options)
    nested = all_rows.tree is not None and not (paged or options.filter or options.exclude_nested)
    body["contains"] = _nested(page, options) if nested else [_contains(row, options) for row in page]
    for empty in ("parameter", "contains"):
        if not body[empty]:
            del body[empty]
    kept = {k: v for k, v in value_set.resource.items() if k not in ("expansion", "compose")}
    if options.include_definition and "compose" in value_set.resource:
        kept["compose"] = value_set.resource["compose"]
    return {**kept, "expansion": body}


def _selected(all_rows: Expansion, options: Options) -> list[Row]:
    rows = all_rows.rows
    words = options.filter.lower().split()
    if words:
        rows = [row for row, text in zip(rows, all_rows.texts, strict=True) if all(word in text for word in words)]
    if options.active_only:
        rows = [row for row in rows if not row.concept.inactive]
    if options.exclude_not_for_ui:
        rows = [row for row in rows if not row.concept.abstract]
    return rows


def _parameters(all_rows: Expansion, options: Options) -> list[Resource]:
    used: list[Resource] = [
        {"name": "version", "valueUri": f"{url}|{version}"} for url, version in sorted(all_rows.versions.items())
    ]
    if options.filter:
        used.append({"name": "filter", "valueString": options.filter})
    if options.count is not None:
        used.append({"name": "count", "valueInteger": options.count})
    flags = (("activeOnly", options.active_only), ("includeDesignations", options.include_designations))
    used += [{"name": name, "valueBoolean": True} for name, value in flags if value]
    if options.display_language:
        used.append({"name": "displayLanguage", "valueCode": options.display_language})
    return used


def display(concept: Concept, language: str) -> str:
    """The display in the first of the wanted languages (``zh-CN, en;q=0.5``) that there is one in."""
    for wanted in language.split(",") if language else ():
        tag = wanted.partition(";")[0].strip()
        for text in concept.displays(tag) if tag and tag != "*" else ():
            return text
    return concept.display


def _contains(row: Row, options: Options) -> Resource:
    concept = row.concept
    shown: Resource = {"system": row.system} if row.system else {}
    if concept.abstract:
        shown["abstract"] = True
    if concept.inactive:
        shown["inactive"] = True
    if row.version:
        shown["version"] = row.version
    shown["code"] = concept.code
    text = display(concept, options.display_language)
    if text:
        shown["display"] = text
    if options.include_designations or options.designations:
        chosen = [d for d in concept.designations if _wanted(d, options.designations)]
        if chosen:
            shown["designation"] = chosen
    return shown


def _wanted(designation: Resource, tokens: tuple[str, ...]) -> bool:
    """The parameter ``designation``: ``system|code`` of a use, or ``urn:ietf:bcp:47|language``; none means all."""
    if not tokens:
        return True
    use = designation.get("use", {})
    names = {f"{use.get('system', '')}|{use.get('code', '')}", f"urn:ietf:bcp:47|{designation.get('language', '')}"}
    return not names.isdisjoint(tokens)


def _nested(rows: list[Row], options: Options) -> list[Resource]:
    """Each code once, under its first parent; what is in a cycle or deeper than MAX_DEPTH stands at the top."""
    nodes = {row.concept.code: _contains(row, options) for row in rows}
    above = {row.concept.code: next((p for p in row.concept.parents if p in nodes), None) for row in rows}
    top = []
    for row in rows:
        code, depth = row.concept.code, 0
        parent = step = above[code]
        while step is not None and depth <= MAX_DEPTH:
            step, depth = above[step], depth + 1
        if parent is None or depth > MAX_DEPTH:
            top.append(nodes[code])
        else:
            nodes[parent].setdefault("contains", []).append(nodes[code])
    return top
