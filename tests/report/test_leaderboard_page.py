"""The leaderboard as a page of its own: marks say how far rows were checked, and a browser sorts and filters it."""

import re
from pathlib import Path

import pytest

from bench.report.leaderboard_page import generate_page
from bench.results.model import read_results
from bench.scoring.evidence import Evidence, put_evidence

from ..helpers.chromium import NAMES, Page, find_chromium
from ..helpers.report_data import HOSTILE_METHOD
from ..helpers.table_rows import add, draw

ROOT = Path(__file__).parents[2]
BROWSER = find_chromium()
SHOWN = (
    "[...document.querySelectorAll('section.block')].filter(e => e.offsetHeight).map(e => [e.dataset.dataset,"
    " e.dataset.protocol, e.dataset.space])"
)
ROWS = "[...document.querySelectorAll('tr[data-kind]')].filter(e => e.offsetHeight).map(e => e.dataset.kind)"
TABLE = "[...document.querySelectorAll('section.block')].find(e => e.offsetHeight).querySelector('table')"
COLUMN = f"[...{TABLE}.tBodies[0].rows[0].cells].findIndex(e => 'value' in e.dataset)"  # the first of a metric
VALUES = f"[...{TABLE}.tBodies[0].rows].map(e => Number(e.cells[{COLUMN}].dataset.value))"


def levels_on(page: str) -> list[tuple[str, str]]:
    """Method and mark of each row."""
    row = r'<tr data-kind="method" data-level="([^"]*)">\s*<th[^>]*>(?:<span[^>]*>[^<]*</span>)?([^<\n]*)'
    rows = re.findall(row, page)
    return [(name.strip(), level) for level, name in rows]


def test_rows_say_how_far_they_were_checked_and_whose_they_are(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name, mean in (("a", 20.0), ("b", 22.0), ("c", 24.0)):
        add(results, name, cases={"psnr": draw(0, mean)})
    runs = {run.method: run for run in read_results(results).runs}
    sent = {"a": ("re-run", runs["a"].predictions_sha256), "b": ("re-scored", "of other predictions")}
    for method, (level, sha256) in sent.items():
        line = {"run_id": runs[method].run_id, "level": level, "predictions_sha256": sha256}
        put_evidence(results, Evidence(**line, submitter=HOSTILE_METHOD))
    page = generate_page(read_results(results), results, tmp_path / "page.html").text
    assert dict(levels_on(page)) == {"a": "re-run", "b": "self-reported", "c": "run here"}
    assert HOSTILE_METHOD not in page
    assert page.count("&lt;/script&gt;&lt;script&gt;alert") >= 2
    assert page == generate_page(read_results(results), results, tmp_path / "page.html").text


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=f"no browser on PATH: {', '.join(NAMES)}")
def test_a_browser_sorts_and_filters_the_committed_results_and_fetches_nothing(tmp_path: Path) -> None:
    assert BROWSER is not None
    page = generate_page(read_results(ROOT / "results"), ROOT / "results", tmp_path / "page.html")
    page.path.write_text(page.text, encoding="utf-8")
    with Page(BROWSER, tmp_path / "profile") as tab:

        def choose(name: str, value: str) -> None:
            tab.run(
                f"(s => {{ s.value = {value!r}; s.dispatchEvent(new Event('change')); }})"
                f"(document.querySelector('[data-filter={name}]')); 1"
            )

        tab.open(page.path)
        first = tab.run(SHOWN)
        assert {space for _, _, space in first} == {"volumes"}
        assert len({dataset for dataset, _, _ in first}) > 1
        before = tab.run(VALUES)
        assert before == sorted(before, reverse=True)
        for order in (sorted(before), before):
            tab.run(f"{TABLE}.querySelectorAll('thead button')[{COLUMN}].click(); 1")
            assert tab.run(VALUES) == order
        choose("dataset", "lidc · phantom · tiny")
        assert {dataset for dataset, _, _ in tab.run(SHOWN)} == {"lidc · phantom · tiny"}
        choose("kind", "floor")
        assert set(tab.run(ROWS)) == {"floor"}
        choose("level", "re-run")
        assert tab.run(SHOWN) == []
        assert tab.run("document.getElementById('nothing').offsetHeight") > 0
        for name in ("dataset", "kind", "level", "space"):
            choose(name, "")
        assert len(tab.run(SHOWN)) > len(first)
        assert [url for url in tab.requests if not url.startswith("data:")] == [page.path.resolve().as_uri()]
        assert tab.complaints == []
        for width in (1400, 360):
            tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True)
            assert tab.run("document.documentElement.scrollWidth") <= width
