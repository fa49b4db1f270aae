"""Attribute coercion on the way out: a data set that says of its patient what is true now (IHE RAD PIR).

The stored bytes stay as they came. Elements are replaced or inserted one by one; all others, and the pixel data, are
the bytes that were stored.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Any

from adapters.dicom import charset, dataset, encode, part10
from adapters.dicom.dataset import Attributes
from hub.services.imaging import Imaging
from hub.services.imaging_index import Row

CHARSET = "00080005"
_LITTLE, _BIG = Struct("<HH2sH"), Struct(">HH2sH")


def file(imaging: Imaging, row: Row, content: bytes, syntax: str) -> bytes:
    """The Part 10 file of an instance row, here in the transfer syntax ``syntax``, as it leaves the hub."""
    patient = imaging.identity(row)
    if patient is None:
        return content
    header = part10.file_meta(row["sopClass"], row["uid"], syntax)
    return header + coerce(part10.split(content).data, syntax, patient)


def outgoing(imaging: Imaging, row: Row, data: memoryview, syntax: str) -> memoryview:
    """The same for its data set alone."""
    patient = imaging.identity(row)
    return data if patient is None else memoryview(coerce(bytes(data), syntax, patient))


def coerce(data: bytes, syntax: str, attributes: Attributes) -> bytes:
    """The data set with these attributes in place of its own; one without a value is removed."""
    if syntax == dataset.DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        plain = coerce(dataset.inflate(data), dataset.EXPLICIT, attributes)
        packed = packer.compress(plain) + packer.flush()
        return packed + b"\0" * (len(packed) % 2)
    elements, terms, rest = dataset.elements_before(data, syntax, 1 + max(int(tag, 16) for tag in attributes))
    attributes, terms = _sayable(data, syntax, attributes, terms)
    out = {tag: raw for tag, raw in elements.items() if tag not in attributes and tag[4:] != "0000"}
    for tag, element in attributes.items():
        if element.get("Value") and not (syntax == dataset.BIG_ENDIAN and element["vr"] == "SQ"):
            raw = encode.encode({tag: element}, implicit=syntax == dataset.IMPLICIT, terms=terms)
            out[tag] = _BIG.pack(*_LITTLE.unpack_from(raw)) + raw[8:] if syntax == dataset.BIG_ENDIAN else raw
    return b"".join(out[tag] for tag in sorted(out)) + rest


def _sayable(
    data: bytes, syntax: str, attributes: Attributes, terms: tuple[str, ...]
) -> tuple[Attributes, tuple[str, ...]]:
    """The attributes as the data set's character set can say them.

    A data set of ASCII texts is one of UTF-8 just as well; another keeps its set, and loses the component groups of a
    name that it has no characters for.
    """
    try:
        encode.encode(attributes, implicit=True, terms=terms)
    except UnicodeEncodeError:
        if _plain(dataset.parse(data, syntax).attributes):
            named = {CHARSET: {"vr": "CS", "Value": [charset.UTF_8]}}
            return attributes | named, (charset.UTF_8,)
        return {tag: _without(element, terms) for tag, element in attributes.items()}, terms
    return attributes, terms


def _plain(value: Any) -> bool:
    """Whether all texts are ASCII."""
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    return not isinstance(value, str) or value.isascii()


def _without(element: Attributes, terms: tuple[str, ...]) -> Attributes:
    if element["vr"] != "PN":
        return element
    return element | {"Value": [_groups(value, terms) for value in element.get("Value", ())]}


def _groups(name: dict[str, str], terms: tuple[str, ...]) -> dict[str, str]:
    kept = {}
    for group, text in name.items():
        try:
            charset.encode(text, terms, name=True)
        except UnicodeEncodeError:
            continue
        kept[group] = text
    return kept
