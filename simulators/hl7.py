"""HL7 v2 messages as a sending system writes them: fields to text with any separators, in any character set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

Component = str | tuple[str, ...]
"""Text, or subcomponents."""
Value = str | tuple[Component, ...] | list["Value"]
"""A field: text, a tuple of components, or a list of repetitions."""


@dataclass(frozen=True, slots=True)
class Separators:
    """MSH-1 and MSH-2: field, component, repetition, escape, subcomponent."""

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str

    @classmethod
    def of(cls, text: str) -> Separators:
        """From MSH-1 and MSH-2 written together: ``|^~\\&``."""
        if len(text) != 5 or len(set(text)) != 5:
            raise ValueError(f"separators must be five different characters, not {text!r}")
        return cls(*text)

    @property
    def encoding(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent

    def text(self, value: str) -> str:
        """Text with the separators escaped (HL7 v2.5.1 2.7.1)."""
        return value.translate(_escapes(self.field + self.encoding))

    def value(self, value: Value) -> str:
        """A field, without the empty components at its end."""
        if isinstance(value, list):
            return self.repetition.join(self.value(repetition) for repetition in value)
        if isinstance(value, tuple):
            return self.component.join(self._component(component) for component in value).rstrip(self.component)
        return self.text(value)

    def _component(self, value: Component) -> str:
        if isinstance(value, tuple):
            return self.subcomponent.join(map(self.text, value)).rstrip(self.subcomponent)
        return self.text(value)

    def segment(self, name: str, fields: dict[int, Value]) -> str:
        """A segment from its fields by position; positions not named are empty."""
        last = max(fields, default=0)
        values = [self.value(fields.get(position, "")) for position in range(1, last + 1)]
        return self.field.join([name, *values])

    def header(self, fields: dict[int, Value]) -> str:
        """MSH, whose first field is the separator itself."""
        values = [self.value(fields.get(position, "")) for position in range(3, max(fields) + 1)]
        return self.field.join([f"MSH{self.field}{self.encoding}", *values])


def message(segments: Sequence[str], charset: str) -> bytes:
    """Segments, each ended by a carriage return, in a Python character set."""
    return "".join(f"{segment}\r" for segment in segments).encode(charset)


@cache
def _escapes(separators: str) -> dict[int, str]:
    """MSH-1 and MSH-2 -> what stands for each of them in text."""
    escape = separators[3]
    return {ord(mark): f"{escape}{letter}{escape}" for mark, letter in zip(separators, "FSRET", strict=True)}
