"""The HL7 v2 messages of registration, scheduling, charges, documents, referral and vaccination."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable

from simulators.hl7 import Value
from simulators.record import Sending
from simulators.segments import Scribe, moment
from simulators.streams import Stream
from simulators.visit import Visit

Build = Callable[[Visit, datetime.datetime, str], Sending]
CHARGES = {"register": ("GHF", "挂号费", 12), "lab": ("JYF", "检验费", 85), "imaging": ("JCF", "检查费", 180),
"drug": ("XYF", "西药费", 64)}  # fmt: skip
"""Detail of a charge -> local code, title, yuan (ours)."""
DOCUMENTS = {
    "summary": ("DS", "出院小结"), "note": ("HP", "入院记录"), "operation": ("OP", "手术记录"), "birth": ("PN",
    "分娩记录"),
    "consult": ("CN", "门诊病历"),
}  # fmt: skip
"""Detail of a document -> HL7 table 0270, title."""
VACCINES = (
    ("21", "脊髓灰质炎灭活疫苗"),
    ("22", "百白破疫苗"),
    ("23", "麻腮风疫苗"),
    ("24", "乙型肝炎疫苗"),
    ("25", "流感疫苗"),
)
"""Codes (ours) and titles of vaccines."""


def adt(trigger: str) -> Build:
    """The builder of an ADT event."""

    def build(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
        if trigger == "A03":
            visit.ended = at
        if trigger == "A13":
            visit.ended = None
        if trigger in ("A08", "A31"):
            stream = visit.stream("phone", at.isoformat())
            visit.values["phone"] = f"1{stream.pick('358')}{stream.below(10)}0002{stream.below(10_000):04d}"
        scribe = Scribe(visit, at)
        segments = [scribe.event(trigger), scribe.patient(True), scribe.visited("02" if trigger == "A02" else "")]
        facts = scribe.facts(True)
        if trigger == "A11":
            facts = scribe.facts(True, status="cancelled")
        if trigger == "A13":
            facts = scribe.facts(True, status="in-progress", end=None)
        if trigger in ("A28", "A31"):
            segments[2] = scribe.segment("PV1", {1: "1", 2: "N"})
            facts = [scribe.person(True)]
        if trigger == "A03" and "http" not in scribe.dialect.links:
            segments.append(_diagnosis(scribe))
            facts.append(scribe.fact("Condition", visit.id, visit.illness.code))
        if scribe.dialect.zsegment and trigger != "A11":
            segments.append(scribe.segment(scribe.dialect.zsegment, {1: "1", 2: "城乡居民医保"}))
        return scribe.sending(f"ADT^{trigger}", segments, facts)

    return build


def _diagnosis(scribe: Scribe) -> str:
    row = scribe.visit.illness.row
    return scribe.segment("DG1", {1: "1", 3: (row["code"], row["title"], "I10"), 5: scribe.time(), 6: "F"})


def merge(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """ADT^A40: the number of the visit (``MRG``) turns out to belong to the patient with the number in ``detail``."""
    scribe = Scribe(visit, at)
    former = visit.number
    scribe.visit.number = detail
    scribe.visit.registered = "known"
    kept = Scribe(visit, at)
    segments = [kept.event("A40"), kept.patient(True), kept.segment("MRG", {1: kept.patient_id(former)})]
    gone = kept.fact("Patient", former, active=False, sure=True)
    return kept.sending("ADT^A40", segments, [kept.person(True), gone])


def appointment(trigger: str) -> Build:
    """The builder of a SIU event: S12 booked, S14 changed, S15 cancelled, S26 not shown."""
    statuses = {"S12": "booked", "S14": "booked", "S15": "cancelled", "S26": "noshow"}

    def build(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
        scribe = Scribe(visit, at)
        number = visit.order("A")
        start = visit.started + datetime.timedelta(days=3, minutes=30 if trigger == "S14" else 0)
        segments = [
            scribe.segment("SCH", {
                1: number, 2: f"F{number}", 6: ("ROUTINE", "常规", "L"), 7: ("ROUTINE", "常规", "HL70276"), 9: "30",
                10: ("min", "", "UCUM"), 11: ("1", "", "M30", scribe.time(start)), 16: visit.doctor, 20: visit.doctor,
                25: statuses[trigger].capitalize(),
            }),
            scribe.patient(),
            scribe.visited(),
            scribe.segment("RGS", {1: "1"}),
            scribe.segment("AIL", {1: "1", 3: (visit.department,), 4: ("D", "", "L")}),
        ]  # fmt: skip
        booked = scribe.fact("Appointment", f"F{number}", status=statuses[trigger], start=moment(start))
        return scribe.sending(f"SIU^{trigger}", segments, [*scribe.facts(), booked])

    return build


def charge(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """DFT^P03: one charge."""
    scribe = Scribe(visit, at)
    code, title, yuan = CHARGES[detail]
    number = visit.order(f"C{code}")
    fields: dict[int, Value] = {
        1: "1", 2: number, 4: scribe.time(), 5: scribe.time(), 6: "CG", 7: (code, title, "L"), 10: "1",
        11: ((str(yuan), "CNY"),), 20: visit.doctor,
    }  # fmt: skip
    segments = [scribe.event("P03"), scribe.patient(), scribe.visited(), scribe.segment("FT1", fields)]
    facts = [*scribe.facts(), scribe.fact("ChargeItem", number, amount=str(yuan))]
    return scribe.sending("DFT^P03", segments, facts, detail)


def document(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """MDM^T02: a document with its content; ``big`` has a scanned page of some hundred kilobytes."""
    scribe = Scribe(visit, at)
    name, _, size = detail.partition("-")
    code, title = DOCUMENTS[name]
    number = visit.order(f"D{code}")
    text = f"{title}。患者因“{visit.illness.row['title']}”就诊，诊疗经过如病程记录。医师：{''.join(visit.doctor[1:])}"
    if size:
        page = b"%PDF-1.4\n" + Stream(visit.seed, "page", number).unit().hex().encode() * 20_000 + b"\n%%EOF\n"
        content = scribe.segment("OBX", {
            1: "1", 2: "ED", 3: ("PAGE", "扫描件", "L"),
            5: ("", "application", "pdf", "Base64", base64.b64encode(page).decode("ascii")), 11: "F",
        })  # fmt: skip
    else:
        content = scribe.segment("OBX", {1: "1", 2: "TX", 3: ("TEXT", "正文", "L"), 5: text, 11: "F"})
    segments = [
        scribe.event("T02"), scribe.patient(), scribe.visited(),
        scribe.segment("TXA", {
            1: "1", 2: code, 3: "TX", 4: scribe.time(), 5: visit.doctor, 6: scribe.time(),
            12: (number, scribe.site.facility), 17: "AU", 19: "AV",
        }),
        content,
    ]  # fmt: skip
    facts = [*scribe.facts(), scribe.fact("DocumentReference", number, status="current", doc_status="final")]
    return scribe.sending("MDM^T02", segments, facts, detail)


def referral(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """REF^I12: the patient is referred ``up`` or ``down``."""
    scribe = Scribe(visit, at)
    number = visit.order("T")
    row = visit.illness.row
    segments = [
        scribe.segment("RF1", {
            1: ("A", "accepted", "HL70283"), 2: ("R", "routine", "HL70280"), 6: (number, scribe.site.facility),
            7: scribe.time(), 10: (row["code"], row["title"], "I10"),
        }),
        scribe.segment("PRD", {1: ("RP", "referring provider", "HL70286"), 2: (visit.doctor[1], visit.doctor[2]),
        7: (visit.doctor[0], "", "L")}),
        scribe.patient(),
    ]  # fmt: skip
    facts = [scribe.person(), scribe.fact("ServiceRequest", number, status="active")]
    return scribe.sending("REF^I12", segments, facts, detail)


def vaccination(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """VXU^V04: a vaccine given."""
    scribe = Scribe(visit, at)
    stream = visit.stream("vaccine")
    code, title = stream.pick(VACCINES)
    lot = f"L{stream.below(100_000):05d}"
    number = visit.order("I")
    segments = [
        scribe.patient(), scribe.visited(),
        scribe.segment("ORC", {1: "RE", 2: number, 3: (f"F{number}", scribe.site.facility)}),
        scribe.segment("RXA", {
            1: "0", 2: "1", 3: scribe.time(), 4: scribe.time(), 5: (code, title, "L"), 6: "0.5", 7: ("mL", "", "UCUM"),
            9: ("00", "新接种记录", "NIP001"), 10: visit.doctor, 15: lot, 20: "CP", 21: "A",
        }),
    ]  # fmt: skip
    facts = [*scribe.facts(), scribe.fact("Immunization", f"F{number}", status="completed", lot=lot)]
    return scribe.sending("VXU^V04", segments, facts)


BUILDERS: dict[str, Build] = {
    **{f"ADT^{trigger}": adt(trigger) for trigger in ("A01", "A02", "A03", "A04", "A08", "A11", "A13", "A28", "A31")},
    **{f"SIU^{trigger}": appointment(trigger) for trigger in ("S12", "S14", "S15", "S26")},
    "DFT^P03": charge, "MDM^T02": document, "REF^I12": referral, "VXU^V04": vaccination,
}  # fmt: skip
