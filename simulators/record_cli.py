"""``hub record``: a recorder between senders and a hub."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from simulators import replay
from simulators.recorder import Recorder

app = typer.Typer(name="record", help=__doc__, add_completion=False)


@app.callback(invoke_without_command=True)
def record(
    file: Annotated[Path, typer.Option("--file", help="where the record is written (docs/simulators.md)")],
    listen: Annotated[list[str], typer.Option(help="where senders connect: mllp://HOST:PORT, dicom://..., http://...")],
    to: Annotated[list[str], typer.Option(help="the hub's address of the same wire")],
) -> None:
    """Forward MLLP, C-STORE and HTTP to a hub and write everything down, until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Recorder(replay.targets(listen), replay.targets(to), file) as recorder:
            if not recorder.addresses:
                raise ValueError("no wire has both --listen and --to")
            for name, (host, port) in recorder.addresses.items():
                typer.echo(f"record: {name}={host}:{port}", err=True)
            stop.wait()
            typer.echo(f"record: {recorder.count} messages in {file}", err=True)
    except (OSError, ValueError) as error:
        typer.echo(f"record: {error}", err=True)
        raise typer.Exit(2) from None
