"""Rendered frames against dcmtk's dcm2pnm as reference, and what cannot be rendered."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.dicom import part10, render

from .conftest import FILES, Hub, image, running

DCM2PNM = next((path for path in (Path("/usr/bin/dcmj2pnm"), Path("/usr/bin/dcm2pnm")) if path.exists()), None)
SHOWN = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "examples_palette.dcm",
    "SC_rgb_small_odd.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm", "examples_overlay.dcm",
]  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def stored(hub: Hub, name: str) -> tuple[Path, str]:
    """Path of a shipped file, and its instance URL."""
    path = next(FILES.rglob(name))
    file = part10.split(path.read_bytes())
    assert hub.store(file)[0] in (0x0000, 0xB007)
    (found,) = hub.web.get("/instances", params={"SOPInstanceUID": file.sop_instance}).json()
    return path, found["00081190"]["Value"][0].partition("/dicom-web")[2]


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.int16)


@pytest.mark.dcmtk
@pytest.mark.skipif(DCM2PNM is None, reason="Debian's dcmtk is not installed")
@pytest.mark.parametrize("name", SHOWN)
def test_equal_to_dcmtk_within_one_grey_level(tmp_path: Path, name: str) -> None:
    path = next(FILES.rglob(name))
    color = name.startswith(("SC_", "examples_palette", "examples_ybr"))
    window, options = (None, []) if color else ((400.0, 800.0), ["--set-window", "400", "800"])
    drawn = render.draw(path.read_bytes(), render.View(window=window, media="image/png"))
    target = tmp_path / "reference.ppm"
    subprocess.run(
        [str(DCM2PNM), *options, "--no-overlays", "--frame", "1", "+op", str(path), str(target)], check=True, timeout=60
    )
    expected = pixels(target.read_bytes())
    found = pixels(drawn)
    if found.ndim == 2 and expected.ndim == 3:
        expected = expected[..., 0]
    assert found.shape == expected.shape
    worst = np.abs(found - expected).max()
    assert worst <= (3 if "jpeg" in name or "ybr" in name else 1), worst


def test_viewport_and_media_type_are_as_asked_for(hub: Hub) -> None:
    _, url = stored(hub, "CT_small.dcm")
    answer = hub.web.get(f"{url}/rendered?viewport=64,64", headers={"Accept": "image/jpeg"})
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    study = url.partition("/series/")[0]
    thumbnail = hub.web.get(f"{study}/thumbnail")
    assert thumbnail.status_code == 200 and max(Image.open(io.BytesIO(thumbnail.content)).size) == 128


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("window=1,0", "image/png", 400),
        ("window=x", "image/png", 400),
        ("viewport=99999999,1", "image/png", 400),
        ("quality=0", "image/jpeg", 400),
        ("", "image/gif", 406),
    ],
)
def test_a_wrong_view_is_refused(hub: Hub, query: str, accept: str, status: int) -> None:
    hub.store(image("7.7.7", study="7", series="7.7"))
    answer = hub.web.get(f"/studies/7/series/7.7/instances/7.7.7/rendered?{query}", headers={"Accept": accept})
    assert answer.status_code == status


@pytest.mark.parametrize("rows", [4, 60_000])
def test_pixels_that_are_not_there_or_too_many_are_refused(hub: Hub, rows: int) -> None:
    uid = f"8.8.{rows}"
    broken = image(
        uid, study="8", series="8.8", Rows=rows, Columns=60_000, SamplesPerPixel=1, BitsAllocated=16, BitsStored=16,
        HighBit=15, PixelRepresentation=0, PhotometricInterpretation="MONOCHROME2", PixelData=bytes(64),
    )  # fmt: skip
    hub.store(broken)
    answer = hub.web.get(f"/studies/8/series/8.8/instances/{uid}/rendered", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["name"]) == (406, "not-acceptable")
    _, url = stored(hub, "MR_small.dcm")
    assert hub.web.get(f"{url}/rendered").status_code == 200
