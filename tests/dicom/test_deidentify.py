"""De-identification: nothing of the original identity is left, and what follows from the key is consistent."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from adapters.dicom import cli, deidentify, part10
from hub.errors import HubError

from .conftest import Hub, shipped

KEY = b"k" * 32
SECRETS = (
    "Zhang",
    "San",
    "张三",
    "张",
    "10086001",
    "13800001111",
    "Li",
    "某某医院",
    "A-778899",
    "新河市人民路",
    "20260307",
)


def identified(**changed: object) -> pydicom.Dataset:
    """A data set full of identity: in names, private attributes, sequences, texts."""
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.826.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.826.2", "1.2.826.3", "1.2.826.4"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Zhang^San=张^三", "10086001", "19330412"
    ds.PatientAge, ds.PatientSex, ds.PatientWeight = "093Y", "M", "71"
    ds.StudyDate, ds.SeriesDate, ds.AcquisitionDateTime = "20260307", "20260307", "20260307101500"
    ds.AccessionNumber, ds.ReferringPhysicianName, ds.InstitutionName = "A-778899", "Li^Si", "某某医院"
    ds.PatientTelephoneNumbers, ds.PatientAddress = "13800001111", "新河市人民路"
    ds.StudyDescription = "Chest CT of ZHANG San 张三 10086001"
    ds.DeviceSerialNumber, ds.StationName = "SN-1", "CT_1"
    other = pydicom.Dataset()
    other.PatientID, other.IssuerOfPatientID = "10086001", "某某医院"
    ds.OtherPatientIDsSequence = [other]
    referenced = pydicom.Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = pydicom.uid.CTImageStorage, "1.2.826.9"
    ds.ReferencedImageSequence = [referenced]
    request = pydicom.Dataset()
    request.RequestedProcedureDescription, request.RequestingPhysician = "for Zhang", "Li^Si"
    ds.RequestAttributesSequence = [request]
    block = ds.private_block(0x0009, "ACME", create=True)
    block.add_new(0x01, "PN", "Zhang^San")
    inner = pydicom.Dataset()
    inner.private_block(0x0011, "ACME", create=True).add_new(0x02, "LO", "10086001")
    inner.CodeMeaning = "kept"
    ds.AnatomicRegionSequence = [inner]
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 2, 2, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = np.arange(4, dtype="<u2").tobytes()
    for keyword, value in changed.items():
        setattr(ds, keyword, value)
    return ds


def written(ds: pydicom.Dataset) -> bytes:
    out = io.BytesIO()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def made(content: bytes, *options: str, key: bytes = KEY) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(deidentify.Deidentifier(key, frozenset(options)).file(content)))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("uids",),
        ("modified_dates",),
        ("device", "institution"),
        ("descriptors", "patient", "graphics", "structured"),
    ],
)
def test_nothing_of_the_identity_is_left(options: tuple[str, ...]) -> None:
    run = deidentify.Deidentifier(KEY, frozenset(options))
    left = run.file(written(identified()))
    for secret in SECRETS:
        if secret == "某某医院" and "institution" in options:
            continue
        for raw in (secret.encode(), secret.encode("gb18030")):
            assert not re.search(rb"(?<![A-Za-z0-9])" + re.escape(raw), left, re.IGNORECASE), secret
    assert b"ACME" not in left


def test_the_basic_profile_says_what_it_did() -> None:
    ds = made(written(identified()))
    assert ds.PatientIdentityRemoved == "YES" and ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert [item.CodeValue for item in ds.DeidentificationMethodCodeSequence] == ["113100"]
    assert "PatientAge" not in ds and "StudyDescription" not in ds and "PatientAddress" not in ds
    assert ds.StudyDate == "" and ds.AccessionNumber == ""
    assert ds.AnatomicRegionSequence[0].CodeMeaning == "kept"
    assert np.array_equal(ds.pixel_array.ravel(), np.arange(4))
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_uids_are_consistent_by_key() -> None:
    first = made(written(identified()))
    second = made(written(identified(SOPInstanceUID="1.2.826.9")))
    assert first.StudyInstanceUID == second.StudyInstanceUID != "1.2.826.2"
    assert first.ReferencedImageSequence[0].ReferencedSOPInstanceUID == second.SOPInstanceUID
    assert first.ReferencedImageSequence[0].ReferencedSOPClassUID == pydicom.uid.CTImageStorage
    assert first.PatientID == second.PatientID == str(first.PatientName)
    other = made(written(identified()), key=b"x" * 32)
    assert other.StudyInstanceUID != first.StudyInstanceUID and other.PatientID != first.PatientID
    assert made(written(identified(PatientID="10086002"))).PatientID != first.PatientID
    assert made(written(identified()), "uids").StudyInstanceUID == "1.2.826.2"


def test_modified_dates_keep_their_distances() -> None:
    first = made(written(identified()), "modified_dates")
    later = made(written(identified(StudyDate="20260317")), "modified_dates")
    day, week = (pydicom.valuerep.DA(ds.StudyDate) for ds in (first, later))
    assert (week - day).days == 10 and first.StudyDate < "20260307"
    assert first.AcquisitionDateTime == f"{first.SeriesDate}101500"
    assert first.LongitudinalTemporalInformationModified == "MODIFIED"
    assert made(written(identified()), "full_dates").StudyDate == "20260307"


def test_options_keep_what_they_say() -> None:
    ds = made(written(identified()), "device", "institution", "patient", "descriptors")
    assert (ds.DeviceSerialNumber, ds.InstitutionName, ds.PatientSex) == ("SN-1", "某某医院", "M")
    assert ds.StudyDescription == "Chest CT of *** *** *** ***"
    assert float(ds.PatientWeight) == 71
    codes = {item.CodeValue for item in ds.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113109", "113112", "113108", "113105"}


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        ({"BurnedInAnnotation": "YES"}, "(0028,0301)"),
        ({"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage}, "(0028,0301)"),
        ({"SOPClassUID": pydicom.uid.UltrasoundImageStorage}, "(0028,0301)"),
        ({"RecognizableVisualFeatures": "YES"}, "(0028,0302)"),
    ],
)
def test_identity_in_the_pixels_is_refused(changed: dict[str, str], at: str) -> None:
    with pytest.raises(HubError) as refused:
        made(written(identified(**changed)))
    assert (refused.value.name, refused.value.at) == ("business-rule", at)
    declared = {"BurnedInAnnotation": "NO", "RecognizableVisualFeatures": "NO"}
    assert made(written(identified(**(changed | declared)))).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("options", [("nonsense",), ("full_dates", "modified_dates")])
def test_options_that_do_not_exist_or_fit_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(HubError, match="parameter-value"):
        deidentify.Deidentifier(KEY, frozenset(options))


@pytest.mark.filterwarnings("ignore")
def test_every_shipped_file_loses_its_identity_or_is_refused() -> None:
    run = deidentify.Deidentifier(KEY, frozenset())
    kept = refused = 0
    for path in shipped():
        try:
            content = path.read_bytes()
            before = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            after = pydicom.dcmread(io.BytesIO(run.file(content)))
        except (HubError, ValueError):
            refused += 1
            continue
        kept += 1
        assert not [element.tag for element in after.iterall() if element.tag.is_private], path.name
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID"):
            known = str(before.get(keyword, ""))
            if known and not known.startswith("1.2.840.10008."):  # an object of the standard is nobody's
                assert after.get(keyword) != known, (path.name, keyword)
        whole = pydicom.dcmread(path)
        if "PixelData" in after and whole.file_meta.TransferSyntaxUID.is_encapsulated:
            assert after.PixelData == whole.PixelData
    assert kept > 100 and kept + refused == len(shipped())


def test_on_the_command_line(tmp_path: Path) -> None:
    source, output, key = tmp_path / "in", tmp_path / "out", tmp_path / "key"
    source.mkdir()
    (source / "a.dcm").write_bytes(written(identified()))
    (source / "b.dcm").write_bytes(b"no DICOM")
    key.write_bytes(KEY)
    arguments = ["deidentify", str(source), "--output", str(output), "--key-file", str(key)]
    done = CliRunner().invoke(cli.app, [*arguments, "--retain", "modified_dates"])
    assert done.exit_code == 1 and "b.dcm" in done.output
    (file,) = output.iterdir()
    assert file.stem == pydicom.dcmread(file).SOPInstanceUID
    key.write_bytes(b"short")
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


def test_a_study_is_retrieved_without_identity(hub: Hub) -> None:
    hub.store(part10.split(written(identified())))
    url = "/studies/1.2.826.2/series/1.2.826.3/instances/1.2.826.1"
    plain = hub.web.get(url, headers={"Accept": "application/dicom"}).content
    assert b"10086001" in plain
    answer = hub.web.get(f"{url}?anonymize=yes", headers={"Accept": "application/dicom"})
    assert answer.status_code == 200 and b"10086001" not in answer.content
    again = hub.web.get("/wado", params={
        "requestType": "WADO", "studyUID": "1.2.826.2", "seriesUID": "1.2.826.3", "objectUID": "1.2.826.1",
        "contentType": "application/dicom", "anonymize": "yes", "retain": "modified_dates",
    })  # fmt: skip
    first, second = (pydicom.dcmread(io.BytesIO(found.content)) for found in (answer, again))
    assert first.PatientID == second.PatientID != "10086001" and second.StudyDate not in ("", "20260307")
