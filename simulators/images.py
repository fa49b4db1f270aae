"""Small valid images as modalities make them: CT (PS3.3 A.3), MR (A.4), US (A.6), DX (A.26), explicit VR little endian.

Every UID is ``2.25.`` and a number derived by SHA-256 (PS3.5 B.2), so the same visit gives the same bytes.
"""

from __future__ import annotations

import datetime
import io
from array import array
from functools import cache
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundImageStorage,
)

from simulators.clerk import entry
from simulators.population import table
from simulators.record import Fact, Sending
from simulators.streams import digest
from simulators.visit import Visit

SIDE = 64
SLICES = {"CT": 3, "MR": 3, "US": 1, "DX": 1}
SOP_CLASSES = {
    "CT": CTImageStorage, "DX": DigitalXRayImageStorageForPresentation, "MR": MRImageStorage, "US":
    UltrasoundImageStorage,
}  # fmt: skip


def uid(seed: int, *names: object) -> str:
    """A UID from 16 bytes of the digest of the seed and the names."""
    return f"2.25.{int.from_bytes(digest(seed, 'uid', *names)[:16], 'big')}"


@cache
def _anatomy() -> dict[str, dict[str, str]]:
    return {row["region"]: row for row in table("anatomy")}


def modality(visit: Visit) -> str:
    """What images the visit's body part where it is: the preferred modality that the institution has, "" if none."""
    for name in _anatomy()[visit.illness.row["region"]]["modalities"].split():
        if visit.site.device(name) is not None:
            return name
    return ""


def study_uid(visit: Visit) -> str:
    """Study Instance UID of the visit's study."""
    return uid(visit.seed, visit.site.key, visit.id, "study")


def study(visit: Visit, at: datetime.datetime, series: int = 1) -> list[Sending]:
    """The images of one series of the visit's study, a sending each, and what the whole study then has."""
    name = modality(visit)
    if not name:
        return []
    found = []
    for number in range(1, SLICES[name] + 1):
        dataset = _common(visit, at, name, series, number)
        MODULES[name](dataset, visit, number)
        uid_ = study_uid(visit)
        so_far = {"instances": SLICES[name] * series, "series": series, "subject": visit.resident.index}
        said = Fact("ImagingStudy", (visit.site.facility, uid_), at, so_far)
        person = Fact(
            "Patient", (visit.site.facility, visit.number), at, {"subject": visit.resident.index, "active": True}
        )
        when = at + datetime.timedelta(milliseconds=number)
        found.append(
            Sending(
                when,
                visit.site.key,
                "dicom",
                name,
                uid_,
                visit.resident.index,
                _file(dataset, f"{visit.site.facility}_{name}"),
                facts=(said, person),
            )
        )
    return found


def _common(visit: Visit, at: datetime.datetime, name: str, series: int, number: int) -> Dataset:
    site, known, names = visit.site, entry(visit), (visit.site.key, visit.id)
    region = visit.illness.row["region"]
    dataset = Dataset()
    dataset.SpecificCharacterSet = site.dialect.image_character_set
    dataset.SOPClassUID = SOP_CLASSES[name]
    dataset.SOPInstanceUID = uid(visit.seed, *names, "instance", series, number)
    dataset.StudyDate = f"{visit.started:%Y%m%d}"
    dataset.StudyTime = f"{visit.started:%H%M%S}"
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"{at:%Y%m%d}"
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = f"{at:%H%M%S}"
    dataset.TimezoneOffsetFromUTC = "+0800"
    dataset.AccessionNumber = visit.order("R")
    dataset.Modality = name
    dataset.Manufacturer = "Region hub simulator"
    dataset.InstitutionName = site.title
    dataset.ReferringPhysicianName = "^".join(visit.doctor[1:])
    dataset.StudyDescription = _anatomy()[region]["meaning"]
    latin = "^".join(part for part in known.latin if part)
    ideographic = f"{known.family}^{known.given}" if known.given else known.family
    dataset.PatientName = f"{latin}={ideographic}"
    dataset.PatientID = visit.number
    _issuer(dataset, site.authority)
    dataset.PatientBirthDate = known.born
    dataset.PatientSex = "M" if known.sex == "male" else "F"
    dataset.BodyPartExamined = region
    dataset.StudyInstanceUID = study_uid(visit)
    dataset.SeriesInstanceUID = uid(visit.seed, *names, "series", series)
    dataset.StudyID = visit.id
    dataset.SeriesNumber = series
    dataset.InstanceNumber = number
    return dataset


