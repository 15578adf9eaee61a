"""What the rows say, as Markdown: targets beside what was measured, tables of all kinds of rows, exponents."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from bench.performance.growth import draw_growth, fit_curves
from bench.performance.measuring import Row, read_rows
from bench.performance.subjects import find_offer, list_methods
from bench.pictures.drawing import save_figure
from bench.system.generated import Generated
from bench.system.text import escape_markdown

PICTURE, TABLES = "performance.png", "performance.md"
BLOCK = "performance"
LOOP_RATIO = 0.97  # of a bare loop's seconds over the harness's, at least
LOOP, SAMPLING = "loop", "sampling"
TITLES = {
    LOOP: "Harness loop beside a bare PyTorch loop, a step",
    "step": "Training step beside the published one",
    SAMPLING: "Sampling beside the published loop, a case",
    "estimate": "Training by a preset, estimated; seconds a step as they pass",
    "memory": "Memory of training at the published sizes, estimated; the GPU that the paper names has 12 GiB",
}
CLOCKS = {"cpu": "CPU seconds of the process", "wall": "Seconds that passed"}
PAIRS = (
    "medians of repetitions in turns (ours, reference, reference, ours, …). Ratio: reference over ours, the median of "
    "pairs and not the quotient of medians; ± is half its interquartile range."
)
HEADS = ("", "size", "ours, s", "reference, s", "ratio", "n", "memory, MiB", "note")
TARGET_HEADS = ("", "target", "measured", "", "with")
CURVE_HEADS = ("", "axis", "measured", "s at the largest", "exponent")


def draw_picture(folder: Path, out: Path) -> None:
    """Draw performance.png in `out` from the rows in a folder: curves of the device that most points were taken on."""
    growing = [row for row in read_rows(folder) if row.kind == "growth"]
    if measured := Counter((row.device, row.threads) for row in growing).most_common(1):
        device, threads = measured[0][0]  # points of others stand in the tables alone
        if curves := fit_curves(row for row in growing if (row.device, row.threads) == (device, threads)):
            save_figure(draw_growth(curves, _name_device(device, threads)), out / PICTURE)


def generate_performance(folder: Path, out: Path, readme: Path | None = None) -> list[Generated]:
    """Return performance.md in `out` of the rows in a folder, and the README's block: targets and the picture in `out`.

    Without rows there is neither.
    """
    rows, picture = read_rows(folder), out / PICTURE
    if not rows:
        return []
    text = format_markdown(rows, PICTURE if picture.exists() else "")
    parts = [Generated(out / TABLES, f"# Performance\n\n{text}")]
    if readme is not None:
        beside = os.path.relpath(picture, readme.parent) if picture.exists() else ""
        parts.append(Generated(readme, format_markdown(rows, beside, brief=True), BLOCK))
    return parts


def format_markdown(rows: Sequence[Row], picture: str = "", *, brief: bool = False) -> str:
    """Return targets, tables of all kinds of rows, and the exponents, device by device; empty for no rows.

    `picture` is where that of the growth lies, as seen from the text; none is shown when it is empty. `brief` shows
    targets and picture alone.
    """
    parts = []
    for device, threads in dict.fromkeys((row.device, row.threads) for row in rows):
        mine = [row for row in rows if (row.device, row.threads) == (device, threads)]
        clocks = {row.clock for row in mine if row.kind != "estimate"}
        how = ", ".join(CLOCKS[clock] for clock in sorted(clocks))
        parts.append(f"**{_name_device(device, threads)}.**{f' {how}, {PAIRS}' if how else ''}")
        if any(row.ratio for row in mine):
            parts.append(f"Targets:\n\n{_tabulate(TARGET_HEADS, judge(mine))}")
        if not brief:
            parts += _format_tables(mine)
    if parts and picture:
        parts.append(f"![Seconds over the side of volumes, tokens, cases and views]({picture})")
    return "\n\n".join(parts) + "\n" if parts else ""


def judge(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return a line for each target: of the loop of every stage measured, and of the items that methods name."""
    named = {item: least for name in list_methods() for item, least in find_offer(name, "TARGETS", {}).items()}
    lines: list[tuple[str, ...]] = []
    for item, least in sorted({LOOP: LOOP_RATIO, **named}.items()):
        for row in (chosen := list(_choose_rows(item, rows))):
            ratio, spread = row.ratio or 0.0, row.spread or 0.0
            near = ", within its spread" if ratio + spread >= least else ""
            verdict = "met" if ratio >= least else f"missed by {1 - ratio / least:.0%}{near}"
            with_what = row.note if row.kind == SAMPLING else row.size
            lines.append((row.item, f"≥ {least:g}", f"{ratio:.2f} ± {spread:.2f}", verdict, with_what))
        if not chosen:
            lines.append((item, f"≥ {least:g}", "", "not measured", ""))
    return lines


def _choose_rows(item: str, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows a target is about: every loop, all sizes of a step, the fastest sampling that is judged and equal."""
    if item.partition("/")[0] == SAMPLING:
        equal = [row for row in rows if row.item.startswith(f"{item}/") and row.equal]
        yield from sorted(equal, key=lambda row: -(row.ratio or 0.0))[:1]
    else:
        yield from (row for row in rows if item in (row.kind, row.item.partition(",")[0]) and row.ratio)


def _name_device(device: str, threads: int) -> str:
    return f"{device}, {threads} thread{'s' if threads > 1 else ''}"


def _format_tables(rows: Sequence[Row]) -> Iterator[str]:
    for kind, title in TITLES.items():
        lines = [format_cells(row) for row in rows if row.kind == kind]
        used = [i for i, head in enumerate(HEADS) if head == "" or any(line[i] for line in lines)]
        if lines:
            yield f"{title}:\n\n{_tabulate([HEADS[i] for i in used], [[line[i] for i in used] for line in lines])}"
    if curves := fit_curves(rows):
        lines = []
        for curve in curves:
            measured, error = f"{curve.amounts[0]:g} to {curve.amounts[-1]:g}", f" ± {curve.error:.2f}"
            exponent = f"{curve.exponent:.2f}{error if curve.error == curve.error else ''}"  # NaN of two points
            lines.append((curve.subject, curve.axis, measured, f"{curve.seconds[-1]:.3g}", exponent))
        yield f"Growth, exponents of the largest three points:\n\n{_tabulate(CURVE_HEADS, lines)}"


def format_cells(row: Row) -> tuple[str, ...]:
    """Return the cells of HEADS; empty where there is nothing to say."""
    return (
        "/".join(row.item.split("/")[1:]),
        row.size,
        "" if row.ours_s is None else f"{row.ours_s:.3g}",
        "" if row.reference_s is None else f"{row.reference_s:.3g}",
        "" if row.ratio is None else f"{row.ratio:.2f} ± {row.spread or 0:.2f}",
        str(row.n),
        "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
        row.note,
    )


def _tabulate(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    escaped = [[escape_markdown(cell) for cell in line] for line in lines]
    return tabulate(escaped, heads, tablefmt="pipe", disable_numparse=True)
