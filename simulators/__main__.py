"""``python -m simulators`` is ``hub simulate``, for machines that have no hub."""

from simulators.cli import app

app()
