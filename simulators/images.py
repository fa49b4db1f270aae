"""Small valid images as a modality makes them: CT (PS3.3 A.3) and DX (PS3.3 A.26), explicit VR little endian.

Every UID is ``2.25.`` and a number derived by SHA-256 (PS3.5 B.2), so the same visit gives the same bytes.
"""

from __future__ import annotations

import datetime
import io
from array import array
from collections.abc import Iterator

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from simulators.dialect import Dialect
from simulators.hospital import Hospital, Visit
from simulators.streams import digest

SIDE = 128
SLICES = 3
SOP_CLASSES = {"CT": CTImageStorage, "DX": DigitalXRayImageStorageForPresentation}


def uid(seed: int, *names: object) -> str:
    """A UID from 16 bytes of the digest of the seed and the names."""
    return f"2.25.{int.from_bytes(digest(seed, 'uid', *names)[:16], 'big')}"


def study(hospital: Hospital, visit: Visit, at: datetime.datetime) -> Iterator[bytes]:
    """The files (PS3.10) of the visit's study: three CT slices or one radiograph."""
    modality = hospital.dialect.modality
    for number in range(1, SLICES + 1 if modality == "CT" else 2):
        dataset = _common(hospital, visit, at, number)
        _ct(dataset, hospital, visit, number) if modality == "CT" else _dx(dataset)
        yield _file(dataset)


def study_uid(hospital: Hospital, visit: Visit) -> str:
    """Study Instance UID of the visit's study."""
    return uid(hospital.seed, hospital.dialect.key, visit.id, "study")


def _common(hospital: Hospital, visit: Visit, at: datetime.datetime, number: int) -> Dataset:
    dialect, resident, names = hospital.dialect, visit.resident, (hospital.dialect.key, visit.id)
    dataset = Dataset()
    dataset.SpecificCharacterSet = dialect.image_character_set
    dataset.ImageType = ["ORIGINAL", "PRIMARY", *(["AXIAL"] if dialect.modality == "CT" else [])]
    dataset.SOPClassUID = SOP_CLASSES[dialect.modality]
    dataset.SOPInstanceUID = uid(hospital.seed, *names, "instance", number)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"{at:%Y%m%d}"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = f"{at:%H%M%S}"
    dataset.TimezoneOffsetFromUTC = "+0800"
    dataset.AccessionNumber = hospital.order_number(visit, "imaging")
    dataset.Modality = dialect.modality
    dataset.Manufacturer = "Region hub simulator"
    dataset.InstitutionName = dialect.title
    dataset.ReferringPhysicianName = "^".join(visit.doctor[1:])
    dataset.StudyDescription = "Chest"
    dataset.PatientName = f"{resident.family_pinyin}^{resident.given_pinyin}={resident.family}^{resident.given}"
    dataset.PatientID = visit.number
    _issuer(dataset, dialect)
    dataset.PatientBirthDate = f"{resident.born:%Y%m%d}"
    dataset.PatientSex = "M" if resident.sex == "male" else "F"
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyInstanceUID = study_uid(hospital, visit)
    dataset.SeriesInstanceUID = uid(hospital.seed, *names, "series")
    dataset.StudyID = visit.id
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.Laterality = ""
    dataset.PatientOrientation = ["L", "P"] if dialect.modality == "CT" else ["L", "F"]
    return dataset


def _issuer(dataset: Dataset, dialect: Dialect) -> None:
    """Issuer of Patient ID (PS3.3 C.2.3): the same authority as CX-4 of the hospital's messages."""
    dataset.IssuerOfPatientID = dialect.authority[0]
    if len(dialect.authority) > 1:
        qualifiers = Dataset()
        qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = dialect.authority[1:]
        dataset.IssuerOfPatientIDQualifiersSequence = [qualifiers]


def _pixels(dataset: Dataset, radius: int, interpretation: str = "MONOCHROME2") -> None:
    """A bright ellipse on a dark ground: 12 bits in 16, unsigned."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = interpretation
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    middle = SIDE // 2
    values = array("H", (
        1100 + 4 * (x % 16) if (x - middle) ** 2 + 2 * (y - middle) ** 2 < radius * radius else 24
        for y in range(SIDE) for x in range(SIDE)
    ))  # fmt: skip
    if array("H", [1]).tobytes() != b"\x01\x00":
        values.byteswap()
    dataset.PixelData = values.tobytes()


def _ct(dataset: Dataset, hospital: Hospital, visit: Visit, number: int) -> None:
    """Frame of reference, image plane and CT image modules."""
    dataset.FrameOfReferenceUID = uid(hospital.seed, hospital.dialect.key, visit.id, "frame")
    dataset.PositionReferenceIndicator = ""
    dataset.PatientPosition = "HFS"
    dataset.AcquisitionNumber = 1
    dataset.SliceThickness = "5"
    dataset.KVP = "120"
    dataset.PixelSpacing = ["2.5", "2.5"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.ImagePositionPatient = ["-160", "-160", str(-5 * number)]
    dataset.SliceLocation = str(-5 * number)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    _pixels(dataset, 44 + 4 * number)


def _dx(dataset: Dataset) -> None:
    """DX series, anatomy, image and detector modules."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ViewPosition = "PA"
    dataset.ImageLaterality = "U"
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
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "T-D3000", "SRT", "Chest"
    dataset.AnatomicRegionSequence = [region]
    dataset.ViewCodeSequence = []
    _pixels(dataset, 58)


def _file(dataset: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid(0, "implementation")
    meta.ImplementationVersionName = "REGION_SIM_1"
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
