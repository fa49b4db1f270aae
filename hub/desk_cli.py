"""``hub messages``: the message desk on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hub import transfer
from hub.settings import Settings, load

messages = typer.Typer(no_args_is_help=True, help="Find messages, see what became of them, process them again.")
console = Console()

Url = Annotated[
    str | None, typer.Option("--url", help="Base URL of a running hub; without it the data directory is opened.")
]
Config = Annotated[Path | None, typer.Option("--config", help="A hub.toml.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
State = Annotated[str | None, typer.Option(help="received, stored, rejected or quarantined.")]
COLUMNS = ("received", "state", "kind", "sender", "control_id", "id", "reason")


def _settings(config: Path | None) -> Callable[[], Settings]:
    return lambda: load(config or (Path("hub.toml") if Path("hub.toml").is_file() else None))


def _show(answer: Any, rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(column, "")).replace("[", "\\[") for column in columns))
    console.print(table)


@messages.command("search")
def search(
    state: State = None,
    kind: Annotated[str | None, typer.Option(help="Beginning of MSH-9, such as ADT or ADT^A01.")] = None,
    sender: Annotated[str | None, typer.Option(help="Beginning of MSH-3|MSH-4.")] = None,
    patient: Annotated[str | None, typer.Option(help="An identifier in PID or MRG.")] = None,
    order: Annotated[str | None, typer.Option(help="An order number in ORC, OBR, SCH or TXA.")] = None,
    text: Annotated[str | None, typer.Option(help="Part of the content.")] = None,
    error: Annotated[str | None, typer.Option(help="Error name, as errors shows it.")] = None,
    since: Annotated[int | None, typer.Option(help="Microseconds since 1970 UTC.")] = None,
    until: Annotated[int | None, typer.Option(help="Microseconds since 1970 UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    url: Url = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """The newest messages that match everything given."""
    sought = {
        "state": state, "kind": kind, "sender": sender, "patient": patient, "order": order, "text": text,
        "error": error, "since": since, "until": until, "limit": limit,
    }  # fmt: skip
    answer = transfer.get("/api/messages", sought, url, _settings(config))
    _show(answer, answer["messages"], COLUMNS, as_json)


@messages.command("errors")
def errors(url: Url = None, config: Config = None, as_json: Json = False) -> None:
    """What kept messages from being stored, and how many each."""
    answer = transfer.get("/api/messages/errors", {}, url, _settings(config))
    _show(answer, answer["errors"], ("count", "state", "error", "kind", "newest", "reason"), as_json)


@messages.command("transport")
def transport(url: Url = None, config: Config = None, as_json: Json = False) -> None:
    """What went wrong on the wire, by peer, rule and hour."""
    answer = transfer.get("/api/messages/transport", {}, url, _settings(config))
    _show(answer, answer["findings"], ("last", "channel", "peer", "rule", "count"), as_json)


@messages.command("show")
def show(id: str, url: Url = None, config: Config = None, as_json: Json = False) -> None:
    """One message: bytes, tree with field names, what it maps to, outcome, acknowledgement."""
    answer = transfer.get(f"/api/messages/{id}", {}, url, _settings(config))
    _show(answer, answer["tree"], ("at", "name", "value"), as_json)
    if not as_json:
        for name in ("raw", "state", "error", "reason", "references", "fault", "answer"):
            console.print(f"[bold]{name}[/bold]")
            console.print(str(answer[name]), markup=False)


@messages.command("edit")
def edit(
    id: str,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The mended message.")],
    url: Url = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Process a mended copy as a new message; exit 1 when it is not stored."""
    answer = transfer.post(f"/api/messages/{id}/edit", url, _settings(config), {"raw": file.read_text("utf-8")})
    _show(answer, [answer], COLUMNS, as_json)
    raise typer.Exit(0 if answer["state"] == "stored" else 1)


@messages.command("replay")
def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of messages; without any, those of --state and --error.")
    ] = None,
    state: State = None,
    error: Annotated[str | None, typer.Option(help="Error name, as errors shows it.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Touch only this resource, such as Patient/1.")] = None,
    perform: Annotated[bool, typer.Option("--perform", help="Do it; without, say what would change.")] = False,
    url: Url = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Process messages again; a dry run unless --perform is given."""
    asked: dict[str, Any] = {"ids": ids or [], "targets": target or [], "dry_run": not perform}
    if not ids:
        asked["search"] = {"state": state or "", "error": error or ""}
    answer = transfer.post("/api/messages/replay", url, _settings(config), asked)
    rows = [
        {**one, "changes": ", ".join(f"{each['change']} {each['reference']}" for each in one.get("changes", ()))}
        for one in answer["results"]
    ]
    _show(answer, rows, ("id", "state_before", "state", "changes", "error", "reason"), as_json)
