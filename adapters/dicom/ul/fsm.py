"""The state table of the DICOM Upper Layer as data (PS3.8 9.2, table 9-10).

A thread per association reads PDUs one after another, so that the states and events of waiting for one's own user
(Sta3, Sta9 to Sta12) fall together with the function call that serves it. What remains is here: for a state and a PDU
(or a timer, or the connection's end) the action of the standard and the next state.
"""

from __future__ import annotations

from typing import NamedTuple

from adapters.dicom.ul import pdu

IDLE, AWAIT_REQUEST, AWAIT_ACCEPT, ESTABLISHED, AWAIT_RELEASE, AWAIT_CLOSE = (
    "Sta1",
    "Sta2",
    "Sta5",
    "Sta6",
    "Sta7",
    "Sta13",
)

CLOSED, EXPIRED, INVALID = "Evt17", "Evt18", "Evt19"

EVENT = {
    pdu.ASSOCIATE_AC: "Evt3",
    pdu.ASSOCIATE_RJ: "Evt4",
    pdu.ASSOCIATE_RQ: "Evt6",
    pdu.P_DATA_TF: "Evt10",
    pdu.RELEASE_RQ: "Evt12",
    pdu.RELEASE_RP: "Evt13",
    pdu.ABORT: "Evt16",
}


class Step(NamedTuple):
    """One cell of table 9-10."""

    action: str
    state: str


_ABORTED = Step("AA-3", IDLE)
_LOST = Step("AA-4", IDLE)
_UNEXPECTED = Step("AA-8", AWAIT_CLOSE)

TABLE: dict[str, dict[str, Step]] = {
    AWAIT_REQUEST: {
        "Evt3": Step("AA-1", AWAIT_CLOSE),
        "Evt4": Step("AA-1", AWAIT_CLOSE),
        "Evt6": Step("AE-6", ESTABLISHED),
        "Evt10": Step("AA-1", AWAIT_CLOSE),
        "Evt12": Step("AA-1", AWAIT_CLOSE),
        "Evt13": Step("AA-1", AWAIT_CLOSE),
        "Evt16": Step("AA-2", IDLE),
        CLOSED: Step("AA-5", IDLE),
        EXPIRED: Step("AA-2", IDLE),
        INVALID: Step("AA-1", AWAIT_CLOSE),
    },
    AWAIT_ACCEPT: {
        "Evt3": Step("AE-3", ESTABLISHED),
        "Evt4": Step("AE-4", IDLE),
        "Evt6": _UNEXPECTED,
        "Evt10": _UNEXPECTED,
        "Evt12": _UNEXPECTED,
        "Evt13": _UNEXPECTED,
        "Evt16": _ABORTED,
        CLOSED: _LOST,
        EXPIRED: Step("AA-1", AWAIT_CLOSE),
        INVALID: _UNEXPECTED,
    },
    ESTABLISHED: {
        "Evt3": _UNEXPECTED,
        "Evt4": _UNEXPECTED,
        "Evt6": _UNEXPECTED,
        "Evt10": Step("DT-2", ESTABLISHED),
        "Evt12": Step("AR-2", AWAIT_CLOSE),
        "Evt13": _UNEXPECTED,
        "Evt16": _ABORTED,
        CLOSED: _LOST,
        EXPIRED: Step("AA-1", AWAIT_CLOSE),
        INVALID: _UNEXPECTED,
    },
    AWAIT_RELEASE: {
        "Evt3": _UNEXPECTED,
        "Evt4": _UNEXPECTED,
        "Evt6": _UNEXPECTED,
        "Evt10": Step("AR-6", AWAIT_RELEASE),
        "Evt12": Step("AR-8", AWAIT_RELEASE),
        "Evt13": Step("AR-3", IDLE),
        "Evt16": _ABORTED,
        CLOSED: _LOST,
        EXPIRED: Step("AA-1", AWAIT_CLOSE),
        INVALID: _UNEXPECTED,
    },
    AWAIT_CLOSE: {
        "Evt3": Step("AA-6", AWAIT_CLOSE),
        "Evt4": Step("AA-6", AWAIT_CLOSE),
        "Evt6": Step("AA-7", AWAIT_CLOSE),
        "Evt10": Step("AA-6", AWAIT_CLOSE),
        "Evt12": Step("AA-6", AWAIT_CLOSE),
        "Evt13": Step("AA-6", AWAIT_CLOSE),
        "Evt16": Step("AA-2", IDLE),
        CLOSED: Step("AR-5", IDLE),
        EXPIRED: Step("AA-2", IDLE),
        INVALID: Step("AA-7", AWAIT_CLOSE),
    },
}
