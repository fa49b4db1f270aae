"""STOW-RS, and frames of pixel data against pydicom's own reading."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import generate_frames

from adapters.dicom import multipart, part10

from .conftest import FILES, Hub, image


def part10_bytes(file: part10.File) -> bytes:
    return b"MZ" + part10.file_meta(file.sop_class, file.sop_instance, file.transfer_syntax)[2:] + file.data


def stow(
    hub: Hub, *parts: bytes, url: str = "/studies", kind: str = 'multipart/related; type="application/dicom"'
) -> tuple[int, dict]:
    body = b"".join(multipart.encode([("application/dicom", part) for part in parts], "frontier"))
    answer = hub.web.request("POST", url, content=body, headers={"Content-Type": f"{kind}; boundary=frontier"})
    return answer.status_code, answer.json()


def test_stored_instances_are_listed_and_become_an_imaging_study(hub: Hub) -> None:
    first, second = image("1.1"), image("1.2")
    status, report = stow(hub, part10_bytes(first), part10_bytes(second))
    assert status == 200 and "00081198" not in report
    assert report["00081190"]["Value"] == ["http://hub.test/dicom-web/studies/1.2.3"]
    assert [item["00081155"]["Value"][0] for item in report["00081199"]["Value"]] == ["1.1", "1.2"]
    url = report["00081199"]["Value"][0]["00081190"]["Value"][0].partition("/dicom-web")[2]
    kept = hub.web.get(url, headers={"Accept": "application/dicom"}).content
    assert part10.split(kept) == first and kept[:128] == bytes(128)
    (study,) = hub.until(lambda: hub.resources("ImagingStudy"))
    assert study["numberOfInstances"] == 2


def test_what_fails_is_told_apart_from_what_is_stored(hub: Hub) -> None:
    good, other = image("1.1"), image("1.1", PatientName="Li^Si")
    status, report = stow(hub, part10_bytes(good), part10_bytes(other), b"no DICOM file")
    assert status == 202
    assert len(report["00081199"]["Value"]) == 1
    assert [item["00081197"]["Value"] for item in report["00081198"]["Value"]] == [[0x0111], [0xC000]]
    assert stow(hub, b"no DICOM file")[0] == 409


def test_a_study_in_the_url_takes_its_own_instances_only(hub: Hub) -> None:
    status, report = stow(hub, part10_bytes(image("1.1")), url="/studies/9.9")
    assert status == 409 and report["00081198"]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert hub.web.get("/instances").json() == []


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        ("text/plain", 415, "format-unknown"),
        ('multipart/related; type="application/dicom+json"', 415, "format-unknown"),
    ],
)
def test_other_media_types_are_refused(hub: Hub, kind: str, status: int, name: str) -> None:
    answer = stow(hub, b"x", kind=kind)
    assert (answer[0], answer[1]["name"]) == (status, name)


def test_a_body_without_its_boundary_is_refused(hub: Hub) -> None:
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    answer = hub.web.request("POST", "/studies", content=b"abc", headers=headers)
    assert (answer.status_code, answer.json()["name"]) == (400, "structure")


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "rtdose.dcm",
        "SC_rgb_rle_2frame.dcm",
        "JPEG2000.dcm",
        "liver_1frame.dcm",
        "image_dfl.dcm",
    ],
)
def test_frames_are_those_of_the_pixel_data(hub: Hub, name: str) -> None:
    path: Path = next(FILES.rglob(name))
    file = part10.split(path.read_bytes())
    hub.store(file)
    reference = pydicom.dcmread(path)
    (found,) = hub.web.get("/instances", params={"SOPInstanceUID": file.sop_instance}).json()
    url = found["00081190"]["Value"][0].partition("/dicom-web")[2]
    count = int(reference.get("NumberOfFrames", 1))
    listed = ",".join(str(number) for number in range(1, min(count, 3) + 1))
    answer = hub.web.get(f"{url}/frames/{listed}", headers={"Accept": "multipart/related; type=*/*"})
    assert answer.status_code == 200, answer.text
    _, parameters = multipart.media_type(answer.headers["Content-Type"])
    parts = [content for _, content in multipart.decode(answer.content, parameters["boundary"])]
    if file.transfer_syntax in pydicom.uid.UncompressedTransferSyntaxes:
        array = reference.pixel_array if count > 1 else reference.pixel_array[None]
        if reference.BitsAllocated == 1:
            expected = [_packed(frame) for frame in array[:3]]
        else:
            expected = [frame.astype(array.dtype.newbyteorder("<")).tobytes() for frame in array[:3]]
    else:
        expected = list(generate_frames(reference.PixelData, number_of_frames=count))[:3]
    assert parts == expected
    assert hub.web.get(f"{url}/frames/{count + 1}").status_code == 404
    assert hub.web.get(f"{url}/frames/0").status_code == 400


def _packed(frame) -> bytes:  # type: ignore[no-untyped-def]
    import numpy

    return numpy.packbits(frame.ravel(), bitorder="little").tobytes()
