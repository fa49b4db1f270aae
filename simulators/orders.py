"""The HL7 v2 messages of orders and their fulfilment: ORM, OML, OMI, ORU, RDE, RDS."""

from __future__ import annotations

import datetime
import zlib

from simulators.health import flag, panels_for
from simulators.hl7 import Value
from simulators.messages import Build
from simulators.record import Fact, Sending
from simulators.segments import Scribe
from simulators.visit import Visit

FINDINGS = {
    "CHEST": "双肺纹理清晰，未见明显实变影。", "HEAD": "脑实质未见异常密度影，中线结构居中。", "ABDOMEN":
    "肝脾形态大小正常，未见占位。",
    "LSPINE": "腰椎生理曲度变直，L4/5椎间盘轻度膨出。", "HAND": "桡骨远端骨质连续性中断，对位尚可。", "NECK":
    "甲状腺形态大小正常。",
}  # fmt: skip
"""Body part -> the words of a report (ours)."""
USUAL = "对乙酰氨基酚片 0.5 g"
"""What is prescribed when nothing suits."""
REPORT = {"P": "preliminary", "F": "final", "C": "corrected"}


def service(visit: Visit, detail: str) -> tuple[str, str]:
    """Local code and title of what is ordered."""
    if detail == "imaging":
        region = visit.illness.row["region"]
        return region, f"{region}影像检查"
    return "LAB", "检验组合"


