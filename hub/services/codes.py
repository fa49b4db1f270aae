"""Standard codes beside local ones: translated on the way in, a work list, added to stored data when approved."""

from __future__ import annotations

import csv
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from hub.fhir import temporal
from hub.search.expression import Equals, Match, Query
from hub.services.context import Context
from hub.services.ingest import Ingest
from hub.services.terminology import StoredTerminology, refusal
from hub.store.protocol import Item, Store, Transaction, Version
from terminology import governance
from terminology.errors import TerminologyError
from terminology.governance import Decision, Governance, Sighting, Target, WorkItem
from terminology.service import Terminology
from terminology.similarity import Proposal
from terminology.translate import NO_MATCH

Resource = dict[str, Any]

QUEUE = "terminology-"
PAGE = 200
MAX_FAMILIAR = 100_000
_OURS = "https://region-hub.example/fhir/CodeSystem"
TARGETS = {
    "laboratory": (f"{_OURS}/recognition-item", "http://loinc.org"),
    "diagnosis": (f"{_OURS}/icd-10-clinical", "http://hl7.org/fhir/sid/icd-10", f"{_OURS}/gbt15657-tcm-disease"),
    "procedure": (f"{_OURS}/icd-9-cm-3-clinical",),
    "drug": (f"{_OURS}/national-drug-code", f"{_OURS}/insurance-drug-code"),
}


@cache
def elements() -> dict[str, tuple[dict[str, str], ...]]:
    """Resource type -> rows of ``codes.csv``."""
    lines = files("hub.services").joinpath("codes.csv").read_text(encoding="utf-8").splitlines()
    found: dict[str, tuple[dict[str, str], ...]] = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        found[row["type"]] = (*found.get(row["type"], ()), row)
    return found


class QueueLedger:
    """``terminology.governance.Ledger`` over the store's queues, within one unit of work."""

    def __init__(self, store: Store, tx: Transaction | None, new_id: Callable[[], str], now: int) -> None:
        self._store = store
        self._tx = tx
        self._new_id = new_id
        self._now = now
        self._written: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}

    def read(self, kind: str, key: str) -> dict[str, Any] | None:
        item = (self._tx or self._store).item_by_key(QUEUE + kind, key)
        return None if item is None else item.data["record"]

    def write(self, kind: str, key: str, state: str, data: dict[str, Any]) -> None:
        assert self._tx is not None  # only a unit of work writes
        known = self._tx.item_by_key(QUEUE + kind, key)
        if known is None:
            self._tx.enqueue(Item(QUEUE + kind, self._new_id(), key, "", state, {"record": data}, b"", self._now))
        else:
            self._tx.settle(QUEUE + kind, known.id, state, {"record": data})
        self._written[kind, key] = (state, data)

    def list(self, kind: str, states: Iterable[str] = ()) -> Iterable[dict[str, Any]]:
        wanted, before, found = tuple(states), None, dict[str, tuple[str, dict[str, Any]]]()
        while page := self._store.items(QUEUE + kind, before=before, limit=PAGE):
            found |= {item.key: (item.state, item.data["record"]) for item in page}
            before = page[-1].seq
        found |= {key: row for (of, key), row in self._written.items() if of == kind}
        return [data for _, (state, data) in sorted(found.items()) if not wanted or state in wanted]


