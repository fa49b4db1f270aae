"""MLLP under TLS: with a certificate, with certificates on both sides, and what happens to those without."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.hl7v2 import tls
from adapters.hl7v2.mllp import Client, Frame, Limits, Reply, Server
from hub.errors import HubError

PASSED = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
LATER = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """An authority with its PEM file, which issues certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = str(folder / f"{name}.pem")
        own = self._certificate(self.name, self.key, ca=True)
        Path(self.file).write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> str:
        """A PEM file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key, ca=False)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = self.folder / f"{name}-issued.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
        return str(file)

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        usage = x509.KeyUsage(True, False, False, False, False, ca, ca, False, False)
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(PASSED).not_valid_after(LATER).add_extension(usage, True)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True).add_extension(local, False)
        identifiers = (
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        )
        for extension, critical in identifiers:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


def exchange(server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> tuple[bytes, str]:
    """One message to a server that echoes; its answer and the peer it saw."""
    seen: list[str] = []

    async def answer(frame: Frame, peer: str) -> Reply:
        seen.append(peer)
        return Reply(frame.content)

    async def main() -> bytes:
        limits = Limits(frame_seconds=5.0)
        listener = Server(answer, limits, lambda *_: None, tls=server)
        host, port = await listener.start("127.0.0.1", 0)
        sender = Client(host, port, limits, tls=client)
        try:
            return await asyncio.wait_for(sender.ask(b"MSH|1"), 20)
        finally:
            await sender.close()
            await listener.stop(1.0)

    return asyncio.run(main()), seen[0]


def test_a_certificate_of_the_listener(ours: Authority) -> None:
    answer, peer = exchange(tls.server(ours.issue("hub")), tls.client(ours.file))
    assert answer == b"MSH|1"
    assert peer.startswith("127.0.0.1:")


def test_certificates_on_both_sides_name_the_sender(ours: Authority) -> None:
    server = tls.server(ours.issue("hub"), "", ours.file)
    _, peer = exchange(server, tls.client(ours.file, ours.issue("hospital-1")))
    assert peer.endswith(" hospital-1")


def test_senders_without_the_right_certificate_get_nothing(ours: Authority, tmp_path: Path) -> None:
    strangers = Authority(tmp_path, "strangers")
    server = tls.server(ours.issue("hub"), "", ours.file)
    refused = (ssl.SSLError, ConnectionError, IndexError)
    for client in (tls.client(ours.file), tls.client(ours.file, strangers.issue("x")), tls.client(strangers.file)):
        with pytest.raises(refused):
            exchange(server, client)


def test_plain_text_to_a_tls_listener_is_not_answered(ours: Authority) -> None:
    with pytest.raises(ConnectionError):
        exchange(tls.server(ours.issue("hub")), None)


def test_unusable_files_stop_the_start(tmp_path: Path) -> None:
    assert tls.server("") is None
    (tmp_path / "x.pem").write_text("no certificate")
    for file in (tmp_path / "x.pem", tmp_path / "none.pem"):
        with pytest.raises(HubError) as refused:
            tls.server(str(file))
        assert refused.value.name == "configuration"
