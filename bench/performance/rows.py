"""results/performance.csv: one measurement a row. Measuring an item again replaces its rows of the same device."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bench.errors import BenchError
from bench.system.files import write_text

FILE_NAME = "performance.csv"
WHOLE_NUMBERS = ("threads", "n")
NUMBERS = ("ours_s", "reference_s", "ratio", "spread", "products_s", "reference_products_s", "times", "peak_mib")
TRUTHS = {"yes": True, "no": False, "": None}


@dataclass(frozen=True)
class Row:
    """One measurement; None where there is nothing to say."""

    item: str  # kind/subject/…, e.g. step/METHOD/STAGE
    device: str
    threads: int
    clock: str  # cpu: seconds of all threads of this process; wall: seconds that passed
    ours_s: float | None = None  # median
    reference_s: float | None = None  # median of what it is compared with
    ratio: float | None = None  # reference over ours, median of the pairs
    n: int = 0  # pairs, or repetitions
    spread: float | None = None  # half the interquartile range of the ratio, or of ours where it stands alone
    products_s: float | None = None  # of ours, within convolutions, matrix products and attention
    reference_products_s: float | None = None
    peak_mib: float | None = None  # memory that one call adds; of rows memory/…, an estimate
    size: str = ""  # preset, volumes, batch
    times: float = 1.0  # such pieces make a whole: 20 where a batch of 20 is cut to 1
    equal: bool | None = None  # whether what came out is as good as the reference's; None where nobody judged
    note: str = ""
    code_version: str = ""

    @property
    def kind(self) -> str:
        """The first part of the item."""
        return self.item.partition("/")[0]

    @property
    def key(self) -> tuple[str, str, int]:
        """What a newer measurement replaces."""
        return self.item, self.device, self.threads


COLUMNS = tuple(field.name for field in fields(Row))


def read_rows(folder: Path) -> list[Row]:
    """All rows; none where there is no file. Raises BenchError for a damaged file."""
    path = folder / FILE_NAME
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"columns {reader.fieldnames}")
            return [_row(line) for line in reader]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise BenchError(f"{path} is damaged ({error}); delete it and measure again") from error


def merge_rows(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Write the rows among those that are there; return all, in the order of their items."""
    merged = {row.key: row for row in [*read_rows(folder), *rows]}
    ordered = sorted(merged.values(), key=lambda row: (row.device, row.threads, _natural(row.item)))
    write_text(folder / FILE_NAME, as_csv(ordered))
    return ordered


def as_csv(rows: Iterable[Row]) -> str:
    """The content of the file."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_text(getattr(row, name)) for name in COLUMNS] for row in rows)
    return buffer.getvalue()


def _row(line: dict[str, str]) -> Row:
    values: dict[str, object] = dict(line)
    values |= {name: int(line[name]) for name in WHOLE_NUMBERS}
    values |= {name: float(line[name]) if line[name] else None for name in NUMBERS}
    values["equal"] = TRUTHS[line["equal"]]
    return Row(**values)  # type: ignore[arg-type]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _natural(item: str) -> list[tuple[int, float, str]]:
    """Parts of an item, numbers by size."""
    parts = item.split("/")
    return [(0, float(part), "") if part.replace(".", "", 1).isdigit() else (1, 0.0, part) for part in parts]
