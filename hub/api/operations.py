"""Operations (R4 3.2): one table of name, level and types -> function of a Request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub.api import bundle, meta
from hub.api.arguments import arguments, parameter
from hub.api.bulk import Bulk
from hub.api.exchange import Answer, Pairs, Request, of_resource
from hub.api.interactions import CURSOR, Interactions, version_number
from hub.api.terminology import TABLE, TerminologyOperations
from hub.errors import HubError
from hub.fhir import diff, json, outcome, reference
from hub.fhir.validate import located
from hub.fhir.validate.report import SYSTEM as RULES
from hub.services import summary
from hub.services.doors import Doors

Resource = dict[str, Any]

IPS = "http://hl7.org/fhir/uv/ips/OperationDefinition/"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
PIXM = "https://profiles.ihe.net/ITI/PIXm/OperationDefinition/IHE.PIXm.pix"
PROCESS = "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message"
BULK = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
OURS = "https://region-hub.example/fhir/OperationDefinition/"
SYSTEM, TYPE, INSTANCE = "system", "type", "instance"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: where it may be called (levels, types; () is every type) and what runs it.

    ``definition`` is the canonical url of its OperationDefinition; ``reads`` that it changes nothing, so that GET may
    call it (R4 3.2.0.3).
    """

    name: str
    levels: tuple[str, ...]
    types: tuple[str, ...]
    definition: str
    run: Callable[[Request], Answer]
    reads: bool = True


