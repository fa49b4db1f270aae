"""The command ``hub``. Other packages hang their verbs on it by the entry point group ``hub.commands``.

Exit codes: 0 ok, 1 findings, 2 usage or configuration. ``--json`` gives machine output on standard output; progress and
messages go to standard error.
"""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hub import __version__
from hub.errors import HubError
from hub.masking import protect_logs

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Regional health-data interoperability hub."
)
inbox_app = typer.Typer(no_args_is_help=True, help="Inbound messages: what came, what became of it.")
mpi_app = typer.Typer(no_args_is_help=True, help="The master patient index.")
config_app = typer.Typer(no_args_is_help=True, help="The settings in force.")
app.add_typer(inbox_app, name="inbox")
app.add_typer(mpi_app, name="mpi")
keys_app = typer.Typer(no_args_is_help=True, help="The keys of what is stored.")
app.add_typer(keys_app, name="keys")
app.add_typer(config_app, name="config")

out = Console()
err = Console(stderr=True)

Data = Annotated[Path | None, typer.Option("--data", help="Directory of the embedded database.")]
Config = Annotated[Path | None, typer.Option("--config", help="Configuration file; hub.toml here is the default.")]
Json = Annotated[bool, typer.Option("--json", help="Machine output.")]
Url = Annotated[
    str | None, typer.Option("--url", help="Base URL of a running hub; without it the data directory is opened.")
]


def settings_of(config: Path | None, **arguments: Any) -> Any:
    """The settings in force; an argument that was not given (None) does not count."""
    from hub import settings

    file = config or (Path("hub.toml") if Path("hub.toml").is_file() else None)
    return settings.load(file, **{name: value for name, value in arguments.items() if value is not None})


