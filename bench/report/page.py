"""Puts the page together: what was collected, drawn and encoded, through templates that escape everything."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.metrics import METRICS
from bench.metrics.stats import LEVEL
from bench.pictures.drawing import PALETTE
from bench.report.collect import Group, Part, collect, place_and_title
from bench.report.comparison import CHARTED, Pair, clouds_of, pairs_of
from bench.report.curves import Training, training_of
from bench.report.markup import json_for_script, policy, script_text
from bench.report.missing import Gap, Places, picture_gap, spread_gap
from bench.report.pictures import CasePictures, Spread, pictures_of, spreads_of
from bench.report.provenance import HEADS as RUN_HEADS
from bench.report.provenance import runs_of
from bench.report.studies import HEADS as STUDY_HEADS
from bench.report.studies import studies_in
from bench.report.volumes import MIB, Budget, cap_reason, viewer_case
from bench.results.entries import read_rows
from bench.results.leaderboard import DEFAULT_BY
from bench.results.renderers import REFERENCES, cell_text
from bench.results.table_model import CAPTION, Row, label_of
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


@dataclass
class GroupView:
    """All that the page shows of one group."""

    group: Group
    anchor: str
    clouds: list[tuple[str, Markup]]
    pairs: list[Pair]
    reference: str  # of the pairs
    pictures: list[CasePictures]
    spreads: list[Spread]
    training: list[Training]
    missing: Gap | None  # of predictions
    no_spread: Gap  # why there are no spreads, where there are none


def write_report(request: ReportRequest, progress: Progress) -> int:
    """Write the page and return its size in bytes.

    Raises UsageError for a metric nothing is sorted by, BenchError for damaged results or a file that cannot be
    written; what is missing of single runs or studies is said in the page.
    """
    groups = collect(request.results_dir, request.runs_dir, request.by, progress)
    scores = _scores_of_cases(request.results_dir)
    budget, shown, left_out = Budget(int(request.viewer_mib * MIB)), [], []
    views, places = [], Places(request.runs_dir, request.results_dir)
    with progress.task("draw", len(groups) * (request.cases + 1)) as task:
        for number, group in enumerate(groups):
            view = _group_view(group, f"data-{number + 1}", places)
            views.append(view)
            chosen = group.cases.names[: request.cases] if group.cases else ()
            for index, case in enumerate(chosen):
                view.pictures.append(pictures_of(group, case, scores))
                entry, reason = viewer_case(group, case, budget)
                shown += [entry] if entry else []
                left_out += [reason] if reason else []
                task.advance(number * (request.cases + 1) + index + 1, group.title)
            view.spreads.extend(spreads_of(group, chosen) if group.cases else ())
            task.advance((number + 1) * (request.cases + 1), group.title)
    text = _rendered(
        request,
        views,
        viewer=shown,
        left_out=cap_reason(left_out, request.viewer_mib),
        studies=list(studies_in(request.results_dir)),
        runs=runs_of(request.results_dir, request.runs_dir),
    )
    write_text(request.out, text)
    return len(text.encode())


def _rendered(request: ReportRequest, views: Sequence[GroupView], viewer: Sequence[Any], **context: Any) -> str:
    folder = files("bench.report")
    style = folder.joinpath("templates", "style.css").read_text(encoding="utf-8") + _colours()
    scripts = [folder.joinpath("templates", "page.js").read_text(encoding="utf-8")]
    if viewer:
        bundle = folder.joinpath("niivue", "niivue.umd.js").read_text(encoding="utf-8")
        scripts = [bundle, *scripts]
    environment = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"rows": table_rows, "columns": columns}
    sources = [source for source in ORIGINS if any(view.group.facts["source"] == source for view in views)]
    return environment.get_template("report.html").render(
        policy=policy(scripts, [style]),
        style=Markup(style),
        scripts=[script_text(script) for script in scripts],
        viewer=json_for_script(list(viewer)) if viewer else "",
        viewer_licence=folder.joinpath("niivue", "LICENSE").read_text(encoding="utf-8") if viewer else "",
        views=views,
        origins=[ORIGINS[source] for source in sources],
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=VERSION,
        code=code_version(),
        by=METRICS[request.by].label,
        level=f"{LEVEL:.0%}",
        caption=CAPTION,
        references=REFERENCES,
        run_heads=list(RUN_HEADS.values()),
        study_heads=STUDY_HEADS,
        **context,
    )


def table_rows(part: Part) -> dict[str, list[dict[str, Any]]]:
    """The rows of a block as text that is escaped: `methods`, ranked, and `references`, which never are."""

    def drawn(row: Row, numbered: bool) -> dict[str, Any]:
        place, title = place_and_title(row, numbered)
        cells = [Markup(cell_text(cell, _styled, _marks)) for cell in row.cells]
        return {"place": place, "title": title, "kind": row.kind, "seeds": row.seeds, "cells": cells}

    return {
        "methods": [drawn(row, True) for row in part.block.methods],
        "references": [
            drawn(row, False) for row in part.block.references if any(cell.state != "blank" for cell in row.cells)
        ],
    }


def columns(part: Part) -> Iterator[str]:
    """The heads of a block's columns; no line ends after an arrow."""
    rows = (*part.block.methods, *part.block.references)
    heads = [label_of(cell.metric) for cell in rows[0].cells] if rows else part.table.columns
    yield from (re.sub("^([↑↓]) ", "\\1\N{NO-BREAK SPACE}", head) for head in heads)


def _styled(text: str, style: str) -> str:
    """A value, small beside it ± its deviation over seeds, small under it its interval or its distance."""
    if text.startswith("Δ"):
        return Markup('<br><span class="second">{}</span>').format(text)
    before, bracket, interval = text.partition(" [")
    value, sign, deviation = before.partition(" ± ")
    tag = {"best": "strong", "second": "u"}.get(style, "span")
    made = Markup("<{0}>{1}</{0}>").format(tag, value)
    made += Markup(' <span class="second">± {}</span>').format(deviation) if sign else ""
    return made + (Markup('<br><span class="second">[{}</span>').format(interval) if bracket else "")


def _colours() -> str:
    """The style of the colours of methods."""
    rules = [
        f".c{number} {{ --c: light-dark({white}, {black}); }}\n"
        for number, (white, black) in enumerate(PALETTE, start=1)
    ]
    return "".join(rules)


def _marks(marks: tuple[int, ...]) -> str:
    return f"<sup>{','.join(map(str, marks))}</sup>"  # numbers of ours; a Markup would escape what stands before it


def _group_view(group: Group, anchor: str, places: Places) -> GroupView:
    reference, pairs = pairs_of(group, DEFAULT_BY)
    training = [training_of(subject) for subject in group.subjects]
    shown = [curves for curves in training if curves is not None]
    gaps = picture_gap(group, places), spread_gap(group, places)
    return GroupView(group, anchor, clouds_of(group), pairs, reference, [], [], shown, *gaps)


def _scores_of_cases(results_dir: Path) -> dict[tuple[str, str], str]:
    """(run id, case) → PSNR and SSIM of the volume in words, under the protocol that sorts first."""
    rows = read_rows(results_dir)
    rows = rows[(rows["space"] == "3d") & rows["metric"].isin(CHARTED) & rows["value"].notna()]
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows.sort_values("protocol").itertuples():
        metric = METRICS[str(row.metric)]
        text = f"{metric.label} {row.value:.{metric.decimals}f} {metric.unit}".strip()
        found.setdefault((str(row.run_id), str(row.case)), {}).setdefault(metric.key, text)
    return {key: ", ".join(texts[name] for name in CHARTED if name in texts) for key, texts in found.items()}
