"""The use log of e-health cards: who verified which card where, in which step of care, and what was refused and why.

Statistics are counted from the log as it grows: what was counted stays in memory, so asking again costs what is new.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from hub.errors import HubError
from hub.healthcard.card import Shown, sm3
from hub.store.protocol import Item, Reader, Store, Transaction

USES, SHOWN = "healthcard-use", "healthcard-shown"
USED, REFUSED = "used", "refused"
GOOD = "ok"
"""What the log says of a use that was not refused; of another it says why."""
PAGE = 1000
SETTLED = 60_000_000
"""A row this old (microseconds) has no older one still to come."""
FACTS = ("day", "institution", "terminal", "step", "result")
MAX_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class Use:
    """The circumstances of a verification: institution, terminal, care step (10101 registration...).

    ``seen`` is the time of an offline scan in microseconds since 1970 UTC, 0 when it was verified at once.
    """

    institution: str = ""
    terminal: str = ""
    step: str = ""
    seen: int = 0


class CardUse:
    """The log. ``zone`` is where a day begins."""

    def __init__(self, store: Store, zone: tzinfo = UTC) -> None:
        self._store = store
        self._zone = zone
        self._counted: Counter[tuple[str, ...]] = Counter()
        self._until = 0
        self._lock = threading.Lock()

    # --- write --------------------------------------------------------------------------------------------------------

    def used(self, tx: Transaction, code: str, shown: Shown, use: Use, id: str, now: int) -> bool:
        """Log a use; False when the dynamic code was used before."""
        digest = sm3(code.encode()).hex()
        data = {**_data(use), "index": shown.index, "dynamic": shown.dynamic, "result": GOOD}
        item = Item(USES, id, digest if shown.dynamic else id, digest, USED, data, b"", now)
        return tx.enqueue(item).id == id

    def refused(self, code: str, use: Use, reason: str, id: str, now: int) -> None:
        """Log a refusal; of the code only its index is kept, when it looks like one."""
        index = code.partition(":")[0]
        data = {**_data(use), "index": index if len(index) == 64 else "", "result": reason}
        item = Item(USES, id, id, sm3(code.encode()).hex(), REFUSED, data, b"", now)
        self._store.write(lambda tx: tx.enqueue(item))

    def shown(self, nonce: str, guardian: str, now: int) -> None:
        """Note who shows the code with this nonce."""
        item = Item(SHOWN, nonce, nonce, "", USED, {"guardian": guardian}, b"", now)
        self._store.write(lambda tx: tx.enqueue(item))

    @staticmethod
    def shown_by(tx: Reader, code: str) -> str:
        """The card of the guardian who shows a dynamic code, "" for the holder."""
        item = tx.item_by_key(SHOWN, code.split(":")[3])
        return str(item.data["guardian"]) if item else ""

    # --- read ---------------------------------------------------------------------------------------------------------

    def log(self, *, index: str = "", before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Rows, newest first, of one card or of all; ``seq`` continues the list."""
        rows: list[dict[str, Any]] = []
        for _ in range(MAX_GROUPS // PAGE):
            items = self._store.items(USES, before=before, limit=PAGE if index else limit)
            for item in items:
                if not index or item.data["index"] == index:
                    rows.append({"seq": item.seq, "time": item.created, "state": item.state, **item.data})
            if len(rows) >= limit or len(items) < PAGE:
                break
            before = items[-1].seq
        return rows[:limit]

    def statistics(self, by: tuple[str, ...] = ("day",)) -> list[dict[str, Any]]:
        """Numbers of uses and refusals by some of FACTS, the most first. HubError("parameter-value")."""
        unknown = next((one for one in by if one not in FACTS), None)
        if unknown is not None or not by:
            raise HubError("parameter-value", f"statistics are by {', '.join(FACTS)}", "by")
        places = [FACTS.index(one) for one in by]
        grouped: dict[tuple[str, ...], list[int]] = {}
        for facts, number in self._counts().items():
            row = grouped.setdefault(tuple(facts[place] for place in places), [0, 0])
            row[facts[-1] != GOOD] += number
        rows: list[dict[str, Any]] = [
            {**dict(zip(by, key, strict=True)), "used": good, "refused": bad} for key, (good, bad) in grouped.items()
        ]
        rows.sort(key=lambda row: (-row["used"] - row["refused"], *(row[one] for one in by)))
        return rows[:MAX_GROUPS]

    def _counts(self) -> Counter[tuple[str, ...]]:
        """All rows by FACTS: those counted before, and what came after them."""
        with self._lock:
            fresh: list[Item] = []
            before = None
            while items := self._store.items(USES, before=before, limit=PAGE):
                fresh += (item for item in items if item.seq > self._until)
                before = items[-1].seq
                if before <= self._until or len(items) < PAGE:
                    break
            if not fresh:
                return self._counted.copy()
            newest = max(item.created for item in fresh)
            old = [item for item in fresh if item.created < newest - SETTLED]
            self._counted.update(map(self._facts, old))
            self._until = max((item.seq for item in old), default=self._until)
            young = [item for item in fresh if item.created >= newest - SETTLED]
            return self._counted + Counter(map(self._facts, young))

    def _facts(self, item: Item) -> tuple[str, ...]:
        moment = item.data.get("seen") or item.created
        day = datetime.fromtimestamp(moment / 1e6, self._zone).date().isoformat()
        return (day, *(str(item.data.get(one, "")) for one in FACTS[1:]))


def _data(use: Use) -> dict[str, Any]:
    seen = {"seen": use.seen} if use.seen else {}
    return {"institution": use.institution, "terminal": use.terminal, "step": use.step, **seen}
