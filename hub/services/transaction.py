"""transaction and batch (R4 3.1.0.11): many interactions in one Bundle.

A transaction is one atomic unit over the four databases: deletes, then creates, then updates, then reads, whatever the
order of the entries; references between its entries (``urn:uuid:``) and conditional ones (``Patient?identifier=..``)
are resolved first; two entries that concern the same resource are refused, never dropped.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hub.errors import HubError
from hub.fhir import json, patch, reference
from hub.services.context import Context
from hub.services.ingest import Ingest, Pairs, Resource, Written, check_identity
from hub.store.protocol import Store, Transaction

ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry's request: ``id`` or ``criteria`` from its URL, ``full_url`` and ``resource`` as sent."""

    index: int
    method: str
    url: str
    type: str
    id: str | None
    criteria: Pairs | None
    full_url: str
    resource: Resource | None
    if_match: int | None
    if_none_exist: Pairs | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry's outcome: what was written, or the error (batch only); neither for a read, which the edge performs."""

    entry: Entry
    written: Written | None = None
    error: HubError | None = None


class Transactions:
    """The door for Bundles of interactions."""

    def __init__(
        self, store: Store, ingest: Ingest, clock: Callable[[], int], new_id: Callable[[], str], max_entries: int
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._clock = clock
        self._new_id = new_id
        self._max_entries = max_entries

    def transaction(self, context: Context, bundle: Resource, *, database: str | None = None) -> list[Answer]:
        """Perform all entries or none; answers in the entries' order. HubError names the entry at fault."""
        entries = self.parse(bundle)
        for entry in entries:
            with located(entry):
                self._check(entry)

        def work(tx: Transaction) -> list[Answer]:
            return self._perform(tx, context, entries, self._clock(), database)

        return self._store.write(work)

    def batch(self, context: Context, bundle: Resource, *, database: str | None = None) -> list[Answer]:
        """Perform each entry on its own; an entry's error is its answer."""
        answers = []
        for entry in self.parse(bundle):
            try:
                answers.append(Answer(entry, self._single(context, entry, database)))
            except HubError as error:
                answers.append(Answer(entry, error=error))
        return answers

    def parse(self, bundle: Resource) -> list[Entry]:
        """The requests of a Bundle. HubError("required"/"value"/"too-costly"), located in the Bundle."""
        raw = bundle.get("entry", [])
        if not isinstance(raw, list):
            raise HubError("structure", "Bundle.entry is a list", "Bundle.entry")
        if len(raw) > self._max_entries:
            raise HubError(
                "too-costly",
                f"the Bundle has {len(raw)} entries, at most {self._max_entries} are taken; split it",
                "Bundle.entry",
            )
        return [parse_entry(index, entry) for index, entry in enumerate(raw)]

    def _check(self, entry: Entry) -> None:
        if entry.method in ("POST", "PUT"):
            if entry.resource is None:
                raise HubError("required", f"a {entry.method} entry needs a resource", "resource")
            if entry.resource.get("resourceType") != entry.type:
                raise HubError(
                    "value",
                    f"the request names {entry.type}, the resource is {entry.resource.get('resourceType')!r}",
                    "resource.resourceType",
                )
            if entry.method == "PUT" and entry.id is not None:
                check_identity(entry.type, entry.id, entry.resource)
            self._ingest.validate(entry.resource)
        if entry.method == "PATCH":
            patch_of(entry)

    # --- transaction --------------------------------------------------------------------------------------------------

    def _perform(
        self, tx: Transaction, context: Context, entries: list[Entry], now: int, database: str | None
    ) -> list[Answer]:
        answers: dict[int, Answer] = {entry.index: Answer(entry) for entry in entries}
        taken: dict[str, int] = {}
        for entry in (e for e in entries if e.method == "DELETE"):
            with located(entry):
                id = entry.id or self._criteria_id(tx, entry, database)
                if id is not None:
                    claim(taken, f"{entry.type}/{id}", entry)
                    written = self._ingest.delete_in(
                        tx, context, entry.type, id, now, if_match=entry.if_match, database=database
                    )
                    answers[entry.index] = Answer(entry, written)
                else:
                    answers[entry.index] = Answer(entry, Written(204, None, False))
        identities: dict[str, str] = {}
        planned: list[tuple[Entry, Resource]] = []
        for entry in sorted(
            (e for e in entries if e.method in ("POST", "PUT", "PATCH")), key=lambda e: ORDER[e.method]
        ):
            with located(entry):
                resource, exists = self._identify(tx, entry, database)
                target = f"{entry.type}/{resource['id']}"
                if exists is None:
                    claim(taken, target, entry)
                    for criteria in (entry.criteria, entry.if_none_exist):
                        if criteria is not None:
                            claim(taken, f"{entry.type}?{sorted(criteria)}", entry)
                    planned.append((entry, resource))
                else:
                    answers[entry.index] = Answer(entry, exists)
                if entry.full_url:
                    identities[entry.full_url] = target
        for entry, resource in planned:
            with located(entry):
                whole = self._resolved(tx, resource, identities)
                answers[entry.index] = Answer(entry, self._write(tx, context, entry, whole, now, database))
        self._ingest.record(tx, context, "transaction", [a.written for a in answers.values() if a.written], now)
        return [answers[entry.index] for entry in entries]

    def _criteria_id(self, tx: Transaction, entry: Entry, database: str | None) -> str | None:
        match = self._ingest.one_match(tx, entry.type, entry.criteria or (), database)
        return match.id if match else None

    def _identify(self, tx: Transaction, entry: Entry, database: str | None) -> tuple[Resource, Written | None]:
        """The resource with its final id; and, for a conditional create that found one, the answer."""
        assert entry.resource is not None  # _check has seen to it
        if entry.method == "PATCH":
            change = patch_of(entry)
            return self._ingest.changed_in(
                tx, entry.type, entry.id, change, criteria=entry.criteria or (), database=database
            ), None
        if entry.method == "PUT":
            if entry.criteria is not None:
                return self._ingest.matched(tx, entry.type, entry.criteria, entry.resource, database), None
            return entry.resource, None
        if entry.if_none_exist is not None:
            match = self._ingest.one_match(tx, entry.type, entry.if_none_exist, database)
            if match is not None:
                return {**entry.resource, "id": match.id}, Written(200, match, False)
            return {**entry.resource, "id": self._ingest.fresh_id(tx, entry.type, entry.if_none_exist)}, None
        return {**entry.resource, "id": self._new_id()}, None

    def _resolved(self, tx: Transaction, resource: Resource, identities: dict[str, str]) -> Resource:
        mapping = dict(identities)
        for text in reference.conditional(resource):
            type, _, query = text.partition("?")
            match = self._ingest.one_match(tx, type, parse_qsl(query, keep_blank_values=True))
            if match is None:
                raise HubError("precondition", f"the conditional reference {text!r} matches no {type}", "resource")
            mapping[text] = f"{type}/{match.id}"
        return reference.rewrite(resource, mapping)

    def _write(
        self, tx: Transaction, context: Context, entry: Entry, resource: Resource, now: int, database: str | None
    ) -> Written:
        if entry.method == "POST":
            return self._ingest.create_in(tx, context, resource, now, id=resource["id"], database=database)
        return self._ingest.update_in(tx, context, resource, now, if_match=entry.if_match, database=database)

    # --- batch --------------------------------------------------------------------------------------------------------

    def _single(self, context: Context, entry: Entry, database: str | None) -> Written | None:
        if entry.method in ("GET", "HEAD"):
            return None
        self._check(entry)
        if entry.method == "DELETE":
            if entry.id is None:
                return self._ingest.conditional_delete(context, entry.type, entry.criteria or (), database=database)
            return self._ingest.delete(context, entry.type, entry.id, if_match=entry.if_match, database=database)
        assert entry.resource is not None  # _check has seen to it
        if entry.method == "PATCH":
            return self._ingest.change(
                context, entry.type, entry.id, patch_of(entry),
                criteria=entry.criteria or (), if_match=entry.if_match, database=database,
            )  # fmt: skip
        if entry.method == "POST":
            return self._ingest.create(context, entry.resource, if_none_exist=entry.if_none_exist, database=database)
        if entry.criteria is not None:
            return self._ingest.conditional_update(
                context, entry.type, entry.criteria, entry.resource, if_match=entry.if_match, database=database
            )
        assert entry.id is not None  # parse_entry: a PUT has an id or criteria
        return self._ingest.update(
            context, entry.type, entry.id, entry.resource, if_match=entry.if_match, database=database
        )


def parse_entry(index: int, raw: Any) -> Entry:
    """Bundle.entry with its request taken apart. HubError("required"/"value")."""
    at = f"Bundle.entry[{index}].request"
    request = raw.get("request") if isinstance(raw, dict) else None
    if not isinstance(request, dict):
        raise HubError("required", "every entry of a transaction or batch needs a request", at)
    method, url = str(request.get("method", "")), str(request.get("url", ""))
    if method not in ORDER:
        raise HubError("value", f"request.method {method!r} is none of {', '.join(ORDER)}", f"{at}.method")
    split = urlsplit(url)
    parts = [part for part in split.path.split("/") if part]
    criteria = parse_qsl(split.query, keep_blank_values=True) if split.query else None
    type = parts[0] if parts else ""
    id = parts[1] if len(parts) > 1 else None
    if method in ("PUT", "PATCH", "DELETE") and id is None and criteria is None:
        raise HubError("value", f"request.url {url!r} names neither an id nor criteria", f"{at}.url")
    if method in ("POST", "PUT", "PATCH", "DELETE") and (not type or split.scheme or len(parts) > 2):
        raise HubError("value", f"request.url {url!r} is not of the form Type, Type/id or Type?criteria", f"{at}.url")
    none_exist = request.get("ifNoneExist")
    return Entry(
        index, method, url, type, id, criteria, str(raw.get("fullUrl", "")), raw.get("resource"),
        parse_etag(request.get("ifMatch"), f"{at}.ifMatch"),
        parse_qsl(none_exist.lstrip("?"), keep_blank_values=True) if isinstance(none_exist, str) else None,
    )  # fmt: skip


def patch_of(entry: Entry) -> Callable[[Resource], Resource]:
    """The change that a PATCH entry carries: a Parameters (FHIRPath Patch) or a Binary with a JSON Patch."""
    given = entry.resource or {}
    if given.get("resourceType") == "Parameters":
        return lambda resource: patch.fhirpath_patch(resource, given)
    if given.get("resourceType") == "Binary" and given.get("contentType") == "application/json-patch+json":
        try:
            text = base64.b64decode(str(given.get("data", "")), validate=True)
        except ValueError:
            raise HubError("value", "Binary.data is not base64", "resource.data") from None
        operations = json.decode_value(text)
        return lambda resource: patch.json_patch(resource, operations)
    said = "a PATCH entry carries a Parameters, or a Binary of application/json-patch+json"
    raise HubError("value", said, "resource")


def parse_etag(text: str | None, at: str) -> int | None:
    """The version of a weak entity tag ``W/"3"``. HubError("value")."""
    if text is None:
        return None
    digits = text.removeprefix("W/").strip('"')
    if not digits.isdecimal():
        raise HubError("precondition", f'{text!r} is not the ETag of a version here, such as W/"3"', at)
    return int(digits)


def claim(taken: dict[str, int], target: str, entry: Entry) -> None:
    """Two entries must not concern the same resource (R4 3.1.0.11.2)."""
    other = taken.setdefault(target, entry.index)
    if other != entry.index:
        raise HubError(
            "duplicate",
            f"entry {other} and entry {entry.index} both concern {target}; a transaction may change a resource once",
        )


class located:
    """Puts ``Bundle.entry[n]`` before the place of a HubError raised inside."""

    def __init__(self, entry: Entry) -> None:
        self._at = f"Bundle.entry[{entry.index}]"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HubError):
            at = f"{self._at}.{error.at}" if error.at else self._at
            raise HubError(error.name, error.diagnostics, at, error.issues) from error


def bundle_type(bundle: Resource) -> str:
    """``transaction`` or ``batch``; HubError("value") for any other Bundle or resource."""
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") not in ("transaction", "batch"):
        raise HubError("value", "the base takes a Bundle of type transaction or batch", "Bundle.type")
    return str(bundle["type"])
