"""TIFF stacks, one page a slice or one file a slice, with tifffile. Unit, spacing and axes come from a side file.

Files with one page that lie in one folder and whose names differ in their last number alone are one stack, ordered by
that number.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import numpy as np

from .names import name_of, patient_of
from .scan import (
    EMPTY,
    MIN_VOXELS,
    Rejected,
    ScanError,
    ScanSource,
    Stored,
    check_size,
    first_line,
    library,
    merge_faults,
)

SUFFIXES = (".tif", ".tiff")
LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every TIFF among `paths` with several pages, and every stack of such with one."""
    faults: list[tuple[Path, str]] = []
    stacks: dict[tuple[Path, str], list[tuple[int, Path]]] = defaultdict(list)
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            shape = _shape(path)[0]
        except ScanError as error:
            faults.append((path, str(error)))
            continue
        number = LAST_NUMBER.search(path.stem)
        if len(shape) == 3:
            stem = name_of(path)
            yield ScanSource(patient_of(stem), stem, shape[0], "tiff", path, (path,), _read)
        elif len(shape) == 2 and number:
            rest = path.stem[: number.start()] + "#" + path.stem[number.end() :]
            stacks[path.parent, rest].append((int(number.group()), path))
        else:
            yield Rejected(path, "no CT: a single picture, or one in colours", expected=True)
    yield from merge_faults(faults)
    for (folder, rest), numbered in stacks.items():
        numbered.sort()
        several = sum(parent == folder for parent, _ in stacks) > 1
        name = folder.resolve().name + (f"_{rest.replace('#', '').strip('_- ')}" if several else "")
        files = tuple(path for _, path in numbered)
        if len(files) < MIN_VOXELS:
            yield Rejected(folder, f"{len(files)} TIFF slices are no volume (at least {MIN_VOXELS})")
        elif gap := _gap([number for number, _ in numbered]):
            yield Rejected(folder, f"TIFF slices are missing or doubled {gap}; copy them again")
        else:
            yield ScanSource(patient_of(name), name, len(files), "tiff", folder, files, _read)


def _gap(numbers: list[int]) -> str:
    """Return where a series of numbers is not even, in words; empty when it is."""
    steps = np.diff(numbers)
    step = int(np.median(steps))
    odd = np.flatnonzero((steps != step) | (steps < 1))
    return f"between {numbers[odd[0]]} and {numbers[odd[0] + 1]}" if odd.size else ""


def _shape(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape without axes of length 1, and number type, of the first image series in a file."""
    tifffile = library("tifffile")
    if not path.stat().st_size:
        raise ScanError(EMPTY)
    try:
        with _raise_logged_errors(), tifffile.TiffFile(path) as file:
            _check_pages(file)
            series = file.series[0]
            packed = file.pages[0].compression != 1
    except Exception as error:  # tifffile raises what its many parsers meet
        raise ScanError(f"the file is damaged or no TIFF ({first_line(error)}); copy it again") from error
    if series.dtype is None or series.dtype.kind not in "iuf":
        raise ScanError("its values are no numbers; save it as 16-bit integers")
    check_size(series.shape, series.dtype.itemsize, path.stat().st_size, compressed=packed)
    return tuple(size for size in series.shape if size != 1), series.dtype


def _check_pages(file: Any) -> None:
    """Raise ValueError for pages that follow each other in a circle: tifffile would go round for ever."""
    seen: set[int] = set()
    for page in file.pages:
        if page.offset in seen:
            raise ValueError("its pages go round in a circle")
        seen.add(page.offset)


def _read(source: ScanSource) -> Stored:
    """Return the slices in order. Raises ScanError with the reason when one cannot be used."""
    first, kind = _shape(source.files[0])
    if len(source.files) == 1:
        values = _read_pages(source.files[0], first)
    else:
        values = np.empty((len(source.files), *first), kind)
        for plane, path in zip(values, source.files, strict=True):
            if _shape(path) != (first, kind):
                raise ScanError(
                    f"{path.name} differs in size or type from {source.files[0].name}; keep one stack a folder"
                )
            plane[:] = _read_pages(path, first)
    return Stored(values.transpose(2, 1, 0), None, None)


def _read_pages(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with _raise_logged_errors():
            return np.asarray(library("tifffile").imread(path)).reshape(shape)
    except Exception as error:
        raise ScanError(f"{path.name} cannot be decoded ({first_line(error)}); save it uncompressed") from error


@contextmanager
def _raise_logged_errors() -> Iterator[None]:
    """Raise ValueError for what tifffile only logs, such as pages that a cut file lacks."""
    logger, handler = logging.getLogger("tifffile"), BufferingHandler(1000)
    handler.setLevel(logging.ERROR)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
        if handler.buffer:
            raise ValueError(handler.buffer[0].getMessage())
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
