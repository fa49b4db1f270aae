"""Foreign protocols in and out; every adapter turns its protocol into a FHIR Bundle and an outcome back."""
