"""The cloud film as a person uses it: a real hub, the QR code read off the desk's page, headless Chromium."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
import zxingcpp
from PIL import Image

from adapters.dicom import multipart
from tests.chromium import CHROMIUM, Page, page
from tests.running import Process

SLICES = 100
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]


def ct(number: int) -> bytes:
    """One slice of an elliptic body with lungs and a spine, whose size changes along the series."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    size = 0.75 + 0.15 * math.sin(math.pi * number / SLICES)
    hounsfield = np.where((x / size) ** 2 + (y / (size * 0.7)) ** 2 < 1, 45, -1000)
    for side in (-1, 1):
        lung = ((x - side * 0.38 * size) / 0.28) ** 2 + ((y + 0.02) / (0.42 * size)) ** 2 < 1
        hounsfield = np.where(lung, -850 + 60 * np.sin(9 * x + number / 5) * np.cos(11 * y), hounsfield)
    hounsfield = np.where(x**2 / 0.01 + (y - 0.4) ** 2 / 0.014 < 1, 600, hounsfield)
    hounsfield = np.where((x + 0.05) ** 2 + (y + 0.1) ** 2 < (0.12 + number / 1500) ** 2, 120, hounsfield)
    noise = np.random.default_rng(number).normal(0, 12, hounsfield.shape)
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.CTImageStorage, f"1.2.826.0.1.{number + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.2", "1.2.826.0.3"
    ds.PatientID, ds.PatientName, ds.PatientSex, ds.PatientAge = "10086001", "Wang^Fang=王^芳", "F", "056Y"
    ds.Modality, ds.StudyDate, ds.StudyDescription = "CT", "20261120", "胸部CT平扫"
    ds.SeriesNumber, ds.SeriesDescription, ds.InstanceNumber = 2, "Chest 1.5mm", number + 1
    ds.AccessionNumber = "CT20261120007"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, number * 1.5], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1.5, 1.5], 1.5
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 256, 256, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.WindowCenter, ds.WindowWidth = -1024, 1, 40, 400
    ds.PixelData = (hounsfield + noise + 1024).astype("<i2").tobytes()
    return written(ds)


def structured_report() -> bytes:
    """A radiologist's report as Basic Text SR."""

    def concept(value: str, meaning: str) -> pydicom.Dataset:
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        return code

    def text(value: str, meaning: str, content: str) -> pydicom.Dataset:
        item = pydicom.Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
        item.ConceptNameCodeSequence, item.TextValue = [concept(value, meaning)], content
        return item

    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = pydicom.uid.BasicTextSRStorage, "1.2.826.0.9"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.2", "1.2.826.0.4"
    ds.PatientID, ds.PatientName, ds.Modality = "10086001", "Wang^Fang=王^芳", "SR"
    ds.ContentDate, ds.ContentTime, ds.CompletionFlag, ds.VerificationFlag = (
        "20261120",
        "153000",
        "COMPLETE",
        "VERIFIED",
    )
    ds.ValueType, ds.ConceptNameCodeSequence = "CONTAINER", [concept("18782-3", "胸部CT检查报告")]
    ds.ContentSequence = [
        text("121071", "影像所见", "两肺纹理清晰，右肺中叶见一实性结节，长径约 12 mm，边缘光整。纵隔未见肿大淋巴结。"),
        text("121077", "诊断意见", "右肺中叶结节，建议 3 个月后复查。"),
    ]
    return written(ds)


def written(ds: pydicom.Dataset) -> bytes:
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture(scope="module")
def study(running: Process) -> str:
    """A stored CT of 100 slices and its report; the id of its ImagingStudy."""
    parts = [("application/dicom", ct(number)) for number in range(SLICES)]
    parts.append(("application/dicom", structured_report()))
    body = b"".join(multipart.encode(parts, "frontier"))
    kind = 'multipart/related; type="application/dicom"; boundary=frontier'
    answer = httpx.post(f"{running.base}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code == 200, answer.text
    for _ in range(100):
        found = httpx.get(f"{running.base}/fhir/ImagingStudy", params={"identifier": "urn:oid:1.2.826.0.2"}).json()
        entries = found.get("entry", [])
        if entries and entries[0]["resource"].get("numberOfInstances") == SLICES + 1:
            return str(entries[0]["resource"]["id"])
    raise AssertionError("the ImagingStudy did not come")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Page]:
    with page(tmp_path / "profile") as tab:
        yield tab


