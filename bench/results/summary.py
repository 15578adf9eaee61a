"""One run in a few lines: its scores, the best floor beside it, and what to type next."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.metrics import METRICS
from bench.plugins.registry import discover_methods, method_card
from bench.results.model import BLOCK_KEYS, SPACES, Column
from bench.results.renderers import Sheet
from bench.runs.record import RunLine
from bench.scoring.rows import Score, read_scores
from bench.scoring.store import SCORES, read_runs

FIRST: tuple[Column, ...] = (("3d", "psnr"), ("3d", "ssim"))
IMAGES = ("mip", "drr")  # spaces whose metrics are called like those of volumes
ALIKE = tuple(name for name in BLOCK_KEYS if not name.startswith("protocol"))  # what runs must share to be compared


@dataclass(frozen=True)
class Summary:
    """What a finished run scored under one protocol."""

    line: RunLine
    means: dict[Column, float]
    floor: str  # the best floor over the same cases; empty where none was run
    floor_psnr: float | None

    @property
    def scores(self) -> str:
        """One line: PSNR, SSIM, and the best floor's PSNR."""
        said = [_say(column, self.means[column]) for column in FIRST if column in self.means] or ["no PSNR"]
        if self.floor_psnr is None:
            return f"{', '.join(said)}; no floor was run on these cases yet"
        return f"{', '.join(said)}; best floor: {_say(FIRST[0], self.floor_psnr)} ({self.floor})"

    @property
    def next_command(self) -> str:
        """What to type next: the floors where there are none, else the leaderboard."""
        line = self.line
        if self.floor_psnr is not None or _kind(line.method) == "floor":
            return "bench leaderboard"
        floors = sorted(name for name, plugin in discover_methods()[0].items() if plugin.card.kind == "floor")
        known = [name for name in ("mean", "nearest") if name in floors] or floors
        test_on = " --test-on real" if line.trained_on != line.source else ""
        return f"bench run --method {','.join(known)} --dataset {line.dataset} --preset {line.preset}{test_on}"


def summarise_run(results_dir: Path, run_id: str, protocol: str) -> Summary | None:
    """Return what a run scored under a protocol, and the best floor that was run on the same cases.

    None where the results have no such run or it has no scores of it. Raises BenchError for a damaged file.
    """
    lines = {line.run_id: line for line in read_runs(results_dir)}
    if (own := lines.get(run_id)) is None:
        return None
    means = _read_means(results_dir, run_id, protocol)
    if not means:
        return None
    alike = [one for one in lines.values() if all(getattr(one, name) == getattr(own, name) for name in ALIKE)]
    floors = [one for one in alike if _kind(one.method) == "floor" and one.method != own.method]
    reached = {one.method: _read_means(results_dir, one.run_id, protocol).get(FIRST[0]) for one in floors}
    known = {method: value for method, value in reached.items() if value is not None}
    best = max(known, key=lambda method: known[method], default="")
    return Summary(own, means, best, known.get(best))


def draw_scores(results_dir: Path, run_id: str) -> Sheet | None:
    """Return the means of a run over its set, a line a metric and a column a protocol; None without any."""
    found: dict[Column, dict[str, float]] = {}
    for score in read_scores(results_dir / SCORES / f"{run_id}.csv"):
        if _is_mean(score) and score.value is not None:
            found.setdefault((score.space, score.metric), {})[score.protocol] = score.value
    protocols = sorted({protocol for values in found.values() for protocol in values})
    ordered = sorted(found, key=lambda column: (column[0] != "3d", column[0], list(METRICS).index(column[1])))
    shown = [column for column in ordered if METRICS[column[1]].tables and METRICS[column[1]].family != "cost"]
    lines = []
    for space, key in shown:
        values = (found[space, key].get(protocol) for protocol in protocols)
        name = METRICS[key].name + (f", {SPACES[space].noun}" if space in IMAGES else "")
        lines.append((name, *("–" if value is None else METRICS[key].write(value) for value in values)))
    return Sheet(("Mean of the set", *protocols), lines) if lines else None


def _read_means(results_dir: Path, run_id: str, protocol: str) -> dict[Column, float]:
    scores: Sequence[Score] = read_scores(results_dir / SCORES / f"{run_id}.csv")
    mine = (score for score in scores if score.protocol == protocol and _is_mean(score))
    return {(score.space, score.metric): score.value for score in mine if score.value is not None}


def _is_mean(score: Score) -> bool:
    whole = score.level == "set" and score.stat == "mean" and score.metric in METRICS
    return whole and score.axis in ("all", "mean", "heldout")


def _kind(method: str) -> str:
    try:
        card = method_card(method)
    except BenchError:
        return ""
    return card.kind if card else ""


def _say(column: Column, value: float) -> str:
    metric = METRICS[column[1]]
    return f"{metric.label} {metric.write(value)} {metric.unit}".rstrip()
