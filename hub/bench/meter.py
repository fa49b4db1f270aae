"""What one measurement says: rate, refusals, latency, and the server's CPU time an item (noise distorts that less)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path


class Meter:
    """The CPU clock of the measured process; None when it is not one of this machine's, or not Linux."""

    def __init__(self, pid: int | None) -> None:
        self._file = Path(f"/proc/{pid}/stat") if pid is not None else None
        self.restart()

    def restart(self) -> None:
        """Begin an interval."""
        self._began, self._cpu = time.perf_counter(), self._seconds()

    def figures(self, latencies: Sequence[float], good: int, weight: int = 1) -> dict[str, float]:
        """The interval's figures: ``good`` of the answers, each worth ``weight`` items; latencies in seconds."""
        took = time.perf_counter() - self._began
        ordered = sorted(latencies) or [0.0]
        result = {
            "per_s": round(good * weight / took, 1),
            "refused": len(latencies) - good,
            "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
        }
        cpu = self._seconds()
        if cpu is not None and self._cpu is not None and good:
            result["cpu_us"] = round((cpu - self._cpu) / (good * weight) * 1e6, 1)
        return result

    def _seconds(self) -> float | None:
        """User and system time so far (proc(5), fields 14 and 15)."""
        if self._file is None or not self._file.exists():
            return None
        fields = self._file.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
