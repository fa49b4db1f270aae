"""WADO-RS negotiation of syntaxes and media types, rendered documents, WADO-URI."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from PIL import Image

from adapters.dicom import multipart, part10

from .conftest import FILES, Hub, running

EXPLICIT, IMPLICIT, HTJ2K = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.201"
NAMES = ("CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_rle_2frame.dcm", "test-SR.dcm", "JPEG2000.dcm")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as hub:
        hub.store(*(part10.split(next(FILES.rglob(name)).read_bytes()) for name in NAMES), document())
        yield hub


def document() -> part10.File:
    """An encapsulated PDF."""
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.EncapsulatedPDFStorage, "5.5.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID, ds.Modality = "5.5", "5.5.0", "10001", "DOC"
    ds.MIMETypeOfEncapsulatedDocument, ds.EncapsulatedDocument = "application/pdf", b"%PDF-1.4\n" + bytes(1001)
    raw = pydicom.filebase.DicomBytesIO()
    raw.is_little_endian, raw.is_implicit_VR = True, False
    pydicom.filewriter.write_dataset(raw, ds)
    return part10.File(ds.SOPClassUID, "5.5.1", EXPLICIT, raw.getvalue())


def url(name: str) -> str:
    ds = pydicom.dcmread(next(FILES.rglob(name)), stop_before_pixels=True)
    return f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def get(hub: Hub, path: str, accept: str = "*/*") -> httpx.Response:
    return hub.web.get(path, headers={"Accept": accept})


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    assert answer.status_code == 200, answer.text
    _, parameters = multipart.media_type(answer.headers["Content-Type"])
    return multipart.decode(answer.content, parameters["boundary"])


@pytest.mark.parametrize(
    ("accept", "syntax"),
    [
        ("application/dicom", EXPLICIT),
        ("application/dicom; transfer-syntax=*", "1.2.840.10008.1.2.5"),
        (f"application/dicom; transfer-syntax={IMPLICIT}", IMPLICIT),
        (f"application/dicom; transfer-syntax={HTJ2K}", HTJ2K),
        (f"application/dicom; transfer-syntax={IMPLICIT}; q=0.1, application/dicom; transfer-syntax={HTJ2K}", HTJ2K),
    ],
)
def test_an_instance_is_had_in_the_syntax_asked_for(hub: Hub, accept: str, syntax: str) -> None:
    answer = get(hub, url("MR_small_RLE.dcm"), accept)
    assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    assert part10.split(answer.content).transfer_syntax == syntax
    if syntax == EXPLICIT:
        expected = pydicom.dcmread(next(FILES.rglob("MR_small_RLE.dcm")))
        found = pydicom.dcmread(io.BytesIO(answer.content))
        assert np.array_equal(found.pixel_array, expected.pixel_array)
        assert (found.PatientName, found.PixelSpacing) == (expected.PatientName, expected.PixelSpacing)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"),
        ('multipart/related; type="image/dicom-rle"', "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"),
        ('multipart/related; type="application/octet-stream"', f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        ('multipart/related; type="image/jphc"', f"image/jphc; transfer-syntax={HTJ2K}"),
        ('multipart/related; type="image/jp2"', "image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90"),
        ('multipart/related; type="image/jls"', "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"),
    ],
)
def test_frames_are_had_in_the_media_type_asked_for(hub: Hub, accept: str, kind: str) -> None:
    ((found, content),) = parts(get(hub, f"{url('MR_small_RLE.dcm')}/frames/1", accept))
    assert found == kind
    if "octet" in accept:
        assert content == pydicom.dcmread(next(FILES.rglob("MR_small_RLE.dcm"))).pixel_array.tobytes()


def test_one_frame_can_be_had_as_a_single_part(hub: Hub) -> None:
    answer = get(hub, f"{url('MR_small_RLE.dcm')}/frames/1", "application/octet-stream")
    assert answer.headers["Content-Type"].startswith("application/octet-stream")
    assert len(answer.content) == 64 * 64 * 2
    assert get(hub, f"{url('MR_small_RLE.dcm')}/frames/1", "image/jpeg").status_code == 200  # JPEG lossless
    assert get(hub, f"{url('MR_small_RLE.dcm')}/frames/1", "video/mp4").status_code == 406


def test_several_frames_are_rendered_as_parts(hub: Hub) -> None:
    found = parts(get(hub, f"{url('SC_rgb_rle_2frame.dcm')}/frames/1,2/rendered", "image/png"))
    assert [kind for kind, _ in found] == ["image/png"] * 2
    assert Image.open(io.BytesIO(found[1][1])).size == (100, 100)
    assert get(hub, f"{url('CT_small.dcm')}/rendered", "image/gif").content[:4] == b"GIF8"


def test_reports_and_documents_are_rendered(hub: Hub) -> None:
    report = get(hub, f"{url('test-SR.dcm')}/rendered")
    assert report.headers["Content-Type"].startswith("text/html")
    assert "sandbox" in report.headers["Content-Security-Policy"]
    pdf = get(hub, "/studies/5.5/series/5.5.0/instances/5.5.1/rendered")
    assert pdf.headers["Content-Type"] == "application/pdf" and pdf.content.startswith(b"%PDF-1.4")


def wado(hub: Hub, name: str = "CT_small.dcm", **asked: Any) -> httpx.Response:
    _, _, study, _, series, _, instance = url(name).split("/")
    uids = {"requestType": "WADO", "studyUID": study, "seriesUID": series, "objectUID": instance}
    return hub.web.get("/wado", params=uids | asked)


def test_wado_uri_renders(hub: Hub) -> None:
    answer = wado(hub, windowCenter="40", windowWidth="400", rows="64", contentType="image/png")
    assert answer.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    quarter = wado(hub, region="0,0,0.5,0.5", contentType="image/png")
    assert Image.open(io.BytesIO(quarter.content)).size == (128, 128)
    assert wado(hub).headers["Content-Type"] == "image/jpeg"


def test_wado_uri_retrieves(hub: Hub) -> None:
    answer = wado(hub, "MR_small_RLE.dcm", contentType="application/dicom")
    assert part10.split(answer.content).transfer_syntax == EXPLICIT
    same = wado(hub, "MR_small_RLE.dcm", contentType="application/dicom", transferSyntax="1.2.840.10008.1.2.5")
    assert part10.split(same.content) == part10.split(next(FILES.rglob("MR_small_RLE.dcm")).read_bytes())
    assert wado(hub, "test-SR.dcm").headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"requestType": "X"}, 400),
        ({"objectUID": ""}, 400),
        ({"objectUID": "9.9"}, 404),
        ({"contentType": "video/mpeg"}, 406),
        ({"contentType": "application/dicom", "transferSyntax": "1.2.840.10008.1.2.4.50"}, 406),
        ({"windowCenter": "40"}, 400),
        ({"region": "0,0,x,1"}, 400),
        ({"frameNumber": "2"}, 404),
    ],
)
def test_wado_uri_says_what_is_wrong(hub: Hub, asked: dict[str, str], status: int) -> None:
    assert wado(hub, **asked).status_code == status