def order(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """A laboratory or imaging order, or its cancellation (``lab-cancel``): ORM^O01, OML^O21 or OMI^O23 by dialect."""
    what, _, cancel = detail.partition("-")
    scribe = Scribe(visit, at)
    number = visit.order("R" if what == "imaging" else "L")
    control = "CA" if cancel else "NW"
    code, title = service(visit, what)
    placer: Value = (number, scribe.site.facility)
    segments = [
        scribe.patient(), scribe.visited(),
        scribe.segment("ORC", {1: control, 2: placer, 9: scribe.time(), 12: visit.doctor}),
        scribe.segment("OBR", {1: "1", 2: placer, 4: (code, title, "L"), 16: visit.doctor}),
    ]  # fmt: skip
    event = "ORM^O01"
    if scribe.dialect.order == "OML":
        event = "OMI^O23" if what == "imaging" else "OML^O21"
        if event == "OMI^O23":
            segments.append(scribe.segment("IPC", {1: number, 2: number, 3: f"{number}P", 4: f"{number}S"}))
    status = "revoked" if cancel else "active"
    return scribe.sending(
        event, segments, [*scribe.facts(), scribe.fact("ServiceRequest", number, status=status)], detail
    )


def result(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """ORU^R01: the laboratory's values or the radiologist's words; ``lab-P`` preliminary, ``lab-F`` final,
    ``lab-C``."""
    what, _, state = detail.partition("-")
    state = state or "F"
    scribe = Scribe(visit, at)
    number = visit.order("R" if what == "imaging" else "L")
    facility = scribe.site.facility
    code, title = service(visit, what)
    placer, filler = (number, facility), (f"F{number}", facility)
    segments = [
        scribe.patient(), scribe.visited(),
        scribe.segment("ORC", {1: "RE", 2: placer, 3: filler, 5: "IP" if state == "P" else "CM"}),
        scribe.segment("OBR", {
            1: "1", 2: placer, 3: filler, 4: (code, title, "L"), 7: scribe.time(), 16: visit.doctor,
            22: scribe.time(), 24: "RAD" if what == "imaging" else "LAB", 25: state,
        }),
    ]  # fmt: skip
    facts = [
        *scribe.facts(),
        scribe.fact("ServiceRequest", number, status="active" if state == "P" else "completed"),
        scribe.fact("DiagnosticReport", f"F{number}", status=REPORT[state]),
    ]
    if what == "imaging":
        text = FINDINGS.get(visit.illness.row["region"], FINDINGS["CHEST"])
        fields: dict[int, Value] = {
            1: "1", 2: "TX", 3: ("FINDING", "影像所见", "L"), 5: text, 11: state, 14: scribe.time(),
        }  # fmt: skip
        segments.append(scribe.segment("OBX", fields))
        facts.append(scribe.fact("Observation", number, "FINDING", value=text, status=REPORT[state]))
    else:
        _values(scribe, number, state, segments, facts)
    return scribe.sending("ORU^R01", segments, facts, detail)


def _values(scribe: Scribe, number: str, state: str, segments: list[str], facts: list[Fact]) -> None:
    visit = scribe.visit
    position = 0
    for place, panel in enumerate(panels_for([visit.illness, *visit.illnesses])):
        for item, text in visit.laboratory(panel, correction=state == "C" and place == 0):
            position += 1
            local: tuple[str, ...] = (item["code"], item["name"], "L")
            standard: tuple[str, ...] = (item["loinc"], item["name"], "LN")
            coded = {"local": local, "both": (*local, *standard), "loinc": standard}[scribe.dialect.codes]
            fields: dict[int, Value] = {
                1: str(position), 2: "NM", 3: coded, 5: text, 6: (item["unit"], "", "UCUM"),
                7: f"{item['low']}-{item['high']}", 8: flag(item, text), 11: state, 14: scribe.time(),
            }  # fmt: skip
            segments.append(scribe.segment("OBX", fields))
            facts.append(
                scribe.fact("Observation", number, coded[0], value=text, unit=item["unit"], status=REPORT[state])
            )


def _drug(scribe: Scribe, control: str, number: str, drug: str) -> list[str]:
    """ORC, RXE and RXR of one drug."""
    tablet: Value = ("{tbl}", "片", "UCUM")
    placer: Value = (number, scribe.site.facility)
    segments = [
        scribe.segment("ORC", {1: control, 2: placer, 9: scribe.time(), 12: scribe.visit.doctor}),
        scribe.segment("RXE", {1: ("1", "QD"), 2: (_local(drug), drug, "L"), 3: "1", 5: tablet, 10: "14", 11: tablet}),
        scribe.segment("RXR", {1: ("PO", "口服", "HL70162")}),
    ]
    if scribe.dialect.version >= "2.5":
        segments.insert(2, scribe.segment("TQ1", {1: "1", 3: "QD"}))
    return segments


def _local(drug: str) -> str:
    """A local code of a drug (ours)."""
    return f"YP{zlib.crc32(drug.encode()) % 10_000:04d}"


def prescribe(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """RDE^O11: the prescription, one order a drug."""
    scribe = Scribe(visit, at)
    segments, facts = [scribe.patient(), scribe.visited()], scribe.facts()
    for place, drug in enumerate(visit.drugs() or [USUAL], 1):
        number = visit.order(f"M{place}")
        segments += _drug(scribe, "NW", number, drug)
        facts.append(scribe.fact("MedicationRequest", number, status="active", drug=drug))
    return scribe.sending("RDE^O11", segments, facts)


def dispense(visit: Visit, at: datetime.datetime, detail: str) -> Sending:
    """RDS^O13: the drugs handed over."""
    scribe = Scribe(visit, at)
    segments, facts = [scribe.patient(), scribe.visited()], scribe.facts()
    for place, drug in enumerate(visit.drugs() or [USUAL], 1):
        number = visit.order(f"M{place}")
        segments += _drug(scribe, "RE", number, drug)
        segments += [
            scribe.segment("RXD", {
                1: "1", 2: (_local(drug), drug, "L"), 3: scribe.time(), 4: "14", 5: ("{tbl}", "片", "UCUM"), 7: number,
            }),
            scribe.segment("RXR", {1: ("PO", "口服", "HL70162")}),
        ]  # fmt: skip
        facts.append(scribe.fact("MedicationRequest", number, status="active", drug=drug))
        facts.append(scribe.fact("MedicationDispense", number, quantity="14"))
    return scribe.sending("RDS^O13", segments, facts)


BUILDERS: dict[str, Build] = {"ORDER": order, "ORU^R01": result, "RDE^O11": prescribe, "RDS^O13": dispense}
