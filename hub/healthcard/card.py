"""The e-health card (居民电子健康卡) by itself: index, states, codes, refusals. Pure; the service keeps it.

The index of a card is HEX(SM3(region salt | document type | document number)); a card that replaces another has
HEX(SM3(region salt | replaces | index)). The static code is ``<index>:1``; the dynamic one
``<index>:0:<expiry>:<nonce>:<institution>:<signature>`` is signed (``hub.healthcard.signature``), valid 60 seconds, and
for one institution only when it names one. This layout is ours: the national scheme is not public.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from cryptography.hazmat.primitives import hashes

from hub.errors import HubError
from hub.healthcard.signature import Signer

SYSTEM = "https://region-hub.example/fhir/healthcard"
REASONS = "https://region-hub.example/fhir/CodeSystem/healthcard-refusal"
RESIDENT_ID = "01"
"""Document type of the resident ID card (CV02.01.101)."""
DYNAMIC_SECONDS = 60
MAX_CODE = 256
ACTIVE, LOST, REPLACED, CANCELLED = "active", "lost", "replaced", "cancelled"
FINAL = frozenset({REPLACED, CANCELLED})
_STATIC = re.compile(r"([0-9A-Fa-f]{64}):1")
_DYNAMIC = re.compile(r"(([0-9A-F]{64}):0:([0-9]{1,12}):[0-9a-f]{12}:([0-9A-Za-z.-]{0,32})):([0-9A-Za-z_-]{86})")
_INSTITUTION = re.compile(r"[0-9A-Za-z.-]{0,32}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of ``refusals.csv``."""

    reason: str
    error: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Document:
    """One row of ``documents.csv``."""

    code: str
    zh: str
    en: str
    type: str
    system: str
    form: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a code says: the card's index; of a dynamic one the time it ends (seconds since 1970 UTC) and the
    institution it is for ("" any)."""

    index: str
    expiry: int = 0
    institution: str = ""

    @property
    def dynamic(self) -> bool:
        return self.expiry > 0


def _rows(name: str) -> list[dict[str, str]]:
    text = files("hub.healthcard").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def refusals() -> dict[str, Refusal]:
    """Reason -> its row."""
    return {row["reason"]: Refusal(**row) for row in _rows("refusals.csv")}


@cache
def documents() -> dict[str, Document]:
    """Document type -> its row."""
    return {row["code"]: Document(**row) for row in _rows("documents.csv")}


@cache
def relationships() -> dict[str, bool]:
    """Relationship code -> whether it can make a guardian."""
    return {row["code"]: row["guardian"] == "yes" for row in _rows("relationships.csv")}


@cache
def transitions() -> dict[tuple[str, str], str]:
    """(state, action) -> the state after it."""
    return {(row["state"], row["action"]): row["after"] for row in _rows("states.csv")}


def refusal(reason: str, at: str = "code") -> HubError:
    """The error of a reason; a program finds the reason in ``issue[1].details.coding``."""
    row = refusals()[reason]
    coding = {"system": REASONS, "code": reason, "display": row.zh}
    details = {"coding": [coding], "text": row.zh}
    issue: dict[str, object] = {"severity": "error", "code": "business-rule", "details": details}
    return HubError(row.error, row.en, at, (issue,))


def reason_of(error: HubError) -> str:
    """The reason of a refusal; the error's name for one of another kind."""
    for issue in error.issues:
        details = issue.get("details")
        for coding in details.get("coding", ()) if isinstance(details, dict) else ():
            if coding.get("system") == REASONS:
                return str(coding["code"])
    return error.name


def following(state: str, action: str) -> str:
    """The state after an action. HubError("business-rule") when the state does not allow it."""
    after = transitions().get((state, action))
    if after is None:
        raise HubError("business-rule", f"a card that is {state} cannot do {action[:40]!r}", "action")
    return after


def sm3(*parts: bytes) -> bytes:
    """SM3 (GB/T 32905) of the parts joined."""
    digest = hashes.Hash(hashes.SM3())
    for part in parts:
        digest.update(part)
    return digest.finalize()


class Codes:
    """Indexes and codes of one region; ``salt`` is its secret, times are seconds since 1970 UTC."""

    def __init__(self, salt: bytes, signer: Signer) -> None:
        self._salt = salt
        self._signer = signer

    def index(self, type: str, number: str) -> str:
        """The index of the first card of a document."""
        return sm3(self._salt, b"|", type.encode(), b"|", number.encode()).hex().upper()

    def replacement(self, index: str) -> str:
        """The index of the card that replaces one."""
        return sm3(self._salt, b"|replaces|", index.encode()).hex().upper()

    def dynamic(self, index: str, now: int, nonce: str, institution: str = "") -> str:
        """A code for 60 seconds; ``nonce`` is 12 hexadecimal digits that make it another one than the last."""
        if not _INSTITUTION.fullmatch(institution):
            raise HubError("value", "an institution's code has up to 32 letters, digits, - and .", "institution")
        body = f"{index}:0:{now + DYNAMIC_SECONDS}:{nonce}:{institution}"
        return f"{body}:{self._signer.sign(body.encode())}"

    def read(self, code: str, now: int) -> Shown:
        """What a code says that was seen at ``now``. Refusals: no-code, forged, expired."""
        if static := _STATIC.fullmatch(code):
            return Shown(static[1].upper())
        dynamic = _DYNAMIC.fullmatch(code)
        if dynamic is None:
            raise refusal("no-code")
        body, index, expiry, institution, signature = dynamic.groups()
        if not self._signer.verifies(body.encode(), signature):
            raise refusal("forged")
        if int(expiry) < now:
            raise refusal("expired")
        return Shown(index, int(expiry), institution)

    def public(self) -> dict[str, str]:
        """The public key with which a terminal checks codes offline, as a JSON Web Key."""
        return self._signer.public()
