"""The DIMSE listener against real peers: pynetdicom, and the hub's own upper layer as a modality."""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import replace
from typing import Any

import psutil
import pydicom
import pytest
from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from adapters.dicom import dataset, part10
from adapters.dicom.ul import association, dimse, pdu
from hub.errors import HubError
from hub.services import imaging_rows

from .conftest import FILES, Hub, image, shipped


def test_echo_by_pynetdicom(hub: Hub) -> None:
    ae = AE("PYNETDICOM")
    ae.add_requested_context(Verification)
    association = ae.associate(*hub.address, ae_title="HUB")
    assert association.is_established
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert association.is_released


def test_store_by_pynetdicom_becomes_an_imaging_study(hub: Hub) -> None:
    ae = AE("XHRM_CT1")
    ae.add_requested_context(CTImageStorage, pydicom.uid.ExplicitVRLittleEndian)
    association = ae.associate(*hub.address, ae_title="HUB")
    assert association.send_c_store(FILES / "test_files" / "CT_small.dcm").Status == 0x0000
    association.release()
    study = hub.until(lambda: hub.resources("ImagingStudy"))[0]
    assert study["status"] == "available"
    assert study["identifier"] == [
        {"system": "urn:dicom:uid", "value": "urn:oid:1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"}
    ]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (1, 1)
    assert study["started"] == "2004-01-19T07:27:30-05:00"
    assert study["series"][0]["instance"][0]["sopClass"]["code"] == "urn:oid:1.2.840.10008.5.1.4.1.1.2"
    (patient,) = hub.resources("Patient")
    assert study["subject"] == {"reference": f"Patient/{patient['id']}"}
    identifier = patient["identifier"][0]
    assert (identifier["system"], identifier["value"]) == ("https://region-hub.example/fhir/authority/XHRM", "1CT1")
    (endpoint,) = hub.resources("Endpoint")
    assert study["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]


def test_every_file_pydicom_ships_is_stored_as_sent_or_refused_with_a_reason(hub: Hub) -> None:
    stored: dict[str, part10.File] = {}
    statuses: dict[str, int] = {}
    studies = set()
    for path in shipped():
        try:
            file = part10.split(path.read_bytes())
        except HubError:  # there is no transfer syntax in the file
            continue
        if file.sop_class in ("", "1.2.840.10008.1.3.10"):  # nothing a C-STORE could name, a DICOMDIR
            continue
        (status,) = hub.store(file)
        statuses[path.name] = status
        if status in (0x0000, 0xB007):
            known = stored.setdefault(file.sop_instance, file)
            assert known.data == file.data
            parsed = dataset.parse(file.data, file.transfer_syntax)
            if not file.sop_class.startswith("1.2.840.10008.5.1.4.39."):
                studies.add((parsed.text("0020000D") or file.sop_instance, parsed.text("00100020")))
        else:
            assert status == 0x0111, (path.name, hex(status))
    assert len(stored) == 145
    for uid, file in stored.items():
        (found,) = hub.web.get("/instances", params={"SOPInstanceUID": uid}).json()
        url = found["00081190"]["Value"][0].partition("/dicom-web")[2]
        answer = hub.web.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert answer.status_code == 200 and answer.content[:128] == bytes(128)
        assert part10.split(answer.content) == file
        assert hub.web.get(f"{url}/metadata").json()[0]
    other = [name for name, status in statuses.items() if status == 0x0111]
    assert len(hub.doors.imaging.reports(imaging_rows.CONFLICTS)) == len(other) == 31
    hub.until(lambda: not hub.doors.imaging.waiting(0))
    assert len(hub.resources("ImagingStudy")) == len(studies)


def test_the_same_instance_again_changes_nothing_and_other_bytes_are_kept_apart(hub: Hub) -> None:
    first, other = image(), image(PatientName="Li^Si")
    assert hub.store(first, first, other, other) == [0x0000, 0x0000, 0x0111, 0x0111]
    (conflict,) = hub.doors.imaging.reports(imaging_rows.CONFLICTS)
    assert conflict.data["uid"] == first.sop_instance and conflict.data["received"]["from"] == "TEST_CT"
    assert part10.split(hub.doors.imaging.file(conflict.data)) == other
    answer = hub.web.get(
        "/studies/1.2.3/series/1.2.3.0/instances/1.2.3.1", headers={"Accept": "application/dicom; transfer-syntax=*"}
    )
    assert part10.split(answer.content) == first


def test_equal_patient_ids_of_two_hospitals_are_two_patients(hub: Hub) -> None:
    hub.store(image("1.1", study="1", series="1.0", PatientName="Zhang^San"), calling="AAAA_CT1")
    hub.store(image("2.1", study="2", series="2.0", PatientName="Li^Si"), calling="BBBB_CT1")
    studies = hub.until(lambda: found if len(found := hub.resources("ImagingStudy")) == 2 else None)
    assert len({study["subject"]["reference"] for study in studies}) == 2
    assert {patient["name"][0]["family"] for patient in hub.resources("Patient")} == {"Zhang", "Li"}


def test_one_study_uid_under_two_patients_is_a_finding_and_stays_two_studies(hub: Hub) -> None:
    hub.store(image("1.1"), image("1.2", PatientID="10002"))
    (finding,) = hub.doors.imaging.reports(imaging_rows.FINDINGS)
    assert finding.data["finding"] == "study-under-two-patients" and finding.data["study"] == "1.2.3"
    studies = hub.until(lambda: found if len(found := hub.resources("ImagingStudy")) == 2 else None)
    assert {study["numberOfInstances"] for study in studies} == {1}
    assert {answer["00100020"]["Value"][0] for answer in hub.web.get("/studies").json()} == {"10001", "10002"}


def test_an_instance_that_comes_late_opens_the_study_again(hub: Hub) -> None:
    hub.store(image("1.1", InstanceNumber=2))
    hub.until(lambda: hub.resources("ImagingStudy"))
    hub.store(image("1.2", InstanceNumber=1), image("1.3", series="1.2.3.9", Modality="SR"))
    study = hub.until(lambda: next((s for s in hub.resources("ImagingStudy") if s["numberOfInstances"] == 3), None))
    assert study["numberOfSeries"] == 2
    assert {modality["code"] for modality in study["modality"]} == {"CT", "SR"}
    first = next(series for series in study["series"] if series["uid"] == "1.2.3.0")
    assert [instance["uid"] for instance in first["instance"]] == ["1.2", "1.1"]


def test_a_study_of_a_patient_without_id_names_no_patient(hub: Hub) -> None:
    hub.store(image(PatientID=""))
    (study,) = hub.until(lambda: hub.resources("ImagingStudy"))
    assert study["subject"] == {"display": "Zhang San"}
    assert hub.resources("Patient") == []


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (replace(image(), sop_instance="../../etc/passwd"), 0xA900),
        (part10.File(CTImageStorage, "1.2.3.1", dataset.EXPLICIT, b"this is no data set at all"), 0xC000),
        (part10.File(CTImageStorage, "1.2.3.1", dataset.EXPLICIT, b"\0\0"), 0xC000),
    ],
    ids=["path in UID", "free text", "two bytes"],
)
def test_what_cannot_be_an_instance_is_refused(hub: Hub, broken: part10.File, status: int) -> None:
    assert hub.store(broken) == [status]
    assert hub.store(image()) == [0x0000]