def emit(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@app.command()
def init(config: Config = None, data: Data = None) -> None:
    """Make the data directory: database, blob store, generated secrets; say what comes next."""
    from hub import bootstrap

    settings = settings_of(config, data=data)
    doors = bootstrap.build(settings)
    resources = sum(sum(types.values()) for types in doors.store.statistics().values())
    bootstrap.close(doors)
    err.print(f"{settings.data} is ready ({settings.store.split(':')[0]}, {resources} resources).")
    err.print("Next: hub serve, or hub demo for three simulated hospitals.")


@app.command()
def serve(
    config: Config = None,
    data: Data = None,
    store: Annotated[str | None, typer.Option(help="sqlite or a mongodb:// address.")] = None,
    bind: Annotated[str | None, typer.Option(help="Address of all listeners.")] = None,
    insecure_bind: Annotated[bool | None, typer.Option("--insecure-bind", help="Allow more than loopback.")] = None,
    http_port: Annotated[int | None, typer.Option(help="FHIR, platform API, pages; 0: off.")] = None,
    mllp_port: Annotated[int | None, typer.Option(help="HL7 v2; 0: off.")] = None,
    dicom_port: Annotated[int | None, typer.Option(help="DIMSE; 0: off.")] = None,
) -> None:
    """Run the hub until it is told to stop (Ctrl-C, SIGTERM)."""
    ports = {"http": http_port, "mllp": mllp_port, "dicom": dicom_port}
    sections = {name: {"port": port} for name, port in ports.items() if port is not None}
    settings = settings_of(config, data=data, store=store, bind=bind, insecure_bind=insecure_bind, **sections)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    from hub import bootstrap

    running = bootstrap.Running(bootstrap.build(settings))
    sys.setswitchinterval(0.0005)  # the writer thread gives way in every statement and must not wait long for its turn
    gc.freeze()  # what was built lives as long as the process: collections need not look at it
    sys.stdout.write(ready_line(running) + "\n")
    sys.stdout.flush()
    stop.wait()
    running.stop()


@keys_app.command("rotate")
def keys_rotate(
    config: Config = None,
    data: Data = None,
    index: Annotated[bool, typer.Option("--index", help="A new key for the index of identity numbers, too.")] = False,
) -> None:
    """Add a key; a running hub uses it within seconds and moves what is stored to it in the background.

    A new key of the index counts from the hub's next start; numbers hidden with the old one are still found.
    """
    from hub.keyring import Keyring

    settings = settings_of(config, data=data)
    ring = Keyring(settings.data / "secrets" / "keys.json").rotate(settings.privacy.algorithms, index=index)
    err.print(f"Key {max(ring.content)} is the newest of {len(ring.content)}.")


@keys_app.command("finish")
def keys_finish(config: Config = None, data: Data = None) -> None:
    """Move everything stored to the newest key now, while no hub runs."""
    from hub import bootstrap

    doors = bootstrap.build(settings_of(config, data=data))
    doors.keys.finish()
    state = doors.keys.state()
    bootstrap.close(doors)
    err.print(f"Everything is under key {state['newest']} ({sum(state['contents'].values())} contents).")


def ready_line(running: Any) -> str:
    """What ``hub serve`` prints once when every listener is bound."""
    settings = running.doors.settings
    parts = [f"{one.name}={one.address[0]}:{one.address[1]}" for one in running.listeners]
    store = settings.store.split(":")[0]
    return (
        f"hub {__version__} ready: {' '.join(parts)} store={store} data={settings.data} recovered={running.recovered}"
    )


@app.command()
def demo(
    config: Config = None,
    data: Data = None,
    store: Annotated[str | None, typer.Option(help="sqlite or a mongodb:// address.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated region.")] = 1,
    once: Annotated[bool, typer.Option("--once", help="End after the demonstration.")] = False,
    as_json: Json = False,
) -> None:
    """Three simulated hospitals send HL7 v2, DICOM and FHIR; one resident's record is found by e-health card."""
    from hub import demo as demonstration

    settings = settings_of(config, data=data, store=store)
    raise typer.Exit(demonstration.run(settings, seed=seed, once=once, as_json=as_json, console=err))


@app.command()
def load(
    paths: Annotated[list[Path], typer.Argument(help="JSON or NDJSON files, or directories of them.", exists=True)],
    url: Url = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Load FHIR resources. A transaction or batch Bundle without an id is performed; everything else is stored."""
    from hub import transfer

    report = transfer.load(paths, url, lambda: settings_of(config, data=data), err)
    if as_json:
        emit(report)
    else:
        rejected = len(report["rejected"])
        err.print(f"{report['read']} read, {report['stored']} stored, {rejected} rejected in {report['seconds']} s")
        for row in report["rejected"][:50]:
            err.print(f"  {row['file']}: {row['diagnostics']}", style="red", markup=False)
    raise typer.Exit(1 if report["rejected"] else 0)


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="Directory for one NDJSON file a resource type.")],
    types: Annotated[list[str] | None, typer.Option("--type", help="Resource type; all without it.")] = None,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write the current resources as NDJSON, one file a type."""
    from hub import transfer

    report = transfer.export(output, types or [], url, lambda: settings_of(config, data=data), err)
    if as_json:
        emit(report)
    else:
        err.print(f"{sum(report.values())} resources of {len(report)} types in {output}")


@inbox_app.command("list")
def inbox_list(
    state: Annotated[str | None, typer.Option(help="received, stored, rejected or quarantined.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The newest inbound messages and their states."""
    from hub import transfer

    answer = transfer.get("/api/inbox", {"state": state, "limit": limit}, url, lambda: settings_of(config, data=data))
    if as_json:
        emit(answer)
        return
    table = Table(
        "received", "state", "channel", "sender", "control id", "kind", "id", "reason", title=str(answer["counts"])
    )
    for row in answer["items"]:
        columns = ("received", "state", "channel", "sender", "control_id", "kind", "id", "reason")
        table.add_row(*(str(row.get(column) or "") for column in columns))
    out.print(table)


@inbox_app.command("show")
def inbox_show(id: str, url: Url = None, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """One message: raw text, outcome, acknowledgement, what was stored."""
    from hub import transfer

    answer = transfer.get(f"/api/inbox/{id}", {}, url, lambda: settings_of(config, data=data))
    if as_json:
        emit(answer)
        return
    for name, value in answer.items():
        out.print(f"[bold]{name}[/bold]")
        out.print(str(value).replace("\r", "\n"), markup=False)


@inbox_app.command("rerun")
def inbox_rerun(id: str, url: Url = None, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Process a message again, as after a mapping was mended; exit 1 when it is not stored."""
    from hub import transfer

    answer = transfer.post(f"/api/inbox/{id}/rerun", url, lambda: settings_of(config, data=data))
    if as_json:
        emit(answer)
    else:
        out.print(f"{answer['id']}: {answer['state']} {answer.get('reason') or ''}", markup=False)
    raise typer.Exit(0 if answer["state"] == "stored" else 1)


@mpi_app.command("explain")
def mpi_explain(
    a: Annotated[str, typer.Argument(help="Patient or Person reference, such as Patient/1.")],
    b: str,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Why two records are, or are not, the same person: what every field contributes."""
    from hub import transfer

    answer = transfer.get("/api/mpi/explain", {"a": a, "b": b}, url, lambda: settings_of(config, data=data))
    if as_json:
        emit(answer)
        return
    out.print(f"{answer['decision']}: {answer.get('reason', '')}", markup=False)
    table = Table("field", "A", "B", "level", "says")
    for row in answer["fields"]:
        table.add_row(*(str(row.get(name, "")) for name in ("field", "a", "b", "level", "text")))
    out.print(table)


@mpi_app.command("train")
def mpi_train(url: Url = None, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """The weights that the stored registrations teach, beside those in force; nothing is changed."""
    from hub import transfer

    answer = transfer.get("/api/mpi/train", {}, url, lambda: settings_of(config, data=data))
    if as_json:
        emit(answer)
        return
    title = f"{answer['registrations']} registrations"
    table = Table("field", "level", "m", "u", "m in force", "u in force", title=title)
    for field, levels in answer["trained"].items():
        for level, row in levels.items():
            old = answer["in_force"][field][level]
            table.add_row(field, level, *(f"{value:g}" for value in (row["m"], row["u"], old["m"], old["u"])))
    out.print(table)


@mpi_app.command("quality")
def mpi_quality(url: Url = None, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Duplicates within a source, records overwritten with somebody else, suspicious clusters; exit 1 when any."""
    from hub import transfer

    answer = transfer.get("/api/mpi/quality", {}, url, lambda: settings_of(config, data=data))
    if as_json:
        emit(answer)
    else:
        table = Table("finding", "count", title=f"{answer['persons']} persons, {answer['registrations']} registrations")
        for name, count in answer["counts"].items():
            table.add_row(name, str(count))
        out.print(table)
    raise typer.Exit(1 if any(answer["counts"].values()) else 0)


@mpi_app.command("relink")
def mpi_relink(
    apply: Annotated[bool, typer.Option("--apply", help="Make it so; without it nothing is changed.")] = False,
    url: Url = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What the rules in force would change: registrations as they are grouped now, and as they would be."""
    from hub import transfer

    def settings() -> Any:
        return settings_of(config, data=data)

    place = "/api/mpi/relink"
    answer = transfer.post(place, url, settings) if apply else transfer.get(place, {}, url, settings)
    if as_json:
        emit(answer)
        return
    table = Table("now", "then", title=f"{answer['differences']} differences, applied: {answer['applied']}")
    for row in answer["rows"]:
        table.add_row(*("; ".join(" ".join(group) for group in row[side]) for side in ("now", "then")))
    out.print(table)


@mpi_app.command("load")
def mpi_load(
    path: Annotated[Path, typer.Argument(help="Population file: CSV or NDJSON.", exists=True)],
    url: Url = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Load a population: NDJSON of Patients, or CSV of id, name, gender, birth_date, number, card, phone, address."""
    import tempfile

    from hub import transfer
    from hub.mpi import register

    with tempfile.TemporaryDirectory() as directory:
        patients = Path(directory) / "Patient.ndjson"
        patients.write_text("".join(register.lines(path)), encoding="utf-8")
        report = transfer.load([patients], url, lambda: settings_of(config, data=data), err)
    if as_json:
        emit(report)
    else:
        err.print(f"{report['read']} read, {report['stored']} stored, {len(report['rejected'])} rejected")
    raise typer.Exit(1 if report["rejected"] else 0)


@config_app.command("show")
def config_show(config: Config = None, as_json: Json = False) -> None:
    """The settings in force."""
    settings = settings_of(config)
    if as_json:
        emit(settings.model_dump(mode="json"))
        return
    table = Table("setting", "value")
    for name, value in settings.model_dump(mode="json").items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for key, one in rows:
            table.add_row(f"{name}.{key}".rstrip("."), str(one))
    out.print(table)


@config_app.command("check")
def config_check(config: Config = None) -> None:
    """Exit 2 and the reason when the settings are wrong."""
    settings_of(config)
    err.print("the settings are valid")


@app.command()
def doctor(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Look for what would keep the hub from working well here; exit 1 on findings."""
    from hub import doctor as examination

    findings = examination.examine(settings_of(config, data=data))
    if as_json:
        emit(findings)
    else:
        for row in findings:
            err.print(f"{'ok  ' if row['ok'] else 'FAIL'} {row['check']}: {row['says']}", markup=False)
    raise typer.Exit(0 if all(row["ok"] for row in findings) else 1)


def install_commands(verb: str | None = None) -> None:
    """Hang the verbs of other packages below ``hub``; only what ``verb`` needs, so that the rest loads nothing."""
    if verb in (None, "validate", "fhirpath"):
        from hub.conformance import cli as conformance

        known = [command.callback for command in app.registered_commands]
        app.registered_commands += [one for one in conformance.app.registered_commands if one.callback not in known]
    hung = [group.name for group in app.registered_groups]
    if verb in (None, "messages") and "messages" not in hung:
        from hub import desk_cli

        app.add_typer(desk_cli.messages, name="messages")
    if verb in (None, "bench") and "bench" not in hung:
        from hub.bench import cli as bench

        app.add_typer(bench.app, name="bench")
    for point in sorted(entry_points(group="hub.commands"), key=lambda one: one.name):
        if verb in (None, point.name) and point.name not in hung:
            app.add_typer(point.load(), name=point.name)


def main() -> None:
    """The console script: HubError is one message and exit code 2."""
    protect_logs()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        install_commands(next((word for word in sys.argv[1:] if not word.startswith("-")), None))
        app()
    except HubError as error:
        err.print(f"hub: {error.diagnostics}" + (f" ({error.at})" if error.at else ""), style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
