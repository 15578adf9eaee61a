"""Which bags train, validate and test: by the hash of their names, as no published list of bags names public scans."""

from collections.abc import Sequence

from bench.dataset import PreparedCase, Split

from ..splitting import small_split, tenths_split

LEAST_LARGE = 100  # bags from which a tenth tests and a tenth validates


def assign_splits(records: Sequence[PreparedCase]) -> dict[str, Split]:
    """Return case → split by sha256 of the bag's name: 80 / 10 / 10 from 100 bags on, else half, a sixth, and the rest.

    Several scans of one bag stay together.
    """
    bags = sorted({record.patient for record in records})
    splits = small_split(bags) if len(bags) < LEAST_LARGE else tenths_split(bags)
    return {record.case: splits[record.patient] for record in records}
