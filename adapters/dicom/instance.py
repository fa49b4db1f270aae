"""A data set as received -> an Instance for ``hub.services.imaging``: what it is, whose it is, where its pixels are."""

from __future__ import annotations

import hashlib
from typing import Any

from adapters.dicom import dataset, part10
from adapters.dicom.partners import facility
from adapters.mapping.conversions import Circumstances, authority
from hub.services.imaging import Instance

PATIENTLESS = (
    "1.2.840.10008.5.1.4.38.",
    "1.2.840.10008.5.1.4.39.",
    "1.2.840.10008.5.1.4.43.",
    "1.2.840.10008.5.1.4.44.",
    "1.2.840.10008.5.1.4.45.",
)
"""Prefixes of the non-patient object storage classes (PS3.4 GG): hanging protocols, palettes, implants."""


def read(data: bytes, sop_class: str, sop_instance: str, transfer_syntax: str, calling_ae: str) -> tuple[Instance, str]:
    """The instance, and what is not as its SOP class wants it ("" if nothing was found).

    Raises HubError for bytes that are no data set or that break a limit. The instance is who the message says it is,
    also when the data set says otherwise; a missing Study or Series Instance UID is derived from the SOP Instance UID,
    for filing only: the bytes stay as they are.
    """
    parsed = dataset.parse(data, transfer_syntax)
    attributes = parsed.attributes
    remarks = list(parsed.faults)
    for tag, expected, what in (("00080016", sop_class, "SOP Class"), ("00080018", sop_instance, "SOP Instance")):
        if parsed.text(tag) not in ("", expected):
            remarks.append(f"data set and message differ in {what} UID")
    study, series = parsed.text("0020000D"), parsed.text("0020000E")
    if not (study and series) and not sop_class.startswith(PATIENTLESS):
        remarks.append("no Study or Series Instance UID")
    study = study or derived_uid(calling_ae, sop_instance, "study")
    series = series or derived_uid(study, "series")
    header = part10.file_meta(sop_class, sop_instance, transfer_syntax)
    _refer(parsed, f"/dicom-web/studies/{study}/series/{series}/instances/{sop_instance}")
    facts: dict[str, Any] = {}
    if parsed.pixel_element is not None:
        facts["pixel"] = [parsed.pixel_element, parsed.pixel_offset, parsed.pixel_length]
    if parsed.faults:
        facts["faults"] = list(parsed.faults)
    instance = Instance(
        sop_class,
        sop_instance,
        study,
        series,
        transfer_syntax,
        header,
        data,
        attributes,
        issuer(attributes, calling_ae),
        parsed.text("00100021") or facility(calling_ae),
        facts,
    )
    return instance, "; ".join(remarks)


def _refer(parsed: dataset.DataSet, base: str) -> None:
    """Give the values left in the bytes their BulkDataURI (PS3.18 F.2.6), and the pixel data its own."""
    for bulk in parsed.bulk:
        bulk.element["BulkDataURI"] = f"{base}/bulkdata/{bulk.offset}-{bulk.length}"
    if parsed.pixel_element is not None:
        parsed.attributes["7FE00010"] = {"vr": "OW", "BulkDataURI": f"{base}/bulkdata/pixels"}


def derived_uid(*parts: str) -> str:
    """A UID of the form 2.25.N (PS3.5 B.2) that is always the same for the same parts."""
    return f"2.25.{int.from_bytes(hashlib.sha256('|'.join(parts).encode()).digest()[:16], 'big')}"


def issuer(attributes: dict[str, Any], calling_ae: str) -> str:
    """Identifier system of the Patient ID: the issuer that the data set names, else the institution of the calling AE.

    The same rule makes the system of PID-3 in an HL7 v2 message of that institution.
    """
    qualifiers = (attributes.get("00100024", {}).get("Value") or [{}])[0]
    namespace, universal, kind = (
        dataset.text(within, tag)
        for within, tag in ((attributes, "00100021"), (qualifiers, "00400032"), (qualifiers, "00400033"))
    )
    return authority(namespace, universal, kind, Circumstances(facility(calling_ae), "", ""))
