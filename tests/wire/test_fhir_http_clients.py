"""Outside FHIR clients against a served hub: fhirpy, and the SMART client of fhirclient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fhirclient import client as smart
from fhirclient.models import patient as smart_patient
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from hub import bootstrap
from hub.api.server import HttpServer
from hub.settings import load

SYSTEM = "urn:oid:1.2.840.99"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    doors = bootstrap.build(load(data=tmp_path_factory.mktemp("hub")))
    server = HttpServer(doors, port=0)
    server.start()
    yield f"http://127.0.0.1:{server.address[1]}/fhir"
    server.stop()
    bootstrap.close(doors)


def test_fhirpy(base: str) -> None:
    client = SyncFHIRClient(base)
    patient = client.resource(
        "Patient", identifier=[{"system": SYSTEM, "value": "1"}], name=[{"family": "王", "given": ["芳"]}]
    )
    patient.save()
    assert patient.id and patient["meta"]["versionId"] == "1"

    patient["birthDate"] = "1985-03-07"
    patient.save()
    again = client.reference("Patient", patient.id).to_resource()
    assert again["birthDate"] == "1985-03-07" and again["meta"]["versionId"] == "2"

    for number in range(2, 26):
        client.resource("Patient", identifier=[{"system": SYSTEM, "value": str(number)}]).save()
    found = client.resources("Patient").search(identifier=f"{SYSTEM}|").limit(10)
    assert len(found.fetch()) == 10
    assert len({one.id for one in found.fetch_all()}) == 25
    assert found.count() == 25

    one = client.resources("Patient").search(identifier=f"{SYSTEM}|1").get()
    assert one.id == patient.id
    assert client.resources("Patient").search(name="王").first().id == patient.id
    changed, made = (
        client.resources("Patient")
        .search(identifier=f"{SYSTEM}|1")
        .update(client.resource("Patient", identifier=[{"system": SYSTEM, "value": "1"}], birthDate="1985-03-08"))
    )
    assert changed.id == patient.id and not made

    history = client.execute(f"Patient/{patient.id}/_history", method="get")
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["3", "2", "1"]

    patient.delete()
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", patient.id).to_resource()
    with pytest.raises(OperationOutcome):
        client.resource("Patient", gender="red").save()


def test_fhirclient(base: str) -> None:
    connected = smart.FHIRClient(settings={"app_id": "region-hub-test", "api_base": base})
    server = connected.server
    assert server.capabilityStatement.fhirVersion == "4.0.1"

    patient = smart_patient.Patient(
        {"identifier": [{"system": SYSTEM, "value": "smart"}], "name": [{"family": "李"}], "gender": "female"}
    )
    answer = patient.create(server)
    patient = smart_patient.Patient(answer)
    assert patient.meta.versionId == "1"

    patient.gender = "other"
    assert smart_patient.Patient(patient.update(server)).meta.versionId == "2"
    assert smart_patient.Patient.read(patient.id, server).gender == "other"

    for number in range(24):
        smart_patient.Patient({"identifier": [{"system": SYSTEM + ".1", "value": str(number)}]}).create(server)
    search = smart_patient.Patient.where({"identifier": f"{SYSTEM}.1|", "_count": "10"})
    assert len({one.id for one in search.perform_resources_iter(server)}) == 24

    history = server.request_json(f"Patient/{patient.id}/_history")
    assert history["total"] == 2
    patient.delete(server)
    assert list(smart_patient.Patient.where({"identifier": f"{SYSTEM}|smart"}).perform_resources_iter(server)) == []
