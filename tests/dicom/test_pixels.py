"""Every DICOM file of pydicom's package, and syntaxes made by dcmtk: stored unchanged, rendered as a reference does.

The reference is pydicom's own decoding (after dcmtk's decompression where pydicom has no decoder), modality LUT and
windowing; the table says what is expected of each file. Lossless encodings are compared with the original pixels.
"""

from __future__ import annotations

import csv
import logging
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from adapters.dicom import frames, instance, part10, pixels, render
from hub.errors import HubError
from hub.services.context import Context

from .conftest import FILES, Hub, row, running, shipped

TABLE = Path(__file__).parents[1] / "conformance/dicom_files.csv"
ROWS = list(csv.DictReader(line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[0] != "#"))
SEND = Context(door="dicom", actor="TEST_CT")
SYNTAXES = {
    "jpeg-lossless-sv1": ("dcmcjpeg", "+e1", "1.2.840.10008.1.2.4.70"),
    "jpeg-lossless-14": ("dcmcjpeg", "+el", "1.2.840.10008.1.2.4.57"),
    "jpeg-extended-12": ("dcmcjpeg", "+ee", "1.2.840.10008.1.2.4.51"),
    "jpeg-ls": ("dcmcjpls", "+el", "1.2.840.10008.1.2.4.80"),
    "rle": ("dcmcrle", "", "1.2.840.10008.1.2.5"),
    "deflated": ("dcmconv", "+td", "1.2.840.10008.1.2.1.99"),
    "big-endian": ("dcmconv", "+tb", "1.2.840.10008.1.2.2"),
    "implicit": ("dcmconv", "+ti", "1.2.840.10008.1.2"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What pydicom has to say of damaged files."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def reference(path: Path, tmp_path: Path) -> tuple[pydicom.Dataset, np.ndarray]:
    """The data set and its first frame as others decode it."""
    decompress = {"4.5": "dcmdjpeg", "4.7": "dcmdjpeg", "4.8": "dcmdjpls", "1.9": "dcmconv"}
    syntax = part10.split(path.read_bytes()).transfer_syntax.removeprefix("1.2.840.10008.1.2.")
    try:
        return pydicom.dcmread(path), pixel_array(path, index=0)
    except (RuntimeError, ValueError, AttributeError):
        tool = shutil.which(decompress.get(syntax[:3], "none"), path="/usr/bin")
        if tool is None:
            pytest.skip("Debian's dcmtk is not installed")
        plain = tmp_path / "plain.dcm"
        subprocess.run([tool, *(["+te"] if "conv" in tool else []), path, plain], check=True, timeout=60)
        return pydicom.dcmread(plain), pixel_array(plain, index=0)


def expected_levels(header: pydicom.Dataset, values: np.ndarray, window: render.Window | None) -> np.ndarray:
    """Display values by pydicom."""
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return (apply_color_lut(values, header) >> (8 if header.RedPaletteColorLookupTableDescriptor[2] > 8 else 0))[
            ..., :3
        ]
    if values.ndim == 3:
        return values >> max(0, header.BitsStored - 8)
    shown = apply_modality_lut(values, header).astype(np.float64)
    if window is None:
        return np.rint((shown - shown.min()) / ((shown.max() - shown.min()) or 1) * 255)
    low, high = window[0] - 0.5 - (window[1] - 1) / 2, window[0] - 0.5 + (window[1] - 1) / 2
    levels = np.rint(np.interp(shown, [low, high], [0, 255]))
    return 255 - levels if header.PhotometricInterpretation == "MONOCHROME1" else levels


def window_of(header: pydicom.Dataset, values: np.ndarray) -> render.Window | None:
    if values.ndim == 3 or header.PhotometricInterpretation == "PALETTE COLOR":
        return None
    shown = apply_modality_lut(values, header).astype(np.float64)
    return (float(shown.mean()), max(2.0, float(shown.std()) * 3), "LINEAR")


def test_the_table_names_every_file() -> None:
    assert {str(path.relative_to(FILES)) for path in shipped()} == {found["file"] for found in ROWS}


def test_every_file_is_stored_unchanged_or_refused_with_a_reason(hub: Hub) -> None:
    outcomes = {}
    for found in ROWS:
        try:
            file = part10.split((FILES / found["file"]).read_bytes())
            read, _ = instance.read(file.data, file.sop_class, file.sop_instance, file.transfer_syntax, "TEST_CT")
            hub.doors.imaging.receive(read, SEND)
            kept = hub.doors.imaging.held(read.sop_instance)
            assert kept is not None
            assert part10.split(hub.doors.imaging.file(kept)) == file
            outcomes[found["file"]] = "identical"
        except HubError as error:
            outcomes[found["file"]] = error.name
    assert outcomes == {found["file"]: found["stored"] for found in ROWS}


@pytest.mark.parametrize(
    "found", [found for found in ROWS if found["shown"] == "reference"], ids=lambda found: found["file"]
)
def test_rendered_equal_to_the_reference_within_one_grey_level(tmp_path: Path, found: dict[str, str]) -> None:
    path = FILES / found["file"]
    header, values = reference(path, tmp_path)
    window = window_of(header, values)
    picture = frames.picture(*row(path), 1)
    for tag in [tag for tag in picture.attributes if tag[:2] == "60"]:
        del picture.attributes[tag]
    levels = render.shown(picture, window).astype(int)
    assert np.abs(levels - expected_levels(header, values, window).astype(int)).max() <= 1


@pytest.mark.parametrize("name", [found["file"] for found in ROWS if found["shown"] == "decoded"])
def test_what_no_other_decoder_here_reads_has_the_size_it_says(name: str) -> None:
    picture = frames.picture(*row(FILES / name), 1)
    assert render.shown(picture).shape[:2] == picture.shape[:2]


@pytest.mark.parametrize(
    "found",
    [found for found in ROWS if found["shown"] not in ("reference", "decoded", "no pixels", "")],
    ids=lambda found: found["file"],
)
def test_what_cannot_be_shown_is_refused_with_its_reason(found: dict[str, str]) -> None:
    with pytest.raises((HubError, ValueError, RuntimeError)) as refused:
        render.shown(frames.picture(*row(FILES / found["file"]), 1))
    assert found["shown"] in str(refused.value)


@pytest.mark.dcmtk
@pytest.mark.skipif(not Path("/usr/bin/dcmcjpeg").exists(), reason="Debian's dcmtk is not installed")
@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize("source", ["CT_small.dcm", "MR_small.dcm"])
def test_syntaxes_made_by_dcmtk(hub: Hub, tmp_path: Path, name: str, source: str) -> None:
    tool, option, syntax = SYNTAXES[name]
    original = next(FILES.rglob(source))
    made = tmp_path / "made.dcm"
    subprocess.run([f"/usr/bin/{tool}", *([option] if option else []), original, made], check=True, timeout=60)
    file = part10.split(made.read_bytes())
    assert file.transfer_syntax == syntax
    read, _ = instance.read(
        file.data, file.sop_class, f"{file.sop_instance}.{list(SYNTAXES).index(name)}", syntax, "CT"
    )
    hub.doors.imaging.receive(read, SEND)
    kept = hub.doors.imaging.held(read.sop_instance)
    assert kept is not None and part10.split(hub.doors.imaging.file(kept)).data == file.data
    header, values = reference(made, tmp_path)
    window = window_of(header, values)
    levels = render.shown(frames.picture(*row(made), 1), window).astype(int)
    assert np.abs(levels - expected_levels(header, values, window).astype(int)).max() <= 1
    if "12" not in name:
        assert np.array_equal(pixels.decode(frames.picture(*row(made), 1)), pydicom.dcmread(original).pixel_array)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
        (
            "1.2.840.10008.1.2.4.90",
            lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True),
        ),
    ],
)
def test_lossless_syntaxes_give_the_original_back(syntax: str, encode: Any) -> None:
    values = pydicom.dcmread(next(FILES.rglob("CT_small.dcm"))).pixel_array
    picture = frames.picture(*row(next(FILES.rglob("CT_small.dcm"))), 1)
    coded = pixels.Picture(syntax, bytes(encode(values.view(np.uint16))), picture.attributes)
    assert np.array_equal(pixels.decode(coded), values)


def test_the_images_own_window_and_lut_are_those_of_pydicom() -> None:
    for name in ("CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "mlut_18.dcm", "vlut_04.dcm"):
        paths = list(FILES.rglob(name))
        if not paths:
            continue
        header = pydicom.dcmread(paths[0])
        values = apply_modality_lut(header.pixel_array, header)
        if "WindowWidth" not in header and "VOILUTSequence" not in header:
            continue
        shown = np.asarray(apply_voi_lut(values, header), dtype=np.float64)
        if "VOILUTSequence" in header:
            top = (1 << header.VOILUTSequence[0].LUTDescriptor[2]) - 1
        else:
            top = 0
        picture = frames.picture(*row(paths[0]), 1)
        for tag in [tag for tag in picture.attributes if tag[:2] == "60"]:
            del picture.attributes[tag]
        levels = render.shown(picture).astype(int)
        low = 0 if top else shown.min()
        span = top or (shown.max() - shown.min())
        if top or (levels.min() == 0 and levels.max() == 255):
            assert np.abs(levels - np.rint((shown - low) / span * 255)).max() <= 1, name
