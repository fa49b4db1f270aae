"""Regional platform core: the four master databases behind FHIR, and the services that are the only doors to them."""

__version__ = "0.1.0"
