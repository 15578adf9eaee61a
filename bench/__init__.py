"""Benchmark harness for CT reconstruction from two X-ray views."""

from pathlib import Path
from typing import TYPE_CHECKING

from bench.system.provenance import VERSION

if TYPE_CHECKING:
    import pandas as pd

__version__ = VERSION


def load_results(folder: str | Path = "results") -> "pd.DataFrame":
    """Return every score in a results folder as a row, with the facts of its run; see bench.scoring.store."""
    from bench.scoring import store

    return store.load_results(Path(folder))