class Codes:
    """The use cases. Until a code is approved its data is stored with the original code and the tag ``UNMAPPED``."""

    def __init__(
        self,
        store: Store,
        stored: StoredTerminology,
        ingest: Ingest,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self.stored = stored
        self._ingest = ingest
        self._clock = clock
        self._new_id = new_id
        self._governance = Governance(stored.refresh(), clock, TARGETS)
        self._familiar: set[tuple[str, str]] = set()
        self._pending: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    # --- on the way in ------------------------------------------------------------------------------------------------

    def standardised(self, bundle: Resource, context: Context) -> tuple[Resource, tuple[Sighting, ...]]:
        """The Bundle with standard codes added where an approved map has them, and what is not mapped yet."""
        terminology = self.stored.refresh()
        sightings: list[Sighting] = []
        entries = []
        for entry in bundle.get("entry", ()):
            resource, seen = _standardised(terminology, entry["resource"], context)
            sightings += seen
            entries.append({**entry, "resource": resource})
        return {**bundle, "entry": entries}, tuple(sightings)

    def note(self, tx: Transaction, sightings: Iterable[Sighting]) -> None:
        """Put what is not mapped on the work list, in the unit that stores the data.

        Of a code that has its examples only the count grows; that is kept in memory until ``flush``.
        """
        ledger = self._ledger(tx)
        for sighting in sightings:
            key = sighting.system, sighting.code
            if key in self._familiar:
                with self._lock:
                    self._pending[key] += 1
            elif len(self._governance.see(ledger, sighting).examples) >= governance.MAX_EXAMPLES:
                if len(self._familiar) >= MAX_FAMILIAR:
                    self._familiar.clear()
                self._familiar.add(key)

    def flush(self) -> None:
        """Write the counts that are in memory."""
        with self._lock:
            pending, self._pending = self._pending, Counter()

        def work(tx: Transaction) -> None:
            ledger = self._ledger(tx)
            for (system, code), times in pending.items():
                self._governance.see(ledger, Sighting(system, code, times=times))

        if pending:
            self._store.write(work)

    # --- the work list ------------------------------------------------------------------------------------------------

    def work_list(self, states: Iterable[str] = ("open", "returned")) -> list[WorkItem]:
        """The codes in these states, those seen most often first."""
        self.flush()
        return self._governance.work_list(self._ledger(None), states)

    def proposals(self, item: WorkItem) -> list[Proposal]:
        """The standard codes most like a local one, best first."""
        self.stored.refresh()
        return self._governance.proposals(item)

    def map(self, context: Context, system: str, code: str, target: Target, note: str = "") -> WorkItem:
        """Draft a mapping. HubError("not-found", "conflict")."""
        self.stored.refresh()
        try:
            return self._store.write(
                lambda tx: self._governance.map(self._ledger(tx), system, code, target, actor=context.actor, note=note)
            )
        except TerminologyError as error:
            raise refusal(error, f"{system}|{code}") from None

    def act(
        self, context: Context, system: str, code: str, action: str, *, role: str, note: str = ""
    ) -> tuple[WorkItem, int]:
        """submit, approve, return, revise or retire a code; the item, and how many stored resources gained its target.

        The decision and the CodeSystem and ConceptMap it publishes are one unit. HubError("conflict", "forbidden",
        "required", "not-found").
        """

        def work(tx: Transaction) -> Decision:
            decision = self._governance.act_on_code(
                self._ledger(tx), system, code, action, actor=context.actor, role=role, note=note
            )
            for resource in decision.resources:
                id = str(uuid.uuid5(uuid.NAMESPACE_URL, resource["url"]))
                self._ingest.update_in(tx, context, {**resource, "id": id}, self._clock())
            return decision

        try:
            item = self._store.write(work).record
        except TerminologyError as error:
            raise refusal(error, f"{system}|{code}") from None
        assert isinstance(item, WorkItem)
        return item, self.enrich(context, item) if action == "approve" else 0

    def enrich(self, context: Context, item: WorkItem) -> int:
        """Add an approved item's target to every stored resource with its code, and say so in a Provenance; how many.

        May be run again: what has the target already is not changed and not named again.
        """
        terminology = self.stored.refresh()

        def enriched(resource: Resource) -> Resource:
            return _standardised(terminology, governance.enriched(resource, item), context)[0]

        changed = 0
        for type, rows in elements().items():
            for row in rows:
                where = Match(row["parameter"], Equals(item.code, item.system))
                after = None
                while page := self._store.find(Query((type,), where, after=after, limit=PAGE)):
                    after = page[-1].key
                    written = [self._ingest.change(context, type, found.version.id, enriched) for found in page]
                    versions = [one.version for one in written if one.changed and one.version is not None]
                    changed += len(versions)
                    if versions:
                        self._ingest.create(context, _provenance(context, item, versions, self._clock()))
        return changed

    def _ledger(self, tx: Transaction | None) -> QueueLedger:
        return QueueLedger(self._store, tx, self._new_id, self._clock())


def _standardised(terminology: Terminology, resource: Resource, context: Context) -> tuple[Resource, list[Sighting]]:
    """The resource with the standard codes that are known, flagged if a concept has none; and its unmapped codes."""
    sightings = []
    flag = False
    for row in elements().get(resource["resourceType"], ()):
        concept = resource.get(row["element"])
        codings = concept.get("coding", []) if isinstance(concept, dict) else []
        if any(terminology.registry.standard(coding.get("system", "")) for coding in codings):
            continue
        targets = []
        for coding in codings:
            if coding.get("system") and coding.get("code"):
                found = terminology.matches(coding["system"], coding["code"])
                targets += [match.coding for match in found if match.equivalence not in NO_MATCH]
                if not found:
                    sightings.append(_sighting(resource, row["domain"], coding, context))
        if targets:
            resource = {**resource, row["element"]: {**(concept or {}), "coding": [*codings, *targets]}}
        flag = flag or (bool(sightings) and not targets)
    return (governance.flagged(resource) if flag else resource), sightings


def _provenance(context: Context, item: WorkItem, versions: list[Version], now: int) -> Resource:
    """Which versions gained a coding, by whose approval, from which local code (R4 Provenance)."""
    operation = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
    return {
        "resourceType": "Provenance",
        "target": [{"reference": f"{one.type}/{one.id}/_history/{one.version}"} for one in versions],
        "recorded": temporal.instant(now),
        "activity": {"coding": [{"system": operation, "code": "UPDATE"}], "text": "local code mapped and approved"},
        "agent": [{"who": {"display": context.actor or "region"}}],
        "entity": [{"role": "source", "what": {"display": f"{item.system}|{item.code}"}}],
    }


def _sighting(resource: Resource, domain: str, coding: Resource, context: Context) -> Sighting:
    quantity = resource.get("valueQuantity", {})
    return Sighting(
        coding["system"],
        coding["code"],
        coding.get("display") or "",
        context.actor,
        domain,
        quantity.get("code") or quantity.get("unit") or "",
        f"{resource['resourceType']}/{resource['id']}" if "id" in resource else "",
        context.origin,
    )
