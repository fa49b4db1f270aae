"""WADO-RS and WADO-URI: what is stored, as it is asked for (PS3.18 9, 10.4).

Accept negotiation follows PS3.18 8.7: a media type without transfer syntax means its default one (Explicit VR Little
Endian for application/dicom and application/octet-stream), ``transfer-syntax=*`` and ``*/*`` mean as stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from adapters.dicom import coerce, frames, multipart, pixels, render, report, transcode, worker
from adapters.dicom.dataset import EXPLICIT, UNDEFINED
from adapters.dicom.deidentify import Deidentifier
from adapters.dicom.multipart import DICOM, DICOM_JSON, OCTETS, MediaRange
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging import MAX_INSTANCES, Imaging
from hub.services.imaging_index import Row

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache"}
SANDBOX = {"Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; sandbox"}
THUMBNAIL = "128,128"
MAX_RENDERED = 1000
HTML, PDF = "text/html", "application/pdf"
DEFAULT_SYNTAX = {
    OCTETS: EXPLICIT,
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": pixels.RLE,
}
"""Media type of frames -> the transfer syntax it means when none is named (PS3.18 table 8.7.3-5)."""


def context(request: Request) -> Context:
    """Who asks over DICOMweb."""
    return Context(door="dicom-web", actor="DICOMWEB", peer=request.client.host if request.client else "")


def keys(path: Mapping[str, str]) -> list[tuple[str, str]]:
    """Matching keys of the UIDs in a path."""
    names = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
    return [(names[name], uid) for name, uid in path.items() if name in names]


def wanted(request: Request) -> list[MediaRange]:
    """What the Accept header, or the query parameter ``accept``, asks for, best first (PS3.18 8.3.3.1)."""
    return multipart.accepted(request.query_params.get("accept") or request.headers.get("accept", ""))


def acceptable(request: Request, *media: str) -> None:
    """HubError("not-acceptable") when none of these is wanted."""
    if not any(found.media in (*media, "*/*", "application/*") for found in wanted(request)):
        raise HubError("not-acceptable", f"this resource can be had as {media[0]}")


class Wado:
    """The retrieve transactions, over ``hub.services.imaging``."""

    def __init__(self, doors: Doors) -> None:
        self._imaging: Imaging = doors.imaging
        self._secret = doors.secret
        self._audit = doors.audit
        self._deletion = doors.settings.dicom.deletion
        loader = PackageLoader("adapters.dicom", "templates")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)

    def rows(self, request: Request) -> list[Row]:
        """The instance rows of the resource in the path. HubError("not-found")."""
        path, asking = request.path_params, context(request)
        if "instance" in path:
            return [self._imaging.instance(asking, path["study"], path["series"], path["instance"])]
        rows = self._imaging.find(asking, "instance", keys(path), limit=MAX_INSTANCES)
        if not rows:
            raise HubError("not-found", f"there is no {'series' if 'series' in path else 'study'} with this UID")
        return rows

    def delete(self, request: Request) -> Response:
        """Delete what the path names (ours; PS3.18 has no such transaction). HubError("forbidden") by the setting."""
        if not self._deletion:
            raise HubError("forbidden", "this archive does not delete: the setting dicom.deletion is off")
        self._imaging.remove(self.rows(request))
        self._audit.read(context(request), "delete", (), request.url.path)
        return Response(status_code=204, headers=HEADERS)

    def _file(self, row: Row) -> bytes:
        return self._imaging.file(row)

    def _leaving(self, row: Row, syntax: str) -> bytes:
        """The Part 10 file as it leaves the hub: its patient may have been merged."""
        return coerce.file(self._imaging, row, transcode.part10_file(row, self._file(row), syntax), syntax)

    def _anonymous(self, request: Request) -> Deidentifier | None:
        """With ``anonymize=yes``, what takes identity out of what is retrieved (PS3.18 9.1.2.2.8; ours for WADO-RS).

        The parameter ``retain`` names options of the profile.
        """
        asked = request.query_params
        if asked.get("anonymize", "no").lower() != "yes":
            return None
        options = frozenset(name for name in asked.get("retain", "").split(",") if name)
        return Deidentifier(self._secret("deidentification"), options)

    # --- instances (PS3.18 10.4.1.1.1 to .3) --------------------------------------------------------------------------

    def retrieve(self, request: Request) -> Response:
        """Retrieve transaction: the instances of a resource, in a transfer syntax that is acceptable."""
        rows = self.rows(request)
        for asked in wanted(request):
            if asked.media not in (DICOM, "*/*", "application/*"):
                continue
            syntax = asked.transfer_syntax or (EXPLICIT if asked.media == DICOM else "*")
            if syntax != "*" and not all(transcode.can(row["transferSyntax"], syntax) for row in rows):
                continue
            if asked.related or asked.media != DICOM:
                return self._related(self._files(rows, syntax, self._anonymous(request)), DICOM)
            if len(rows) == 1 and "instance" in request.path_params:
                return self._file_response(rows[0], syntax, self._anonymous(request))
        stored = ", ".join(sorted({row["transferSyntax"] for row in rows})[:5])
        raise HubError(
            "not-acceptable",
            f'it can be had as {multipart.RELATED}; type="{DICOM}"; transfer-syntax=*; it is stored in {stored}',
        )

    def _files(self, rows: Iterable[Row], syntax: str, without: Deidentifier | None) -> Iterator[tuple[str, bytes]]:
        """Media type and Part 10 file of each instance; ``*`` is the syntax it is stored in."""
        for row in rows:
            target = row["transferSyntax"] if syntax == "*" else syntax
            content = self._leaving(row, target)
            yield f"{DICOM}; transfer-syntax={target}", without.file(content) if without else content

    def _file_response(self, row: Row, syntax: str, without: Deidentifier | None) -> Response:
        ((media, content),) = self._files([row], syntax, without)
        name = "instance" if without else row["id"]
        headers = HEADERS | {"Content-Disposition": f'attachment; filename="{name}.dcm"'}
        return Response(content, media_type=media, headers=headers)

    def _related(self, parts: Iterator[tuple[str, bytes]], media: str) -> Response:
        """The parts as they become ready; what fails at the first one is still an answer of its own."""
        first = next(parts)
        boundary = multipart.new_boundary()
        kind = f'{multipart.RELATED}; type="{media}"; boundary={boundary}'
        return StreamingResponse(multipart.encode(_chained(first, parts), boundary), media_type=kind, headers=HEADERS)

    # --- metadata and bulk data (PS3.18 10.4.1.1.5, .6) ---------------------------------------------------------------

    def metadata(self, request: Request) -> Response:
        """Retrieve metadata transaction: DICOM JSON, bulk data by reference."""
        acceptable(request, DICOM_JSON, "application/json")
        path, asking = request.path_params, context(request)
        if "instance" in path:
            self._imaging.instance(asking, path["study"], path["series"], path["instance"])
        found = self._imaging.metadata(asking, keys(path))
        if not found:
            raise HubError("not-found", "there is nothing with this UID")
        return Response(b"[" + b",".join(found) + b"]", media_type=DICOM_JSON, headers=HEADERS)

    def bulk_data(self, request: Request) -> Response:
        """Retrieve bulk data: the bytes a BulkDataURI of the metadata refers to."""
        (row,) = self.rows(request)
        content = self._bulk(row, request.path_params["place"])
        if any(asked.related for asked in wanted(request)):
            return self._related(iter([(OCTETS, content)]), OCTETS)
        return Response(content, media_type=OCTETS, headers=HEADERS)

    def _bulk(self, row: Row, place: str) -> bytes:
        data = frames.data_set(row, self._file(row))
        try:
            if place == "pixels" and "pixel" in row:
                offset, length = row["pixel"][1], row["pixel"][2]
            else:
                offset, length = (int(part) for part in place.split("-"))
        except ValueError:
            raise HubError("not-found", f"{place!r} is no bulk data of this instance") from None
        if not 0 <= offset < len(data):
            raise HubError("not-found", f"{place!r} is no bulk data of this instance")
        return data[offset : len(data) if length == UNDEFINED else offset + length]

    # --- frames (PS3.18 10.4.1.1.4) -----------------------------------------------------------------------------------

    def frames(self, request: Request) -> Response:
        """Retrieve frames: as stored, uncompressed, or in another media type without loss."""
        (row,) = self.rows(request)
        numbers = frames.numbers(request.path_params["frames"])
        stored = frames.media_type(row)
        for asked in wanted(request):
            syntax = _frame_syntax(asked, row["transferSyntax"], stored)
            if syntax is None:
                continue
            kind, found = self._coded(row, numbers, syntax)
            if len(found) == 1 and not asked.related and asked.media != "*/*":
                return Response(found[0], media_type=kind, headers=HEADERS)
            return self._related(iter([(kind, frame) for frame in found]), kind.partition(";")[0])
        names = f'"{stored}", "{OCTETS}"' if stored != OCTETS else f'"{OCTETS}"'
        raise HubError("not-acceptable", f"these frames can be had as {multipart.RELATED}; type={names}")

    def _coded(self, row: Row, numbers: list[int], syntax: str) -> tuple[str, list[bytes]]:
        if syntax == row["transferSyntax"] or (syntax == EXPLICIT and row["transferSyntax"] in transcode.UNCOMPRESSED):
            return frames.frames(row, self._file(row), numbers)
        file = self._file(row)
        found = [transcode.recoded(row, file, number, syntax)[0] for number in numbers]
        media = OCTETS if syntax == EXPLICIT else frames.MEDIA_TYPE[syntax]
        return f"{media}; transfer-syntax={syntax}", found

    # --- rendered (PS3.18 10.4.1.1.3, 8.7.4) --------------------------------------------------------------------------

    def rendered(self, request: Request) -> Response:
        """Retrieve rendered: images of frames, reports as text, documents as PDF."""
        rows = self.rows(request)
        if len(rows) == 1 and "pixel" not in rows[0]:
            return self._document(rows[0])
        listed = request.path_params.get("frames")
        if len(rows) == 1:
            pairs = [(rows[0], number) for number in (frames.numbers(listed) if listed else [1])]
        else:
            pairs = [(row, 1) for row in rows if "pixel" in row][:MAX_RENDERED]
        if not pairs:
            raise HubError("not-found", "there are no pixels in this resource")
        media = _consumer_media(request)
        view = render.view(media, request.query_params)
        if len(pairs) == 1:
            return Response(self._drawn(*pairs[0], view), media_type=media, headers=HEADERS)
        return self._related(((media, self._drawn(row, number, view)) for row, number in pairs), media)

    def thumbnail(self, request: Request) -> Response:
        """Retrieve thumbnail: of the middle instance with pixels (PS3.18 10.4.1.1.7)."""
        rows = [row for row in self.rows(request) if "pixel" in row]
        if not rows:
            raise HubError("not-found", "there are no pixels in this resource")
        media = _consumer_media(request)
        view = render.view(media, {"viewport": request.query_params.get("viewport", THUMBNAIL)})
        (number, *_) = frames.numbers(request.path_params.get("frames", "1"))
        return Response(self._drawn(rows[len(rows) // 2], number, view), media_type=media, headers=HEADERS)

    def _drawn(self, row: Row, number: int, view: render.View) -> bytes:
        image: bytes = worker.run(render.draw, frames.picture(row, self._file(row), number), view)
        return image

    def _document(self, row: Row) -> Response:
        if report.is_pdf(row):
            return Response(report.pdf(row, self._file(row)), media_type=PDF, headers=HEADERS)
        written = report.structured(row["attributes"]) if report.is_report(row) else None
        if written is None:
            raise HubError("not-acceptable", "this instance has neither pixels nor a report that can be shown")
        body = self._templates.get_template("report.html").render(report=written)
        return Response(body, media_type=HTML, headers=HEADERS | SANDBOX)

    # --- WADO-URI (PS3.18 9.4) ----------------------------------------------------------------------------------------

    def uri(self, request: Request) -> Response:
        """Retrieve by query parameters: a rendered image, or the instance as application/dicom."""
        asked = request.query_params
        for name in ("studyUID", "seriesUID", "objectUID"):
            if not asked.get(name):
                raise HubError("parameter-value", f"the parameter {name} is needed", name)
        if asked.get("requestType") != "WADO":
            raise HubError("parameter-value", "requestType is WADO", "requestType")
        row = self._imaging.instance(context(request), asked["studyUID"], asked["seriesUID"], asked["objectUID"])
        media = next((found.media for found in multipart.accepted(asked.get("contentType", ""))), "*/*")
        if media == DICOM:
            syntax = asked.get("transferSyntax", EXPLICIT)
            if not transcode.can(row["transferSyntax"], syntax):
                raise HubError("not-acceptable", f"it is stored in {row['transferSyntax']}", "transferSyntax")
            return self._file_response(row, syntax, self._anonymous(request))
        if "pixel" not in row:
            return self._document(row)
        if media not in (*render.FORMATS, "*/*", "image/*"):
            raise HubError("not-acceptable", f"it can be had as {DICOM}, {', '.join(render.FORMATS)}", "contentType")
        media = media if media in render.FORMATS else "image/jpeg"
        (number,) = frames.numbers(asked.get("frameNumber", "1"))
        view = render.view(media, _uri_view(row, asked))
        return Response(self._drawn(row, number, view), media_type=media, headers=HEADERS)


def _chained(first: tuple[str, bytes], rest: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    yield first
    yield from rest


def _frame_syntax(asked: MediaRange, stored: str, media: str) -> str | None:
    """The transfer syntax in which frames meet a media range; None when they cannot."""
    named = asked.transfer_syntax
    if asked.media in ("*/*", "application/*") or (asked.media == "image/*" and media != OCTETS):
        return stored if named in ("", "*", stored) else None
    if asked.media == media and named in ("", "*", stored):
        return stored
    syntax = DEFAULT_SYNTAX.get(asked.media) if named in ("", "*") else named
    if syntax is None or frames.MEDIA_TYPE.get(syntax, OCTETS) != asked.media:
        return None
    return syntax if transcode.can(stored, syntax) else None


def _consumer_media(request: Request) -> str:
    names = [found.media for found in wanted(request)]
    media = next((name for name in names if name in render.FORMATS), "image/jpeg")
    if not {media, "*/*", "image/*"}.intersection(names):
        raise HubError("not-acceptable", f"rendered resources can be had as {', '.join(render.FORMATS)}")
    return media


def _uri_view(row: Row, asked: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of 9.1.2.2 as those of WADO-RS. HubError("parameter-value")."""
    view: dict[str, str] = {}
    if asked.get("windowCenter") or asked.get("windowWidth"):
        view["window"] = f"{asked.get('windowCenter', '')},{asked.get('windowWidth', '')}"
    if "imageQuality" in asked:
        view["quality"] = asked["imageQuality"]
    picture = pixels.Picture("", b"", row["attributes"])
    rows, columns = asked.get("rows"), asked.get("columns")
    if rows or columns or asked.get("region"):
        view["viewport"] = f"{columns or render.MAX_VIEWPORT},{rows or render.MAX_VIEWPORT}"
        if not (rows or columns):
            view["viewport"] = f"{picture.shape[1]},{picture.shape[0]}"
    if asked.get("region"):
        try:
            left, top, right, bottom = (float(part) for part in asked["region"].split(","))
        except ValueError:
            raise HubError("parameter-value", "region is left,top,right,bottom, each 0 to 1", "region") from None
        height, width = picture.shape[:2]
        box = (left * width, top * height, (right - left) * width, (bottom - top) * height)
        view["viewport"] += "," + ",".join(str(round(side)) for side in box)
    return view
