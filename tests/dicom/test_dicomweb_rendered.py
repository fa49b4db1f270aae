"""Rendered frames against dcmtk's dcm2pnm as reference, and what cannot be rendered."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.dicom import frames, part10, render, worker
from adapters.dicom.pixels import Picture
from hub.errors import HubError

from .conftest import FILES, Hub, image, row, running

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


def pixels_of(picture: Picture, data: bytes, attributes: dict[str, Any]) -> Picture:
    """The picture with other data and attributes."""
    return Picture(picture.syntax, data, picture.attributes | attributes)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.int16)


@pytest.mark.dcmtk
@pytest.mark.skipif(DCM2PNM is None, reason="Debian's dcmtk is not installed")
@pytest.mark.parametrize("name", SHOWN)
def test_equal_to_dcmtk_within_one_grey_level(tmp_path: Path, name: str) -> None:
    path = next(FILES.rglob(name))
    color = name.startswith(("SC_", "examples_palette", "examples_ybr"))
    window, options = (None, []) if color else ((400.0, 800.0, "LINEAR"), ["--set-window", "400", "800"])
    drawn = render.draw(frames.picture(*row(path), 1), render.View(window=window, media="image/png"))
    target = tmp_path / "reference.ppm"
    subprocess.run([str(DCM2PNM), *options, "--frame", "1", "+op", str(path), str(target)], check=True, timeout=60)
    expected = pixels(target.read_bytes())
    found = pixels(drawn)
    if found.ndim == 2 and expected.ndim == 3:
        expected = expected[..., 0]
    assert found.shape == expected.shape
    worst = np.abs(found - expected).max()
    assert worst <= (3 if "jpeg" in name or "ybr" in name else 1), worst  # JPEG: two decoders' inverse DCT and chroma


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
        ("window=40,400,cubic", "image/png", 400),
        ("viewport=10,10,1", "image/png", 400),
        ("viewport=99999999,1", "image/png", 400),
        ("quality=0", "image/jpeg", 400),
        ("", "image/webp", 406),
    ],
)
def test_a_wrong_view_is_refused(hub: Hub, query: str, accept: str, status: int) -> None:
    _, url = stored(hub, "MR_small.dcm")
    answer = hub.web.get(f"{url}/rendered?{query}", headers={"Accept": accept})
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
    assert (answer.status_code, answer.json()["name"]) == (404, "not-found")
    _, url = stored(hub, "MR_small.dcm")
    assert hub.web.get(f"{url}/rendered").status_code == 200


def test_a_small_stream_of_a_huge_image_is_refused() -> None:
    """The attributes say so, or the stream itself does: nothing is allocated for it in the hub."""
    picture = frames.picture(*row(next(FILES.rglob("JPEG2000.dcm"))), 1)
    size = {"00280010": {"vr": "US", "Value": [60_000]}, "00280011": {"vr": "US", "Value": [60_000]}}
    for bomb in (
        pixels_of(picture, picture.data, size),
        pixels_of(picture, picture.data[:8] + b"\0\0\xea\x60\0\0\xea\x60" + picture.data[16:], {}),
    ):
        with pytest.raises(HubError) as refused:
            worker.run(render.draw, bomb, render.View())
        assert refused.value.name in ("not-acceptable", "too-costly")


def test_a_region_is_cut_scaled_and_flipped(hub: Hub) -> None:
    _, url = stored(hub, "CT_small.dcm")
    whole, left, flipped = (
        pixels(hub.web.get(f"{url}/rendered?window=40,400&viewport={view}", headers={"Accept": "image/png"}).content)
        for view in ("128,128", "64,128,0,0,64,128", "64,128,0,0,-64,128")
    )
    assert np.array_equal(left, whole[:, :64]) and np.array_equal(flipped, whole[:, 63::-1])


def test_the_window_function_changes_the_picture(hub: Hub) -> None:
    _, url = stored(hub, "CT_small.dcm")
    linear, sigmoid = (
        pixels(hub.web.get(f"{url}/rendered?window=40,400,{name}", headers={"Accept": "image/png"}).content)
        for name in ("linear", "sigmoid")
    )
    assert np.abs(linear - sigmoid).max() > 10


def test_a_process_that_exceeds_its_limits_is_replaced(tmp_path: Path) -> None:
    workers = worker.Workers(1, seconds=1.0)
    with pytest.raises(HubError, match="limits of memory and time") as slow:
        workers.run(time.sleep, 30)
    assert slow.value.name == "too-costly"
    with pytest.raises(HubError, match="MemoryError"):
        workers.run(bytes, 4 << 30)
    assert workers.run(len, b"abc") == 3
    with pytest.raises(HubError, match="limits of memory and time"):
        workers.run(os._exit, 1)
    assert workers.run(len, b"abcd") == 4
    with pytest.raises(HubError, match="File too large"):
        workers.run((tmp_path / "written").write_bytes, b"x")
