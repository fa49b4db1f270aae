"""The delimiters of a message and its escape sequences (HL7 v2.5.1 2.5.4, 2.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hub.errors import HubError

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
HIGHLIGHT = {"H", "N"}
MAX_SPACES = 80


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2: field, component, repetition, escape, subcomponent, truncation ("" before 2.7)."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def encoding_characters(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation

    def quote(self, text: str) -> str:
        """``text`` with delimiters and line breaks as escape sequences (HL7 v2.5.1 2.7.1)."""
        if not self.escape:
            return "".join(" " if letter in self._all() or letter < " " else letter for letter in text)
        letters = {self.field: "F", self.component: "S", self.subcomponent: "T", self.repetition: "R", self.escape: "E"}
        if self.truncation:
            letters[self.truncation] = "P"
        quoted = "".join(
            f"{self.escape}{letters[letter]}{self.escape}" if letter in letters else letter for letter in text
        )
        quoted = re.sub(r"\r\n?|\n", f"{self.escape}.br{self.escape}".replace("\\", r"\\"), quoted)
        return CONTROL.sub(" ", quoted)

    def _all(self) -> str:
        return self.field + self.encoding_characters

    def unescape(self, value: str, codec: str = "utf-8") -> str:
        """Resolve escape sequences; one that is not known stays as it is.

        ``\\X..\\`` is read in ``codec``; highlighting (``\\H\\ \\N\\``) is dropped; ``\\.br\\`` and ``\\.sp\\`` break
        the line.
        """
        if not self.escape or self.escape not in value:
            return value
        parts = value.split(self.escape)
        done = [parts[0]]
        at = 1
        while at < len(parts):
            replaced = self._sequence(parts[at], codec) if at + 1 < len(parts) else None
            if replaced is None:
                done.append(self.escape + parts[at])
                at += 1
            else:
                done.append(replaced + parts[at + 1])
                at += 2
        return "".join(done)

    def _sequence(self, name: str, codec: str) -> str | None:
        single = {"F": self.field, "S": self.component, "T": self.subcomponent, "R": self.repetition, "E": self.escape}
        if name in single:
            return single[name]
        if name == "P" and self.truncation:
            return self.truncation
        if name in HIGHLIGHT:
            return ""
        if name[:1] == "X" and len(name) > 1 and len(name) % 2:
            return _hexadecimal(name[1:], codec)
        if name[:1] == ".":
            return _formatting(name[1:])
        return None


def _hexadecimal(digits: str, codec: str) -> str | None:
    try:
        return bytes.fromhex(digits).decode(codec, "replace")
    except ValueError:
        return None


def _formatting(command: str) -> str | None:
    """Formatting commands of FT (HL7 v2.5.1 2.7.6)."""
    if command in ("br", "ce"):
        return "\n"
    if command[:2] in ("sp", "sk") and (command[2:].lstrip("+") or "1").isdecimal():
        count = min(int(command[2:].lstrip("+") or "1"), MAX_SPACES)
        return "\n" * count if command[:2] == "sp" else " " * count
    return "" if command[:2] in ("fi", "nf", "in", "ti") else None


def delimiters_of(line: str) -> Delimiters:
    """The delimiters that a header line declares. HubError("structure") when they cannot separate anything."""
    field = line[3:4]
    encoding = line[4:].split(field, 1)[0] if field else ""
    known = Delimiters(field, *(encoding[index : index + 1] for index in range(5)))
    letters = [field, *encoding[:5]]
    if not field or field.isalnum() or field in '\r\n"' or (field.isspace() and field != "\t"):
        raise HubError("structure", f"MSH-1 must be a separator character, not {field!r}", "MSH-1")
    if (
        not encoding
        or len(set(letters)) < len(letters)
        or any(letter.isalnum() or not letter.isascii() or letter in '\r\n"' for letter in letters)
    ):
        raise HubError(
            "structure", f"MSH-2 must be up to five different separator characters, not {encoding!r}", "MSH-2"
        )
    return known
