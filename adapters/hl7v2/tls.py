"""TLS of MLLP connections: 1.2 or later, with certificates on one side or both (IHE ITI-19)."""

from __future__ import annotations

import ssl

from hub.errors import HubError


def server(certificate: str, key: str = "", client_ca: str = "") -> ssl.SSLContext | None:
    """A listener's context from PEM files; with ``client_ca`` senders must show a certificate. None: no certificate."""
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return _filled(context, certificate, key, client_ca)


def client(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext:
    """A sender's context: the peer's certificate must be of ``ca`` ("" = the machine's) and of the name called."""
    context = ssl.create_default_context(cafile=None) if not ca else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _filled(context, certificate, key, ca)


def _filled(context: ssl.SSLContext, certificate: str, key: str, ca: str) -> ssl.SSLContext:
    """HubError("configuration") for files that are missing or unusable."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if certificate:
            context.load_cert_chain(certificate, key or None)
        if ca:
            context.load_verify_locations(ca)
    except OSError as error:  # ssl.SSLError is one
        raise HubError("configuration", f"{certificate or ca}: {error}", "mllp.tls_certificate") from None
    return context
