"""The studies in results/studies: the picture of each, its numbers, and what is damaged."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.metrics import METRICS
from bench.report.markup import data_uri
from bench.study.catalogue import STUDIES
from bench.study.points import OWN_METRICS, digits_of, label_of, read_lines

PNG = b"\x89PNG\r\n\x1a\n"
MOST_BYTES = 2 * 2**20  # of one picture
HEADS = ("Method", "Seed", "Parameter", "Setting", "Split", "Metric", "n", "Value", "95 % interval", "Change")
Line = tuple[str, str, str, str, str, str]
"""Method, seed, parameter, setting, split, metric."""


@dataclass(frozen=True)
class StudyView:
    """One study: its question, its picture as a data: address, its numbers as text, or a reason."""

    name: str
    question: str
    facts: str
    picture: str
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]  # of settings without values
    reason: str = ""


def view_studies(results_dir: Path) -> Iterator[StudyView]:
    """Every CSV of results/studies, by name."""
    for path in sorted((results_dir / "studies").glob("*.csv")):
        try:
            yield _study(path)
        except BenchError as error:
            yield StudyView(path.stem, "", "", "", (), (), str(error))


def _study(path: Path) -> StudyView:
    rows = read_lines(path)
    first = rows[0]
    study = STUDIES.get(first["study"])
    shown = study.metrics if study else tuple(dict.fromkeys(row["metric"] for row in rows))
    facts = f"{first['dataset']} · {first['source']} data · {first['preset']}"
    notes = dict.fromkeys(
        f"{row['method']}, {row['parameter']} {row['setting']}: {row['note']}"
        for row in rows
        if row["note"] and row["level"] != "case"
    )
    picture, reason = _picture(path.with_suffix(".png"))
    lines = tuple(_lines(rows, shown, path))
    return StudyView(
        path.stem, study.question if study else first["study"], facts, picture, lines, tuple(notes), reason
    )


def _picture(path: Path) -> tuple[str, str]:
    """The data: address of a PNG, or why there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"no picture: {path.name}: {error.strerror}"
    if not content.startswith(PNG):
        return "", f"no picture: {path.name} is no PNG"
    if len(content) > MOST_BYTES:
        return "", f"no picture: {path.name} is larger than {MOST_BYTES // 2**20} MiB"
    return data_uri(content, "image/png"), ""


def _lines(rows: list[dict[str, str]], shown: tuple[str, ...], path: Path) -> Iterator[tuple[str, ...]]:
    found: dict[Line, dict[str, float]] = {}
    many: dict[Line, str] = {}
    for row in rows:
        if row["level"] != "set" or row["metric"] not in shown:
            continue
        if row["metric"] not in METRICS and row["metric"] not in OWN_METRICS:
            raise BenchError(f"{path} holds the unknown metric {row['metric']}; run the study again")
        key: Line = (*(row[name] for name in ("method", "seed", "parameter", "setting", "split")), row["metric"])  # type: ignore[assignment]
        try:
            found.setdefault(key, {})[row["stat"]] = float(row["value"])
        except ValueError as error:
            raise BenchError(f"{path} holds a value that is no number: {error}") from error
        many[key] = row["n"]
    for key, stats in found.items():
        metric, digits = key[-1], digits_of(key[-1])
        yield (
            *key[:-1],
            label_of(metric),
            many[key],
            _text(stats.get("mean", stats.get("value")), digits),
            _range(stats, "ci", digits),
            " ".join(filter(None, (_text(stats.get("change"), digits, "+"), _range(stats, "change_ci", digits, "+")))),
        )


def _text(value: float | None, digits: int, sign: str = "") -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:{sign}.{digits}f}"


def _range(stats: dict[str, float], name: str, digits: int, sign: str = "") -> str:
    low, high = (_text(stats.get(f"{name}_{end}"), digits, sign) for end in ("lo", "hi"))
    return f"[{low}, {high}]" if low and high else ""
