"""TLS of DICOM associations: 1.2 or later, by the certificates of one side or both (PS3.15 B.9 to B.12)."""

from __future__ import annotations

import ssl

from hub.errors import HubError


def server(certificate: str, key: str = "", client_ca: str = "") -> ssl.SSLContext | None:
    """A listener's context from PEM files; with ``client_ca`` peers must show a certificate. None: no certificate.

    HubError("configuration") for files that are missing or unusable.
    """
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key or None)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
    except OSError as error:  # ssl.SSLError is one
        raise HubError("configuration", f"{certificate}: {error}", "dicom.tls_certificate") from None
    return context
