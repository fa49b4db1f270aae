"""The one exception of the terminology service."""

from __future__ import annotations


class TerminologyError(Exception):
    """A refusal: ``code`` is a code of http://hl7.org/fhir/issue-type, ``text`` says what is wrong in plain words.

    Codes in use: ``required`` (a parameter is missing), ``invalid`` (a parameter or resource is malformed),
    ``not-found`` (unknown code system, value set, concept map or code), ``not-supported`` and ``too-costly``.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
