"""Where something stands in JSON text: the slow second reading, done only when a place must be named.

One iterative scanner (no recursion, whatever the nesting) serves two ends: :func:`fault` finds the first thing that is
wrong with a text, :func:`places` gives line and column of every value of a sound one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hub.errors import HubError

Key = str | int
Place = tuple[int, int]

_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z.+-]))"
    r"|(?P<word>true|false|null)(?![A-Za-z])"
    r"|(?P<mark>[{}\[\]:,])"
)
_SPACE = re.compile(r"[ \t\r\n]*")
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})(?:\\u([dD][c-fC-F][0-9A-Fa-f]{2}))?|\\.")
_MAX_DEPTH = 4096


class _Fault(Exception):
    """What is wrong, and the offset where."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.text = text
        self.offset = offset


def fault(data: bytes, max_depth: int = 64) -> HubError:
    """The first thing that is wrong with JSON text, as HubError ``structure`` at "line L column C"."""
    try:
        text = data.decode("utf-8-sig")
        for _ in _scan(text, max_depth):
            pass
    except UnicodeDecodeError as error:
        sound = data[: error.start].decode("utf-8-sig", "replace")
        return HubError("structure", "The text is not valid UTF-8.", _named(_place(sound, len(sound))))
    except _Fault as error:
        return HubError("structure", error.text, _named(_place(text, error.offset)))
    return HubError("structure", "The text is not valid JSON.", "line 1 column 1")


def places(data: bytes) -> dict[tuple[Key, ...], Place]:
    """Path (member names and 0-based indexes) -> line and column, both from 1; of a member, the place of its name."""
    text = data.decode("utf-8-sig")
    found: dict[tuple[Key, ...], Place] = {}
    line, start, last = 1, 0, 0
    for path, offset in _scan(text, _MAX_DEPTH):
        breaks = text.count("\n", last, offset)
        if breaks:
            line += breaks
            start = text.rfind("\n", last, offset) + 1
        last = offset
        found[path] = (line, offset - start + 1)
    return found


def _scan(text: str, max_depth: int) -> Iterator[tuple[tuple[Key, ...], int]]:
    """Path and offset of every value, in the order of the text; raises _Fault."""
    closers: list[str] = []
    path: list[Key] = []
    names: list[set[str]] = []
    expect = "value"
    offset = _skip(text, 0)
    while True:
        if expect == "end":
            if offset < len(text):
                raise _Fault("Text after the end of the JSON value.", offset)
            return
        kind, token = _token(text, offset)
        if expect in ("value", "first item") and token != "]":
            if kind == "mark" and token not in "{[":
                raise _Fault(f"A value is expected, not {token}", offset)
            if not (path and isinstance(path[-1], str)):
                yield tuple(path), offset
            expect = _enter(token, closers, path, names, max_depth, offset)
        elif expect in ("name", "first name") and kind == "string":
            path[-1] = _name(token, names[-1], offset)
            yield tuple(path), offset
            offset = _colon(text, offset + len(token))
            token, expect = ":", "value"
        elif token in ("}", "]"):
            if expect in ("name", "value") or not closers or closers.pop() != token:
                raise _Fault(f"{token} does not fit here.", offset)
            path.pop()
            names.pop()
            expect = "comma" if closers else "end"
        elif token == "," and expect == "comma":
            expect = _next(closers, path)
        else:
            raise _Fault(f"{token[:40]} does not fit here.", offset)
        offset = _skip(text, offset + len(token))


def _name(token: str, seen: set[str], offset: int) -> str:
    name = _unescape(token)
    if name in seen:
        raise _Fault(f'The member "{name}" occurs twice in one object.', offset)
    seen.add(name)
    return name


def _colon(text: str, offset: int) -> int:
    found = _skip(text, offset)
    if text[found : found + 1] != ":":
        raise _Fault("A colon is expected after the name of a member.", found)
    return found


def _enter(token: str, closers: list[str], path: list[Key], names: list[set[str]], max_depth: int, offset: int) -> str:
    """After the first token of a value: what is expected next."""
    if token not in "{[":
        return "comma" if closers else "end"
    if len(closers) >= max_depth:
        raise _Fault(f"Nested deeper than {max_depth} levels.", offset)
    closers.append("}" if token == "{" else "]")
    names.append(set())
    path.append("" if token == "{" else 0)
    return "first name" if token == "{" else "first item"


def _next(closers: list[str], path: list[Key]) -> str:
    if closers[-1] == "}":
        return "name"
    index = path[-1]
    path[-1] = index + 1 if isinstance(index, int) else 0
    return "value"


def _token(text: str, offset: int) -> tuple[str, str]:
    """Kind and text of the token at ``offset``."""
    match = _TOKEN.match(text, offset)
    if match is None:
        if offset >= len(text):
            raise _Fault("The text ends in the middle of a value.", offset)
        if text[offset] == '"':
            raise _Fault("The string is not closed, or holds a control character or an unknown escape.", offset)
        raise _Fault(f"{text[offset : offset + 1]!r} is not JSON.", offset)
    kind, token = match.lastgroup or "", match.group()
    if kind == "number" and (len(token) > 1024 or len(token.lower().partition("e")[2]) > 6):
        raise _Fault("The number is out of range.", offset)
    if kind == "string" and "\\u" in token:
        _unescape_checked(token, offset)
    return kind, token


def _unescape_checked(token: str, offset: int) -> None:
    for match in _ESCAPE.finditer(token):
        code = match.group(1)
        if code is None:
            continue
        value = int(code, 16)
        if value == 0:
            raise _Fault("The character U+0000 is not allowed.", offset + match.start())
        if 0xD800 <= value <= 0xDFFF and (value >= 0xDC00 or match.group(2) is None):
            raise _Fault("Half a surrogate pair.", offset + match.start())


def _unescape(token: str) -> str:
    def plain(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(match.group()[1], match.group()[1])
        if match.group(2):
            return bytes.fromhex(match.group(1) + match.group(2)).decode("utf-16-be", "replace")
        return chr(int(match.group(1), 16))

    return _ESCAPE.sub(plain, token[1:-1])


def _skip(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _place(text: str, offset: int) -> Place:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _named(place: Place) -> str:
    return f"line {place[0]} column {place[1]}"
