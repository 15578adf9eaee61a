"""Results made by hand for tests: one row a score that also names its run, as joined tables have them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.runs.record import RunLine
from bench.scoring import DEFAULT
from bench.scoring.protocols import PROTOCOLS, get_protocol
from bench.scoring.rows import COLUMNS, Score
from bench.scoring.store import put_run, read_run

HASH = get_protocol().sha256()
Flat = Mapping[str, Any]
"""A score and the facts of its run by column."""


def run_facts(method: str, variant: str = "aaaaaaaa", **other: Any) -> dict[str, Any]:
    """Columns of joined results: of seed 0 on chest phantoms under the default protocol, but for what is said."""
    facts = {
        "protocol": DEFAULT,
        "protocol_hash": HASH,
        "method": method,
        "origin": "builtin",
        "dataset": "lidc",
        "source": "phantom",
        "split": "test",
        "preset": "tiny",
        "seed": 0,
        "views": "270+0",
        "space": "3d",
        "axis": "all",
        "code_version": "0",
        **other,
    }
    return {"run_id": "{method}-{dataset}-{preset}-s{seed}-{0}".format(variant, **facts), **facts}


def score(metric: str = "mse", value: float | None = 0.01, **other: Any) -> Score:
    """One score of case `a` under the default protocol, but for what is said."""
    protocol = PROTOCOLS.get(other.get("protocol", DEFAULT))
    facts: dict[str, Any] = {
        "protocol": DEFAULT,
        "protocol_hash": protocol.sha256() if protocol else "",
        "code_version": "0",
        "space": "3d",
        "axis": "all",
        "level": "case",
        "case": "a",
        "stat": "value",
        "n": 1,
    }
    return Score(**{**facts, "metric": metric, "value": value, **other})


def run_line(run_id: str = "mine-toy-tiny-s0-0123abcd", **other: Any) -> RunLine:
    """The line of one run on toy phantoms, but for what is said."""
    facts = {"method": "mine", "dataset": "toy", "source": "phantom", "preset": "tiny", "seed": 0, "views": "270+0"}
    return RunLine(**{"run_id": run_id, **facts, **other})


def enter_rows(results: Path, rows: Sequence[Flat]) -> None:
    """Enter flat rows of one or several runs; what is known of a run already stays."""
    by_run: dict[str, list[Flat]] = defaultdict(list)
    for row in rows:
        by_run[row["run_id"]].append(row)
    for run_id, own in by_run.items():
        facts = {name: own[0][name] for name in RunLine.model_fields if name in own[0] and name not in ("status",)}
        known = read_run(results, run_id)
        line = RunLine(**(dict(known[0]) | facts if known else facts))
        put_run(results, line, [Score(**{name: row[name] for name in COLUMNS if name in row}) for row in own])


def enter_run(results: Path, **facts: Any) -> None:
    """Add facts to the line of the run `run_id`, which is begun where there is none."""
    known = read_run(results, facts["run_id"])
    line = dict(known[0]) if known else {"method": "mine", "dataset": "toy", "preset": "tiny"}
    put_run(results, RunLine(**{**line, **facts}), [])
