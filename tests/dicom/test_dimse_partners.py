"""Who may do what: partner table, user identity, TLS, caps; pynetdicom and dcmtk are the peers."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from adapters.dicom import partners
from adapters.dicom.ul import pdu
from hub.errors import HubError
from tests.wire.test_mllp_tls import Authority

from .conftest import Hub, image, running

SECRET = hashlib.sha256(b"open sesame").hexdigest()
TABLE = f"""ae_title,facility,peer,called,user,passcode,rights
# what a site would write
CT_*,A,,,,,store worklist mpps commitment
VIEWER,,127.0.0.0/8,HUB*,,,query retrieve
REMOTE,,10.0.0.0/8,,,,
NAMED,B,,,doctor,{SECRET},query
"""
CLASSES = (
    Verification,
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    table = folder / "partners.csv"
    table.write_text(TABLE, encoding="utf-8")
    with running(folder / "data", partners=str(table), private_storage=False) as hub:
        yield hub
    partners.use("")


def associate(hub: Hub, calling: str, called: str = "HUB", identity: pdu.Identity | None = None) -> Association:
    ae = AE(calling)
    for abstract in (*CLASSES, "1.3.12.2.1107.5.9.1"):
        ae.add_requested_context(abstract)
    said = UserIdentityNegotiation()
    if identity is not None:
        said.user_identity_type, said.positive_response_requested = identity.kind, identity.response
        said.primary_field = identity.primary
        if identity.kind == pdu.PASSCODE:
            said.secondary_field = identity.secondary
    negotiated = [said] if identity is not None else None
    return ae.associate(*hub.address, ae_title=called, ext_neg=negotiated)


@pytest.mark.parametrize(
    ("calling", "allowed"),
    [("CT_1", (Verification, CTImageStorage, CLASSES[3], CLASSES[4])), ("VIEWER", (Verification, CLASSES[2]))],
)
def test_rights_are_the_contexts_that_are_accepted(hub: Hub, calling: str, allowed: tuple[str, ...]) -> None:
    association = associate(hub, calling)
    assert {context.abstract_syntax for context in association.accepted_contexts} == set(allowed)
    results = {context.abstract_syntax: context.result for context in association.rejected_contexts}
    association.release()
    assert results.pop("1.3.12.2.1107.5.9.1") == 3  # private classes are switched off here
    assert set(results.values()) == {1}


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("NOBODY", "HUB", 3), ("REMOTE", "HUB", 3), ("VIEWER", "OTHER", 7), ("VIEWER", "HUB2", None)],
)
def test_strangers_and_wrong_addresses_are_rejected(hub: Hub, calling: str, called: str, reason: int | None) -> None:
    association = associate(hub, calling, called)
    if reason is None:
        assert association.is_established
        association.release()
    else:
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, reason)


@pytest.mark.parametrize(
    ("identity", "accepted"),
    [
        (None, False),
        (pdu.Identity(pdu.USERNAME, b"doctor"), False),
        (pdu.Identity(pdu.PASSCODE, b"doctor", b"guess"), False),
        (pdu.Identity(pdu.PASSCODE, b"nurse", b"open sesame"), False),
        (pdu.Identity(pdu.JWT, b"a.b.c"), False),
        (pdu.Identity(pdu.PASSCODE, b"doctor", b"open sesame"), True),
        (pdu.Identity(pdu.PASSCODE, b"doctor", b"open sesame", response=True), True),
    ],
)
def test_a_user_is_who_knows_the_passcode(hub: Hub, identity: pdu.Identity | None, accepted: bool) -> None:
    association = associate(hub, "NAMED", identity=identity)
    assert association.is_established == accepted
    if accepted:
        answered = any(
            type(item).__name__ == "UserIdentityNegotiation" for item in association.acceptor.user_information
        )
        assert answered == (identity is not None and identity.response)
        association.release()


def test_an_identity_nobody_asked_for_does_no_harm(hub: Hub) -> None:
    association = associate(hub, "CT_1", identity=pdu.Identity(pdu.JWT, b"a.b.c", response=True))
    assert association.is_established
    association.release()


def test_the_facility_of_a_partner_issues_its_patient_ids(hub: Hub) -> None:
    assert hub.store(image(), calling="CT_1") == [0x0000]
    (patient,) = hub.until(lambda: hub.resources("Patient"))
    assert patient["identifier"][0]["system"].endswith("/authority/A")


@pytest.mark.parametrize("row", ["X,{9},,,,,", "X,,300.1.1.1,,,,", "X,,,,,,everything"])
def test_a_wrong_table_keeps_the_hub_from_starting(tmp_path: Path, row: str) -> None:
    table = tmp_path / "partners.csv"
    table.write_text(TABLE.splitlines()[0] + f"\n{row}\n", encoding="utf-8")
    with pytest.raises(HubError, match="configuration"):
        partners.load(str(table))


def test_one_address_cannot_take_all_associations(tmp_path: Path) -> None:
    with running(tmp_path, max_associations=8, max_associations_per_peer=3) as hub:
        idle = [socket.create_connection(hub.address) for _ in range(3)]
        refused = hub.until(lambda: not _opened(hub))
        assert refused
        for connection in idle:
            connection.close()
        hub.until(lambda: _opened(hub))


def _opened(hub: Hub) -> bool:
    try:
        hub.associate(("1.2.840.10008.1.1", "1.2.840.10008.1.2"), calling="CT_1").release()
    except (OSError, HubError):
        return False
    return True


class Secured:
    """A hub under TLS, and what its peers need."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.other = Authority(folder, "region"), Authority(folder, "other")
        self.own = self.authority.issue("hub")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    return Secured(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(("shown", "accepted"), [("region", True), ("other", False), ("", False)])
def test_only_who_shows_a_certificate_of_the_region_associates(
    secured: Secured, tmp_path: Path, shown: str, accepted: bool
) -> None:
    with running(tmp_path, tls_certificate=secured.own, tls_client_ca=secured.authority.file) as hub:
        context = ssl.create_default_context(cafile=secured.authority.file)
        if shown:
            authority = secured.authority if shown == "region" else secured.other
            context.load_cert_chain(authority.issue("ct"))
        assert echoed(hub, context) == accepted
        assert not _opened(hub)  # without TLS


def echoed(hub: Hub, context: ssl.SSLContext) -> bool:
    """C-ECHO over TLS; with TLS 1.3 a refused certificate shows at the first read."""
    try:
        with (
            socket.create_connection(hub.address) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as up,
        ):
            asked = pdu.Associate(
                "HUB", "CT_1", (pdu.Context(1, Verification, ("1.2.840.10008.1.2",)),), 16384, "1.2", "X"
            )
            up.sendall(pdu.encode_associate(pdu.ASSOCIATE_RQ, asked))
            if up.recv(1) != bytes((pdu.ASSOCIATE_AC,)):
                return False
    except OSError:
        return False
    ae = AE("CT_1")
    ae.add_requested_context(Verification)
    association = ae.associate(*hub.address, ae_title="HUB", tls_args=(context, "127.0.0.1"))
    assert association.send_c_echo().Status == 0x0000
    association.release()
    return True


@pytest.mark.dcmtk
@pytest.mark.skipif(not Path("/usr/bin/echoscu").exists(), reason="Debian's dcmtk is not installed")
def test_dcmtk_talks_tls(secured: Secured, tmp_path: Path) -> None:
    with running(tmp_path, tls_certificate=secured.own, tls_client_ca=secured.authority.file) as hub:
        mine = secured.authority.issue("dcmtk")
        options = ["+tls", mine, mine, "+cf", secured.authority.file, "-aec", "HUB", "127.0.0.1", hub.port]
        done = subprocess.run(["/usr/bin/echoscu", *options], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
