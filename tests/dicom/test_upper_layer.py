"""The upper layer against the standard's tables and pynetdicom's independent encoding of them."""

from __future__ import annotations

import io

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom import pdu as reference
from pynetdicom.fsm import TRANSITION_TABLE

from adapters.dicom.ul import dimse, fsm, pdu
from hub.errors import HubError

RQ = pdu.Associate(
    "HUB",
    "CT_1",
    (
        pdu.Context(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),
        pdu.Context(3, "1.2.840.10008.5.1.4.1.1.2", ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70")),
    ),
    131072,
    "1.2.3.4",
    "VERSION",
    {"1.2.840.10008.5.1.4.1.1.2": (0, 1)},
)


def test_every_action_is_that_of_table_9_10() -> None:
    for state, row in fsm.TABLE.items():
        for event, step in row.items():
            expected = TRANSITION_TABLE.get((event, state))
            if expected is None:  # the ARTIM timer does not run in this state of the standard; ours is the idle time
                assert event == fsm.EXPIRED and step.action == "AA-1"
            else:
                assert step.action == expected, (state, event)


def test_every_state_knows_what_to_do_with_every_event() -> None:
    events = {*fsm.EVENT.values(), fsm.CLOSED, fsm.EXPIRED, fsm.INVALID}
    for state, row in fsm.TABLE.items():
        assert set(row) == events, state
        assert {step.state for step in row.values()} <= {*fsm.TABLE, fsm.IDLE}


def test_pynetdicom_reads_our_association_request() -> None:
    decoded = reference.A_ASSOCIATE_RQ()
    decoded.decode(pdu.encode_associate(pdu.ASSOCIATE_RQ, RQ))
    assert (decoded.called_ae_title.strip(), decoded.calling_ae_title.strip()) == ("HUB", "CT_1")
    contexts = [(item.context_id, item.abstract_syntax, item.transfer_syntax) for item in decoded.presentation_context]
    assert contexts == [(context.id, context.abstract, list(context.transfer)) for context in RQ.contexts]
    user = decoded.user_information
    assert user.maximum_length == 131072
    assert user.implementation_class_uid == "1.2.3.4"
    (role,) = user.role_selection.values()
    assert (role.scu_role, role.scp_role) == (False, True)


def test_our_own_reading_gives_the_same_back() -> None:
    whole = pdu.encode_associate(pdu.ASSOCIATE_RQ, RQ)
    assert pdu.decode_associate(memoryview(whole)[6:]) == RQ


def test_pynetdicom_reads_our_answer_rejection_and_abort() -> None:
    accepted = pdu.Associate(
        "HUB", "CT_1", (pdu.Context(1, "", ("1.2.840.10008.1.2",), 0), pdu.Context(3, "", ("1.2",), 4))
    )
    decoded = reference.A_ASSOCIATE_AC()
    decoded.decode(pdu.encode_associate(pdu.ASSOCIATE_AC, accepted))
    assert [(item.context_id, item.result) for item in decoded.presentation_context] == [(1, 0), (3, 4)]
    rejected = reference.A_ASSOCIATE_RJ()
    rejected.decode(pdu.encode_reject(1, 1, 7))
    assert (rejected.result, rejected.source, rejected.reason_diagnostic) == (1, 1, 7)
    aborted = reference.A_ABORT_RQ()
    aborted.decode(pdu.encode_abort(2, 6))
    assert (aborted.source, aborted.reason_diagnostic) == (2, 6)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_association_request_breaks_the_reader(noise: bytes, place: int) -> None:
    whole = bytearray(pdu.encode_associate(pdu.ASSOCIATE_RQ, RQ)[6:])
    whole[place : place + len(noise)] = noise
    try:
        found = pdu.decode_associate(memoryview(bytes(whole)))
    except HubError as error:
        assert error.name == "structure"
    else:
        assert isinstance(found, pdu.Associate)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=3000), st.integers(7, 600))
def test_fragments_put_together_are_the_content(content: bytes, limit: int) -> None:
    whole = b"".join(pdu.encode_data(5, False, content, limit))
    at, fragments, last = 0, b"", 0
    while at < len(whole):
        kind, length = pdu.HEADER.unpack_from(whole, at)
        assert kind == pdu.P_DATA_TF and length <= limit
        for context, control, fragment in pdu.pdvs(memoryview(whole)[at + 6 : at + 6 + length]):
            assert context == 5 and not control & 1
            fragments += fragment
            last = control & 2
        at += 6 + length
    assert fragments == content and last


def test_a_command_set_is_an_implicit_little_endian_data_set() -> None:
    command: dimse.Command = {
        "CommandField": dimse.C_STORE,
        "MessageID": 7,
        "AffectedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "AffectedSOPInstanceUID": "1.2.3",
        "Priority": 0,
    }
    raw = dimse.encode(command, data_set=True)
    decoded = read_dataset(io.BytesIO(raw), True, True)
    assert decoded[0x00000000].value == len(raw) - 12
    assert decoded[0x00000002].value == "1.2.840.10008.5.1.4.1.1.2" and decoded[0x00000800].value != dimse.NO_DATA_SET
    assert dimse.decode(raw) == command | {"CommandDataSetType": 1}


def test_every_command_element_is_that_of_the_dictionary() -> None:
    for element, (keyword, vr) in dimse.ELEMENTS.items():
        assert (pydicom.datadict.keyword_for_tag(element), pydicom.datadict.dictionary_VR(element)) == (keyword, vr)


@pytest.mark.parametrize(
    "raw", [b"\0", b"\0\0\0\1\2\0\0\0", b"\0\0\0\1\xff\xff\xff\xff\1\0", b"\1\0\0\1\2\0\0\0\1\0", b""]
)
def test_a_malformed_command_set_is_refused(raw: bytes) -> None:
    with pytest.raises(HubError):
        dimse.decode(raw)
