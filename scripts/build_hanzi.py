"""Build ``hub/mpi/pinyin.csv`` and ``hub/mpi/variants.csv`` from pypinyin and opencc-python-reimplemented.

Run in an environment that has both: ``python scripts/build_hanzi.py``. The tables hold facts of Unicode's Unihan
database (readings, simplified variants); pypinyin is under MIT, OpenCC's tables under Apache-2.0.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

from pypinyin import Style, pinyin

MPI = Path(__file__).parents[1] / "hub" / "mpi"
SURNAMES = (
    "单shan 仇qiu 解xie 朴piao 区ou 曾zeng 翟zhai 盖ge 华hua 尉wei 查zha 折she 种chong 召shao 覃qin 洗xian 宁ning"
    " 缪miao 员yun 乐yue 谌chen 葛ge 任ren"
)
"""Readings that these characters have as surnames."""


def gb2312() -> list[str]:
    """The 6,763 hanzi of GB 2312, in its order."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF))
    return [text for code in codes if (text := code.decode("gb2312", "ignore"))]


def main() -> None:
    """Write both tables."""
    syllables: dict[str, list[str]] = defaultdict(list)
    for character in gb2312():
        syllables[pinyin(character, style=Style.NORMAL, v_to_u=False)[0][0].replace("ü", "v")].append(character)
    with (MPI / "pinyin.csv").open("w", encoding="utf-8", newline="") as file:
        file.write("# Reading without tone -> characters of GB 2312 with it (Unihan, by way of pypinyin, MIT).\n")
        file.write("# The readings 'surname:x' are those of the first character of a name.\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["syllable", "characters"])
        writer.writerows((syllable, "".join(found)) for syllable, found in sorted(syllables.items()))
        writer.writerows((f"surname:{word[1:]}", word[0]) for word in sorted(SURNAMES.split()))
    table = files("opencc").joinpath("dictionary", "TSCharacters.txt").read_text(encoding="utf-8")
    pairs = [line.split("\t") for line in table.splitlines() if "\t" in line]
    simple = [(old, new.split()[0]) for old, new in pairs if len(old) == 1 and old != new.split()[0]]
    with (MPI / "variants.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(
            "# Traditional or variant characters and the simplified ones, position by position (OpenCC, Apache-2.0).\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["from", "to"])
        for start in range(0, len(simple), 100):
            part = simple[start : start + 100]
            writer.writerow(["".join(old for old, _ in part), "".join(new for _, new in part)])


if __name__ == "__main__":
    main()
