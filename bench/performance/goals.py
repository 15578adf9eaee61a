"""The ratios that were to be reached, each beside what was measured, and what limits those that are missed."""

from collections.abc import Iterable, Iterator, Sequence

from bench.performance.hooks import targets
from bench.performance.rows import Row
from bench.performance.throughput import SCORE_CASE, SCORE_SET
from bench.plugins.registry import discover_methods

OVERHEAD = 0.03  # of the harness's loop over a bare one, at most
LOOP, SAMPLING = "loop", "sampling"
OWN = {SCORE_CASE: 0.5, SCORE_SET: 1.0}  # beside those that methods name
HEADS = ("", "target", "measured", "", "what limits it")


def judged(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A line for each target: of the loop of every stage measured, and of the items that methods name."""
    lines = [_overhead(row) for row in rows if row.kind == LOOP and row.ratio]
    of_methods = {item: target for name in discover_methods()[0] for item, target in targets(name).items()}
    for item, target in sorted({**of_methods, **OWN}.items()):
        found = list(_measured(item, rows))
        lines += [_line(row, target) for row in found]
        if not found:
            lines.append((item, f"≥ {target:g}", "", "not measured", ""))
    return lines


def _measured(item: str, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows a target is about: all sizes of a step; of sampling the fastest that is judged and equal."""
    if item.partition("/")[0] == SAMPLING:
        equal = [row for row in rows if row.item.startswith(f"{item}/") and row.equal]
        yield from sorted(equal, key=lambda row: -(row.ratio or 0.0))[:1]
    else:
        yield from (row for row in rows if row.item.partition(",")[0] == item and row.ratio)


def _overhead(row: Row) -> tuple[str, ...]:
    assert row.ratio is not None
    overhead, spread = 1 / row.ratio - 1, (row.spread or 0.0) / row.ratio**2
    verdict = "met" if overhead <= OVERHEAD else f"missed{_perhaps(overhead - spread <= OVERHEAD)}"
    return (
        row.item,
        f"overhead ≤ {OVERHEAD:.0%}",
        f"{overhead:+.1%} ± {spread:.1%}",
        verdict,
        f"{row.size}, the loop's own start and end among them",
    )


def _line(row: Row, target: float) -> tuple[str, ...]:
    ratio, spread = row.ratio or 0.0, row.spread or 0.0
    verdict = "met"
    if ratio < target:
        verdict = f"missed by {1 - ratio / target:.0%}{_perhaps(ratio + spread >= target)}"
    return row.item, f"≥ {target:g}", f"{ratio:.2f} ± {spread:.2f}", verdict, _limit(row)


def _limit(row: Row) -> str:
    """What the ratio could be at most, or what it was reached with."""
    if not (row.products_s and row.reference_products_s and row.ours_s and row.reference_s):
        return row.note if row.kind == SAMPLING else ""
    return (
        f"products take {row.products_s / row.ours_s:.0%} of ours and {row.reference_products_s / row.reference_s:.0%} "
        f"of the published step, so that products alone would give {row.reference_s / row.products_s:.1f}"
    )


def _perhaps(near: bool) -> str:
    return ", within its spread" if near else ""
