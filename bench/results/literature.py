"""What papers and repositories report of the field's methods on real chests, and ours beside it, never merged.

results/literature.csv says where a number was read, how it is defined as far as that is said, and how it was checked.
One method stands in print up to seven decibels apart, so no number here enters a table, a rank or a test of ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bench.metrics import METRICS
from bench.results.inference import estimate_means
from bench.results.model import Column, Results, belongs
from bench.results.published import BUILTIN, find_results
from bench.results.renderers import Sheet
from bench.system.csv_files import read_rows

DATASET = {"LIDC-IDRI": "lidc"}  # as printed → ours
UNKNOWN = "not stated"
OURS: tuple[Column, ...] = (("3d", "psnr"), ("3d", "ssim"))
HEADS = ("Method", "Reported by", "Year", "PSNR, dB", "SSIM", "LPIPS", "PSNR is", "Split", "Window, HU", "Checked")
OUR_HEADS = ("Method", "PSNR, dB", "SSIM", "Protocol", "Data")
NOTE = (
    "Reported numbers are of other splits, windows, grids and definitions than ours and than each other's, so nothing "
    "ranks or averages them. “PSNR is” tells the definition as far as it was found; “second hand” is what one paper "
    "reports of another's method."
)
Decimal = Annotated[str, Field(pattern=r"^(\d+(\.\d+)?)?$")]  # as printed, so that 0.310 stays 0.310


@dataclass(frozen=True)
class Report:
    """One line of the file: what one source reports of one method; a cell that it does not state is empty."""

    method: str
    year: Decimal
    reported_by: str
    source: str
    dataset: str
    views: Decimal
    grid: Decimal
    window_hu: str
    split: str  # cases of training / test
    psnr_db: Decimal
    psnr_definition: str
    ssim: Decimal
    lpips: Decimal
    remark: str
    checked: str  # how the number was read


def read_literature() -> list[Report]:
    """Return all lines, in the order of the file. Raises BenchError for a file that was edited or cut."""
    return read_rows(find_results(BUILTIN) / "literature.csv", Report)


def choose_reports(reports: Iterable[Report], method: str) -> list[Report]:
    """Return the reports of a method by its printed name or ours, capitals and hyphens aside; all for an empty name."""
    wanted = _fold(method)
    return [one for one in reports if wanted in _fold(one.method)]


def say_method(report: Report) -> str:
    """Return a method as printed, and of how many views where that is not the usual two."""
    return report.method if report.views == "2" else f"{report.method}, {report.views} view"


def draw_reports(reports: Sequence[Report]) -> Sheet:
    """Return the reports as a table, a line each."""
    lines = [
        (
            *(say_method(one), one.reported_by, one.year or "–", one.psnr_db, one.ssim or "–", one.lpips or "–"),
            *(one.psnr_definition, one.split or UNKNOWN, one.window_hu or UNKNOWN, one.checked),
        )
        for one in reports
    ]
    datasets = ", ".join(dict.fromkeys(one.dataset for one in reports))
    return Sheet(HEADS, lines, title=f"Reported on {datasets}", words=(0, 1, 6, 7, 8, 9), keys=2)


def draw_ours(results: Results, reports: Sequence[Report]) -> Sheet:
    """Return what was measured here on the data sets of the reports, with its own protocol and data."""
    names = {DATASET.get(one.dataset, one.dataset) for one in reports}
    lines = []
    for block in results.blocks:
        if not any(belongs(block.facts["dataset"], name) for name in names):
            continue
        data = "{dataset}, {source} data, preset {preset}".format(**block.facts)
        data += f", {block.size}³" if block.size else ""
        for entry in block.entries:
            means = zip(OURS, estimate_means(entry, OURS), strict=True)
            cells = [f"{m.value:.{METRICS[c[1]].decimals}f}" if m.value is not None else "–" for c, m in means]
            if entry.kind == "method" and any(cell != "–" for cell in cells):
                lines.append((entry.title, *cells, block.facts["protocol"], data))
    return Sheet(OUR_HEADS, lines, title="Measured here", words=(0, 3, 4))


def _fold(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
