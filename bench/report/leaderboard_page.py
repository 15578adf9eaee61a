"""The leaderboard as one static page: tables that are sorted by a click and filtered, ready for any host.

It is made of the results alone and holds no date, so that equal results give an equal page. Like the report it fetches
nothing, and its policy lets no script run but its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.metrics import METRICS
from bench.metrics.stats import LEVEL
from bench.report.html import read_template, render_page
from bench.results.inference import TEST
from bench.results.leaderboard import DEFAULT_BY, build_leaderboard
from bench.results.model import Results, say_source
from bench.results.renderers import REFERENCES
from bench.results.table_model import Row, Table, TableBlock
from bench.scoring.evidence import LEVELS, Evidence, level_of, read_evidence
from bench.system.generated import Generated

FILTERS = {"dataset": "Data set", "protocol": "Protocol", "space": "Scored"}  # of blocks
WEAKEST = tuple(LEVELS)  # weakest first: a row of several runs is as good as its weakest


@dataclass(frozen=True)
class Check:
    """How far the runs of a row were checked, who sent them, and where their code lies; empty of what is no run."""

    level: str = ""
    sent_by: str = ""
    code: str = ""


def generate_page(results: Results, results_dir: Path, out: Path) -> Generated:
    """Return the page of all results. Raises BenchError for a damaged evidence.csv."""
    tables = build_leaderboard(results, DEFAULT_BY)
    views = [(table, block, _classify(table, block)) for table in tables for block in table.blocks]
    filters = {name: (label, dict.fromkeys(own[name] for *_, own in views)) for name, label in FILTERS.items()}
    filters["kind"] = ("Kind", dict.fromkeys(row.kind for _, block, _ in views for row in block.rows))
    text = render_page(
        "leaderboard.html",
        read_template("style.css"),
        [read_template("sort.js"), read_template("leaderboard.js")],
        views=views,
        check_of=partial(_check_row, evidence=read_evidence(results_dir)),
        filters={**filters, "level": ("Checked", LEVELS)},
        levels=LEVELS,
        references=REFERENCES,
        by=METRICS[DEFAULT_BY].label,
        interval=f"{LEVEL:.0%}",
        test=TEST,
    )
    return Generated(out, text)


def _classify(table: Table, block: TableBlock) -> dict[str, str]:
    """Return what a block is of, by the names of FILTERS."""
    facts = block.facts
    dataset = f"{facts['dataset']} · {say_source(facts, '')} · {facts['preset']}"
    space = table.title.partition(", ")[2] or table.title
    return {"dataset": dataset, "protocol": facts["protocol"], "space": space}


def _check_row(row: Row, evidence: Mapping[str, Evidence]) -> Check:
    if row.entry is None:
        return Check()
    hashes = dict(zip(row.entry.run_ids, map(str, row.entry.runs["predictions_sha256"]), strict=True))
    levels = {level_of(evidence.get(run_id), sha256) for run_id, sha256 in hashes.items()}
    known = [evidence[run_id] for run_id in hashes if run_id in evidence]
    senders = ", ".join(dict.fromkeys(line.submitter for line in known if line.submitter))
    code = next((line.code for line in known if line.code), "")
    return Check(min(levels, key=WEAKEST.index), senders, code)