def _issuer(dataset: Dataset, authority: tuple[str, ...]) -> None:
    """Issuer of Patient ID (PS3.3 C.2.3): the same authority as CX-4 of the hospital's messages."""
    dataset.IssuerOfPatientID = authority[0]
    if len(authority) > 1:
        qualifiers = Dataset()
        qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = authority[1:]
        dataset.IssuerOfPatientIDQualifiersSequence = [qualifiers]


@cache
def _ellipse(radius: int, bits: int) -> bytes:
    """A bright ellipse on a dark ground: 12 bits in 16, or 8 bits, unsigned, little endian."""
    middle = SIDE // 2
    bright, dark = (1100, 24) if bits == 12 else (180, 8)
    points = [
        bright + 4 * (x % 16) if (x - middle) ** 2 + 2 * (y - middle) ** 2 < radius * radius else dark
        for y in range(SIDE)
        for x in range(SIDE)
    ]
    if bits == 8:
        return bytes(points)
    values = array("H", points)
    if array("H", [1]).tobytes() != b"\x01\x00":
        values.byteswap()
    return values.tobytes()


def _pixels(dataset: Dataset, radius: int, bits: int = 12) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated = 16 if bits == 12 else 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = _ellipse(radius, bits)


def _plane(dataset: Dataset, visit: Visit, number: int) -> None:
    """Frame of reference and image plane."""
    dataset.FrameOfReferenceUID = uid(visit.seed, visit.site.key, visit.id, "frame")
    dataset.PositionReferenceIndicator = ""
    dataset.PatientPosition = "HFS"
    dataset.PatientOrientation = ["L", "P"]
    dataset.AcquisitionNumber = 1
    dataset.SliceThickness = "5"
    dataset.PixelSpacing = ["5", "5"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.ImagePositionPatient = ["-160", "-160", str(-5 * number)]
    dataset.SliceLocation = str(-5 * number)


def _ct(dataset: Dataset, visit: Visit, number: int) -> None:
    """CT image module (PS3.3 C.8.2)."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    _plane(dataset, visit, number)
    dataset.KVP = "120"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    _pixels(dataset, 20 + 3 * number)


def _mr(dataset: Dataset, visit: Visit, number: int) -> None:
    """MR image module (PS3.3 C.8.3)."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    _plane(dataset, visit, number)
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "NONE", ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.EchoTrainLength = "500", "15", "1"
    dataset.WindowCenter, dataset.WindowWidth = "600", "1200"
    _pixels(dataset, 20 + 3 * number)


def _us(dataset: Dataset, visit: Visit, number: int) -> None:
    """US image module (PS3.3 C.8.5.6)."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    dataset.PatientOrientation = ""
    dataset.LossyImageCompression = "00"
    _pixels(dataset, 26, bits=8)


def _dx(dataset: Dataset, visit: Visit, number: int) -> None:
    """DX series, anatomy, image and detector modules (PS3.3 C.8.11)."""
    row = _anatomy()[visit.illness.row["region"]]
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ["L", "F"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ViewPosition = "PA"
    dataset.PositionerType = ""
    dataset.ImageLaterality = "R" if row["paired"] else "U"
    dataset.ImagerPixelSpacing = ["0.2", "0.2"]
    dataset.DetectorType = "DIRECT"
    dataset.PixelIntensityRelationship = "LIN"
    dataset.PixelIntensityRelationshipSign = 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.AcquisitionContextSequence = []
    dataset.WindowCenter, dataset.WindowWidth = "1024", "2048"
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = row["code"], "SRT", row["meaning"]
    dataset.AnatomicRegionSequence = [region]
    _pixels(dataset, 29)


MODULES: dict[str, Any] = {"CT": _ct, "MR": _mr, "US": _us, "DX": _dx}


def _file(dataset: Dataset, title: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid(0, "implementation")
    meta.ImplementationVersionName = "REGION_SIM_2"
    meta.SourceApplicationEntityTitle = title
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
