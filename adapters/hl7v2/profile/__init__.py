"""Conformance profiles of HL7 v2: the NIST/IGAMT folder and the older HL7v2xStaticDef document, read and evaluated.

``load`` reads either into the records of ``records``; ``check.check`` holds a message against them.
"""

from __future__ import annotations

from pathlib import Path

from adapters.hl7v2.profile import nist, staticdef
from adapters.hl7v2.profile.records import Profile


def load(path: Path) -> Profile:
    """Read a NIST/IGAMT folder or an HL7v2xStaticDef file. HubError("structure") names the file that is none."""
    return nist.load(path) if path.is_dir() else staticdef.load(path)
