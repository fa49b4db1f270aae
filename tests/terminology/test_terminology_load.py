"""Loading releases: formats, resuming after a kill, answers from the loaded file."""

import csv
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminology import load
from terminology.errors import TerminologyError
from terminology.service import Terminology

ROOT = "138875005"


def write_rf2(folder: Path, concepts: int) -> None:
    """A made-up release in RF2 form: a hierarchy about as deep and as many-parented as SNOMED CT's."""
    random_source = random.Random(7)
    codes = [ROOT, *(str(10_000_000 + 11 * n) for n in range(1, concepts))]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sct2_Concept_Snapshot_XX_20260101.txt").open("w", newline="") as file:
        file.write("id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\r\n")
        file.writelines(f"{code}\t20260101\t{int(n % 50 != 49)}\t9\t9\r\n" for n, code in enumerate(codes))
    with (folder / "sct2_Description_Snapshot-en_XX_20260101.txt").open("w", newline="") as file:
        file.write("id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\r\n")
        for n, code in enumerate(codes):
            end = "900000000000448009\r\n"
            file.write(f"{2 * n}\t20260101\t1\t9\t{code}\ten\t900000000000003001\tConcept {n} (thing)\t{end}")
            file.write(f'{2 * n + 1}\t20260101\t1\t9\t{code}\ten\t900000000000013009\tConcept "{n}\t{end}')
    with (folder / "sct2_Relationship_Snapshot_XX_20260101.txt").open("w", newline="") as file:
        columns = "id effectiveTime active moduleId sourceId destinationId relationshipGroup typeId"
        file.write("\t".join((*columns.split(), "characteristicTypeId", "modifierId")) + "\r\n")
        for n in range(1, concepts):
            above = {
                max(0, n // random_source.choice((2, 3, 8, 30)) - k) for k in range(random_source.choice((1, 1, 2)))
            }
            for parent in above:
                file.write(f"{n}\t20260101\t1\t9\t{codes[n]}\t{codes[parent]}\t0\t116680003\t9\t9\r\n")


def write_loinc(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "Loinc.csv").open("w", newline="") as file:
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerow(["LOINC_NUM", "COMPONENT", "SYSTEM", "CLASS", "STATUS", "SHORTNAME", "LONG_COMMON_NAME"])
        for n in range(rows):
            name = f"Analyte {n}, [Mass/volume] in Serum"
            table.writerow([f"{n}-0", f"Analyte {n}", "Ser", f"C{n % 20}", "ACTIVE", f"An {n}", name])
    with (folder / "AnswerList.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["AnswerListId", "AnswerStringId", "DisplayText"])
        table.writerow(["LL1-1", "LA1-1", "Yes"])
        table.writerow(["LL1-1", "LA2-2", "No"])


@pytest.fixture(scope="module")
def snomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[load.LoadedSystem]:
    folder = tmp_path_factory.mktemp("rf2")
    write_rf2(folder / "release", 3000)
    system = load.load("snomed", folder / "release", folder / "loaded")
    yield system
    system.close()


def test_an_rf2_release_answers_with_names_and_hierarchy(snomed: load.LoadedSystem) -> None:
    assert snomed.version.endswith("/version/20260101")
    concept = snomed.find("10000011")
    assert concept is not None
    assert concept.display == 'Concept "1'
    assert concept.parents == (ROOT,)
    assert [d["value"] for d in concept.designations] == ["Concept 1 (thing)"]
    inactive = snomed.find(str(10_000_000 + 11 * 49))
    assert inactive is not None
    assert inactive.inactive


def test_subsumption_by_closure_is_the_walk_upwards(snomed: load.LoadedSystem) -> None:
    assert len(set(snomed.descendants(ROOT))) == 2999
    for code in ("10000011", "10001100", "10032989"):
        below = set(snomed.descendants(code))
        for other in (10_000_000 + 11 * n for n in range(1, 3000, 17)):
            assert snomed.subsumes(code, str(other)) == (str(other) in below or str(other) == code)


def test_the_service_answers_from_a_loaded_release(snomed: load.LoadedSystem) -> None:
    service = Terminology(lambda: 0)
    service.attach(snomed)
    outcome = service.subsumes("http://snomed.info/sct", ROOT, "10000022")
    assert outcome["parameter"][0]["valueCode"] == "subsumes"
    url = "http://snomed.info/sct?fhir_vs=isa/10000011"
    answer = service.expand(url, filter="concept", count=5)
    assert len(answer["expansion"]["contains"]) == 5
    assert service.member(url, "http://snomed.info/sct", "10000011")
    assert not service.member(url, "http://snomed.info/sct", ROOT)
    found = service.expand("http://snomed.info/sct?fhir_vs", filter='"2999', count=5)
    assert [row["code"] for row in found["expansion"]["contains"]] == ["10032989"]


def test_loinc_answers_by_property_and_answer_list(tmp_path: Path) -> None:
    write_loinc(tmp_path / "Loinc_2.99", 500)
    steps = []
    system = load.load("loinc", tmp_path / "Loinc_2.99", tmp_path / "out", progress=lambda *step: steps.append(step[0]))
    service = Terminology(lambda: 0)
    service.attach(system)
    assert system.version == "2.99"
    assert {"terms", "answers", "indexes"} <= set(steps)
    assert sorted(service.members("http://loinc.org/vs/LL1-1") or ()) == [
        ("http://loinc.org", "LA1-1"),
        ("http://loinc.org", "LA2-2"),
    ]
    filtered = {"system": "http://loinc.org", "filter": [{"property": "CLASS", "op": "=", "value": "C7"}]}
    answer = service.expand(value_set={"resourceType": "ValueSet", "compose": {"include": [filtered]}})
    assert answer["expansion"]["total"] == 25
    assert "LOINC" in system.metadata["copyright"]
    system.close()


TABLES = [
    ("utf-8", "诊断编码,诊断名称,备注\nI10,原发性高血压,\nI10.x00x002,高血压病2级,常见\n"),
    ("gb18030", "诊断编码,诊断名称,备注\nI10,原发性高血压,\nI10.x00x002,高血压病2级,常见\n"),
    ("utf-8-sig", "编码\t名称\t备注\r\nI10\t原发性高血压\t\r\nI10.x00x002\t高血压病2级\t常见\r\n"),
]


@pytest.mark.parametrize(("encoding", "text"), TABLES)
def test_a_table_of_codes_loads_with_parents_by_prefix(tmp_path: Path, encoding: str, text: str) -> None:
    file = tmp_path / "icd.csv"
    file.write_bytes(text.encode(encoding))
    system = load.load("icd-10-clinical", file, tmp_path / "out", version="2.0")
    concept = system.find("I10.x00x002")
    assert concept is not None
    assert (concept.display, concept.parents, list(concept.values("备注"))) == ("高血压病2级", ("I10",), ["常见"])
    assert system.subsumes("I10", "I10.x00x002")
    system.close()


def test_a_workbook_loads(tmp_path: Path) -> None:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = (
        f'<worksheet xmlns="{space}"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>目录</t></is></c></row>'
        '<row r="2"><c r="A2" t="s"><v>0</v></c><c r="B2" t="s"><v>1</v></c></row>'
        '<row r="3"><c r="A3" t="s"><v>2</v></c><c r="B3" t="s"><v>3</v></c></row>'
        '<row r="4"><c r="B4" t="s"><v>3</v></c></row></sheetData></worksheet>'
    )
    texts = "".join(f"<si><t>{text}</t></si>" for text in ("药品代码", "药品名称", "XA01", "阿莫西林胶囊"))
    file = tmp_path / "drugs.xlsx"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{space}"/>')
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{space}">{texts}</sst>')
    system = load.load("drug-insurance", file, tmp_path / "out", version="1")
    assert [(c.code, c.display) for c in system.concepts()] == [("XA01", "阿莫西林胶囊")]
    system.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n", "no column of codes"),
        ("编码,名称\nI10\n".encode(), "line 2: 1 columns, not 2"),
        ("编码,名称,上级编码\nA,a,B\nB,b,A\n".encode(), "cycle"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(TerminologyError, match=words):
        load.load("icd-9-cm-3", tmp_path / "x.csv", tmp_path / "out")
    assert not load.releases(tmp_path / "out")


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(TerminologyError, match="known are snomed"):
        load.load("foo", tmp_path, tmp_path)
    with pytest.raises(TerminologyError, match="no sct2_Concept_Snapshot"):
        load.load("snomed", tmp_path, tmp_path)


LOADER = """
import sys
from pathlib import Path
from terminology import load
load.BATCH = int(sys.argv[4])
load.load(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), progress=lambda *p: print(*p, flush=True))
"""


def killed(kind: str, source: Path, folder: Path, batch: int, wanted: str) -> None:
    """Start a load in a process of its own and kill it at the first progress line that has ``wanted`` in it."""
    command = [sys.executable, "-c", LOADER, kind, str(source), str(folder), str(batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if wanted in line:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", ["concepts", "descriptions", "relationships", "indexes"])
def test_a_killed_load_goes_on_and_ends_the_same(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rf2(tmp_path / "rf2", 2000)
    killed("snomed", tmp_path / "rf2", tmp_path / "broken", 300, step)
    assert not load.releases(tmp_path / "broken")
    monkeypatch.setattr(load, "BATCH", 300)
    first: list[tuple[str, int]] = []
    resumed = load.load("snomed", tmp_path / "rf2", tmp_path / "broken", progress=lambda *p: first.append(p))
    whole = load.load("snomed", tmp_path / "rf2", tmp_path / "whole")
    assert list(resumed.concepts()) == list(whole.concepts())
    assert all(resumed.subsumes(ROOT, c.code) for c in whole.concepts())
    assert max((rows for name, rows in first if name == "concepts"), default=0) < 2000  # not all was read again
    resumed.close()
    whole.close()


def test_another_source_starts_anew(tmp_path: Path) -> None:
    write_rf2(tmp_path / "rf2", 1000)
    killed("snomed", tmp_path / "rf2", tmp_path / "out", 100, "descriptions")
    write_rf2(tmp_path / "rf2", 900)
    system = load.load("snomed", tmp_path / "rf2", tmp_path / "out")
    assert system.count == 900
    system.close()


GRAPHS = st.dictionaries(st.integers(1, 30), st.sets(st.integers(0, 29), max_size=3), max_size=30)


@settings(deadline=None, max_examples=100)
@given(GRAPHS)
def test_closure_is_the_set_of_all_ancestors(graph: dict[int, set[int]]) -> None:
    parents = {str(n): [str(p) for p in above if p < n] for n, above in graph.items()}
    parents = {code: above for code, above in parents.items() if above}

    def ancestors(code: str) -> set[str]:
        return set().union(*({p} | ancestors(p) for p in parents.get(code, ())))

    assert {code: set(text.split(" ")) for code, text in load.closure(parents)} == {c: ancestors(c) for c in parents}


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_release_of_400_000_concepts_loads_in_three_minutes(tmp_path: Path) -> None:
    write_rf2(tmp_path / "rf2", 400_000)
    killed("snomed", tmp_path / "rf2", tmp_path / "out", 20_000, "descriptions")
    start = time.perf_counter()
    system = load.load("snomed", tmp_path / "rf2", tmp_path / "out")
    seconds = time.perf_counter() - start
    assert system.count == 400_000
    codes = [str(10_000_000 + 11 * n) for n in range(1, 400_000, 97)]
    start = time.perf_counter()
    for code in codes:
        assert system.subsumes(ROOT, code)
        system.subsumes("10000011", code)
    each = (time.perf_counter() - start) / len(codes) / 2
    write_loinc(tmp_path / "Loinc_2.99", 100_000)
    killed("loinc", tmp_path / "Loinc_2.99", tmp_path / "out", 20_000, "terms 39")
    rows: dict[str, int] = {}
    loinc = load.load("loinc", tmp_path / "Loinc_2.99", tmp_path / "out", progress=lambda *p: rows.update([p]))
    all_rows: dict[str, int] = {}
    whole = load.load("loinc", tmp_path / "Loinc_2.99", tmp_path / "whole", progress=lambda *p: all_rows.update([p]))
    assert all_rows["terms"] - rows["terms"] >= 39_000, "a killed load goes on where it was"
    assert list(loinc.concepts()) == list(whole.concepts())
    whole.close()
    assert loinc.count == 100_002
    service = Terminology(lambda: 0)
    service.attach(system)
    begun = time.perf_counter()
    service.expand("http://snomed.info/sct?fhir_vs", filter="concept 3999", count=20)
    print(f"{seconds:.0f} s to load, {each * 1e6:.0f} us a subsumption, search {time.perf_counter() - begun:.2f} s")
    assert seconds < 180
    assert each < 0.001
    loinc.close()
    system.close()
