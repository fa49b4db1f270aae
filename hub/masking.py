"""Resident ID numbers (GB 11643) in texts that people read: logs, error messages, pages. One function for all of them.

>>> masked("ID 109901198503070013 of Mr Wang")
'ID 109901********0013 of Mr Wang'
"""

from __future__ import annotations

import logging
import re
from typing import Any

_AREA = r"(?:1[0-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])\d{4}"
_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_NUMBER = re.compile(
    rf"(?<![0-9A-Za-z.])({_AREA})((?:18|19|20)\d\d{_DAY}|\d\d{_DAY})(\d{{3}}[0-9Xx]|\d{{3}})(?![0-9A-Za-z])"
)


def masked(text: str) -> str:
    """The text with the date of birth in every resident ID number as stars."""
    return _NUMBER.sub(_stars, text)


def _stars(match: re.Match[str]) -> str:
    area, born, rest = match.groups()
    if len(born) + len(rest) not in (9, 12):  # neither 15 nor 18 characters
        return match[0]
    return f"{area}{'*' * len(born)}{rest}"


def protect_logs() -> None:
    """Let every log record of this process be written masked."""
    made = logging.getLogRecordFactory()

    def record(*arguments: Any, **named: Any) -> logging.LogRecord:
        one = made(*arguments, **named)
        one.msg, one.args = masked(one.getMessage()), ()
        return one

    logging.setLogRecordFactory(record)
