"""A simulated hospital: its patient numbers and visits, and the HL7 v2 messages it sends in its dialect."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from simulators.dialect import Dialect
from simulators.hl7 import Value, message
from simulators.population import Resident, city, table
from simulators.streams import Stream

RESIDENT_ID_AUTHORITY = ("CHN", "2.16.840.1.113883.2.23.1.19.1", "ISO")
"""CX-4 of a resident ID number: the OID that HL7 China uses for it."""
SEX = {"male": "M", "female": "F"}
MARITAL = {"child": "S"}


@dataclass(slots=True)
class Visit:
    """One visit of a resident to a hospital; ``number`` is the patient number there, ``id`` the visit number."""

    resident: Resident
    number: str
    id: str
    patient_class: str
    department: str
    doctor: tuple[str, str, str]
    condition: dict[str, str]
    started: datetime.datetime
    stream: Stream
    orders: int = 0
    known_as: str = ""
    """The number that a merge (A40) keeps."""
    unknown: bool = False
    """Registered without documents."""


@dataclass(slots=True)
class Hospital:
    """The state of one hospital: who got which patient number, how many visits and messages there were."""

    dialect: Dialect
    seed: int
    numbers: dict[int, str] = field(default_factory=dict)
    issued: int = 0
    visits: int = 0
    sent: int = 0

    # --- registration -------------------------------------------------------------------------------------------------

    def patient_number(self, resident: Resident) -> str:
        """The resident's number here: the next free one at the first visit, the same at every later one."""
        if resident.index not in self.numbers:
            self.numbers[resident.index] = self.new_number()
        return self.numbers[resident.index]

    def new_number(self) -> str:
        """The next patient number; every hospital counts from 1, so equal numbers are different people elsewhere."""
        self.issued += 1
        return self.dialect.patient_number.format(self.issued)

    def visit(
        self, resident: Resident, patient_class: str, started: datetime.datetime, *, unknown: bool = False
    ) -> Visit:
        """Begin a visit; ``unknown`` registers without documents under a new number, to be merged later."""
        self.visits += 1
        stream = Stream(self.seed, self.dialect.key, "visit", self.visits)
        conditions = table("conditions")
        known_as = self.patient_number(resident)
        return Visit(
            resident=resident,
            number=self.new_number() if unknown else known_as,
            id=self.dialect.visit_number.format(self.visits),
            patient_class=patient_class,
            department=stream.pick(self.dialect.departments),
            doctor=stream.pick(self.dialect.doctors),
            condition=stream.weighted(conditions, [float(row["weight"]) for row in conditions]),
            started=started,
            stream=stream,
            known_as=known_as if unknown else "",
            unknown=unknown,
        )

    # --- messages -----------------------------------------------------------------------------------------------------

    def build(self, kind: str, visit: Visit, at: datetime.datetime) -> tuple[str, bytes]:
        """The message of a kind (``ADT^A04``, ``ORM^O01:lab``...): its control id (MSH-10) and its bytes."""
        event, _, detail = kind.partition(":")
        self.sent += 1
        control = f"{self.dialect.facility}{at:%y%m%d}{self.sent:06d}"
        if event == "ADT^A40":
            segments = self._merge(visit, at)
        elif event.startswith("ADT"):
            segments = self._adt(event, visit, at)
        elif event == "ORM^O01":
            segments = self._order(detail, visit, at)
        else:
            segments = self._result(detail, visit, at)
        return control, message([self._header(event, control, at), *segments], self.dialect.charset)

    def _segment(self, name: str, fields: dict[int, Value]) -> str:
        return self.dialect.separators.segment(name, fields)

    def _header(self, event: str, control: str, at: datetime.datetime) -> str:
        code, trigger = event.split("^")
        structure = {"A04": "ADT_A01", "A08": "ADT_A01", "A40": "ADT_A39"}.get(trigger, f"{code}_{trigger}")
        kind = (code, trigger, structure) if self.dialect.version >= "2.4" else (code, trigger)
        return self.dialect.separators.header({
            3: self.dialect.application, 4: self.dialect.facility, 5: "HUB", 6: "REGION", 7: self._time(at), 9: kind,
            10: control, 11: "P", 12: self.dialect.version, 17: "CHN", 18: self.dialect.character_set,
        })  # fmt: skip

    def _time(self, at: datetime.datetime) -> str:
        return at.strftime(self.dialect.time)

    def _adt(self, event: str, visit: Visit, at: datetime.datetime) -> list[str]:
        trigger = event.partition("^")[2]
        segments = [
            self._event(trigger, at),
            self._patient(visit),
            self._visit(visit, at if trigger == "A03" else None),
        ]
        if trigger in ("A03", "A08"):
            condition = visit.condition
            segments.append(
                self._segment(
                    "DG1", {1: "1", 3: (condition["code"], condition["title"], "I10"), 5: self._time(at), 6: "F"}
                )
            )
        if self.dialect.zsegment:
            segments.append(self._segment(self.dialect.zsegment, {1: "1", 2: "城乡居民医保"}))
        return segments

    def _merge(self, visit: Visit, at: datetime.datetime) -> list[str]:
        kept = Visit(**{name: getattr(visit, name) for name in Visit.__slots__})
        kept.number, kept.unknown = visit.known_as, False
        former = self._number(visit.number)
        return [self._event("A40", at), self._patient(kept), self._segment("MRG", {1: former})]

    def _event(self, trigger: str, at: datetime.datetime) -> str:
        return self._segment("EVN", {1: trigger, 2: self._time(at)})

    def _number(self, number: str) -> Value:
        return number, "", "", self.dialect.authority, self.dialect.identifiers[0]

    def _patient(self, visit: Visit) -> str:
        resident = visit.resident
        identifiers: list[Value] = [self._number(visit.number)]
        if not visit.unknown:
            if "HC" in self.dialect.identifiers:
                identifiers.append((resident.card, "", "", "", "HC"))
            if "NI" in self.dialect.identifiers:
                identifiers.append((resident.number, "", "", RESIDENT_ID_AUTHORITY, "NI"))
        fields: dict[int, Value] = {
            1: "1", 3: identifiers, 5: self._name(resident), 7: f"{resident.born:%Y%m%d}", 8: SEX[resident.sex],
        }  # fmt: skip
        if not visit.unknown:
            married = MARITAL.get(resident.role, "M")
            fields |= {
                11: self._address(resident),
                13: self._phone(resident),
                16: married,
                22: (resident.ethnic, "", "GB3304"),
            }
        return self._segment("PID", fields)

    def _name(self, resident: Resident) -> Value:
        if self.dialect.name == "whole":
            return (resident.name,)
        parts = (resident.family, resident.given)
        if self.dialect.name == "parts":
            return parts
        latin = (resident.family_pinyin.upper(), resident.given_pinyin.upper())
        return [(*parts, "", "", "", "", "L", "I"), (*latin, "", "", "", "", "L", "A")]

    def _address(self, resident: Resident) -> Value:
        if self.dialect.address == "text":
            return (resident.address,)
        place = city()[0]
        street = resident.address.removeprefix(place)
        return street, "", place, "", resident.county, "CHN", "H"

    def _phone(self, resident: Resident) -> Value:
        if self.dialect.phone == "first":
            return (resident.phone,)
        return "", "PRN", "CP", "", "", "", "", "", "", "", "", resident.phone

    def _visit_number(self, visit: Visit) -> Value:
        authority = self.dialect.visit_authority
        return (visit.id, "", "", authority, "VN") if authority else visit.id

    def _visit(self, visit: Visit, ended: datetime.datetime | None) -> str:
        location: Value = (
            (visit.department, f"{1 + len(visit.id) % 9}", "01") if visit.patient_class == "I" else (visit.department,)
        )
        fields: dict[int, Value] = {
            1: "1", 2: visit.patient_class, 3: location, 7: visit.doctor, 10: "MED", 19: self._visit_number(visit),
            44: self._time(visit.started),
        }  # fmt: skip
        if ended is not None:
            fields |= {36: "01", 45: self._time(ended)}
        return self._segment("PV1", fields)

    # --- orders and results -------------------------------------------------------------------------------------------

    def order_number(self, visit: Visit, detail: str) -> str:
        """The placer order number of the visit's order of a kind; the accession number of its images."""
        return f"{visit.id}{'L' if detail == 'lab' else 'R'}"

    def _order(self, detail: str, visit: Visit, at: datetime.datetime) -> list[str]:
        number = self.order_number(visit, detail)
        return [
            self._patient(visit),
            self._visit(visit, None),
            self._segment("ORC", {1: "NW", 2: number, 9: self._time(at), 12: visit.doctor}),
            self._segment(
                "OBR", {1: "1", 2: number, 4: self._service(detail, visit), 6: self._time(at), 16: visit.doctor}
            ),
        ]

    def _service(self, detail: str, visit: Visit) -> Value:
        if detail == "lab":
            return ("BLOOD", "血常规+生化", self.dialect.coding if self.dialect.coding != "LN" else "L")
        return ("CHEST", "胸部影像检查", "L")

    def _result(self, detail: str, visit: Visit, at: datetime.datetime) -> list[str]:
        number = self.order_number(visit, detail)
        head = [
            self._patient(visit),
            self._visit(visit, None),
            self._segment("ORC", {1: "RE", 2: number, 3: f"F{number}"}),
            self._segment("OBR", {
                1: "1", 2: number, 3: f"F{number}", 4: self._service(detail, visit), 7: self._time(at),
                16: visit.doctor, 22: self._time(at), 24: "LAB" if detail == "lab" else "RAD", 25: "F",
            }),
        ]  # fmt: skip
        if detail == "lab":
            return head + [self._value(position, row, visit, at) for position, row in enumerate(table("laboratory"), 1)]
        finding: dict[int, Value] = {
            1: "1", 2: "TX", 3: ("FINDING", "影像所见", "L"), 5: "双肺纹理清晰，未见明显实变影。", 11: "F",
            14: self._time(at),
        }  # fmt: skip
        return [*head, self._segment("OBX", finding)]

    def _value(self, position: int, row: dict[str, str], visit: Visit, at: datetime.datetime) -> str:
        value = max(0.1, visit.stream.bell(float(row["mean"]), float(row["deviation"])))
        text = f"{value:.{int(row['decimals'])}f}"
        low, high = float(row["low"]), float(row["high"])
        flag = "H" if float(text) > high else "L" if float(text) < low else "N"
        fields: dict[int, Value] = {
            1: str(position), 2: "NM", 3: self._item(row), 5: text, 6: (row["unit"],),
            7: f"{row['low']}-{row['high']}", 8: flag, 11: "F", 14: self._time(at),
        }  # fmt: skip
        return self._segment("OBX", fields)

    def _item(self, row: dict[str, str]) -> Value:
        local = (f"{row['code']}", row["name"], self.dialect.coding)
        standard = (row["loinc"], row["name"], "LN")
        return {"local": local, "both": (*local, *standard), "loinc": standard}[self.dialect.codes]
