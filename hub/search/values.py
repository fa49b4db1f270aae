"""The syntax of search values: separators, escapes, tokens, canonicals (R4 3.1.1.4.10, 3.1.1.4.13, 3.1.1.4.19)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)


def split(value: str, separator: str, limit: int = -1) -> list[str]:
    """The parts between unescaped separators, escapes kept; at most ``limit`` + 1 parts when it is not negative."""
    if "\\" not in value:
        return value.split(separator, limit)
    parts: list[str] = []
    start = at = 0
    while at < len(value) and len(parts) != limit:
        if value[at] == "\\":
            at += 2
        elif value[at] == separator:
            parts.append(value[start:at])
            start = at = at + 1
        else:
            at += 1
    return [*parts, value[start:]]


def literal(value: str) -> str:
    r"""The value without escapes: ``\,`` ``\|`` ``\$`` and ``\\`` (R4 3.1.1.4.19). Raises ValueError."""
    if "\\" not in value:
        return value

    def one(found: re.Match[str]) -> str:
        if found[1] not in ("\\", ",", "|", "$") or not found[1]:
            raise ValueError(r"a backslash must be followed by \ , | or $")
        return found[1]

    return _ESCAPED.sub(one, value)


@dataclass(frozen=True, slots=True)
class Token:
    """``code``, ``system|code``, ``|code`` (no system: "") or ``system|`` (no code: None); ``system`` None is any."""

    system: str | None
    code: str | None


def token(value: str) -> Token:
    """The four forms of R4 3.1.1.4.10. Raises ValueError for an empty value or more than one ``|``."""
    parts = [literal(part) for part in split(value, "|")]
    if len(parts) > 2 or not any(parts):
        raise ValueError("expected code, system|code, |code or system|")
    if len(parts) == 1:
        return Token(None, parts[0])
    return Token(parts[0], parts[1] or None)


def canonical(value: str) -> tuple[str, str]:
    """(url, version) of a canonical, its fragment ignored (R4 2.24.0.8); version "" when there is none.

    ``#id`` alone names a contained resource and stays.
    """
    if value.startswith("#"):
        return value, ""
    url, _, version = value.partition("|")
    return url.partition("#")[0], version
