"""What would keep the hub from working well here: the checks of ``hub doctor``."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import stat
import sys
from importlib.metadata import packages_distributions
from typing import Any

from hub import bootstrap
from hub.errors import HubError
from hub.settings import Settings

PACKAGES = ("hub", "adapters", "terminology", "simulators")
FREE_BYTES = 1 << 30


def foreign_owners() -> dict[str, list[str]]:
    """Our top-level names that another installed distribution ships too (it would overwrite our files)."""
    owners = packages_distributions()
    return {name: others for name in PACKAGES if (others := sorted(set(owners.get(name, [])) - {"region-hub"}))}


def examine(settings: Settings) -> list[dict[str, Any]]:
    """One row a check: ``check``, ``ok``, ``says``."""
    rows: list[dict[str, Any]] = []

    def row(check: str, ok: bool, says: str) -> None:
        rows.append({"check": check, "ok": ok, "says": says})

    version = sys.version_info
    row("python", version >= (3, 11), f"{version.major}.{version.minor}.{version.micro}; 3.11 or newer is needed")
    row("sqlite", sqlite3.sqlite_version_info >= (3, 35), f"{sqlite3.sqlite_version}; 3.35 or newer is needed")
    others = foreign_owners()
    row(
        "packages",
        not others,
        f"installed over by {others}; use an environment of its own" if others else "our names are ours",
    )
    settings.data.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.data).free
    row("disk", free > FREE_BYTES, f"{free >> 20} MB free in {settings.data}; 1,024 MB are wanted")
    loose = [
        file for file in (settings.data / "secrets").glob("*") if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    row(
        "secrets",
        not loose,
        f"readable by others: {', '.join(map(str, loose))}; chmod 600" if loose else "readable by the owner only",
    )
    for name in ("http", "mllp", "dicom"):
        port = getattr(settings, name).port
        if port:
            taken = in_use(settings.bind, port)
            row(
                f"port {name}",
                not taken,
                f"{settings.bind}:{port} is taken; stop what listens there, or choose another"
                if taken
                else f"{port} is free",
            )
    try:
        doors = bootstrap.build(settings)
    except HubError as error:
        row("store", False, error.diagnostics)
        return rows
    findings = doors.store.check()
    row("store", not findings, "; ".join(findings) if findings else f"{settings.store.split(':')[0]} is sound")
    keys = doors.keys.state()
    behind = sum(number for key, number in keys["contents"].items() if key != keys["newest"])
    row(
        "encryption",
        not behind,
        f"{behind} contents are not under key {keys['newest']}; a running hub moves them, or: hub keys finish"
        if behind
        else f"everything stored is under key {keys['newest']}"
        if keys["newest"]
        else "content is stored as it is (privacy.at_rest = false)",
    )
    counts = doors.inbox.counts()
    row("inbox", counts["received"] == 0, f"{counts}; what is 'received' is run again when the hub starts")
    bootstrap.close(doors)
    return rows


def in_use(host: str, port: int) -> bool:
    """Whether something listens on host:port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
