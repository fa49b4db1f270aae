"""Data set walker against pydicom on every file pydicom ships, and against hostile bytes."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.dicom import dataset, part10
from hub.errors import HubError

DATA = Path(pydicom.__file__).parent / "data"
UNREADABLE_THERE = {"rtplan_truncated.dcm"}
"""pydicom reads the rest of a sequence that is cut off; the walker stops there and says so."""


def shipped() -> list[Path]:
    found = []
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and path.read_bytes()[128:132] == b"DICM":
            found.append(path)
    return found


def identifying(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes both readers must agree on: not binary, not private, names without trailing delimiters."""
    out = {}
    for tag, element in attributes.items():
        if int(tag[:4], 16) % 2 or tag.startswith("7FE0") or tag.endswith("0000") or element.get("vr") == "SQ":
            continue
        if "Value" not in element:
            continue
        values = [
            {group: text.rstrip("^ ") for group, text in value.items() if text.strip("^ ")} or None
            if isinstance(value, dict)
            else value.strip() or None
            if isinstance(value, str)
            else value
            for value in element["Value"]
        ]
        if values not in ([None], []):
            out[tag] = values
    return out


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_agrees_with_pydicom(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = pydicom.dcmread(path)
        syntax = reference.file_meta.get("TransferSyntaxUID")
        if not syntax or path.name in UNREADABLE_THERE:
            pytest.skip("no transfer syntax in the file, or cut off in a sequence")
        expected = identifying(
            reference.to_json_dict(
                bulk_data_threshold=0, bulk_data_element_handler=lambda _: "x", suppress_invalid_tags=True
            )
        )
    file = part10.split(path.read_bytes())
    parsed = dataset.parse(file.data, syntax)
    found = identifying(parsed.attributes)
    assert {tag: values for tag, values in found.items() if tag in expected} == expected
    if "PixelData" in reference and not parsed.faults:
        assert parsed.pixel_offset is not None
        if parsed.pixel_length != dataset.UNDEFINED:
            held = parsed.data[parsed.pixel_offset : parsed.pixel_offset + parsed.pixel_length]
            assert held == reference.PixelData


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<HL", 0, len(value)) if vr in dataset.LONG else struct.pack("<H", len(value))) + value


def test_a_value_that_breaks_off_is_a_fault_not_a_failure() -> None:
    whole = explicit(0x00080018, b"UI", b"1.2.3\0") + explicit(0x00100010, b"PN", b"Zhang^San ")
    parsed = dataset.parse(whole[:-4], dataset.EXPLICIT)
    assert parsed.text("00080018") == "1.2.3"
    assert parsed.faults == ("(0010,0010) declares 10 bytes, 6 are left",)


def test_pixel_data_shorter_than_declared_is_a_fault() -> None:
    data = explicit(0x00280010, b"US", b"\4\0") + explicit(0x7FE00010, b"OW", bytes(32))
    parsed = dataset.parse(data[:-10], dataset.EXPLICIT)
    assert parsed.faults == ("pixel data has 22 of 32 bytes",)
    assert (parsed.pixel_element, parsed.pixel_offset, parsed.pixel_length) == (10, 22, 32)


def test_a_deflate_bomb_is_refused_before_it_is_inflated() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(300_000_000)) + packer.flush()
    with pytest.raises(HubError, match="too-costly"):
        dataset.parse(bomb, dataset.DEFLATED)


def test_sequences_nested_beyond_the_limit_are_refused() -> None:
    nested = b""
    for _ in range(200):
        nested = explicit(0x00082112, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(nested)) + nested)
    with pytest.raises(HubError, match="too-costly"):
        dataset.parse(nested, dataset.EXPLICIT)


def test_undefined_lengths_of_sequences_items_and_unknown_vr_are_skipped() -> None:
    undefined = struct.pack("<L", dataset.UNDEFINED)
    item = struct.pack("<HH", 0xFFFE, 0xE000) + undefined
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    inner = explicit(0x00080100, b"SH", b"CODE")
    implicit = struct.pack("<HHL", 0x0008, 0x0100, 4) + b"CODE"
    data = (
        struct.pack("<HH2sH", 0x0008, 0x1032, b"SQ", 0) + undefined + item + inner + end
        + struct.pack("<HH2sH", 0x0009, 0x1001, b"UN", 0) + undefined + item + implicit + end
        + explicit(0x0020000D, b"UI", b"1.2.3.4\0")
    )  # fmt: skip
    parsed = dataset.parse(data, dataset.EXPLICIT)
    assert parsed.attributes["00081032"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["CODE"]}}]
    assert parsed.attributes["00091001"]["Value"][0]["00080100"]["vr"] == "SH"
    assert parsed.text("0020000D") == "1.2.3.4"


def test_numbers_that_are_none_are_null_and_digits_are_kept_out_of_trouble() -> None:
    data = (
        explicit(0x00200013, b"IS", b"1A")
        + explicit(0x00280030, b"DS", b"0.5\\nan ")
        + explicit(0x00280008, b"IS", b"+7")
    )
    attributes = dataset.parse(data, dataset.EXPLICIT).attributes
    assert [attributes[tag].get("Value") for tag in ("00200013", "00280030", "00280008")] == [None, [0.5, None], [7]]


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_bytes_give_an_answer_or_a_located_refusal(data: st.DataObject) -> None:
    source = (
        DATA
        / "test_files"
        / data.draw(st.sampled_from(["CT_small.dcm", "rtplan.dcm", "test-SR.dcm", "MR_small_bigendian.dcm"]))
    ).read_bytes()
    file = part10.split(source)
    damaged = bytearray(file.data[: data.draw(st.integers(0, min(len(file.data), 6000)))])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, max(0, len(damaged) - 1)), st.integers(0, 255)), max_size=8)
    ):
        if damaged:
            damaged[place] = value
    try:
        parsed = dataset.parse(bytes(damaged), file.transfer_syntax)
    except HubError as error:
        assert error.name in ("structure", "too-costly")
    else:
        assert isinstance(parsed.attributes, dict)


def test_a_part_10_file_comes_apart_and_the_preamble_is_zero() -> None:
    header = part10.file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", dataset.EXPLICIT)
    assert header[:128] == bytes(128)
    file = part10.split(b"MZ" + header[2:] + b"data")
    assert (file.sop_class, file.sop_instance, file.transfer_syntax, file.data) == (
        "1.2.840.10008.5.1.4.1.1.2", "1.2.3", dataset.EXPLICIT, b"data",
    )  # fmt: skip
    for broken in (b"", b"x" * 200, header[:150], header[:200]):
        with pytest.raises(HubError):
            part10.split(broken)
