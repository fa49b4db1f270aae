"""Person names as they are looked for: as written, and where they are Chinese, as they are read (pinyin without tones).

A modality writes 张三 as ``Zhang^San``, ``ZHANG SAN`` or not at all; who asks for one of them means the same person.
"""

from __future__ import annotations

from functools import lru_cache

from hub.mpi.hanzi import simplified, syllables

COMPOUND = frozenset(
    "欧阳 上官 司马 诸葛 东方 皇甫 尉迟 公孙 慕容 司徒 夏侯 令狐 长孙 宇文 端木 闻人 独孤 南宫".split()
)
"""Family names of two characters, the usual ones."""


@lru_cache(maxsize=65_536)
def alphabetic(name: str) -> str:
    """A component group in hanzi as its Alphabetic group, ``Zhang^San``; "" when it is no Chinese name."""
    family, given = _parts(name)
    read = [_read(simplified(family)), _read(simplified(given), first=False)]
    return "" if not all(part.isascii() for part in read) else "^".join(part.capitalize() for part in read if part)


def readings(name: str) -> tuple[str, ...]:
    """Further forms under which a component group is found: with and without a break between its components."""
    if name.isascii() or not (read := alphabetic(name)):
        return ()
    return read, read.replace("^", " "), read.replace("^", "")


def _parts(name: str) -> tuple[str, str]:
    """Family and given name; a name in one piece is divided as Chinese names are."""
    family, broken, given = name.strip("^ ").partition("^")
    if broken or (not given and name.isascii()):
        return family, given.split("^")[0]
    length = 2 if simplified(family[:2]) in COMPOUND and len(family) > 2 else 1
    return family[:length], family[length:]


def _read(text: str, first: bool = True) -> str:
    """Syllables run together; of a given name none is read as a family name would be."""
    return "".join(syllables(text) if first else syllables("·" + text))
