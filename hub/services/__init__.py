"""The doors into the core, one module a use case."""
