"""FHIR over HTTP, the platform API and the web pages."""
