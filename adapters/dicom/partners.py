"""Who may do what: calling AE title -> facility, address, called AE title, user, rights (PS3.8 9.3.4, PS3.7 D.3.3.7).

The table is ``partners.csv`` of this package, or the file that the setting ``dicom.partners`` names.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from ipaddress import ip_address, ip_network
from pathlib import Path

from hub.errors import HubError

RIGHTS = ("store", "query", "retrieve", "worklist", "mpps", "commitment", "ups")
COLUMNS = ("ae_title", "facility", "peer", "called", "user", "passcode", "rights")


@dataclass(frozen=True, slots=True)
class Partner:
    """A row: patterns of the calling and called AE title, the network, the user, ``rights`` as words of RIGHTS.

    An empty column does not restrict. ``passcode`` is SHA-256 in hex of the user's passcode.
    """

    ae_title: str
    facility: str
    peer: str
    called: str
    user: str
    passcode: str
    rights: frozenset[str]

    def is_of(self, calling: str, peer: str) -> bool:
        """Whether the row is about this caller."""
        title = fnmatch.fnmatchcase(calling, self.ae_title)
        return title and (not self.peer or not peer or ip_address(peer) in ip_network(self.peer))

    def knows(self, user: str, passcode: bytes) -> bool:
        """Whether the user identity is the one that the row asks for."""
        if not self.user:
            return True
        given = hashlib.sha256(passcode).hexdigest()
        return hmac.compare_digest(user, self.user) and (not self.passcode or hmac.compare_digest(given, self.passcode))


class Partners:
    """The rows in order; the first that is about a caller decides."""

    def __init__(self, rows: Iterable[Partner]) -> None:
        self.rows = tuple(rows)
        self.facility = lru_cache(maxsize=1024)(self._facility)

    def find(self, calling: str, peer: str) -> Partner | None:
        """The row about a caller; None for a stranger."""
        return next((row for row in self.rows if row.is_of(calling, peer)), None)

    def _facility(self, ae_title: str) -> str:
        """Facility of an AE title, ``{1}`` being what the first ``*`` stands for; itself when no row says."""
        for row in self.rows:
            found = re.fullmatch(fnmatch.translate(row.ae_title).replace(".*", "(.*)"), ae_title)
            if found:
                return row.facility.format(ae_title, *found.groups()) if row.facility else ae_title
        return ae_title


def load(path: str = "") -> Partners:
    """The table at ``path``, or this package's. HubError("configuration") with the line that is wrong."""
    try:
        text = (Path(path) if path else files("adapters.dicom").joinpath("partners.csv")).read_text(encoding="utf-8")
    except OSError as error:
        raise HubError("configuration", f"dicom.partners: {error}", "dicom.partners") from None
    rows = csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    if unknown := set(rows.fieldnames or ()) - set(COLUMNS):
        raise HubError("configuration", f"{', '.join(sorted(unknown))} is no column", path or "partners.csv")
    return Partners([_partner({name: row.get(name) or "" for name in COLUMNS}, path) for row in rows])


def _partner(row: dict[str, str], path: str) -> Partner:
    rights = frozenset(row.pop("rights").split() or RIGHTS)
    try:
        if row["peer"]:
            ip_network(row["peer"])
        row["facility"].format("", "", "", "")
        if rights - set(RIGHTS):
            raise ValueError(f"{', '.join(sorted(rights - set(RIGHTS)))} is no right; rights are {', '.join(RIGHTS)}")
    except (ValueError, IndexError) as error:
        raise HubError("configuration", f"row {row['ae_title']!r}: {error}", path or "partners.csv") from None
    return Partner(**row, rights=rights)


_table = load()


def use(path: str) -> Partners:
    """Make the table at ``path`` that of this process; "" is this package's own."""
    global _table
    _table = load(path)
    return _table


def facility(ae_title: str) -> str:
    """The facility that an AE title stands in."""
    return _table.facility(ae_title)
