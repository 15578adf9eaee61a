"""Files of one NumPy array, which anyone may have written."""

import warnings
from pathlib import Path

import numpy as np

from bench.errors import BenchError
from bench.system.text import describe_error


def open_array(path: Path) -> np.ndarray:
    """Return the array in a .npy file, memory-mapped. Raises BenchError, naming the file, for anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # the header is a line of Python: its parser raises what Python's does
        reason = describe_error(error)
        raise BenchError(f"{path} cannot be read as a plain .npy array, as numpy.save writes one: {reason}") from error