class Operations:
    """The table, and the interaction ``operation`` that looks up in it."""

    def __init__(self, doors: Doors, interactions: Interactions, bulk: Bulk) -> None:
        self._doors = doors
        self._interactions = interactions
        core = "http://hl7.org/fhir/OperationDefinition/"
        rows = [
            Operation("validate", (TYPE, INSTANCE), (), core + "Resource-validate", self.validate),
            Operation(
                "everything", (INSTANCE,), ("Patient", "Encounter"), core + "Patient-everything", self.everything
            ),
            Operation("meta", (INSTANCE,), (), core + "Resource-meta", self.meta),
            Operation("meta-add", (INSTANCE,), (), core + "Resource-meta-add", self.meta_add, reads=False),
            Operation("meta-delete", (INSTANCE,), (), core + "Resource-meta-delete", self.meta_delete, reads=False),
            Operation("diff", (SYSTEM, INSTANCE), (), OURS + "diff", self.diff),
            Operation("lastn", (TYPE,), ("Observation",), core + "Observation-lastn", self.lastn),
            Operation("document", (INSTANCE,), ("Composition",), core + "Composition-document", self.document),
            Operation("summary", (INSTANCE,), ("Patient",), IPS + "summary", self.summary),
            Operation("status", (INSTANCE,), ("Subscription",), BACKPORT + "status", self.subscription_status),
            Operation("events", (INSTANCE,), ("Subscription",), BACKPORT + "events", self.subscription_events),
            Operation("export", (SYSTEM, TYPE, INSTANCE), ("Patient", "Group"), BULK + "export", bulk.export),
            Operation("import", (SYSTEM,), (), OURS + "import", bulk.import_, reads=False),
            Operation("match", (TYPE,), ("Patient",), core + "Patient-match", self.match),
            Operation("process-message", (SYSTEM,), (), PROCESS, self.process_message, reads=False),
            Operation("ihe-pix", (TYPE,), ("Patient",), PIXM, self.cross_reference),
        ]
        terms = TerminologyOperations(doors)
        rows += [
            Operation(name, (TYPE, INSTANCE) if types else (SYSTEM,), types, core + definition, terms.run)
            for name, types, definition in TABLE
        ]
        self.rows = {row.name: row for row in rows}

    def operation(self, request: Request) -> Answer:
        """Find and run. HubError("not-found") for an operation that is not defined here."""
        route = request.route
        level = INSTANCE if route.id else TYPE if route.type else SYSTEM
        row = self.rows.get(route.name)
        if row is None or level not in row.levels or (row.types and route.type and route.type not in row.types):
            raise HubError("not-found", f"the operation ${route.name[:60]} is not defined at {request.path[:200]!r}")
        if request.method == "GET" and not row.reads:
            raise HubError("method-unknown", f"${route.name} changes data; call it by POST", "POST")
        return row.run(request)

    def validate(self, request: Request) -> Answer:
        """$validate: what is wrong with a resource, as an OperationOutcome with status 200 (R4 Resource-validate).

        A resource sent as the body itself gets line and column with each finding. ``institution`` (ours) names whose
        agreed severities apply; without it the caller's.
        """
        route, asked = request.route, arguments(request)
        profiles = asked.get("profile", [])
        if asked.get("mode", ["profile" if profiles else "create"])[0] not in VALIDATION_MODES:
            raise HubError("parameter-value", f"mode is one of {', '.join(VALIDATION_MODES)}", "mode")
        language = _language(request)
        institution = asked.get("institution", [request.context.actor])[0]
        sent = request.resource() if request.body else {"resourceType": "Parameters"}
        resource = parameter(sent, "resource") if sent["resourceType"] == "Parameters" else sent
        if resource is None and route.id:
            version = self._doors.query.read(request.context, route.type, route.id, request.databases)
            resource = self._doors.databases.decode(version)
        if not isinstance(resource, dict) or resource.get("resourceType") != route.type:
            wanted = f"$validate at {request.path} needs a {route.type}"
            raise HubError("required", wanted, "Parameters.resource")
        if resource is sent:
            issues = [
                _located(one, language) for one in self._doors.validation.located(request.body, profiles, institution)
            ]
        else:
            issues = [
                one.issue(language) for one in self._doors.validation.check(resource, profiles, institution).findings
            ]
        return of_resource(200, outcome.build(issues))

    def match(self, request: Request) -> Answer:
        """$match: the people this Patient may be (R4 Patient-match; IHE PDQm ITI-119)."""
        given = request.resource()
        patient = parameter(given, "resource") if given["resourceType"] == "Parameters" else given
        if not isinstance(patient, dict) or patient.get("resourceType") != "Patient":
            raise HubError("required", "$match needs a Patient in the parameter 'resource'", "Parameters.parameter")
        count, certain = parameter(given, "count"), parameter(given, "onlyCertainMatches")
        bundle = self._doors.identity.match(request.context, patient, count=count, only_certain=bool(certain))
        return of_resource(200, bundle)

    def cross_reference(self, request: Request) -> Answer:
        """$ihe-pix: the other identifiers, and the Patients, of the person who carries one (IHE PIXm ITI-83)."""
        given = arguments(request)
        sources = given.get("sourceIdentifier", [])
        if len(sources) != 1:
            raise HubError("required", "$ihe-pix needs one sourceIdentifier=system|value", "sourceIdentifier")
        system, _, value = sources[0].rpartition("|")
        if not (system and value):
            raise HubError("parameter-value", "$ihe-pix needs one sourceIdentifier=system|value", "sourceIdentifier")
        targets = [target for target in given.get("targetSystem", []) if target != "*"]
        found, patients = self._doors.demographics.corresponding(request.context, system, value, targets)
        rows: list[Resource] = [
            {"name": "targetIdentifier", "valueIdentifier": {"system": one["system"], "value": one["value"]}}
            for one in found
        ]
        rows += [{"name": "targetId", "valueReference": {"reference": patient}} for patient in patients]
        parameters = {"resourceType": "Parameters", **({"parameter": rows} if rows else {})}
        return of_resource(200, parameters)

    def process_message(self, request: Request) -> Answer:
        """$process-message: the Mobile Patient Identity Feed (R4 MessageHeader-process-message; IHE PMIR ITI-93)."""
        given = request.resource()
        message = parameter(given, "content") if given["resourceType"] == "Parameters" else given
        if not isinstance(message, dict):
            raise HubError("required", "$process-message needs a message Bundle", "Parameters.parameter")
        return of_resource(200, self._doors.messages.process(request.context, message))

    def meta(self, request: Request) -> Answer:
        """$meta: profiles, tags and security labels of a resource (R4 Resource-meta)."""
        route = request.route
        version = self._doors.query.read(request.context, route.type, route.id, request.databases)
        return _meta_answer(self._doors.databases.decode(version))

    def meta_add(self, request: Request) -> Answer:
        """$meta-add: a new version with more profiles, tags and labels (R4 Resource-meta-add)."""
        return self._meta_changed(request, meta.added)

    def meta_delete(self, request: Request) -> Answer:
        """$meta-delete: a new version with fewer (R4 Resource-meta-delete)."""
        return self._meta_changed(request, meta.removed)

    def _meta_changed(self, request: Request, change: Callable[[Resource, Resource], Resource]) -> Answer:
        route, given = request.route, parameter(request.resource(), "meta")
        if not isinstance(given, dict):
            raise HubError("required", "the parameter meta (valueMeta) is needed", "Parameters.parameter")
        written = self._doors.ingest.change(
            request.context, route.type, route.id, lambda resource: change(resource, given),
            event="update", database=request.database,
        )  # fmt: skip
        assert written.version is not None  # a change has a version
        return _meta_answer(self._doors.databases.decode(written.version))

    def diff(self, request: Request) -> Answer:
        """$diff: the FHIRPath Patch that makes ``to`` of ``from`` (R4 3.1.0.12.1; the operation is ours).

        On an instance ``fromVersion`` and ``toVersion`` are version numbers: the one before and the current when not
        given. On the base ``from`` and ``to`` are references, to versions or not.
        """
        route, asked = request.route, arguments(request)
        if not route.id:
            compared = [self._compared(request, name, _single(asked, name)) for name in ("from", "to")]
        else:
            place = f"{route.type}/{route.id}"
            newer = self._compared(request, "toVersion", _versioned(place, asked.get("toVersion", [""])[0]))
            before = str(max(1, int(newer["meta"]["versionId"]) - 1))
            older = _versioned(place, asked.get("fromVersion", [before])[0])
            compared = [self._compared(request, "fromVersion", older), newer]
        return of_resource(200, diff.fhirpath_patch(*compared))

    def _compared(self, request: Request, name: str, text: str) -> Resource:
        found, query = reference.parse(text), self._doors.query
        if not found.id or (found.base and found.base != f"{request.root}/"):
            raise HubError("parameter-value", f"{name} takes a reference such as Patient/1/_history/2", name)
        if found.version:
            number = version_number(found.version, text)
            version = query.vread(request.context, found.type, found.id, number, request.databases)
        else:
            version = query.read(request.context, found.type, found.id, request.databases)
        return self._doors.databases.decode(version)

    def lastn(self, request: Request) -> Answer:
        """$lastn: of each code the newest Observations, ``max`` of them (R4 Observation-lastn)."""
        asked = arguments(request)
        text = asked.pop("max", ["1"])[0]
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 1000):
            raise HubError("parameter-value", "max takes a number from 1 to 1000", "max")
        if not {"patient", "subject"} & {name.partition(":")[0].partition(".")[0] for name in asked}:
            raise HubError("required", "$lastn needs patient or subject", "patient")
        pairs = [(name, value) for name, values in asked.items() for value in values]
        found = self._doors.query.lastn(request.context, pairs, int(text), request.databases)
        root = request.root.encode()
        entries = [bundle.entry(root, row.type, row.id, row.text, b"match") for row in found]
        return Answer(200, bundle.searchset(entries, [], [("self", f"{request.root}/{request.path}")], len(found), []))

    def document(self, request: Request) -> Answer:
        """$document: the Composition and what it refers to as a document Bundle (R4 Composition-document)."""
        asked, doors = arguments(request), self._doors
        versions = doors.query.document(request.context, request.route.id, request.databases)
        document = bundle.document(request.root, versions, doors.new_id(), doors.clock())
        if asked.get("persist") == ["true"]:
            doors.ingest.create(request.context, json.decode(b"".join(document)))
        return Answer(200, document)

    def summary(self, request: Request) -> Answer:
        """$summary: the International Patient Summary of the person, from all hospitals (IPS 2.0.0)."""
        doors, route = self._doors, request.route
        version = doors.query.read(request.context, "Patient", route.id, request.databases)
        me = f"Patient/{route.id}"
        persons = doors.query.search(request.context, ("Person",), [("link", me)], request.databases).matches
        linked = [
            link.get("target", {}).get("reference", "")
            for person in persons
            for link in doors.databases.decode(person).get("link", ())
        ]
        others = [one for one in linked if one.startswith("Patient/") and one != me]
        ids = [one.partition("/")[2] for one in (me, *others)]
        members, referenced = doors.query.records(request.context, ids, summary.TYPES, request.databases)
        document = summary.document(
            doors.databases.decode(version), others, [doors.databases.decode(one) for one in members],
            [doors.databases.decode(one) for one in referenced],
            root=request.root, region=doors.settings.region, language=_language(request),
            ids=[doors.new_id() for _ in range(3)], now=doors.clock(),
        )  # fmt: skip
        return of_resource(200, document)

    def subscription_status(self, request: Request) -> Answer:
        """$status of a topic-based Subscription (Backport, backport-subscription-status)."""
        return of_resource(200, self._doors.subscriptions.status(self._subscription(request)))

    def subscription_events(self, request: Request) -> Answer:
        """$events: events again, by their numbers (Backport, backport-subscription-events)."""
        asked = arguments(request)
        first = _whole(asked, "eventsSinceNumber", 1)
        last = _whole(asked, "eventsUntilNumber", 10**9)
        return Answer(200, [self._doors.subscriptions.told(self._subscription(request), first, last)])

    def _subscription(self, request: Request) -> Resource:
        version = self._doors.query.read(request.context, "Subscription", request.route.id, request.databases)
        return self._doors.databases.decode(version)

    def everything(self, request: Request) -> Answer:
        """$everything: the compartment, and what it refers to outside it as included (R4 Patient-everything)."""
        asked = arguments(request)
        types = tuple(name for value in asked.pop("_type", ()) for name in value.split(",") if name)
        for type in types:
            if type not in self._doors.definitions.resource_types:
                raise HubError("parameter-value", f"{type[:60]!r} is not a resource type", "_type")
        pairs: Pairs = []
        for name, prefix, criterion in EVERYTHING:
            pairs += [(criterion, prefix + value) for value in asked.pop(name, ())]
        for name in (CURSOR, "_count"):
            pairs += [(name, value) for value in asked.pop(name, ())]
        if asked:
            raise HubError("parameter-unknown", f"$everything has no parameter {next(iter(asked))[:60]!r}")
        return self._interactions.compartment(request, pairs, types, referenced=True)


