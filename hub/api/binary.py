"""A Binary as the content that it holds (R4 Binary, "Serving Binary Resources using the RESTful API").

A body that is no Binary resource is the content of one; a read that asks for no FHIR format gets the content. It is
served as an attachment: what somebody stored is never run as a page of the hub.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from hub.api import negotiate
from hub.api.exchange import Answer, Request
from hub.errors import HubError

ANY = "application/octet-stream"
_MEDIA = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)


def sent(request: Request) -> dict[str, Any]:
    """The Binary that a create or update means: the body if it is one, else around the body.

    The header X-Security-Context becomes ``securityContext``. HubError("forbidden") for a form of another web site.
    """
    if request.kind in negotiate.MEDIA:
        try:
            resource = request.resource()
        except HubError:
            resource = {}
        if resource.get("resourceType") == "Binary":
            return resource
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # any content type is taken here, so that a browser sends another site's form without asking first
        raise HubError("forbidden", "a page of another site may not store content here", "Sec-Fetch-Site")
    if not request.body:
        raise HubError("structure", "a Binary without content is sent as a resource", "Content-Type")
    made: dict[str, Any] = {"resourceType": "Binary"}
    if request.route.id:
        made["id"] = request.route.id
    made["contentType"] = request.headers.get("content-type", "").strip() or ANY
    if context := request.headers.get("x-security-context"):
        made["securityContext"] = {"reference": context}
    return {**made, "data": base64.b64encode(request.body).decode()}


def content(resource: dict[str, Any], accept: str) -> Answer:
    """The content of a Binary. HubError("not-acceptable") when it is of a type that ``accept`` leaves out."""
    media = str(resource.get("contentType", ""))
    if not _MEDIA.fullmatch(media):
        media = ANY
    if not negotiate.accepts(accept, media):
        raise HubError(
            "not-acceptable", f"this Binary is {media}, or {' or '.join(negotiate.MEDIA.values())}", "Accept"
        )
    try:
        data = base64.b64decode("".join(str(resource.get("data", "")).split()), validate=True)
    except (binascii.Error, ValueError):
        raise HubError("structure", "the data of this Binary are not base64", "Binary.data") from None
    return Answer(200, [data], [(b"content-disposition", b"attachment")], media=media)