def shown(tab: Page) -> np.ndarray:
    """The pixels of the viewport as they are on the screen."""
    return np.asarray(Image.open(io.BytesIO(tab.picture())).convert("L"), dtype=int)


def choose(tab: Page, name: str) -> None:
    """A preset window."""
    control = "document.getElementById('preset')"
    tab.evaluate(f"{control}.value = 'preset.{name}'; {control}.dispatchEvent(new Event('change'))")


def data(tab: Page, name: str) -> Any:
    return tab.evaluate(f"document.getElementById('image').dataset.{name}")


def test_a_study_is_shared_by_qr_code_and_looked_at(
    running: Process, study: str, browser: Page, tmp_path: Path
) -> None:
    browser.open(f"{running.base}/share?study={study}&lang=zh")
    browser.evaluate("document.querySelector('[name=purpose]').value = '复诊'")
    browser.evaluate("document.querySelector('form.lookup button').click()")
    browser.until("document.querySelector('.qr svg') !== null")
    passcode = browser.evaluate("document.querySelector('code.figure').textContent")
    (code,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(browser.picture())))
    assert code.text.startswith(f"{running.base}/film/")

    browser.open(code.text)
    assert "提取码" in browser.evaluate("document.body.innerText")
    browser.evaluate("document.getElementById('passcode').value = 'wrong!'")
    browser.evaluate("document.querySelector('form button').click()")
    browser.until("document.querySelector('.wrong') !== null")
    browser.evaluate(f"document.getElementById('passcode').value = {passcode!r}")
    browser.evaluate("document.querySelector('form button').click()")
    browser.until("document.getElementById('image')?.dataset.shown === '0/0'")
    assert data(browser, "window") == "40/400"
    assert "右肺中叶结节" in browser.evaluate("document.getElementById('report').innerText")
    assert "王芳" in browser.evaluate("document.querySelector('header').innerText")

    middle = (650.0, 450.0)
    first = shown(browser)
    for number in range(1, SLICES):
        browser.wheel(*middle, 100)
        if number % 11 == 0:
            browser.until(f"document.getElementById('image').dataset.shown === '0/{number}'")
    browser.wheel(*middle, 100)
    assert data(browser, "shown") == f"0/{SLICES - 1}"
    assert np.abs(shown(browser) - first).max() > 60
    browser.evaluate(
        "(slice => { slice.value = 50; slice.dispatchEvent(new Event('input')) })(document.getElementById('slice'))"
    )
    browser.until("document.getElementById('image').dataset.shown === '0/49'")

    before = shown(browser)
    browser.drag(middle, (middle[0] + 120, middle[1] - 60))
    assert data(browser, "window") != "40/400"
    assert np.abs(shown(browser) - before).max() > 30
    choose(browser, "lung")
    assert data(browser, "window") == "-600/1500"

    browser.evaluate("document.querySelector('[data-tool=measure]').click()")
    scale = browser.evaluate("document.getElementById('image').clientHeight / 256")
    browser.drag(middle, (middle[0] + 60 * scale, middle[1]))
    (length,) = data(browser, "lengths").split(";")
    assert float(length.removesuffix(" mm")) == pytest.approx(60 * 1.5, abs=1.0)
    choose(browser, "mediastinum")
    (tmp_path / "film.png").write_bytes(browser.picture())

    browser.evaluate("document.querySelector('[data-tool=zoom]').click()")
    browser.drag(middle, (middle[0], middle[1] - 100))
    assert float(data(browser, "zoom")) > 1.5

    (share,) = httpx.get(f"{running.base}/api/film", params={"study": study}).json()["shares"]
    assert (share["opened"], share["attempts"]) == (1, 1)
    assert httpx.delete(f"{running.base}/api/film/{share['id']}").status_code == 200
    browser.open(code.text)
    assert "已被撤销" in browser.evaluate("document.body.innerText")
