"""``hub simulate``: institutions of the fictional city of Xinhe as outside processes, over real wires only."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from simulators import record, region, scenario, traffic, truth
from simulators import verify as comparison
from simulators.clock import Clock
from simulators.population import MEMBERS, household
from simulators.record import Sending
from simulators.scenario import Scenario

app = typer.Typer(name="simulate", help=__doc__, no_args_is_help=True, add_completion=False)

MllpOption = Annotated[str, typer.Option("--mllp", metavar="HOST:PORT", help="MLLP target; left out when empty")]
DicomOption = Annotated[str, typer.Option("--dicom", metavar="HOST:PORT", help="DICOM target; left out when empty")]
HttpOption = Annotated[str, typer.Option("--http", metavar="URL", help="FHIR base URL; left out when empty")]
SeedOption = Annotated[int, typer.Option("--seed", help="the same seed gives the same messages, byte for byte")]
HouseholdsOption = Annotated[
    int, typer.Option("--households", min=1, max=100_000, help="how many households there are")
]
ScaleOption = Annotated[float, typer.Option("--scale", min=0.0001, max=4.0, help="size; 1 is a city of 3.1 million")]
RecordOption = Annotated[Path | None, typer.Option("--record", help="write the log (JSON Lines) to this file")]
OracleOption = Annotated[Path | None, typer.Option("--oracle", help="write the truth (JSON) to this file")]
JsonOption = Annotated[bool, typer.Option("--json", help="print the manifest as JSON")]
TitleOption = Annotated[str, typer.Option("--ae-title", help="called AE title")]
SpeedOption = Annotated[float, typer.Option("--speed", min=0, help="virtual seconds a second; 0: as fast as possible")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=64, help="processes that make the messages")]
FaultsOption = Annotated[bool, typer.Option("--faults", help="everything that can go wrong does (docs/simulators.md)")]
DaysOption = Annotated[int, typer.Option("--days", min=1, max=366, help="how many days people come")]
SurgeOption = Annotated[float, typer.Option("--surge", min=0, max=20, help="factor on the number of people who come")]
LanesOption = Annotated[int, typer.Option("--lanes", min=1, max=64, help="institutions that send at the same time")]
RegionOption = Annotated[str, typer.Option("--region", help="neijiang: the shape of that city, in a fictional one")]


@app.command()
def demo(
    mllp: MllpOption = "",
    dicom: DicomOption = "",
    http: HttpOption = "",
    seed: SeedOption = 1,
    households: HouseholdsOption = 12,
    record: RecordOption = None,
    oracle: OracleOption = None,
    as_json: JsonOption = False,
    ae_title: TitleOption = "HUB",
) -> None:
    """Three hospitals send some days of visits of residents, of whom several visit all three."""
    targets = _targets(mllp, dicom, http, ae_title)
    plan = Scenario("demo", seed, households=households)
    _run(plan, scenario.log(plan), targets, record, oracle, as_json)


@app.command()
def day(
    mllp: MllpOption = "",
    dicom: DicomOption = "",
    http: HttpOption = "",
    region: RegionOption = "neijiang",
    scale: ScaleOption = 0.01,
    seed: SeedOption = 1,
    days: DaysOption = 1,
    surge: SurgeOption = 1.0,
    speed: SpeedOption = 0,
    workers: WorkersOption = 1,
    lanes: LanesOption = 4,
    faults: FaultsOption = False,
    record: RecordOption = None,
    oracle: OracleOption = None,
    as_json: JsonOption = False,
    ae_title: TitleOption = "HUB",
) -> None:
    """One day of the region. With --record alone the log is written and nothing is sent."""
    if region != "neijiang":
        raise typer.BadParameter("there is one region: neijiang")
    targets = _targets(mllp, dicom, http, ae_title)
    plan = Scenario("day", seed, scale, days=days, surge=surge, faulty=faults)
    _run(plan, scenario.log(plan, workers), targets, record, oracle, as_json, Clock(speed), lanes)


@app.command()
def hospital(
    name: Annotated[str, typer.Argument(help="key of an institution, such as people, county or cloud")],
    mllp: MllpOption = "",
    dicom: DicomOption = "",
    http: HttpOption = "",
    scale: ScaleOption = 0.002,
    seed: SeedOption = 1,
    speed: SpeedOption = 0,
    record: RecordOption = None,
    as_json: JsonOption = False,
    ae_title: TitleOption = "HUB",
) -> None:
    """One day of one institution of the region."""
    known = region.institutions(scale)
    if name not in known:
        raise typer.BadParameter(f"there is no institution {name!r}; there are {', '.join(known)}")
    targets = _targets(mllp, dicom, http, ae_title)
    plan = Scenario("day", seed, scale, only=(name,))
    _run(plan, scenario.log(plan), targets, record, None, as_json, Clock(speed))


@app.command()
def verify(
    http: HttpOption,
    oracle: Annotated[Path | None, typer.Option("--oracle", help="the truth that a run wrote")] = None,
    name: Annotated[str, typer.Option("--scenario", help="without --oracle: demo or day, made again")] = "demo",
    seed: SeedOption = 1,
    households: HouseholdsOption = 12,
    scale: ScaleOption = 0.01,
    days: DaysOption = 1,
    faults: FaultsOption = False,
    workers: WorkersOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Compare a hub with the truth of a scenario that was sent to it; exit 1 when it differs."""
    if name not in ("demo", "day"):
        raise typer.BadParameter("--scenario must be demo or day")
    if name == "demo":
        plan = Scenario("demo", seed, households=households)
    else:
        plan = Scenario("day", seed, scale, days=days, faulty=faults)
    try:
        expected = truth.read(oracle) if oracle else truth.of(scenario.log(plan, workers))
        sites = [*region.demo().values(), *region.institutions(1.0).values()]
        findings = comparison.verify(http, expected, sites)
    except (OSError, ValueError) as error:
        typer.echo(f"simulate: {error}", err=True)
        raise typer.Exit(2) from None
    summary = findings.summary()
    rows = [f"{kind}: {row}" for kind in ("missed", "wrong", "lost", "doubled") for row in summary[kind]]
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
    plan: Scenario,
    log: Sequence[Sending],
    targets: traffic.Targets,
    file: Path | None,
    oracle: Path | None,
    as_json: bool,
    clock: Clock | None = None,
    lanes: int = 1,
) -> None:
    made = {"scenario": plan.name, "seed": plan.seed, "version": scenario.VERSION}
    if file is not None:
        record.write(file, log, **made)
    if oracle is not None:
        truth.of(log).write(oracle, **made)
    idle = targets.mllp is None and targets.dicom is None and targets.http is None
    try:
        account = traffic.send(log, targets, _silent if idle else _progress, None if idle else clock, lanes)
    except OSError as error:
        typer.echo(f"simulate: {error}", err=True)
        raise typer.Exit(2) from None
    manifest = {
        **made,
        "digest": record.digest(log),
        "residents": len({sending.resident for sending in log} - {None}),
        **account.summary(),
        "lookup": lookup(plan, log),
    }
    typer.echo(json.dumps(manifest, ensure_ascii=False, indent=2) if as_json else _text(manifest))
    if manifest["refused"] and not as_json:
        raise typer.Exit(1)


