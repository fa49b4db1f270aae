"""``hub bench mllp`` measures valid messages and tells what a reader needs to judge the figures."""

from rich.console import Console

from adapters.hl7v2.speed import measure
from hub.bench import hl7v2
from hub.bench.mllp import adt, oru
from tests.running import Process


def test_in_process_figures_are_of_valid_messages_and_beat_hl7apy() -> None:
    ours, peer = measure(0.2, lambda number: adt(number, "B"))
    assert ours > 20 * peer
    ours, peer = measure(0.2, lambda number: oru(number, "B", 50))
    assert ours > 20 * peer


def test_wire_figures(running: Process) -> None:
    at = "{}:{}".format(*running.mllp)
    report = hl7v2.report(0.5, 4, url=running.base, at=at, store=None, console=Console(quiet=True))
    assert report["figures"]["searchable"] == 1.0
    for key in ("adt", "oru50", "paced"):
        detail = report["details"][key]
        assert detail["refused"] == 0
        assert detail["per_s"] > 0
    assert report["figures"]["paced_p99_ms"] >= report["details"]["paced"]["p50_ms"]
