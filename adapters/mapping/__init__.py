"""Tables that turn a foreign message into FHIR."""
