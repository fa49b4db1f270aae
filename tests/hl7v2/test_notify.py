"""ITI-10: the update notification, read by an outside parser against the structure it claims."""

from __future__ import annotations

from hl7apy.parser import parse_message

from adapters.hl7v2.notify import Envelope, update

ENVELOPE = Envelope(("HUB", "REGION"), ("HIS", "H&1"), "20261120083000+0800", "1")
PERSON = {
    "id": "p",
    "identifier": [
        {"system": "urn:oid:2.999.1", "value": "7|8"},
        {"system": "https://region-hub.example/fhir/healthcard", "value": "AB" * 32},
    ],
}


def test_it_has_the_structure_it_claims() -> None:
    sent = update(PERSON, ENVELOPE)
    message = parse_message(sent.decode(), find_groups=True)
    assert message.name == "ADT_A05"
    assert [child.name for child in message.children] == ["MSH", "EVN", "PID", "PV1"]
    assert message.pid.pid_3[0].to_er7() == r"7\F\8^^^&2.999.1&ISO"
    assert message.pid.pid_3[1].cx_4.to_er7() == "&https://region-hub.example/fhir/healthcard&URI"
    assert message.pid.pid_5[1].xpn_7.to_er7() == "S"


def test_nobody_is_told_of_a_person_without_a_number() -> None:
    assert update({"id": "p", "identifier": []}, ENVELOPE) == b""