VALIDATION_MODES = ("create", "update", "delete", "profile")
_LINE = "http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-line"
_COLUMN = "http://hl7.org/fhir/StructureDefinition/operationoutcome-issue-col"


def _located(found: located.Located, language: str) -> Resource:
    """An OperationOutcome.issue with the standard's extensions for line and column."""
    return {
        "extension": [{"url": _LINE, "valueInteger": found.line}, {"url": _COLUMN, "valueInteger": found.column}],
        "severity": found.severity,
        "code": found.code,
        "details": {"coding": [{"system": RULES, "code": found.rule}], "text": found.message[language]},
        "diagnostics": " ".join(part for part in (found.message[language], found.mend.get(language, "")) if part),
        "expression": [found.expression],
    }


def _language(request: Request) -> str:
    """The language of texts: zh or en, by Accept-Language."""
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def _single(asked: dict[str, list[str]], name: str) -> str:
    """The one value of a parameter. HubError("required")."""
    values = asked.get(name, [])
    if len(values) != 1:
        raise HubError("required", f"the parameter {name} is needed, once", name)
    return values[0]


def _versioned(place: str, version: str) -> str:
    """A reference to a version of ``Type/id``, or to the current one."""
    return f"{place}/_history/{version}" if version else place


def _whole(asked: dict[str, list[str]], name: str, default: int) -> int:
    text = asked.get(name, [str(default)])[0]
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise HubError("parameter-value", f"{name} takes a whole number, not {text[:40]!r}", name)
    return int(text)


def _meta_answer(resource: Resource) -> Answer:
    found = {"name": "return", "valueMeta": resource.get("meta", {})}
    return of_resource(200, {"resourceType": "Parameters", "parameter": [found]})


EVERYTHING = (("start", "ge", "date"), ("end", "le", "date"), ("_since", "ge", "_lastUpdated"))
"""Parameters of $everything that narrow it: name, prefix, search parameter (care dates, where a type has one)."""
