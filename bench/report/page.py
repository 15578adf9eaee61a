"""Puts the page together: what was collected, drawn and encoded, through templates that escape everything.

Names of methods and cases come from files that anyone may have made, so nothing reaches the page unescaped.
"""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from bench.errors import UsageError
from bench.metrics import METRICS
from bench.metrics.stats import LEVEL
from bench.report.collect import Group, collect_groups, find_folders
from bench.report.html import colour_classes, read_template, render_page
from bench.report.missing import Places, find_picture_gap, find_spread_gap
from bench.report.pictures import MIB, CasePictures, draw_case, draw_spreads, size_of, view_case
from bench.report.plots import draw_clouds, draw_pairs, draw_training, find_extremes, view_literature
from bench.report.records import RUN_COLUMNS, view_runs, view_studies
from bench.results.findings import summarise
from bench.results.inference import TEST
from bench.results.leaderboard import DEFAULT_BY
from bench.results.model import Results, read_results
from bench.results.renderers import REFERENCES
from bench.results.table_model import CAPTION
from bench.system.files import write_text
from bench.system.progress import Progress
from bench.system.provenance import VERSION, code_version

ORIGINS = {
    "phantom": "Everything here is measured on computer-made phantoms. That shows that a method works and how methods "
    "compare on a small, clean problem. It supports no claim about patients or real bags, and none about the accuracy "
    "published for a method.",
    "real": "The volumes are real scans; the X-ray views are projected from them, not taken with an X-ray machine. "
    "There is no scatter, no motion and an ideal detector; how a method does on radiographs is not shown.",
}


@dataclass(frozen=True)
class ReportRequest:
    """What a user asks for."""

    out: Path
    results_dir: Path = Path("results")
    runs_dir: Path = Path("runs")
    by: str = DEFAULT_BY
    cases: int = 2
    viewer_mib: float = 24.0


def write_report(request: ReportRequest, progress: Progress) -> int:
    """Write the page and return its size in bytes.

    Raises UsageError for a metric nothing is sorted by, BenchError for damaged results or a file that cannot be
    written; what is missing of single runs or studies is said in the page.
    """
    results = read_results(request.results_dir)
    groups = collect_groups(results, request.results_dir, request.runs_dir, request.by, progress)
    places, views = Places(request.runs_dir, request.results_dir), []
    budget = int(request.viewer_mib * MIB)
    shown: list[dict[str, Any]] = []
    left_out: list[str] = []
    with progress.task("draw", len(groups)) as task:
        for number, group in enumerate(groups, start=1):
            chosen, pictures = _choose_cases(group, request.cases), []
            for case in chosen:
                pictures.append(draw_case(group, case))
                entry, reason = view_case(group, case, budget - sum(map(size_of, shown)))
                shown += [entry] if entry else []
                left_out += [reason] if reason else []
            views.append(_view_group(group, f"data-{number}", places, chosen, pictures))
            task.advance(number, group.title)
    folder = files("bench.report").joinpath("niivue")
    scripts = [read_template("sort.js") + read_template("page.js")]
    if shown:
        scripts.insert(0, folder.joinpath("niivue.umd.js").read_text(encoding="utf-8"))
    text = render_page(
        "report.html",
        read_template("style.css") + colour_classes(),
        scripts,
        views=views,
        viewer=shown,
        viewer_licence=folder.joinpath("LICENSE").read_text(encoding="utf-8") if shown else "",
        viewer_mib=f"{request.viewer_mib:g}",
        left_out=left_out,
        findings=_find_findings(results),
        origins=[text for source, text in ORIGINS.items() if any(group.facts["source"] == source for group in groups)],
        literature=view_literature(results),
        studies=list(view_studies(request.results_dir)),
        runs=view_runs(results, find_folders(request.runs_dir)),
        run_heads=[head for head, _ in RUN_COLUMNS.values()],
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=VERSION,
        code=code_version(),
        by=METRICS[request.by].label,
        level=f"{LEVEL:.0%}",
        test=TEST,
        caption=_mark_up(CAPTION),
        references=REFERENCES,
    )
    write_text(request.out, text)
    return len(text.encode())


def _choose_cases(group: Group, count: int) -> list[str]:
    """The first cases of the split, then the worst and the best case of the first method, which are said to be that."""
    if group.cases is None:
        return []
    extremes = find_extremes(group, DEFAULT_BY)[:1]
    ends = [case for found in extremes for case, _ in (found.worst, found.best) if case in group.cases.names]
    return list(dict.fromkeys([*group.cases.names[:count], *(ends if count else [])]))


def _find_findings(results: Results) -> list[tuple[str, list[Markup]]]:
    """The sentences that the results allow under the default protocol; none, where they have no rows of it."""
    with suppress(UsageError):
        return [(name, [_mark_up(line) for line in lines]) for name, lines in summarise(results)]
    return []


def _mark_up(line: str) -> Markup:
    """A line of Markdown with its bold words and its code, all else escaped."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", str(escape(line)))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", bold))


def _view_group(
    group: Group, anchor: str, places: Places, cases: Sequence[str], pictures: Sequence[CasePictures]
) -> dict[str, Any]:
    """Return all that the page shows of one group, by the names of the template."""
    reference, pairs = draw_pairs(group, DEFAULT_BY)
    return {
        "group": group,
        "anchor": anchor,
        "clouds": draw_clouds(group),
        "pairs": pairs,
        "reference": reference,
        "extremes": find_extremes(group, DEFAULT_BY),
        "pictures": pictures,
        "spreads": list(draw_spreads(group, cases)) if group.cases else [],
        "training": [curves for subject in group.subjects if (curves := draw_training(subject))],
        "missing": find_picture_gap(group, places),
        "no_spread": find_spread_gap(group, places),
    }