# --- associations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("called", "reason"), [("OTHER", (1, 1, 7)), ("HUB", None)])
def test_only_the_hubs_own_title_is_answered(hub: Hub, called: str, reason: tuple[int, int, int] | None) -> None:
    ae = AE("ANY")
    ae.add_requested_context(Verification)
    association = ae.associate(*hub.address, ae_title=called)
    assert association.is_established is (reason is None)
    if reason:
        rejected = association.acceptor.primitive
        assert (rejected.result, rejected.result_source, rejected.diagnostic) == reason
    else:
        association.release()


def test_contexts_are_answered_one_by_one(hub: Hub) -> None:
    ae = AE("ANY")
    ae.requested_contexts = [
        build_context(CTImageStorage, ["1.2.3.4.5.6"]),
        build_context("1.2.840.10008.5.1.4.1.1.9999", [pydicom.uid.JPEGBaseline8Bit]),
        build_context("1.2.840.10008.3.1.2.3.1", [pydicom.uid.ImplicitVRLittleEndian]),
        build_context("1.3.12.2.1107.5.9.1", [pydicom.uid.ImplicitVRLittleEndian]),
    ]
    association = ae.associate(*hub.address, ae_title="HUB")
    answers = {
        context.abstract_syntax: context.result
        for context in [*association.accepted_contexts, *association.rejected_contexts]
    }
    association.release()
    assert answers == {
        CTImageStorage: 4,  # transfer syntax not known
        "1.2.840.10008.5.1.4.1.1.9999": 0,  # a storage class newer than our dictionary
        "1.2.840.10008.3.1.2.3.1": 3,  # detached patient management: no service of ours
        "1.3.12.2.1107.5.9.1": 0,  # a private storage class
    }


def raw(hub: Hub) -> socket.socket:
    return socket.create_connection(hub.address, timeout=10)


def request(*contexts: pdu.Context) -> bytes:
    asked = pdu.Associate("HUB", "ATTACKER", contexts, 16384, "1.2.3", "X")
    return pdu.encode_associate(pdu.ASSOCIATE_RQ, asked)


ECHO = pdu.Context(1, "1.2.840.10008.1.1", (dataset.IMPLICIT,))


def answer(connection: socket.socket) -> int:
    """Type of the next PDU; 0 when the peer closed."""
    head = connection.recv(6)
    if len(head) < 6:
        return 0
    left = int.from_bytes(head[2:], "big")
    while left:
        left -= len(connection.recv(left))
    return head[0]


