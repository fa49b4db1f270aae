"""Reads the files of terminologies that may not be shipped: SNOMED CT RF2, LOINC, and tables of codes (ICD, drugs).

A reader turns a path (a folder, a zip archive or one file) into steps, and a step into rows. Nothing is held in memory
but what a step needs to join two files.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from terminology.errors import TerminologyError

# concept: code, display, definition, inactive ("0", "1") | display: code, text | parent: code, parent
# designation: code, language, use, text | property: code, name, value
Row = tuple[str, ...]

csv.field_size_limit(1 << 20)


@dataclass(frozen=True, slots=True)
class Step:
    """One file of a release: ``rows`` reads it from the start, with the number of the line each row is from."""

    name: str
    rows: Callable[[], Iterator[tuple[int, Row]]]


@dataclass(frozen=True, slots=True)
class Release:
    """What a reader found: steps in order, and the version if the files say it."""

    steps: tuple[Step, ...]
    version: str = ""


class Source:
    """A folder, a zip archive or a single file, searched by file name."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise TerminologyError("not-found", f"there is no file or folder {path}")
        self.path = path
        self._zip = zipfile.ZipFile(path) if path.is_file() and zipfile.is_zipfile(path) else None
        if self._zip:
            self.names = sorted(n for n in self._zip.namelist() if not n.endswith("/"))
        elif path.is_dir():
            self.names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
        else:
            self.names = [path.name]

    def find(self, pattern: str) -> str | None:
        """The first file whose path matches the regular expression anywhere."""
        return next((name for name in self.names if re.search(pattern, name)), None)

    def need(self, pattern: str, what: str) -> str:
        """As find. TerminologyError("not-found") without one."""
        found = self.find(pattern)
        if found is None:
            raise TerminologyError("not-found", f"{self.path} has no {what}")
        return found

    def open(self, name: str) -> IO[bytes]:
        """The file's bytes."""
        if self._zip:
            return self._zip.open(name)
        return (self.path / name if self.path.is_dir() else self.path).open("rb")

    def size(self) -> int:
        """The size of all files: with the path, what tells one source from another."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum((self.path / name).stat().st_size for name in self.names)

    def table(self, name: str, delimiter: str, quoted: bool = True) -> Iterator[tuple[int, dict[str, str]]]:
        """The lines of a file with a header, as column -> text. UTF-8 or, as many Chinese files, GB18030."""
        with self.open(name) as sample:
            try:
                codecs.getincrementaldecoder(encoding := "utf-8-sig")().decode(sample.read(1 << 20))
            except UnicodeDecodeError:
                encoding = "gb18030"
        with self.open(name) as file, io.TextIOWrapper(file, encoding=encoding, newline="") as text:
            reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
            header: list[str] = []
            try:
                for cells in reader:
                    if not header:
                        header = [cell.strip() for cell in cells]
                    elif len(cells) == len(header):
                        yield reader.line_num, dict(zip(header, cells, strict=True))
                    elif any(cells):
                        raise TerminologyError(
                            "invalid", f"{name} line {reader.line_num}: {len(cells)} columns, not {len(header)}"
                        )
            except (UnicodeDecodeError, csv.Error) as error:
                raise TerminologyError("invalid", f"{name} after line {reader.line_num}: {error}") from None


def column(row: dict[str, str], name: str) -> str:
    """A column by name. TerminologyError("invalid") if the file has no such column."""
    try:
        return row[name]
    except KeyError:
        raise TerminologyError("invalid", f"the file has no column {name!r}; it has {', '.join(row)}") from None


# --- SNOMED CT (RF2) ------------------------------------------------------------------------------------------------

IS_A = "116680003"
FULLY_SPECIFIED = "900000000000003001"
PREFERRED = "900000000000548007"


def snomed(source: Source) -> Release:
    """A Release Format 2 snapshot: concepts, descriptions (with the language reference set if there), relationships."""
    concepts = source.need(r"sct2_Concept_Snapshot\w*\.txt$", "sct2_Concept_Snapshot file")
    descriptions = [n for n in source.names if re.search(r"sct2_Description_Snapshot[\w-]*\.txt$", n)]
    languages = [n for n in source.names if re.search(r"der2_cRefset_LanguageSnapshot[\w-]*\.txt$", n)]
    relationships = source.need(r"sct2_Relationship_Snapshot\w*\.txt$", "sct2_Relationship_Snapshot file")
    date = re.search(r"_(\d{8})\.txt$", concepts)
    steps = [Step("concepts", lambda: _snomed_concepts(source, concepts))]
    steps += [
        Step(f"descriptions {n.rpartition('/')[2]}", lambda n=n: _snomed_descriptions(source, n, languages))  # type: ignore[misc]
        for n in descriptions
    ]
    steps.append(Step("relationships", lambda: _snomed_relationships(source, relationships)))
    version = f"http://snomed.info/sct/900000000000207008/version/{date[1]}" if date else ""
    return Release(tuple(steps), version)


def _snomed_concepts(source: Source, name: str) -> Iterator[tuple[int, Row]]:
    for line, row in source.table(name, "\t", quoted=False):
        yield line, ("concept", column(row, "id"), "", "", "0" if column(row, "active") == "1" else "1")


def _snomed_descriptions(source: Source, name: str, languages: list[str]) -> Iterator[tuple[int, Row]]:
    preferred = {
        int(column(row, "referencedComponentId"))
        for language in languages
        for _, row in source.table(language, "\t", quoted=False)
        if column(row, "active") == "1" and column(row, "acceptabilityId") == PREFERRED
    }
    for line, row in source.table(name, "\t", quoted=False):
        if column(row, "active") != "1":
            continue
        code, text = column(row, "conceptId"), column(row, "term")
        yield line, ("designation", code, column(row, "languageCode"), column(row, "typeId"), text)
        if column(row, "typeId") != FULLY_SPECIFIED and (not preferred or int(column(row, "id")) in preferred):
            yield line, ("display", code, text)


def _snomed_relationships(source: Source, name: str) -> Iterator[tuple[int, Row]]:
    for line, row in source.table(name, "\t", quoted=False):
        if column(row, "active") == "1":
            code, kind, target = column(row, "sourceId"), column(row, "typeId"), column(row, "destinationId")
            yield line, ("parent", code, target) if kind == IS_A else ("property", code, kind, target)


# --- LOINC ----------------------------------------------------------------------------------------------------------

LOINC_PROPERTIES = ("COMPONENT", "PROPERTY", "TIME_ASPCT", "SYSTEM", "SCALE_TYP", "METHOD_TYP", "CLASS", "ORDER_OBS")


def loinc(source: Source) -> Release:
    """Loinc.csv; of the accessory files the answer lists, the multi-axial hierarchy and the Chinese names if there."""
    table = source.need(r"(^|/)Loinc\.csv$", "Loinc.csv")
    steps = [Step("terms", lambda: _loinc_terms(source, table))]
    for name, pattern, read in (
        ("hierarchy", r"(MultiAxialHierarchy|ComponentHierarchyBySystem)\.csv$", _loinc_hierarchy),
        ("answers", r"(^|/)AnswerList\.csv$", _loinc_answers),
        ("Chinese names", r"zhCN\w*LinguisticVariant\.csv$", _loinc_chinese),
    ):
        found = source.find(pattern)
        if found:
            steps.append(Step(name, lambda read=read, found=found: read(source, found)))  # type: ignore[misc]
    version = re.search(r"Loinc_?(\d\.\d+)", f"{source.path.name} {table}")
    return Release(tuple(steps), version[1] if version else "")


def _loinc_terms(source: Source, name: str) -> Iterator[tuple[int, Row]]:
    for line, row in source.table(name, ","):
        code = column(row, "LOINC_NUM")
        retired = "1" if column(row, "STATUS") == "DEPRECATED" else "0"
        yield line, ("concept", code, column(row, "LONG_COMMON_NAME"), row.get("DefinitionDescription", ""), retired)
        if row.get("SHORTNAME"):
            yield line, ("designation", code, "en", "SHORTNAME", row["SHORTNAME"])
        for axis in (*LOINC_PROPERTIES, "STATUS", "EXAMPLE_UCUM_UNITS"):
            if row.get(axis):
                yield line, ("property", code, axis, row[axis])


def _loinc_hierarchy(source: Source, name: str) -> Iterator[tuple[int, Row]]:
    for line, row in source.table(name, ","):
        code, parent = column(row, "CODE"), column(row, "IMMEDIATE_PARENT")
        if code.startswith("LP"):
            yield line, ("concept", code, column(row, "CODE_TEXT"), "", "0")
        if parent:
            yield line, ("parent", code, parent)


def _loinc_answers(source: Source, name: str) -> Iterator[tuple[int, Row]]:
    for line, row in source.table(name, ","):
        code = column(row, "AnswerStringId")
        if code:
            yield line, ("concept", code, column(row, "DisplayText"), "", "0")
            yield line, ("property", code, "answer-list", column(row, "AnswerListId"))


def _loinc_chinese(source: Source, name: str) -> Iterator[tuple[int, Row]]:
    for line, row in source.table(name, ","):
        text = row.get("LinguisticVariantDisplayName") or row.get("LONG_COMMON_NAME") or column(row, "COMPONENT")
        if text:
            yield line, ("designation", column(row, "LOINC_NUM"), "zh-CN", "", text)


# --- tables of codes ------------------------------------------------------------------------------------------------

CODE_COLUMNS = (
    "code", "编码", "代码", "疾病编码", "诊断编码", "主要编码", "诊断代码", "疾病代码", "手术编码", "手术操作编码",
    "手术操作代码", "药品代码", "药品编码", "本位码", "国家药品代码", "批准文号", "icd-10", "icd10", "icd_code",
)  # fmt: skip
DISPLAY_COLUMNS = (
    "display", "名称", "疾病名称", "诊断名称", "主要名称", "手术名称", "手术操作名称", "药品名称", "通用名", "注册名称",
    "产品名称", "title", "name", "description",
)  # fmt: skip
PARENT_COLUMNS = ("parent", "上级编码", "上级代码", "父级编码")


def table(source: Source) -> Release:
    """CSV, tab-separated text or a workbook (.xlsx) with a column of codes and one of names; the others are properties.

    Without a column of parents, the parent of a code is the longest other code it starts with (at least 3 characters).
    """
    if source.find(r"xl/workbook\.xml$"):
        return Release((Step("codes", lambda: _codes(source.path.name, _workbook(source))),))
    name = source.need(r"\.(csv|txt|tsv)$", "table (.csv, .tsv, .txt, .xlsx)")
    with source.open(name) as file:
        delimiter = "\t" if b"\t" in file.readline(1 << 16) else ","
    return Release((Step("codes", lambda: _codes(name, source.table(name, delimiter))),))


def _codes(name: str, lines: Iterator[tuple[int, dict[str, str]]]) -> Iterator[tuple[int, Row]]:
    code_column = display_column = parent_column = ""
    for line, row in lines:
        if not code_column:
            code_column = _column(name, row, CODE_COLUMNS, "codes")
            display_column = _column(name, row, DISPLAY_COLUMNS, "names")
            parent_column = next((c for c in row if c.lower() in PARENT_COLUMNS), "")
        code = row[code_column].strip()
        if not code:
            continue
        yield line, ("concept", code, row[display_column].strip(), "", "0")
        for other, value in row.items():
            if other == parent_column and value.strip():
                yield line, ("parent", code, value.strip())
            elif other not in (code_column, display_column, parent_column, "") and value.strip():
                yield line, ("property", code, other, value.strip())


def _column(name: str, row: dict[str, str], known: tuple[str, ...], what: str) -> str:
    lower = {c.lower(): c for c in row}
    for candidate in known:
        if candidate in lower:
            return lower[candidate]
    raise TerminologyError("invalid", f"{name} has no column of {what}; name it one of: {', '.join(known)}")


def _workbook(source: Source) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of the first sheet of an Office Open XML workbook; the first row that has two cells is the header."""
    from terminology.workbook import cells  # only needed here, and it parses XML

    header: list[str] = []
    for line, row in cells(source):
        if not header:
            header = [text.strip() for text in row] if sum(map(bool, row)) > 1 else []
        else:
            padded = row + [""] * (len(header) - len(row))
            yield line, dict(zip(header, padded, strict=False))


READERS: dict[str, Callable[[Source], Release]] = {"snomed": snomed, "loinc": loinc, "table": table}
