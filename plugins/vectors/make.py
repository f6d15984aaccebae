"""Writes the vectors of every plugin, or of those named on the command line."""

import sys

import schemes  # noqa: F401 (each scheme registers itself)
from record import RECORDERS

for name, recorder in RECORDERS.items():
    if len(sys.argv) == 1 or name in sys.argv[1:]:
        print(f"{name}: {recorder.write()}")
