"""Cloud film (云胶片): an imaging study shared by a link that expires, with a passcode, and every opening audited.

A share is a row of the queue ``films``. Its link carries a token of 256 random bits and a signature; only hashes of
token and passcode are stored. Wrong passcodes are counted over the whole life of a share, in one unit with the answer,
so that guessing in parallel gains nothing. A session of an opened share is a signed cookie, and every request looks
the share up again: what is revoked is closed at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir.ids import resource_id
from hub.search.expression import Equals, Match, Query
from hub.services.context import Context
from hub.services.imaging import Imaging
from hub.services.imaging_index import PATIENT_ID, Row, text
from hub.store.protocol import Item, Store, Transaction

Resource = dict[str, Any]
QUEUE = "films"
OPEN, REVOKED = "open", "revoked"
HOUR = 3_600_000_000
DEFAULT_HOURS, MAX_HOURS = 72, 24 * 30
SESSION = 12 * HOUR
MAX_ATTEMPTS = 5
"""Wrong passcodes in the life of a share."""
MIN_PASSCODE, MAX_PASSCODE = 6, 32
_TOKEN, _SIGNATURE = 32, 16


@dataclass(frozen=True, slots=True)
class Share:
    """A share as stored. ``study`` is the id of the study row, ``imaging_study`` and ``patient`` are references."""

    id: str
    state: str
    study: str
    imaging_study: str
    patient: str
    by: str
    purpose: str
    created: int
    expires: int
    attempts: int
    opened: int


@dataclass(frozen=True, slots=True)
class NewShare:
    """What only the one who shares gets to see: the token of the link and the passcode."""

    share: Share
    token: str
    passcode: str


class Films:
    """The door for shared studies. ``secret`` signs tokens and sessions."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        imaging: Imaging,
        audit: Audit,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        *,
        secret: bytes,
    ) -> None:
        self._store = store
        self._databases = databases
        self._imaging = imaging
        self._audit = audit
        self._clock = clock
        self._new_id = new_id
        self._secret = secret

    # --- share --------------------------------------------------------------------------------------------------------

    def share(
        self, imaging_study: str, context: Context, *, hours: int = DEFAULT_HOURS, passcode: str = "", purpose: str = ""
    ) -> NewShare:
        """Share the study of an ImagingStudy (its id); a passcode of six digits is made when none is given.

        HubError("not-found") for no such study, HubError("parameter-value") for hours or a passcode out of bounds.
        """
        if not 1 <= hours <= MAX_HOURS:
            raise HubError("parameter-value", f"a share lasts 1 to {MAX_HOURS} hours", "hours")
        if passcode and not MIN_PASSCODE <= len(passcode) <= MAX_PASSCODE:
            raise HubError("parameter-value", f"a passcode has {MIN_PASSCODE} to {MAX_PASSCODE} characters", "passcode")
        resource = self._read("ImagingStudy", imaging_study)
        row = self._row(resource)
        passcode = passcode or f"{secrets.randbelow(10**6):06d}"
        raw = secrets.token_bytes(_TOKEN)
        token = urlsafe_b64encode(raw + self._sign(b"link", raw)).decode("ascii")
        id, now = self._new_id(), self._clock()
        data = {
            "study": row["id"], "imaging_study": f"ImagingStudy/{imaging_study}",
            "patient": resource.get("subject", {}).get("reference", ""), "by": context.actor, "purpose": purpose,
            "expires": now + hours * HOUR, "passcode": self._hash(id, passcode), "attempts": 0, "opened": 0,
        }  # fmt: skip
        item = Item(QUEUE, id, hashlib.sha256(raw).hexdigest(), "", OPEN, data, b"", now)

        def work(tx: Transaction) -> None:
            tx.enqueue(item)
            self._audit.write(tx, context, "film-share", _references(_share(item)), now)

        self._store.write(work)
        return NewShare(_share(item), token, passcode)

    def revoke(self, id: str, context: Context) -> Share:
        """Close a share for good. HubError("not-found")."""

        def work(tx: Transaction) -> Share:
            tx.guard(id)
            item = tx.item(QUEUE, id)
            if item is None:
                raise HubError("not-found", f"there is no share {id}", "id")
            tx.settle(QUEUE, id, REVOKED, {})
            self._audit.write(tx, context, "film-revoke", _references(_share(item)), self._clock())
            return _share(item, REVOKED)

        return self._store.write(work)

    def shares(self, imaging_study: str = "", limit: int = 200) -> list[Share]:
        """Shares, newest first; of one ImagingStudy (its id) when it is given."""
        found = (_share(item) for item in self._store.items(QUEUE, limit=limit))
        return [share for share in found if imaging_study in ("", share.imaging_study.removeprefix("ImagingStudy/"))]

    # --- open ---------------------------------------------------------------------------------------------------------

    def find(self, token: str) -> Share:
        """The share of a link. HubError: "not-found" for a forged token, "expired", "forbidden" when it is revoked,
        "throttled" when too many wrong passcodes were entered."""
        try:
            whole = urlsafe_b64decode(token.encode("ascii", "replace"))
        except (NotBase64, ValueError):
            whole = b""
        raw, signature = whole[:_TOKEN], whole[_TOKEN:]
        item = None
        if hmac.compare_digest(signature, self._sign(b"link", raw)):
            item = self._store.item_by_key(QUEUE, hashlib.sha256(raw).hexdigest())
        if item is None:
            raise HubError("not-found", "this link is not valid")
        return self._usable(_share(item))

    def _usable(self, share: Share) -> Share:
        if share.state == REVOKED:
            raise HubError("forbidden", "this share was revoked")
        if share.expires <= self._clock():
            raise HubError("expired", "this share has expired")
        if share.attempts >= MAX_ATTEMPTS:
            raise HubError("throttled", "too many wrong passcodes: this share is locked")
        return share

    def enter(self, token: str, passcode: str, context: Context) -> tuple[str, int]:
        """A session of the share and its end, for the right passcode. HubError as ``find``, "login" for a wrong one."""
        id = self.find(token).id
        offered = self._hash(id, passcode[:MAX_PASSCODE])

        def work(tx: Transaction) -> Share | HubError:
            tx.guard(id)
            item = tx.item(QUEUE, id)
            assert item is not None
            share = self._usable(_share(item))
            right = hmac.compare_digest(offered, str(item.data["passcode"]))
            counted = {"opened": share.opened + 1} if right else {"attempts": share.attempts + 1}
            tx.settle(QUEUE, id, item.state, counted)
            self._audit.write(tx, context, "film-open" if right else "film-refused", _references(share), self._clock())
            left = MAX_ATTEMPTS - share.attempts - 1
            return share if right else HubError("login", f"wrong passcode; {left} more tries", "passcode")

        outcome = self._store.write(work)
        if isinstance(outcome, HubError):
            raise outcome
        end = min(outcome.expires, self._clock() + SESSION)
        return f"{end}.{self._sign(b'session', f'{id}|{end}'.encode()).hex()}", end

    def session(self, token: str, session: str) -> Share:
        """The share that a session has opened. HubError as ``find``, "login" when the session is not of this share."""
        share = self.find(token)
        end, _, signature = session.partition(".")
        expected = self._sign(b"session", f"{share.id}|{end}".encode()).hex()
        if not hmac.compare_digest(signature.encode(), expected.encode()) or int(end) <= self._clock():
            raise HubError("login", "enter the passcode", "passcode")
        return share

    # --- what a share shows -------------------------------------------------------------------------------------------

    def study(self, share: Share) -> tuple[Row, list[Row], list[Row]]:
        """The rows of the shared study, of its series and of its instances. HubError("not-found")."""
        rows = self._imaging.rows("study", [share.study])
        if share.study not in rows:
            raise HubError("not-found", "the study is not in the archive any more")
        below = self._imaging.below
        return rows[share.study], below("series", share.study), below("instance", share.study)

    def reports(self, share: Share) -> list[Resource]:
        """The DiagnosticReports that name the study or its order; their results stand in ``contained``."""
        resource = self._read("ImagingStudy", share.imaging_study.removeprefix("ImagingStudy/"))
        orders = {order.get("reference") for order in resource.get("basedOn", ())}
        patient = resource.get("subject", {}).get("reference", "")
        found = []
        for row in self._store.find(Query(("DiagnosticReport",), Match("patient", Equals(patient)), limit=500)):
            report = self._databases.decode(row.version)
            named = {one.get("reference") for one in report.get("imagingStudy", ())}
            based = {one.get("reference") for one in report.get("basedOn", ())}
            if share.imaging_study in named or orders & based:
                found.append(report | {"contained": self._results(report)})
        return found

    def _results(self, report: Resource) -> list[Resource]:
        results = []
        for reference in report.get("result", ()):
            type, _, id = reference.get("reference", "").partition("/")
            version = self._store.read(type, id) if type == "Observation" and id else None
            if version is not None and not version.deleted:
                results.append(self._databases.decode(version))
        return results

    def _read(self, type: str, id: str) -> Resource:
        version = self._store.read(type, id)
        if version is None or version.deleted:
            raise HubError("not-found", f"there is no {type}/{id}", "study")
        return self._databases.decode(version)

    def _row(self, resource: Resource) -> Row:
        """The study row that an ImagingStudy describes: by Study Instance UID and patient."""
        uids = [one["value"].removeprefix("urn:oid:") for one in resource.get("identifier", ()) if "value" in one]
        subject = resource.get("subject", {}).get("reference", "")
        for uid in uids:
            rows = self._imaging.find(Context(door="web", actor="film"), "study", [("StudyInstanceUID", uid)])
            for row in rows:
                patient = resource_id("Patient", row["issuer"], text(row["attributes"], PATIENT_ID).strip())
                if len(rows) == 1 or subject == f"Patient/{patient}":
                    return row
        raise HubError("not-found", "the images of this study are not in the archive", "study")

    def _sign(self, what: bytes, message: bytes) -> bytes:
        return hmac.digest(self._secret, what + b"|" + message, "sha256")[:_SIGNATURE]

    def _hash(self, id: str, passcode: str) -> str:
        """Of a passcode: slow, and of no use without the hub's secret."""
        salt = self._secret + id.encode()
        return hashlib.scrypt(passcode.encode("utf-8", "replace"), salt=salt, n=2**12, r=8, p=1).hex()


def _share(item: Item, state: str = "") -> Share:
    data = item.data
    return Share(
        item.id, state or item.state, data["study"], data["imaging_study"], data["patient"], data["by"],
        data["purpose"], item.created, data["expires"], data["attempts"], data["opened"],
    )  # fmt: skip


def _references(share: Share) -> tuple[str, ...]:
    return tuple(one for one in (share.imaging_study, share.patient) if one)
