"""``hub validate`` and ``hub fhirpath``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hub import settings
from hub.conformance import grace, regional
from hub.errors import HubError
from hub.fhir import definitions, json, paths, temporal
from hub.fhir.paths.values import Temporal
from hub.fhir.validate import Validator, located, package
from hub.fhir.validate.profiles import Library
from hub.fhir.validate.terminology import ServiceCodes
from terminology.service import Terminology

app = typer.Typer()
RANK = {"fatal": 0, "error": 1, "warning": 2, "information": 3}


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def build(files: Iterable[Path], clock: Callable[[], int]) -> Validator:
    """A strict validator with the region's profiles and the definitions in ``files``. Raises HubError."""
    library, codes = Library(definitions.load()), Terminology(clock)
    for structure in regional.structures():
        library.add(structure)
    for path in files:
        for resource in package.resources(path):
            if resource.get("resourceType") in ("StructureDefinition", "Questionnaire"):
                library.add(resource)
            elif resource.get("resourceType") in ("ValueSet", "CodeSystem") and isinstance(resource.get("url"), str):
                codes.put(resource)
    return Validator(definitions.load(), library=library, terminology=ServiceCodes(codes), strict=True)


class _ManyDefinitions(TyperCommand):
    """A command whose --definitions takes every file up to the next option, once a FILE stands before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        option, taken, files = "", 0, 0
        for argument in args:
            if argument.startswith("--"):
                option, taken = "" if "=" in argument else argument, 0
            else:
                if option == "--definitions" and taken and files:
                    spread.append(option)
                elif option in ("", "--json") or taken:
                    files += 1
                taken += 1
            spread.append(argument)
        return super().parse_args(ctx, spread)


@app.command(cls=_ManyDefinitions)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="FHIR resources, JSON or XML")],
    profile: Annotated[list[str] | None, typer.Option(help="canonical URL of a profile to check against")] = None,
    definition: Annotated[
        list[Path] | None, typer.Option("--definitions", help="profiles, value sets, code systems, or a package .tgz")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a file")] = False,
    language: Annotated[str, typer.Option(help="en or zh")] = "en",
    institution: Annotated[str, typer.Option(help="whose agreed severities apply (setting grace)")] = "",
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration file; hub.toml here is the default.")
    ] = None,
) -> None:
    """Check resources against FHIR R4, the profiles they claim and those asked for. Exit code 1 on errors."""
    try:
        validator = build(definition or (), now)
        severities = agreed(institution, config)
    except (HubError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--definitions") from error
    failed = False
    for path in files:
        try:
            findings = located.check(path.read_bytes(), validator, profile or (), severities)
        except OSError as error:
            raise typer.BadParameter(str(error), param_hint="FILE") from error
        valid = not any(finding.severity in ("fatal", "error") for finding in findings)
        failed = failed or not valid
        if as_json:
            _line({"file": str(path), "valid": valid, "issues": [asdict(finding) for finding in findings]})
        else:
            _report(path, valid, findings, language)
    raise typer.Exit(1 if failed else 0)


def _report(path: Path, valid: bool, findings: Iterable[located.Located], language: str) -> None:
    typer.echo(f"{path}: {'valid' if valid else 'NOT valid'}")
    for finding in sorted(findings, key=lambda one: RANK[one.severity]):
        place = f"line {finding.line} column {finding.column}" if finding.line else ""
        message = finding.message.get(language, finding.message["en"])
        typer.echo(
            f"  {finding.severity:<11} {finding.expression}  {place}\n              {message} ({finding.clause})"
        )
        mend = finding.mend.get(language, "")
        if mend and finding.severity in ("fatal", "error"):
            typer.echo(f"              -> {mend}")


def agreed(institution: str, config: Path | None) -> dict[str, str]:
    """The severities agreed with an institution; none when no institution is named."""
    file = config or (Path("hub.toml") if Path("hub.toml").is_file() else None)
    if not institution or file is None:
        return {}
    rows = settings.load(file).grace
    grace.check(rows)
    return grace.severities(rows, institution, datetime.now(UTC).date())


@app.command()
def fhirpath(
    expression: Annotated[str, typer.Argument(help="FHIRPath; left out with --batch")] = "",
    file: Annotated[Path | None, typer.Argument(help="a FHIR resource, JSON or XML")] = None,
    batch: Annotated[str, typer.Option(help="- or a file of JSON Lines {expression, file}")] = "",
) -> None:
    """Evaluate FHIRPath on a resource; the answer is {"result", "types", "error"}."""
    if batch:
        text = sys.stdin.buffer if batch == "-" else Path(batch).open("rb")  # noqa: SIM115 - closed at exit
        resources: dict[str, dict[str, Any]] = {}
        for line in text:
            if line.strip():
                _line(_asked(line, resources))
        return
    if not expression or file is None:
        raise typer.BadParameter("an expression and a file are needed, or --batch")
    answer = evaluate(expression, str(file), {})
    _line(answer)
    raise typer.Exit(1 if answer["error"] else 0)


def _asked(line: bytes, resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    try:
        row = json.decode(line)
        return evaluate(str(row["expression"]), str(row["file"]), resources)
    except KeyError as error:
        return {"result": [], "types": [], "error": f"the line has no member {error}"}
    except HubError as error:
        return {"result": [], "types": [], "error": str(error)}


def evaluate(expression: str, file: str, resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The values and their types, or the error; ``resources`` keeps the files that were read."""
    try:
        if file not in resources:
            resources[file] = located.decode(Path(file).read_bytes())
        resource = resources[file]
        path = paths.compile(expression, str(resource.get("resourceType", "")), strict=True)
        moment = Temporal.parse(temporal.instant(now()), "dateTime")
        pairs = path.typed(resource, now=moment)
    except (HubError, OSError) as error:
        return {"result": [], "types": [], "error": str(error)}
    return {"result": [value for value, _ in pairs], "types": [name for _, name in pairs], "error": None}


def _line(value: Any) -> None:
    typer.echo(json.encode(value).decode())