def lookup(plan: Scenario, log: Sequence[Sending]) -> dict[str, Any]:
    """A resident worth looking up: the one whose messages came from the most institutions, with card and numbers."""
    places: dict[int, set[str]] = {}
    for sending in log:
        if sending.resident is not None:
            places.setdefault(sending.resident, set()).add(sending.hospital)
    if not places:
        return {}
    index = min(places, key=lambda resident: (-len(places[resident]), resident))
    resident = household(plan.seed, index // MEMBERS)[index % MEMBERS]
    return {
        "name": resident.name,
        "identifier": resident.number,
        "card": resident.card,
        "birth_date": resident.born.isoformat(),
        "hospitals": [plan.sites[name].title for name in sorted(places[index])],
    }


def _progress(done: int, total: int) -> None:
    if total and (done == total or done * 10 // total != (done - 1) * 10 // total):
        sys.stderr.write(f"simulate: {done}/{total}\n")


def _silent(done: int, total: int) -> None:
    """Nothing is sent: no progress to show."""


def _text(manifest: dict[str, Any]) -> str:
    rows = [
        f"{name:<28}{count['sent']:>6} sent{count['acknowledged']:>6} answered as expected"
        for name, count in manifest["kinds"].items()
    ]
    rows += [f"fault {name:<22}{count:>6} times" for name, count in manifest["faults"].items()]
    rows += [f"{name:<28}{count:>6} not sent, no target" for name, count in manifest["left_out"].items()]
    rows += [
        f"not as expected: {row['hospital']} {row['kind']} {row['control_id']}: {row['answer']}"
        for row in manifest["refused"]
    ]
    if found := manifest["lookup"]:
        rows.append(f"look up {found['name']} by card {found['card']} ({', '.join(found['hospitals'])})")
    return "\n".join([*rows, f"digest {manifest['digest']}"])
