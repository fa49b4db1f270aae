"""The one exception that edges see, and the table of its names.

``HubError(name, diagnostics, at)`` is raised at the place that knows what is wrong and rendered only by the edge it
leaves through: OperationOutcome (``hub.fhir.outcome``), ERR segment (``adapters.hl7v2.ack``), DIMSE status
(``adapters.dicom.status``), or a line on the terminal (``hub.cli``). The names are the rows of ``errors.csv``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from hub.masking import masked


@dataclass(frozen=True, slots=True)
class ErrorName:
    """One row of ``errors.csv``: HTTP status, issue type, retry class, fate of the inbound message."""

    name: str
    http: int
    issue: str
    retry: str
    inbound: str


def _load() -> dict[str, ErrorName]:
    lines = files("hub").joinpath("errors.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {
        row["name"]: ErrorName(row["name"], int(row["http"]), row["issue"], row["retry"], row["inbound"])
        for row in rows
    }


ERRORS = _load()


class HubError(Exception):
    """A located refusal in the hub's own words.

    ``name`` is a row of ``errors.csv``; ``diagnostics`` says what is wrong and what to do next, in one or two plain
    sentences, identity numbers masked; ``at`` is the place in the notation of the protocol the input came in:
    ``Patient.name[0].family``, ``PID-3[2].1``, ``(0010,0020)``, ``line 3 column 14``. ``issues`` holds further findings
    of the same input as OperationOutcome.issue objects, when there is more than one.
    """

    def __init__(self, name: str, diagnostics: str, at: str = "", issues: tuple[dict[str, object], ...] = ()) -> None:
        diagnostics = masked(diagnostics)
        super().__init__(f"{name}: {diagnostics}" + (f" (at {at})" if at else ""))
        self.row = ERRORS[name]
        self.name = name
        self.diagnostics = diagnostics
        self.at = at
        self.issues = issues
