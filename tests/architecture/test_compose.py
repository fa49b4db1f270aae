"""Every command, port, environment name and path in docker-compose.yml is real (no engine is needed to know)."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from hub import cli
from hub.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "region-hub"}
PORTS = {8080, 2575, 11112}


def test_it_is_clean_yaml() -> None:
    rules = "{line-length: {max: 140}, document-start: disable, comments: disable}"
    config = YamlLintConfig(f"extends: default\nrules: {rules}")
    assert [str(problem) for problem in linter.run(TEXT, config)] == []


def test_the_roles_are_there() -> None:
    scale = {name for name, service in SERVICES.items() if service.get("profiles") == ["scale"]}
    assert scale == {"mongo", "mongo-init", "api-1", "api-2", "mllp", "dicom", "hospitals"}
    assert set(SERVICES) - scale == {"hub"}


@pytest.mark.parametrize("name", OURS)
def test_commands_are_real(name: str) -> None:
    cli.install_commands()
    command = [str(part) for part in OURS[name]["command"]]
    assert command[0] == "hub"
    group: Any = typer.main.get_command(cli.app)
    words = command[1:]
    while words and hasattr(group, "commands"):
        assert words[0] in group.commands, command
        group = group.commands[words.pop(0)]
    options = {option for parameter in group.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("name", OURS)
def test_environment_names_are_settings(name: str) -> None:
    for variable in OURS[name].get("environment", {}):
        assert variable.startswith("HUB_")
        assert variable.removeprefix("HUB_").lower().split("__")[0] in Settings.model_fields


@pytest.mark.parametrize("name", OURS)
def test_ports_and_hosts_are_real(name: str) -> None:
    service = OURS[name]
    for mapping in service.get("ports", []):
        host, _, container = str(mapping).rpartition(":")
        assert int(container) in PORTS
        assert host.startswith("127.0.0.1:")
    for word in [*service["command"], *service.get("environment", {}).values()]:
        for address, port in re.findall(r"([a-z][a-z0-9-]*):(\d{4,5})", str(word)):
            assert address in SERVICES, word
            assert int(port) in PORTS | {27017}


def test_volumes_and_dependencies_are_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        assert set(service.get("depends_on", [])) <= set(SERVICES)


def test_the_image_copies_what_exists() -> None:
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY"):
            *paths, _ = shlex.split(line)[1:]
            for path in paths:
                assert (ROOT / path).exists(), path
    assert {int(port) for port in re.findall(r"\d+", re.findall(r"EXPOSE (.*)", DOCKERFILE)[0])} == PORTS
