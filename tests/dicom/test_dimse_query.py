"""C-FIND, C-MOVE and C-GET against pynetdicom and dcmtk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from adapters.dicom import encode, part10
from adapters.dicom.ul import dimse

from .conftest import FILES, Hub, image, running

MR = FILES / "test_files" / "MR_small_RLE.dcm"


@pytest.fixture(scope="module")
def receiver() -> Iterator[tuple[int, list[tuple[str, str, bytes]]]]:
    """A storage SCP by pynetdicom: port, and transfer syntax, instance and bytes of what came."""
    received: list[tuple[str, str, bytes]] = []

    def store(event: Any) -> int:
        syntax = str(event.context.transfer_syntax)
        received.append((syntax, str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue()))
        return 0x0000

    ae = AE("DEST")
    for kind in (CTImageStorage, MRImageStorage):
        ae.add_supported_context(kind, [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.RLELossless])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    yield server.socket.getsockname()[1], received
    server.shutdown()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, receiver: tuple[int, Any]) -> Iterator[Hub]:
    """Three patients in four studies, two of them with the Patient ID 10001 of different hospitals."""
    destinations = {"DEST": f"127.0.0.1:{receiver[0]}", "GONE": "127.0.0.1:1"}
    with running(tmp_path_factory.mktemp("hub"), destinations=destinations) as hub:
        hub.store(
            image("1.1.1", study="1", series="1.1", StudyDate="20260101", AccessionNumber="A1"),
            image("1.1.2", study="1", series="1.1", StudyDate="20260101", AccessionNumber="A1"),
            image("2.1.1", study="2", series="2.1", StudyDate="20260215", PatientName="Muller^Hans"),
            calling="AAAA_CT1",
        )
        hub.store(
            image(
                "3.1.1", study="3", series="3.1", StudyDate="20261120",
                SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东",
            ),
            calling="BBBB_CT1",
        )  # fmt: skip
        hub.store(part10.split(MR.read_bytes()), calling="AAAA_MR1")
        yield hub


def find(hub: Hub, model: str, **keys: Any) -> tuple[list[Dataset], list[int]]:
    """Identifiers and statuses of a C-FIND by pynetdicom."""
    ae = AE("FINDER")
    ae.add_requested_context(model)
    association = ae.associate(*hub.address, ae_title="HUB")
    asked = Dataset()
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    answers = list(association.send_c_find(asked, model))
    association.release()
    return [identifier for _, identifier in answers if identifier is not None], [status.Status for status, _ in answers]


STUDY = StudyRootQueryRetrieveInformationModelFind
PATIENT = PatientRootQueryRetrieveInformationModelFind


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "10001"}, {"1", "2", "3"}),
        ({"PatientID": "10001", "IssuerOfPatientID": "BBBB"}, {"3"}),
        ({"PatientName": "wang*"}, {"3"}),
        ({"PatientName": "*", "StudyDate": "20260101-20260301"}, {"1", "2"}),
        ({"StudyInstanceUID": ["1", "3"]}, {"1", "3"}),
        ({"AccessionNumber": "A1"}, {"1"}),
        ({"ModalitiesInStudy": "MR"}, {"1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"}),
        ({"PatientName": "nobody"}, set()),
    ],
)
def test_studies_are_found(hub: Hub, keys: dict[str, Any], expected: set[str]) -> None:
    answers, statuses = find(hub, STUDY, QueryRetrieveLevel="STUDY", **({"StudyInstanceUID": ""} | keys))
    assert {answer.StudyInstanceUID for answer in answers} == expected
    assert statuses == [0xFF00] * len(expected) + [0x0000]


def test_equal_patient_ids_are_two_patients_with_their_issuers(hub: Hub) -> None:
    keys = {"PatientID": "10001", "IssuerOfPatientID": "", "PatientName": ""}
    answers, _ = find(hub, PATIENT, QueryRetrieveLevel="PATIENT", **keys)
    assert {answer.IssuerOfPatientID for answer in answers} == {"AAAA", "BBBB"}


def test_series_and_images_are_found(hub: Hub) -> None:
    series, _ = find(hub, STUDY, QueryRetrieveLevel="SERIES", StudyInstanceUID="1", SeriesInstanceUID="", Modality="")
    assert [(answer.SeriesInstanceUID, answer.Modality) for answer in series] == [("1.1", "CT")]
    images, _ = find(
        hub,
        STUDY,
        QueryRetrieveLevel="IMAGE",
        StudyInstanceUID="1",
        SeriesInstanceUID="1.1",
        SOPInstanceUID="",
        Rows=None,
    )
    assert {answer.SOPInstanceUID for answer in images} == {"1.1.1", "1.1.2"}


def test_counts_and_where_to_retrieve_are_answered(hub: Hub) -> None:
    (answer,), _ = find(
        hub,
        STUDY,
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID="1",
        NumberOfStudyRelatedInstances=None,
        StudyComments="",
    )
    assert answer.NumberOfStudyRelatedInstances == 2 and answer.RetrieveAETitle == "HUB"
    assert answer.StudyComments == ""


def test_a_key_that_is_not_matched_is_told(hub: Hub) -> None:
    answers, statuses = find(hub, STUDY, QueryRetrieveLevel="STUDY", StudyInstanceUID="1", StudyComments="x")
    assert len(answers) == 1 and statuses == [0xFF01, 0x0000]


@pytest.mark.parametrize(
    ("model", "keys", "status"),
    [
        (STUDY, {"QueryRetrieveLevel": "PATIENT", "PatientID": "1"}, 0xA900),
        (STUDY, {"StudyInstanceUID": "1"}, 0xA900),
        (STUDY, {"QueryRetrieveLevel": "STUDY", "StudyDate": "2026X"}, 0xA900),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
def test_a_wrong_identifier_is_refused(hub: Hub, model: str, keys: dict[str, str], status: int) -> None:
    assert find(hub, model, **keys) == ([], [status])


@pytest.mark.parametrize("charset", ["GB18030", "ISO_IR 192", "ISO 2022 GBK", "\\ISO 2022 IR 58", ""])
def test_chinese_is_found_and_answered_in_the_callers_character_set(hub: Hub, charset: str) -> None:
    name = "王*" if charset else "Wang*"
    answers, _ = find(
        hub, STUDY, SpecificCharacterSet=charset.split("\\"), QueryRetrieveLevel="STUDY", PatientName=name
    )
    (answer,) = answers
    expected = charset or "GB18030"  # who names no set gets the one the data came in
    assert answer.get("SpecificCharacterSet") == (expected.split("\\") if "\\" in expected else expected)
    assert "小东".encode(answer.PatientName.encodings[-1] if charset != "\\ISO 2022 IR 58" else "gb2312") in bytes(
        answer.PatientName.original_string
    )


def test_a_set_that_cannot_say_it_is_answered_in_utf_8(hub: Hub) -> None:
    answers, _ = find(hub, STUDY, SpecificCharacterSet="ISO_IR 100", QueryRetrieveLevel="STUDY", PatientName="Wang*")
    assert str(answers[0].PatientName) == "Wang^XiaoDong=王^小东"


# --- C-MOVE, C-GET ----------------------------------------------------------------------------------------------------


def move(hub: Hub, model: str, destination: str, **keys: Any) -> Any:
    ae = AE("MOVER")
    ae.add_requested_context(model)
    association = ae.associate(*hub.address, ae_title="HUB")
    asked = Dataset()
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    statuses = [status for status, _ in association.send_c_move(asked, destination, model)]
    association.release()
    return statuses[-1]


def test_a_study_is_moved_byte_for_byte(hub: Hub, receiver: tuple[int, list[tuple[str, str, bytes]]]) -> None:
    received = receiver[1]
    received.clear()
    status = move(
        hub, StudyRootQueryRetrieveInformationModelMove, "DEST", QueryRetrieveLevel="STUDY", StudyInstanceUID="1"
    )
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0, 2, 0)
    assert {uid for _, uid, _ in received} == {"1.1.1", "1.1.2"}
    received.clear()
    source = part10.split(MR.read_bytes())
    move(
        hub,
        StudyRootQueryRetrieveInformationModelMove,
        "DEST",
        QueryRetrieveLevel="STUDY",
        StudyInstanceUID="1.3.6.1.4.1.5962.1.2.4.20040826185059.5457",
    )
    assert received == [(source.transfer_syntax, source.sop_instance, source.data)]


@pytest.mark.parametrize(
    ("destination", "keys", "status"),
    [
        ("NOBODY", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1"}, 0xA801),
        ("GONE", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1"}, 0xA702),
        ("DEST", {"QueryRetrieveLevel": "STUDY"}, 0xA900),
        ("DEST", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "9"}, 0x0000),
    ],
)
def test_a_move_that_cannot_be_is_refused(hub: Hub, destination: str, keys: dict[str, str], status: int) -> None:
    assert move(hub, StudyRootQueryRetrieveInformationModelMove, destination, **keys).Status == status


def test_a_patient_id_of_two_issuers_moves_nobody(hub: Hub, receiver: tuple[int, list[Any]]) -> None:
    model, received = PatientRootQueryRetrieveInformationModelMove, receiver[1]
    received.clear()
    assert move(hub, model, "DEST", QueryRetrieveLevel="PATIENT", PatientID="10001").Status == 0xC000
    assert received == []
    move(hub, model, "DEST", QueryRetrieveLevel="PATIENT", PatientID="10001", IssuerOfPatientID="BBBB")
    assert [uid for _, uid, _ in received] == ["3.1.1"]


def test_a_study_is_got_over_the_same_association(hub: Hub) -> None:
    model = StudyRootQueryRetrieveInformationModelGet
    received: list[str] = []

    def store(event: Any) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    ae = AE("GETTER")
    ae.add_requested_context(model)
    ae.add_requested_context(CTImageStorage, pydicom.uid.ImplicitVRLittleEndian)
    role = build_role(CTImageStorage, scp_role=True)
    association = ae.associate(*hub.address, ae_title="HUB", ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, store)])
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", "1"
    statuses = [status.Status for status, _ in association.send_c_get(asked, model)]
    association.release()
    assert statuses[-1] == 0x0000 and sorted(received) == ["1.1.1", "1.1.2"]


@pytest.mark.dcmtk
@pytest.mark.skipif(not Path("/usr/bin/getscu").exists(), reason="Debian's dcmtk is not installed")
@pytest.mark.parametrize("program", ["findscu", "movescu", "getscu"])
def test_dcmtk_queries_and_retrieves(hub: Hub, receiver: tuple[int, list[Any]], tmp_path: Path, program: str) -> None:
    received = receiver[1]
    received.clear()
    arguments = {
        "findscu": ["-S", "-X", "-od", str(tmp_path)],
        "movescu": ["-S", "-aem", "DEST"],
        "getscu": ["-S", "-od", str(tmp_path)],
    }[program]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1"]
    command = [f"/usr/bin/{program}", *arguments, "-aec", "HUB", *keys, "127.0.0.1", hub.port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    files = list(tmp_path.iterdir())
    assert {"findscu": len(files), "movescu": len(received) - 1, "getscu": len(files) - 1}[program] == 1


def test_a_cancel_ends_a_find(hub: Hub) -> None:
    association = hub.associate((STUDY, "1.2.840.10008.1.2"))
    asked = encode.encode({"00080052": {"vr": "CS", "Value": ["STUDY"]}}, implicit=True)
    command: dimse.Command = {"CommandField": dimse.C_FIND, "MessageID": 5, "AffectedSOPClassUID": STUDY, "Priority": 0}
    association.send(association.contexts[1], command, asked)
    association.send(association.contexts[1], {"CommandField": dimse.C_CANCEL, "MessageIDBeingRespondedTo": 5})
    statuses = []
    while not statuses or statuses[-1] in (0xFF00, 0xFF01):
        answer = association.receive()
        assert answer is not None
        statuses.append(answer.command["Status"])
    association.release()
    assert statuses[-1] in (0x0000, 0xFE00)
