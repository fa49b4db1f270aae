"""``hub terminology ...``: load releases, and ask the service from the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from terminology.errors import TerminologyError
from terminology.load import KINDS, load, releases
from terminology.service import Terminology

app = typer.Typer(help="术语服务：加载、查询 / Terminology: load releases, ask the service.", no_args_is_help=True)

Data = Annotated[
    Path, typer.Option("--data", envvar="HUB_DATA", help="中心数据目录 / The hub's data directory (setting data).")
]
DEFAULT_DATA = Path("data")


def folder(data: Path) -> Path:
    """Where loaded releases are kept, below the hub's data directory."""
    return data / "terminology"


def service(data: Path) -> Terminology:
    """The service with the releases loaded there."""
    terminology = Terminology(lambda: time.time_ns() // 1000)
    for release in releases(folder(data)):
        terminology.attach(release)
    return terminology


@contextmanager
def _told() -> Iterator[None]:
    """A refusal as one line and exit code 1."""
    try:
        yield
    except TerminologyError as error:
        typer.echo(f"{error.code}: {error.text}", err=True)
        raise typer.Exit(1) from None


def _show(resource: dict[str, Any]) -> None:
    typer.echo(json.dumps(resource, ensure_ascii=False, indent=2))


@app.command("load")
def load_release(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}")],
    path: Annotated[
        Path, typer.Argument(help="文件、文件夹或压缩包 / A file, folder or zip archive you are licensed to use.")
    ],
    version: Annotated[str, typer.Option(help="版本，文件未注明时 / The version, if the files do not say it.")] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """加载术语发布包；中断后重新运行即可继续 / Load a release; run it again to go on after a break."""

    def progress(step: str, done: int) -> None:
        typer.echo(f"\r{step}: {done}".ljust(79), nl=False, err=True)

    start = time.monotonic()
    with _told():
        system = load(kind, path, folder(data), version=version, progress=progress)
        typer.echo(
            f"\r{system.url} {system.version}: {system.count} codes in {time.monotonic() - start:.0f} s".ljust(79)
        )
        system.close()


@app.command()
def loaded(data: Data = DEFAULT_DATA) -> None:
    """列出已加载的发布包 / List the loaded releases."""
    for system in releases(folder(data)):
        typer.echo(f"{system.url}\t{system.version}\t{system.count}\t{system.file}")
        system.close()


@app.command()
def lookup(system: str, code: str, language: str = "", data: Data = DEFAULT_DATA) -> None:
    """CodeSystem/$lookup."""
    with _told():
        _show(service(data).lookup(system, code, display_language=language))


@app.command("validate-code")
def validate_code(
    code: str,
    url: Annotated[str, typer.Option(help="值集 / Canonical url of a value set.")] = "",
    system: str = "",
    display: str = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """ValueSet/$validate-code, or CodeSystem/$validate-code without --url; exit code 1 if it is not valid."""
    with _told():
        answer = service(data).validate_code(url, code=code, system=system, display=display)
        _show(answer)
    if not answer["parameter"][0]["valueBoolean"]:
        raise typer.Exit(1)


@app.command()
def expand(
    url: str, filter: str = "", count: int = 100, offset: int = 0, language: str = "", data: Data = DEFAULT_DATA
) -> None:
    """ValueSet/$expand, as a table."""
    with _told():
        answer = service(data).expand(url, filter=filter, count=count, offset=offset, display_language=language)
        for row in answer["expansion"].get("contains", ()):
            typer.echo(f"{row.get('system', '')}\t{row['code']}\t{row.get('display', '')}")
        typer.echo(f"{answer['expansion']['total']} codes", err=True)


@app.command()
def translate(system: str, code: str, target: str = "", reverse: bool = False, data: Data = DEFAULT_DATA) -> None:
    """ConceptMap/$translate; --target is a code system."""
    with _told():
        _show(service(data).translate(system, code, target_system=target, reverse=reverse))


@app.command()
def bench(seconds: float = 2.0) -> None:
    """测量 $validate-code 与 $expand / Measure $validate-code and $expand, in CPU time, in process."""
    terminology = Terminology(lambda: time.time_ns() // 1000)
    url, system = (
        "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode",
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    )
    terminology.validate_code(url, system=system, code="AMB")
    calls, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(1000):
            terminology.validate_code(url, system=system, code="AMB")
        calls += 1000
    typer.echo(f"$validate-code: {calls / (time.process_time() - start):,.0f} /s")
    divisions = "https://region-hub.example/fhir/CodeSystem/gbt-2260-divisions?fhir_vs"
    begun = time.process_time()
    total = terminology.expand(divisions, filter="qu", count=5000)["expansion"]["total"]
    first = time.process_time() - begun
    begun = time.process_time()
    terminology.expand(divisions, filter="qu", count=5000)
    again = time.process_time() - begun
    typer.echo(f"$expand with filter, {total} codes: first {first * 1000:.1f} ms, then {again * 1000:.1f} ms")
