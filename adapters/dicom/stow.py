"""STOW-RS: the Store transaction of the Studies service (PS3.18 10.5), over the same door as C-STORE."""

from __future__ import annotations

from typing import Any

from adapters.dicom import instance, multipart, part10, status
from adapters.dicom.dataset import parse
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors

Report = dict[str, Any]


def files(content_type: str, body: bytes) -> list[bytes]:
    """The Part 10 files of a request. HubError("format-unknown") for another media type, "structure" for a bad body."""
    media, parameters = multipart.media_type(content_type)
    if media == multipart.DICOM:
        return [body]
    if media != multipart.RELATED or parameters.get("type", multipart.DICOM).strip('"').lower() != multipart.DICOM:
        raise HubError("format-unknown", f'send {multipart.RELATED}; type="{multipart.DICOM}"', "Content-Type")
    return [content for _, content in multipart.decode(body, parameters.get("boundary", ""))]


def store(doors: Doors, context: Context, parts: list[bytes], study: str, base: str) -> tuple[int, Report]:
    """HTTP status and Store Instances Response Module (PS3.18 I); ``study`` "" takes any study."""
    stored, failed = [], []
    studies: set[str] = set()
    for part in parts:
        reference: Report = {}
        try:
            studies.add(_one(doors, context, part, study, base, reference))
            stored.append(reference)
        except HubError as error:
            reference["00081197"] = {"vr": "US", "Value": [status.of(error, "store")]}
            failed.append(reference)
    report: Report = {}
    if len(studies) == 1:
        report["00081190"] = {"vr": "UR", "Value": [f"{base}/studies/{next(iter(studies))}"]}
    for tag, items in (("00081199", stored), ("00081198", failed)):
        if items:
            report[tag] = {"vr": "SQ", "Value": items}
    warned = any("00081196" in reference for reference in stored)
    return (409 if not stored else 202 if failed or warned else 200), report


def _one(doors: Doors, context: Context, part: bytes, study: str, base: str, reference: Report) -> str:
    """Store one file; its study. What is known of it is put into ``reference`` also when it fails."""
    file = part10.split(part)
    attributes = parse(file.data, file.transfer_syntax)
    sop_class = attributes.text("00080016") or file.sop_class
    sop_instance = attributes.text("00080018") or file.sop_instance
    reference["00081150"] = {"vr": "UI", "Value": [sop_class]}
    reference["00081155"] = {"vr": "UI", "Value": [sop_instance]}
    read, remark = instance.read(file.data, sop_class, sop_instance, file.transfer_syntax, context.actor)
    if study and read.study != study:
        raise HubError("value", f"the instance belongs to study {read.study}, not {study}", "(0020,000D)")
    doors.imaging.receive(read, context)
    url = f"{base}/studies/{read.study}/series/{read.series}/instances/{sop_instance}"
    reference["00081190"] = {"vr": "UR", "Value": [url]}
    if remark:
        reference["00081196"] = {"vr": "US", "Value": [status.WARNING_SOP_CLASS]}
    return read.study
