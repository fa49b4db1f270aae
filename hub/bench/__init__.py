"""Measurements of a running hub, over its wires: the figures of ``hub bench``."""
