"""Train ``hub/store/fhir.dictionary``, the zstd dictionary of new SQLite stores, on synthetic resources.

Run from the repository's top: ``python scripts/build_dictionary.py``. Existing stores keep the dictionary they were
made with, which lies in their own file.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import zstandard
from store_samples import Samples

SIZE = 32 * 1024
RESOURCES = 20_000
TARGET = Path(__file__).parent.parent / "hub" / "store" / "fhir.dictionary"

if __name__ == "__main__":
    texts = [put.text for put in islice(Samples(seed=2).puts(), RESOURCES)]
    TARGET.write_bytes(zstandard.train_dictionary(SIZE, texts, level=3).as_bytes())
