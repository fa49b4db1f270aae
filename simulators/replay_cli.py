"""``hub replay``: a recorded log again, and what two logs differ in."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from simulators import record, replay, traffic
from simulators.clock import Clock
from simulators.record import Sending

MAX_SHOWN = 200


class Replay(TyperGroup):
    """``hub replay FILE`` is ``hub replay run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The verb ``run`` when none is named."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(name="replay", help=__doc__, cls=Replay, no_args_is_help=True, add_completion=False)

File = Annotated[Path, typer.Argument(help="a record of traffic (docs/simulators.md)")]
To = Annotated[
    list[str] | None,
    typer.Option("--to", help="mllp://HOST:PORT, dicom://[AE@]HOST:PORT, http://...; a wire without one is left out"),
]
Filter = Annotated[
    list[str] | None, typer.Option("--filter", help="wire=mllp, sender=people, kind=ADT*; several values with commas")
]
Json = Annotated[bool, typer.Option("--json", help="machine output")]


@app.command()
def run(
    file: File,
    to: To = None,
    filters: Filter = None,
    speed: Annotated[float, typer.Option(min=0, help="recorded seconds a second; 0: as fast as possible")] = 0,
    lanes: Annotated[int, typer.Option(min=1, max=64, help="senders at the same time; 1 keeps the whole order")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="send nothing, say what would be sent")] = False,
    reissue_ids: Annotated[bool, typer.Option("--reissue-ids", help="new control ids, Bundle ids and UIDs")] = False,
    shift_dates: Annotated[int | None, typer.Option(help="move dates by so many days; births stay")] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="pseudonyms for names, numbers, phones, addresses; dates moved")
    ] = False,
    key: Annotated[str, typer.Option(help="the same key gives the same new ids and pseudonyms; random without")] = "",
    output: Annotated[Path | None, typer.Option("--record", help="write what is sent to this file")] = None,
    as_json: Json = False,
) -> None:
    """Send a recorded log in its order (also: hub replay FILE); exit 1 when an answer is another than recorded."""
    try:
        targets = replay.targets(to or ())
        log = replay.chosen(record.read(file), filters or ())
        log = replay.rewriter(key or secrets.token_hex(16), shift_dates, reissue_ids, deidentify).log(log)
        if output is not None:
            record.write(output, log, replay=file.name)
        if dry_run:
            _show(replay.plan(log, targets), as_json)
            return
        if targets.mllp is None and targets.dicom is None and targets.http is None and output is None:
            raise ValueError("say with --to where to send, or --dry-run")
        account = traffic.send(log, targets, clock=Clock(speed), lanes=lanes)
    except (OSError, ValueError, KeyError) as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(2) from None
    _show(account.summary(), as_json)
    raise typer.Exit(1 if account.refusals else 0)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A")],
    second: Annotated[Path, typer.Argument(metavar="B")],
    as_json: Json = False,
) -> None:
    """What two logs differ in: messages, bytes by place, times, answers, order; exit 1 when they do."""
    try:
        found = replay.differences(_log(first), _log(second))
    except (OSError, ValueError, KeyError) as error:
        typer.echo(f"replay: {error}", err=True)
        raise typer.Exit(2) from None
    rows = [{"what": one.what, "message": one.message, "where": list(one.where)} for one in found[:MAX_SHOWN]]
    if as_json:
        typer.echo(json.dumps({"differences": len(found), "found": rows}, ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join([*(one.text() for one in found[:MAX_SHOWN]), f"{len(found)} differences"]))
    raise typer.Exit(1 if found else 0)


def _log(file: Path) -> list[Sending]:
    return list(record.read(file))


def _show(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False, indent=2))
        return
    for name, value in summary.items():
        if isinstance(value, dict):
            for kind, count in value.items():
                typer.echo(f"{name:<10} {kind:<32} {count if isinstance(count, int) else json.dumps(count)}")
        else:
            typer.echo(f"{name:<10} {json.dumps(value, ensure_ascii=False)}")
