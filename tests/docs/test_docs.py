"""The documentation is true: every verb, setting and error is described, and README's commands exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from hub import cli
from hub.settings import Settings, load
from scripts import build_docs

ROOT = Path(__file__).parents[2]


def verbs() -> dict[str, Any]:
    cli.install_commands()
    found: dict[str, Any] = {}

    def walk(group: Any, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                if command.invoke_without_command:
                    found[" ".join((*words, name))] = command
                walk(command, (*words, name))
            else:
                found[" ".join((*words, name))] = command

    walk(typer.main.get_command(cli.app), ("hub",))
    return found


def settings() -> list[str]:
    names = []
    for name, field in Settings.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        names += [f"{name}.{key}" for key in inner] if inner else [name]
    return names


@pytest.mark.parametrize("path", build_docs.PAGES)
def test_generated_pages_are_current(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == build_docs.NOTE + build_docs.PAGES[path]()


def test_every_verb_says_what_it_does() -> None:
    assert [verb for verb, command in verbs().items() if not command.help] == []


def test_the_settings_file_shows_every_default() -> None:
    assert load(ROOT / "hub.toml").model_dump() == load().model_dump()
    text = (ROOT / "hub.toml").read_text(encoding="utf-8")
    for name in settings():
        assert re.search(rf"^{name.split('.')[-1]} = ", text, re.MULTILINE), name


def commands(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line.strip()
    ]


@pytest.mark.parametrize("command", commands("README.md"))
def test_readme_commands_exist(command: str) -> None:
    words = [word for word in command.split() if "=" not in word or word.startswith("ARGS")]
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    assert words[0] == ".venv/bin/hub"
    name = next(
        verb for verb in sorted(verbs(), key=len, reverse=True) if " ".join(["hub", *words[1:]]).startswith(verb)
    )
    options = {option for parameter in verbs()[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_dependency_is_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").lower()
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.split(r"[=;<> ]", one)[0].lower() for one in wanted]
    assert [name for name in names if name not in text] == []
