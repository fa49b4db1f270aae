"""Outcome -> DIMSE status and Error Comment (PS3.7 Annex C; PS3.4 B.2.3, C.4): rows of status.csv."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Literal

from hub.errors import HubError

SUCCESS, PENDING, PENDING_WARNING, CANCEL = 0x0000, 0xFF00, 0xFF01, 0xFE00
WARNING_SOP_CLASS = 0xB007
"""C-STORE: stored, but the data set does not match its SOP class (PS3.4 B.2.3)."""
SUBOPERATIONS_FAILED = 0xB000
DESTINATION_UNKNOWN = 0xA801
UNRECOGNIZED_OPERATION = 0x0211
PROCESSING_FAILURE = 0x0110

Service = Literal["store", "find", "retrieve", "normalized"]


def _load() -> dict[str, dict[str, int]]:
    lines = files("adapters.dicom").joinpath("status.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["name"]: {service: int(code, 16) for service, code in row.items() if service != "name"} for row in rows}


STATUS = _load()


def of(error: HubError, service: Service) -> int:
    """The status a service answers an error with."""
    return STATUS[error.name][service]


def comment(error: HubError) -> str:
    """Error Comment (0000,0902): 64 characters that say where and what."""
    return f"{error.at} {error.diagnostics}".strip()[:64]