@pytest.mark.parametrize("established", [False, True])
def test_a_pdu_of_4_gigabytes_costs_no_memory(hub: Hub, established: bool) -> None:
    connection = raw(hub)
    if established:
        connection.sendall(request(ECHO))
        assert answer(connection) == pdu.ASSOCIATE_AC
    before = psutil.Process().memory_info().rss
    connection.sendall(struct.pack(">BxL", pdu.P_DATA_TF if established else pdu.ASSOCIATE_RQ, 0xFFFFFFFF))
    assert answer(connection) == pdu.ABORT
    assert psutil.Process().memory_info().rss - before < 20_000_000
    connection.close()
    assert hub.store(image()) == [0x0000]


@pytest.mark.parametrize(
    "bytes_sent",
    [
        request(*(pdu.Context(n % 256, "1.2.3", ("1.2.840.10008.1.2",)) for n in range(6000))),
        request(*(pdu.Context(n % 256, "1.2.3", ("1.2.840.10008.1.2",)) for n in range(200))),
        b"\x09\0\0\0\0\4abcd",
        struct.pack(">BxL", pdu.P_DATA_TF, 4) + b"abcd",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        request(ECHO)[:100].replace(b"\0\0\0", b"\0\0\xff", 1) + bytes(400),
        struct.pack(">BxL", pdu.ASSOCIATE_RQ, 10) + bytes(10),
    ],
    ids=["10,000 contexts", "200 contexts", "unknown PDU", "data first", "HTTP", "broken items", "short request"],
)
def test_a_malformed_beginning_is_aborted(hub: Hub, bytes_sent: bytes) -> None:
    connection = raw(hub)
    connection.sendall(bytes_sent)
    assert answer(connection) in (pdu.ABORT, 0)
    connection.close()
    assert hub.store(image()) == [0x0000]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">LBB", 0xFFFFFFFF, 1, 3) + b"x" * 20,  # fragment longer than its PDU
        struct.pack(">LBB", 22, 77, 3) + b"x" * 20,  # a context that was not accepted
        struct.pack(">LBB", 22, 1, 3) + b"x" * 20,  # no command set
        struct.pack(">LBB", 22, 1, 2) + b"x" * 20,  # a data set without a command set
        struct.pack(">LBB", 1, 1, 3),
    ],
)
def test_malformed_fragments_are_aborted(hub: Hub, data: bytes) -> None:
    connection = raw(hub)
    connection.sendall(request(ECHO))
    assert answer(connection) == pdu.ASSOCIATE_AC
    connection.sendall(struct.pack(">BxL", pdu.P_DATA_TF, len(data)) + data)
    assert answer(connection) == pdu.ABORT
    connection.close()


def test_half_a_pdu_is_not_waited_for_longer_than_the_idle_time(hub: Hub) -> None:
    connection = raw(hub)
    connection.sendall(request(ECHO))
    assert answer(connection) == pdu.ASSOCIATE_AC
    begin = time.monotonic()
    connection.sendall(struct.pack(">BxL", pdu.P_DATA_TF, 100))
    for _ in range(40):  # a byte now and then does not keep it alive
        try:
            connection.sendall(b"\0")
        except OSError:
            break
        time.sleep(0.2)
        if _readable(connection):
            break
    assert answer(connection) in (pdu.ABORT, 0)
    assert time.monotonic() - begin < 6
    connection.close()


def _readable(connection: socket.socket) -> Any:
    return select.select([connection], [], [], 0)[0]


def test_a_connection_that_asks_for_nothing_is_closed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "ARTIM_SECONDS", 0.3)
    connection = raw(hub)
    begin = time.monotonic()
    assert answer(connection) in (pdu.ABORT, 0)
    assert time.monotonic() - begin < 2.5
    connection.close()


def test_a_fault_of_ours_is_an_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("fault")

    monkeypatch.setattr(hub.doors.imaging, "receive", fail)
    assert hub.store(image(), image("1.2.3.2")) == [0x0110, 0x0110]
    monkeypatch.undo()
    assert hub.store(image()) == [0x0000]


def test_more_associations_than_allowed_are_rejected_for_now(hub: Hub) -> None:
    idle = [raw(hub) for _ in range(8)]
    hub.until(lambda: _refused(hub))
    for connection in idle:
        connection.close()
    hub.until(lambda: hub.store(image()) == [0x0000] if not _refused(hub) else None)


def _refused(hub: Hub) -> bool:
    connection = raw(hub)
    connection.sendall(request(ECHO))
    try:
        kind = answer(connection)
    except OSError:
        kind = pdu.ASSOCIATE_RJ
    connection.close()
    return kind != pdu.ASSOCIATE_AC


def test_messages_split_at_every_byte_are_put_together(hub: Hub) -> None:
    file = image()
    association = hub.associate((file.sop_class, file.transfer_syntax))
    command: dimse.Command = {
        "CommandField": dimse.C_STORE,
        "MessageID": 7,
        "AffectedSOPClassUID": file.sop_class,
        "AffectedSOPInstanceUID": file.sop_instance,
        "Priority": 0,
    }
    parts = pdu.encode_data(1, True, dimse.encode(command, True), 7) + pdu.encode_data(1, False, file.data, 7)
    association._send(*parts)
    message = association.receive()
    assert message is not None and message.command["Status"] == 0
    assert message.command["MessageIDBeingRespondedTo"] == 7
    association.release()
    assert association.ending == "released"
