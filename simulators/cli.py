"""``hub simulate``: hospitals of the fictional city of Xinhe as outside processes, over real wires only."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from simulators import region, traffic
from simulators import verify as truth
from simulators.dialect import dialects
from simulators.population import Resident
from simulators.region import Arrival, Sending

app = typer.Typer(name="simulate", help=__doc__, no_args_is_help=True, add_completion=False)

MllpOption = Annotated[str, typer.Option("--mllp", metavar="HOST:PORT", help="MLLP target; left out when empty")]
DicomOption = Annotated[str, typer.Option("--dicom", metavar="HOST:PORT", help="DICOM target; left out when empty")]
HttpOption = Annotated[str, typer.Option("--http", metavar="URL", help="FHIR base URL; left out when empty")]
SeedOption = Annotated[int, typer.Option("--seed", help="the same seed gives the same messages, byte for byte")]
PatientsOption = Annotated[int, typer.Option("--patients", min=1, max=1_000_000, help="how many residents there are")]
RecordOption = Annotated[Path | None, typer.Option("--record", help="write the log (JSON Lines) to this file")]
JsonOption = Annotated[bool, typer.Option("--json", help="print the manifest as JSON")]
TitleOption = Annotated[str, typer.Option("--ae-title", help="called AE title")]


@app.command()
def demo(
    mllp: MllpOption = "",
    dicom: DicomOption = "",
    http: HttpOption = "",
    seed: SeedOption = 1,
    patients: PatientsOption = 30,
    record: RecordOption = None,
    as_json: JsonOption = False,
    ae_title: TitleOption = "HUB",
) -> None:
    """Three hospitals send some days of visits of residents, of whom several visit all three."""
    residents, arrivals = region.demo(seed, patients)
    targets = _targets(mllp, dicom, http, ae_title)
    _run("demo", seed, residents, arrivals, targets, record, as_json)


@app.command()
def day(
    mllp: MllpOption = "",
    dicom: DicomOption = "",
    http: HttpOption = "",
    seed: SeedOption = 1,
    patients: PatientsOption = 200,
    record: RecordOption = None,
    as_json: JsonOption = False,
    ae_title: TitleOption = "HUB",
) -> None:
    """One day of the region, as fast as possible. With --record alone the log is written and nothing is sent."""
    residents, arrivals = region.day(seed, patients)
    _run("day", seed, residents, arrivals, _targets(mllp, dicom, http, ae_title), record, as_json)


@app.command()
def hospital(
    name: Annotated[str, typer.Argument(help="people, county or cloud")],
    mllp: MllpOption = "",
    dicom: DicomOption = "",
    http: HttpOption = "",
    seed: SeedOption = 1,
    patients: PatientsOption = 30,
    record: RecordOption = None,
    as_json: JsonOption = False,
    ae_title: TitleOption = "HUB",
) -> None:
    """One day of one hospital."""
    if name not in dialects():
        raise typer.BadParameter(f"there is no hospital {name!r}; there are {', '.join(dialects())}")
    residents, arrivals = region.day(seed, patients, (name,))
    _run(f"hospital {name}", seed, residents, arrivals, _targets(mllp, dicom, http, ae_title), record, as_json)


@app.command()
def verify(
    http: HttpOption,
    seed: SeedOption = 1,
    patients: PatientsOption = 30,
    scenario: Annotated[str, typer.Option("--scenario", help="demo or day")] = "demo",
    as_json: JsonOption = False,
) -> None:
    """Compare a hub with the truth of a scenario that was sent to it; exit 1 when it differs."""
    if scenario not in ("demo", "day"):
        raise typer.BadParameter("--scenario must be demo or day")
    residents, arrivals = (region.demo if scenario == "demo" else region.day)(seed, patients)
    try:
        findings = truth.verify(http, truth.truths(residents, region.sendings(seed, arrivals)))
    except OSError as error:
        typer.echo(f"simulate: {error}", err=True)
        raise typer.Exit(2) from None
    summary = findings.summary()
    rows = [f"{name}: {row}" for name in ("missed", "wrong", "lost", "doubled") for row in summary[name]]
    rows.append(f"{findings.residents} residents, {findings.facts} facts: {'exact' if findings.sound else 'differs'}")
    typer.echo(json.dumps(summary, ensure_ascii=False, indent=2) if as_json else "\n".join(rows))
    raise typer.Exit(0 if findings.sound else 1)


def _targets(mllp: str, dicom: str, http: str, ae_title: str) -> traffic.Targets:
    return traffic.Targets(_address("--mllp", mllp), _address("--dicom", dicom), http or None, ae_title)


def _address(option: str, text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{option} must be HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


def _run(
    scenario: str,
    seed: int,
    residents: Sequence[Resident],
    arrivals: Sequence[Arrival],
    targets: traffic.Targets,
    record: Path | None,
    as_json: bool,
) -> None:
    log = list(region.sendings(seed, arrivals))
    if record is not None:
        record.write_text("".join(f"{sending.line()}\n" for sending in log), encoding="utf-8")
    idle = targets.mllp is None and targets.dicom is None and targets.http is None
    try:
        account = traffic.send(log, targets, _silent if idle else _progress)
    except OSError as error:
        typer.echo(f"simulate: {error}", err=True)
        raise typer.Exit(2) from None
    manifest = {
        "scenario": scenario,
        "seed": seed,
        "version": region.VERSION,
        "digest": region.digest(log),
        "residents": len({sending.resident for sending in log} - {None}),
        **account.summary(),
        "lookup": lookup(residents, log),
    }
    typer.echo(json.dumps(manifest, ensure_ascii=False, indent=2) if as_json else _text(manifest))
    if manifest["refused"] and not as_json:
        raise typer.Exit(1)


def lookup(residents: Sequence[Resident], log: Sequence[Sending]) -> dict[str, Any]:
    """A resident worth looking up: the one whose messages came from the most hospitals, with card and numbers."""
    places: dict[int, set[str]] = {}
    for sending in log:
        if sending.resident is None:
            continue
        places.setdefault(sending.resident, set()).add(sending.hospital)
    if not places:
        return {}
    index = min(places, key=lambda resident: (-len(places[resident]), resident))
    resident = next(one for one in residents if one.index == index)
    return {
        "name": resident.name,
        "identifier": resident.number,
        "card": resident.card,
        "birth_date": resident.born.isoformat(),
        "hospitals": [dialects()[name].title for name in sorted(places[index])],
    }


def _progress(done: int, total: int) -> None:
    if total and (done == total or done * 10 // total != (done - 1) * 10 // total):
        sys.stderr.write(f"simulate: {done}/{total}\n")


def _silent(done: int, total: int) -> None:
    """Nothing is sent: no progress to show."""


def _text(manifest: dict[str, Any]) -> str:
    rows = [
        f"{name:<28}{count['sent']:>6} sent{count['acknowledged']:>6} acknowledged"
        for name, count in manifest["kinds"].items()
    ]
    rows += [f"{name:<28}{count:>6} not sent, no target" for name, count in manifest["left_out"].items()]
    rows += [
        f"refused: {row['hospital']} {row['kind']} {row['control_id']}: {row['answer']}" for row in manifest["refused"]
    ]
    if found := manifest["lookup"]:
        rows.append(f"look up {found['name']} by card {found['card']} ({', '.join(found['hospitals'])})")
    return "\n".join([*rows, f"digest {manifest['digest']}"])
