"""Simulated hospitals and traffic. Speaks wires only: never imports the hub or the adapters."""
