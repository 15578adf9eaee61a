"""What the rows say, as Markdown for the README and as lines for a terminal."""

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from bench.performance.goals import HEADS, judged
from bench.performance.growth import Curve, curves
from bench.performance.rows import Row
from bench.results.published import of_table

STEPS = 100_000  # of Table 4
TIME_TABLE = "4"
TARGETS = (
    "Targets. Products are convolutions, matrix products and attention, which both ways compute: were all else free, "
    "ours would be as many times as fast as the last column says."
)
TITLES = {
    "loop": "Harness loop beside a bare PyTorch loop, a step",
    "step": "Training step beside the published one",
    "bf16": "bf16 beside float32, a step",
    "sampling": "Sampling beside the published loop, a case",
    "reconstruct": "Reconstruction, a case",
    "prepare": "Making a phantom",
    "project": "Projecting",
    "score": "Scoring, a case",
    "memory": "Memory of training at the published sizes, estimated; the GPU that the paper names has 12 GiB",
}


def markdown(rows: Sequence[Row], picture: str = "", *, brief: bool = False) -> str:
    """Targets, tables of all kinds of rows, the hours and seconds of Table 4, and the exponents; empty for no rows.

    `picture` is where that of the growth lies, as seen from the text; none is shown when it is empty. `brief` shows
    targets and picture alone.
    """
    parts = []
    for device, threads in dict.fromkeys((row.device, row.threads) for row in rows):
        mine = [row for row in rows if (row.device, row.threads) == (device, threads)]
        clock = "CPU seconds of the process" if mine[0].clock == "cpu" else "Seconds that passed"
        parts.append(
            f"**{device}, {threads} thread{'s' if threads > 1 else ''}.** {clock}, medians of repetitions in turns "
            "(ours, reference, reference, ours, …). Ratio: reference over ours, the median of pairs and not the "
            "quotient of medians; ± is half its interquartile range."
        )
        if goals := judged(mine):
            parts.append(f"{TARGETS}\n\n{_tabulated(HEADS, goals)}")
        if not brief:
            parts += _tables(mine)
    if parts and picture:
        parts.append(f"![Seconds over the side of volumes, tokens, cases and views]({picture})")
    return "\n\n".join(parts) + "\n" if parts else ""


def extrapolated(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Parts, hours of 100,000 steps of ours and of the published step, and seconds a volume where measured."""
    seconds = {row.item.split("/")[1]: row.ours_s for row in rows if row.kind == "reconstruct"}
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if row.kind == "step" and row.ours_s is not None:
            size = row.size if row.times == 1 else f"{row.size}, taken {row.times:g} times"
            seconds_of = (row.ours_s, row.reference_s)
            hours = [None if value is None else value * row.times * STEPS / 3600 for value in seconds_of]
            part = row.item.partition("/")[2].partition(",")[0]
            lines.append((f"{part} ({size})", *(_number(hour) for hour in hours), ""))
    lines += [(method, "", "", _number(value)) for method, value in seconds.items()]
    printed = of_table(TIME_TABLE)
    for part in dict.fromkeys(part for part, _ in printed) if lines else ():
        texts = [printed[part, metric].text if (part, metric) in printed else "" for metric in METRICS]
        lines.append((f"{part}, as printed: one A100", "", texts[0], texts[1]))
    return lines


METRICS = ("train_hours", "infer_seconds")


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for kind, title in TITLES.items():
        chosen = [row for row in rows if row.kind == kind]
        if chosen:
            yield f"{title}:\n\n{_table(chosen)}"
    if times := extrapolated(rows):
        yield (
            "Table 4 on this device, **extrapolated** from the steps and cases above to "
            f"{STEPS:,} steps:\n\n{_tabulated(('', 'training, h', 'published way, h', 's a volume'), times)}"
        )
    if found := curves(rows):
        lines = [
            (c.subject, c.axis, f"{c.amounts[0]:g} to {c.amounts[-1]:g}", f"{c.seconds[-1]:.3g}", _exponent(c))
            for c in found
        ]
        heads = ("", "axis", "measured", "s at the largest", "exponent")
        yield f"Growth, exponents of the largest three points:\n\n{_tabulated(heads, lines)}"


def _table(rows: Sequence[Row]) -> str:
    heads = ["", "size", "ours, s", "reference, s", "ratio", "n", "memory, MiB", "note"]
    lines = [
        (
            "/".join(row.item.split("/")[1:]),
            row.size,
            _number(row.ours_s),
            _number(row.reference_s),
            "" if row.ratio is None else f"{row.ratio:.2f} ± {row.spread or 0:.2f}",
            str(row.n),
            "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
            row.note,
        )
        for row in rows
    ]
    used = [i for i, head in enumerate(heads) if head == "" or any(line[i] for line in lines)]
    return _tabulated([heads[i] for i in used], [tuple(line[i] for i in used) for line in lines])


def _tabulated(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return tabulate(escaped, heads, tablefmt="pipe", disable_numparse=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _exponent(curve: Curve) -> str:
    return f"{curve.exponent:.2f}" + (f" ± {curve.error:.2f}" if curve.error == curve.error else "")
