"""Write the tables and the plot of docs/simulators.md: faults, journeys, and 10,000 residents against the census."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from simulators.journey import journeys
from simulators.population import Resident, people, table

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = DOCS / "simulators.md", DOCS / "population.svg"
MARK = "<!-- from here on written by scripts/build_simulators_page.py -->"
SEED, COUNT = 7, 10_000
SOURCES = {
    "age": "age, five-year bands", "sex": "sex", "household": "members of households", "insurance": "insurance class",
}  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP, STEP = 760, 330, 50, 30, 38


def shares(residents: list[Resident]) -> list[tuple[str, str, float, float]]:
    """(set, value, share of the source, share of the residents), per mille."""
    homes = Counter(Counter(one.household for one in residents).values())
    found: dict[str, Counter[str]] = {
        "age": Counter(str(min(85, one.age() // 5 * 5)) for one in residents),
        "sex": Counter(one.sex for one in residents),
        "household": Counter(),
        "insurance": Counter(one.insurance for one in residents),
    }
    for size, number in homes.items():
        found["household"][str(min(6, size))] += number
    rows = [(row["set"], row["value"], float(row["share"])) for row in table("census")]
    return [(name, value, share, 1000 * found[name][value] / found[name].total()) for name, value, share in rows]


def plot(rows: list[tuple[str, str, float, float]]) -> str:
    """Bars of the ages: source and residents side by side."""
    ages = [row for row in rows if row[0] == "age"]
    top = max(max(share, found) for _, _, share, found in ages)
    scale = (HEIGHT - 2 * TOP - 20) / top
    bars, base = [], HEIGHT - TOP
    for place, (_, value, share, found) in enumerate(ages):
        x = LEFT + place * STEP
        for offset, height, colour in ((0, share * scale, "#9aa5b1"), (15, found * scale, "#2563a8")):
            bars.append(
                f'<rect x="{x + offset}" y="{base - height:.1f}" width="14" height="{height:.1f}" fill="{colour}"/>'
            )
        bars.append(
            f'<text x="{x + 14}" y="{base + 14}" text-anchor="middle">{value}{"+" if value == "85" else ""}</text>'
        )
    title = f"Ages of {COUNT:,} simulated residents (blue) and of the census of 2020 (grey), per mille"
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, f"<title>{title}</title>", f'<text x="{LEFT}" y="18">{title}</text>', *bars, "</svg>", ""])


def page(rows: list[tuple[str, str, float, float]]) -> list[str]:
    """The generated part of the page."""
    lines = [
        MARK, "", "## Residents against their sources", "",
        f"The first {COUNT:,} residents of seed {SEED} have no contradiction between ID number, birth date, sex,"
        " age and household (`tests/simulators/test_simulators_population.py`)."
        " Shares per mille; sources in `tables/census.csv`.", "",
        "![ages](population.svg)", "", "| | value | source | residents | difference |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, value, share, found in rows:
        lines.append(f"| {SOURCES[name]} | {value} | {share:.1f} | {found:.1f} | {found - share:+.1f} |")
    lines += [
        "",
        "## Faults",
        "",
        "| Fault | Link | Rate | What happens | What a hub must make of it |",
        "|---|---|---|---|---|",
    ]
    for row in table("faults"):
        lines.append(
            f"| `{row['name']}` | {row['link']} | {row['rate']} {row['layer']} | {row['what']} | {row['must']} |"
        )
    lines += [
        "", "Some faults are journeys: a wrong-patient merge and its repair (`misplaced`), a cancellation after"
        " the final result (`outpatient`), a registration without documents that is merged later (`unknown`).", "",
        "## Journeys", "", "| Journey | Weight | Where | Sends |", "|---|---|---|---|",
    ]  # fmt: skip
    for journey in journeys().values():
        kinds = dict.fromkeys(kind for step in journey.steps.values() for _, kind, _ in step.send)
        where = ", ".join(dict.fromkeys(kind for kinds_ in journey.places.values() for kind in kinds_))
        lines.append(f"| `{journey.name}` | {journey.share:g} | {where} | {', '.join(kinds)} |")
    return [*lines, ""]


def main() -> None:
    """Write the page and the plot."""
    rows = shares(people(SEED, COUNT))
    PLOT.write_text(plot(rows), encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0].rstrip()
    PAGE.write_text(text + "\n\n" + "\n".join(page(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
