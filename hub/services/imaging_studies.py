"""When a study is complete: the thread that has its ImagingStudy built.

Nothing in DICOM says that a study is complete. It is taken for complete when nothing has arrived for a while, or when
the association that brought it ends; what comes later opens it again. The state is in the study's row, so that a study
that was open when the hub stopped is built after the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from hub.errors import HubError

LONGEST_WAIT = 3_600_000_000
"""Microseconds between two attempts to build a study that fails."""

log = logging.getLogger("hub.imaging")


class StudyClock:
    """Calls ``build`` for each study row that ``waiting(quiet microseconds)`` gives, until closed.

    The end of an association ends the wait, but not for a study that was built a moment ago: some modalities open an
    association for every image. A study that cannot be built is tried again later and later.
    """

    def __init__(
        self,
        waiting: Callable[[int], list[dict[str, Any]]],
        build: Callable[[dict[str, Any]], None],
        quiet_seconds: float,
        clock: Callable[[], int],
    ) -> None:
        self._waiting = waiting
        self._build = build
        self._quiet = int(quiet_seconds * 1_000_000)
        self._clock = clock
        self._built: dict[str, int] = {}
        self._failed: dict[str, tuple[int, int]] = {}
        self._woken = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="imaging-studies", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """An association has ended: look at once."""
        self._woken.set()

    def close(self) -> None:
        """Build what waits, and end."""
        self._closing = True
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            woken = self._woken.wait(max(0.1, self._quiet / 2_000_000))
            self._woken.clear()
            try:
                self._build_waiting(0 if woken else self._quiet)
            except HubError as error:
                log.error("studies that wait: %s", error)

    def _build_waiting(self, quiet: int) -> None:
        now = self._clock()
        self._built = {study: time for study, time in self._built.items() if time > now - self._quiet}
        for study in self._waiting(quiet):
            id = study["id"]
            again, wait = self._failed.get(id, (0, 1_000_000))
            if again > now or (quiet == 0 and not self._closing and id in self._built):
                continue
            self._built[id] = now
            try:
                self._build(study)
                self._failed.pop(id, None)
            except HubError as error:
                log.error("study %s: %s", study["uid"], error)
                self._failed[id] = now + wait, min(2 * wait, LONGEST_WAIT)
            except Exception:
                log.exception("study %s", study["uid"])
                self._failed[id] = now + wait, min(2 * wait, LONGEST_WAIT)
