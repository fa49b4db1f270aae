"""Fixtures: a hub in a process of its own, as users run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Process:
    """A running ``hub serve``; addresses by listener name."""

    popen: subprocess.Popen[str]
    addresses: dict[str, tuple[str, int]]
    data: Path

    @property
    def base(self) -> str:
        return "http://{}:{}".format(*self.addresses["http"])

    @property
    def mllp(self) -> tuple[str, int]:
        return self.addresses["mllp"]

    @property
    def dicom(self) -> tuple[str, int]:
        return self.addresses["dicom"]

    def kill(self) -> None:
        """kill -9."""
        self.popen.send_signal(signal.SIGKILL)
        self._ended(10)

    def stop(self) -> int:
        """SIGTERM, and wait."""
        self.popen.terminate()
        return self._ended(30)

    def _ended(self, seconds: float) -> int:
        code = self.popen.wait(seconds)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(data: Path, store: str = "sqlite", module: tuple[str, ...] = ("hub.cli",), **environment: str) -> Process:
    """Start ``hub serve`` on free ports and wait until it is ready; ``module`` is the program, with its arguments."""
    for _ in range(3):  # somebody may take a port between the look and the bind
        command = [sys.executable, "-m", *module, "serve", "--data", str(data), "--store", store]
        for name in ("http", "mllp", "dicom"):
            command += [f"--{name}-port", str(free_port())]
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        assert popen.stdout is not None
        line = popen.stdout.readline()
        bound = {name: (host, int(port)) for name, host, port in re.findall(r"(\w+)=([\w.:]+):(\d+)", line)}
        if {"http", "mllp", "dicom"} <= set(bound):
            return Process(popen, bound, data)
        popen.kill()
        popen.wait()
        popen.stdout.close()
    raise AssertionError(f"the hub did not start: {line!r}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One hub on SQLite for a module's tests."""
    process = serve(tmp_path_factory.mktemp("hub") / "data")
    yield process
    if process.popen.poll() is None:
        process.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start hubs that are ended with the test, whatever happens."""
    started: list[Process] = []

    def one(data: Path | None = None, store: str = "sqlite", **environment: str) -> Process:
        process = serve(data or tmp_path / "data", store, **environment)
        started.append(process)
        return process

    yield one
    for process in started:
        if process.popen.poll() is None:
            process.kill()
