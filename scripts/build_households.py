"""Fit the weights of households.csv (kind of household, age band of its head) to the shares of census.csv.

Every kind and band is sampled, then the weights are raked (iterative proportional fitting) until ages, sexes and
household sizes have the census shares.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from simulators.population import BANDS, kinds, members, table
from simulators.streams import Stream

OUT = Path(__file__).parents[1] / "simulators/tables/households.csv"
SAMPLES, ROUNDS = 300, 4000
HEAD = (
    "# Weights of the kinds of households.toml by the age band of the head; written by scripts/build_households.py.\n"
)


def _row(kind: str, band: int, names: list[str]) -> list[float]:
    """Expected members by age band and sex and the household's size, over samples."""
    counts: Counter[str] = Counter()
    for sample in range(SAMPLES):
        found = members(Stream(0, "fit", kind, band, sample), kind, band)
        for one in found:
            counts[f"age {min(85, one.age // 5 * 5)}"] += 1
            counts[f"sex {one.sex}"] += 1
        counts[f"household {min(6, len(found))}"] += 1
    return [counts[name] / SAMPLES for name in names]


def main() -> None:
    """Write the table."""
    targets = {f"{row['set']} {row['value']}": float(row["share"]) for row in table("census")}
    names = [name for name in targets if not name.startswith("insurance")]
    cells = [(kind, band) for kind in kinds() for band in BANDS]
    matrix = np.array([_row(kind, band, names) for kind, band in cells])
    weights = np.full(len(cells), 1.0)
    size = np.array([row[[name.startswith("age") for name in names]].sum() for row in matrix])
    weights[size == 0] = 0
    groups = {key: [i for i, name in enumerate(names) if name.startswith(key)] for key in ("age", "sex", "household")}
    for _ in range(ROUNDS):
        for where in groups.values():
            made = weights @ matrix[:, where]
            share = np.array([targets[names[i]] for i in where])
            ratio = (share / share.sum()) / np.maximum(made / made.sum(), 1e-12)
            part = matrix[:, where] / np.maximum(matrix[:, where].sum(axis=1, keepdims=True), 1e-12)
            weights *= np.exp(0.5 * (part @ np.log(np.clip(ratio, 0.2, 5))))
        weights /= weights.sum()
    rows = [
        f"{kind},{band},{weight * 1e5:.0f}"
        for (kind, band), weight in zip(cells, weights, strict=True)
        if weight * 1e5 >= 0.5
    ]
    OUT.write_text(HEAD + "kind,band,weight\n" + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
