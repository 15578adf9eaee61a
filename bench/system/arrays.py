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
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is a line of Python: its parser raises what Python's does
        raise BenchError(f"{path} cannot be read as a plain .npy array: {describe_error(error)}") from error
    if not isinstance(array, np.ndarray):
        raise BenchError(f"{path} is an archive of arrays; save the volume (D, H, W) alone with numpy.save")
    return array
