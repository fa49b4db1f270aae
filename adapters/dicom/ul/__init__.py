"""DICOM Upper Layer (PS3.8) and DIMSE messages (PS3.7): PDUs, state table, command sets, the association."""
