"""DICOM load: C-STORE of 0.5 MB CT images over one association, by pynetdicom as the modality."""

from __future__ import annotations

import logging
import time

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from hub.bench.meter import Meter

MEGABYTES = 0.524288
"""Pixel data of one image, 10^6 bytes."""
ROOT = "1.2.826.0.1.3680043.10.1561"
"""A UID root for tests, of the kind pydicom uses; no real object has it."""


def image(number: int, run: str) -> Dataset:
    """A CT slice of 512 x 512 x 16 bit."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"{ROOT}.{run}.{number}"
    ds.StudyInstanceUID = f"{ROOT}.{run}.1"
    ds.SeriesInstanceUID = f"{ROOT}.{run}.1.1"
    ds.PatientID, ds.PatientName, ds.Modality = f"B{run}", "Bench^One", "CT"
    ds.StudyDate, ds.StudyTime, ds.InstanceNumber = "20261120", "083000", number
    ds.Rows = ds.Columns = 512
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = number.to_bytes(2, "little") * (512 * 512)
    return ds


def measure(host: str, port: int, run: str, seconds: float, meter: Meter, ae_title: str = "HUB") -> dict[str, float]:
    """The figures of instances answered 0x0000, with megabytes a second. OSError when no association is accepted."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ae = AE("BENCH")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate(host, port, ae_title=ae_title)
    if not association.is_established:
        raise OSError(f"no DICOM association with {ae_title} at {host}:{port}")
    latencies: list[float] = []
    good = 0
    meter.restart()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sent = time.perf_counter()
        status = association.send_c_store(image(len(latencies) + 1, run))
        latencies.append(time.perf_counter() - sent)
        good += status.get("Status") == 0
    figures = meter.figures(latencies, good)
    association.release()
    return {"mb_per_s": round(figures["per_s"] * MEGABYTES, 1), **figures}
