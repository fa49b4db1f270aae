"""Dates and times by their form, moved by whole days: HL7 v2 TS and DTM, DICOM DA and DT, FHIR date and dateTime.

Only a text that is a full date, with or without time, is one; the time of day, fractions and zone stay as written.
"""

from __future__ import annotations

import datetime
import re

DAY = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
TIME = r"(?:(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,6})?)?)?)?"
STAMP = re.compile(rf"({DAY})({TIME}(?:[+-]\d{{4}})?)")
"""HL7 v2.5.1 2.A.77; PS3.5 6.2 DA, DT."""
DATE = re.compile(r"((?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))((?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?\S*)?)")
"""R4 2.24.0.1 date, dateTime, instant."""


def moved(text: str, days: int) -> str:
    """A TS, DTM, DA or DT moved; any other text as it is."""
    return _moved(STAMP, "%Y%m%d", text, days)


def moved_iso(text: str, days: int) -> str:
    """A FHIR date, dateTime or instant moved; any other text as it is."""
    return _moved(DATE, "%Y-%m-%d", text, days)


def _moved(form: re.Pattern[str], written: str, text: str, days: int) -> str:
    found = form.fullmatch(text) if days else None
    if found is None:
        return text
    try:
        day = datetime.date.fromisoformat(found[1]) + datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return text
    return day.strftime(written) + found[2]
