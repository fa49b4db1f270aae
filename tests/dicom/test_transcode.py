"""Retrieve in another transfer syntax: the pixels are the same, by our decoders and by others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from adapters.dicom import dataset, frames, part10, pixels, transcode
from hub.errors import HubError

from .conftest import FILES, row

EXPLICIT, IMPLICIT = dataset.EXPLICIT, dataset.IMPLICIT
SOURCES = (
    "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "JPGExtended.dcm", "JPEG2000.dcm",
    "SC_rgb_small_odd.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_palette.dcm", "rtdose.dcm",
)  # fmt: skip


@pytest.mark.parametrize("wanted", [EXPLICIT, IMPLICIT, *pixels.ENCODERS])
@pytest.mark.parametrize("name", SOURCES)
def test_stored_values_stay_as_they_are(tmp_path: Path, name: str, wanted: str) -> None:
    found, file = row(next(FILES.rglob(name)))
    found |= {"sopClass": "1.2.840.10008.5.1.4.1.1.7", "uid": "1.2.3"}
    first = frames.picture(found, file, 1)
    wide, colour = first.allocated == 32, len(first.shape) == 3
    if (wide and ".4." in wanted[15:]) or (colour and wanted.endswith("4.70")):
        with pytest.raises(HubError, match="not-acceptable"):
            transcode.part10_file(found, file, wanted)
        return
    made = transcode.part10_file(found, file, wanted)
    assert part10.split(made).transfer_syntax == wanted
    (tmp_path / "made.dcm").write_bytes(made)
    other, content = row(tmp_path / "made.dcm")
    count = int(found["attributes"].get("00280008", {}).get("Value", [1])[0])
    for number in range(1, min(count, 3) + 1):
        before, after = frames.picture(found, file, number), frames.picture(other, content, number)
        assert np.array_equal(pixels.decode(before), pixels.decode(after))
        assert after.shape == before.shape
    kept = {tag: element for tag, element in found["attributes"].items() if tag not in ("00280004", "00280006")}
    gone = {"7FE00010"}
    assert {tag for tag in kept if "BulkDataURI" not in kept[tag]} - gone <= set(other["attributes"])


@pytest.mark.parametrize("wanted", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", EXPLICIT])
def test_others_read_what_the_hub_writes(tmp_path: Path, wanted: str) -> None:
    source = next(FILES.rglob("CT_small.dcm"))
    found, file = row(source)
    found |= {"sopClass": pydicom.uid.CTImageStorage, "uid": "1.2.3"}
    made = tmp_path / "made.dcm"
    made.write_bytes(transcode.part10_file(found, file, wanted))
    assert np.array_equal(pydicom.dcmread(made).pixel_array, pydicom.dcmread(source).pixel_array)


@pytest.mark.dcmtk
@pytest.mark.skipif(not Path("/usr/bin/dcmdjpls").exists(), reason="Debian's dcmtk is not installed")
@pytest.mark.parametrize(
    ("tool", "wanted"),
    [("dcmdjpls", "1.2.840.10008.1.2.4.80"), ("dcmdjpeg", "1.2.840.10008.1.2.4.70"), ("dcmdrle", pixels.RLE)],
)
def test_dcmtk_reads_what_the_hub_writes(tmp_path: Path, tool: str, wanted: str) -> None:
    source = next(FILES.rglob("CT_small.dcm"))
    found, file = row(source)
    found |= {"sopClass": pydicom.uid.CTImageStorage, "uid": "1.2.3"}
    made, plain = tmp_path / "made.dcm", tmp_path / "plain.dcm"
    made.write_bytes(transcode.part10_file(found, file, wanted))
    subprocess.run([f"/usr/bin/{tool}", made, plain], check=True, timeout=60)
    assert np.array_equal(pydicom.dcmread(plain).pixel_array, pydicom.dcmread(source).pixel_array)


def test_what_cannot_be_had_is_refused() -> None:
    found, file = row(next(FILES.rglob("CT_small.dcm")))
    for wanted in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.2", "1.2.3"):
        with pytest.raises(HubError, match="not-acceptable"):
            transcode.to(found, file, wanted)
