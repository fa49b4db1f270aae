"""Capabilities of the DICOMweb services: the Retrieve Capabilities transaction (PS3.18 8.9), as WADL or JSON."""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files
from xml.etree import ElementTree as ET

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from adapters.dicom import wado
from adapters.dicom.multipart import accepted
from hub.errors import HubError

WADL, JSON = "application/vnd.sun.wadl+xml", "application/json"
NAMESPACE = "http://wadl.dev.java.net/2009/02"


@lru_cache(maxsize=1)
def rows() -> tuple[dict[str, str], ...]:
    """The rows of tables/capabilities.csv."""
    lines = files("adapters.dicom").joinpath("tables/capabilities.csv").read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(line for line in lines if not line.startswith("#")))


def retrieve(request: Request) -> Response:
    """OPTIONS of the service root."""
    base = str(request.url.replace(query="")).rstrip("/")
    for asked in accepted(request.headers.get("accept", "")):
        if asked.media in (WADL, "*/*", "application/*", "application/xml"):
            return Response(wadl(base), media_type=WADL, headers=wado.HEADERS)
        if asked.media in (JSON, "application/dicom+json"):
            return JSONResponse({"base": base, "resources": rows()}, headers=wado.HEADERS)
    raise HubError("not-acceptable", f"the capabilities can be had as {WADL} or {JSON}")


def wadl(base: str) -> bytes:
    """The Web Application Description Language document (PS3.18 H)."""
    application = ET.Element("application", xmlns=NAMESPACE)
    root = ET.SubElement(application, "resources", base=base)
    resources: dict[str, ET.Element] = {}
    for row in rows():
        path = row["resource"].lstrip("/")
        resource = resources.setdefault(path, ET.Element("resource", path=path))
        method = ET.SubElement(resource, "method", name=row["method"])
        message = ET.SubElement(method, "request")
        for name in row["parameters"].split():
            ET.SubElement(message, "param", name=name, style="query")
        answered = message if row["method"] in ("POST", "PUT") else ET.SubElement(method, "response", status="200")
        for media in row["media"].split("|"):
            if media:
                ET.SubElement(answered, "representation", mediaType=media)
    root.extend(resources.values())
    return bytes(ET.tostring(application, encoding="utf-8", xml_declaration=True))
