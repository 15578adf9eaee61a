"""The 1,018 CT series of LIDC-IDRI: whose they are, how large, and where the public bucket keeps them."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIST = Path(__file__).resolve().parent / "series.csv"


@dataclass(frozen=True)
class Series:
    """One CT series."""

    patient: str
    series: str  # SeriesInstanceUID
    slices: int
    size_mb: float  # 10⁶ bytes
    folder: str  # in the bucket; it names a version of the series that never changes


@cache
def all_series() -> tuple[Series, ...]:
    """The CT series in order of their patients. From the index of the NCI Imaging Data Commons, version 25."""
    with LIST.open(newline="") as file:
        rows = csv.DictReader(file)
        return tuple(
            Series(row["patient"], row["series"], int(row["slices"]), float(row["size_mb"]), row["folder"])
            for row in rows
        )


@cache
def _patients() -> dict[str, str]:
    return {series.series: series.patient for series in all_series()}


def patient_of(series: str) -> str | None:
    """The patient of a SeriesInstanceUID, as LUNA16 names its files; None for another collection's."""
    return _patients().get(series)
