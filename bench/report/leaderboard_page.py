"""The leaderboard as one static page: tables that are sorted by a click and filtered, ready for any host.

It is made of the results alone and holds no date, so that equal results give an equal page. Like the report it fetches
nothing, and its policy lets no script run but its own.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.metrics import METRICS
from bench.metrics.stats import LEVEL
from bench.report.html import read_template, render_page
from bench.results.inference import TEST
from bench.results.leaderboard import DEFAULT_BY, build_leaderboard
from bench.results.model import Entry, Results, say_source
from bench.results.renderers import REFERENCES
from bench.results.table_model import Row, Table, TableBlock
from bench.scoring.evidence import LEVELS, Evidence, level_of, read_evidence
from bench.system.generated import Generated

WEAKEST = tuple(LEVELS)  # weakest first: a row of several runs is as good as its weakest


@dataclass(frozen=True)
class RowView:
    """One row, and how far its runs were checked; empty of what is no run."""

    row: Row
    level: str
    sent_by: str
    code: str
    kind: str  # method, floor, ceiling or reference


@dataclass(frozen=True)
class BlockView:
    """Rows that may be compared."""

    table: Table
    block: TableBlock
    methods: tuple[RowView, ...]
    references: tuple[RowView, ...]

    @property
    def dataset(self) -> str:
        """The data set, source and preset, as the filter has them."""
        facts = self.block.facts
        return f"{facts['dataset']} · {say_source(facts, '')} · {facts['preset']}"

    @property
    def protocol(self) -> str:
        """The protocol, as the filter has it."""
        return self.block.facts["protocol"]

    @property
    def space(self) -> str:
        """What is scored, as the filter has it."""
        return self.table.title.partition(", ")[2] or self.table.title


def generate_page(results: Results, results_dir: Path, out: Path) -> Generated:
    """Return the page of all results. Raises BenchError for a damaged evidence.csv."""
    evidence = read_evidence(results_dir)
    tables = build_leaderboard(results, DEFAULT_BY)
    views = [_view_block(table, block, evidence) for table in tables for block in table.blocks]
    style, scripts = read_template("style.css"), [read_template("sort.js"), read_template("leaderboard.js")]
    rows = [row for view in views for row in (*view.methods, *view.references)]
    text = render_page(
        "leaderboard.html",
        style,
        scripts,
        views=views,
        filters={
            "dataset": ("Data set", list(dict.fromkeys(view.dataset for view in views))),
            "protocol": ("Protocol", list(dict.fromkeys(view.protocol for view in views))),
            "space": ("Scored", list(dict.fromkeys(view.space for view in views))),
            "kind": ("Kind", list(dict.fromkeys(row.kind for row in rows))),
            "level": ("Checked", list(LEVELS)),
        },
        levels=LEVELS,
        references=REFERENCES,
        by=METRICS[DEFAULT_BY].label,
        interval=f"{LEVEL:.0%}",
        test=TEST,
    )
    return Generated(out, text)


def _view_block(table: Table, block: TableBlock, evidence: dict[str, Evidence]) -> BlockView:
    methods, references = (
        tuple(_view_row(row, evidence) for row in rows) for rows in (block.methods, block.references)
    )
    return BlockView(table, block, methods, references)


def _view_row(row: Row, evidence: dict[str, Evidence]) -> RowView:
    if row.entry is None:
        return RowView(row, "", "", "", row.kind)
    known = [evidence[run_id] for run_id in row.entry.run_ids if run_id in evidence]
    senders = ", ".join(dict.fromkeys(line.submitter for line in known if line.submitter))
    code = next((line.code for line in known if line.code), "")
    return RowView(row, _find_level(row.entry, evidence), senders, code, row.kind)


def _find_level(entry: Entry, evidence: dict[str, Evidence]) -> str:
    hashes = dict(zip(entry.run_ids, map(str, entry.runs["predictions_sha256"]), strict=True))
    levels = {level_of(evidence.get(run_id), sha256) for run_id, sha256 in hashes.items()}
    return min(levels, key=WEAKEST.index)
