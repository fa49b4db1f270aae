"""DICOM: DIMSE and DICOMweb."""
