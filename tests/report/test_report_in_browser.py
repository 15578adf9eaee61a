"""The report in a real browser: it asks for nothing, complains of nothing, and its viewer shows the volumes."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from bench.report.page import ReportRequest, write_report
from bench.system.progress import Progress

from ..helpers.chromium import NAMES, Page, find_chromium
from ..helpers.report_data import FLOOR, HOSTILE_CASE, HOSTILE_METHOD, add_run, install
from ..helpers.toy_data import make_data

BROWSER = find_chromium()
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason=f"no browser on PATH: {', '.join(NAMES)}"),
    pytest.mark.timeout(600),  # volumes are drawn by the processor
]
READY = "document.getElementById('viewer').dataset.ready === 'yes'"
READINGS = "[...document.querySelectorAll('.pane .value')].map(e => e.textContent)"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("report")
    request = ReportRequest(home / "report.html", home / "results", home / "runs")
    with pytest.MonkeyPatch.context() as patch:
        cases = install(patch, make_data(test=3))["test"]
        for method, error in ((HOSTILE_METHOD, 0.05), ("second", 0.3), (FLOOR, 0.2)):
            folder = add_run(home, cases, method, error)
        folder.train_csv.write_text("stage,step,name,value\na,1,loss,1\na,2,loss,0.5\n")
        write_report(request, Progress())
    return request.out


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Page]:
    assert BROWSER is not None
    with Page(BROWSER, tmp_path / "profile") as tab:
        yield tab


def open_viewer(tab: Page, report: Path) -> None:
    """Open the report, wait for its viewer and bring the panes into view."""
    tab.open(report)
    tab.run("document.documentElement.style.scrollBehavior = 'auto'; 1")
    tab.run("document.getElementById('viewer').scrollIntoView(); 1")
    tab.wait(READY)
    tab.run("document.querySelector('.panes').scrollIntoView({block: 'center'}); 1")


def choose_layout(tab: Page, value: int) -> None:
    tab.run(f"document.getElementById('viewer-layout').value = '{value}'; 1")
    tab.run("document.getElementById('viewer-layout').dispatchEvent(new Event('change')); 1")


def canvases(tab: Page) -> list[np.ndarray]:
    """The pixels of the three canvases in view."""
    pixels = imread(io.BytesIO(tab.picture()))[..., :3]
    boxes = tab.run(
        "[...document.querySelectorAll('.pane canvas')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.top, b.bottom, b.left, b.right].map(Math.round))"
    )
    return [pixels[max(top, 0) : bottom, left:right] for top, bottom, left, right in boxes]


def grey_levels(canvas: np.ndarray) -> int:
    """How many different greys a canvas shows: voxels, where letters and cross-hairs alone give a handful."""
    grey = canvas[np.ptp(canvas, axis=-1) < 0.02]
    return len(np.unique(np.round(grey[:, 0] * 255)))


def test_the_page_is_quiet_and_the_viewer_shows_linked_volumes(report: Path, tab: Page) -> None:
    open_viewer(tab, report)
    drawn = canvases(tab)
    assert len(drawn) == 3
    assert all(grey_levels(canvas) > 30 for canvas in drawn)
    assert np.abs(drawn[0] - drawn[2]).mean() > 0.01  # the truth is not what a poor method makes of it
    before = tab.run(READINGS)
    assert len({text.partition(" · ")[2] for text in before}) == 1
    tab.run("document.querySelectorAll('.pane canvas')[1].focus(); 1")
    for key, code in (("ArrowLeft", 37), ("PageUp", 33)):
        tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code)
        tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)
    after = tab.run(READINGS)
    assert after != before
    assert len({text.partition(" · ")[2] for text in after}) == 1  # all three moved to the same voxel
    assert len({text.partition(" HU")[0] for text in after}) == 3  # where each has a value of its own

    assert tab.run("document.getElementById('viewer-low').value") == "-1000"
    tab.run(
        "const e = document.getElementById('viewer-case'); e.selectedIndex = 1;"
        " document.getElementById('viewer').dataset.ready = ''; e.dispatchEvent(new Event('change')); 1"
    )
    tab.wait(READY)
    assert not np.array_equal(canvases(tab)[0], drawn[0])

    outside = [url for url in tab.requests if not url.startswith("data:")]
    assert outside == [report.resolve().as_uri()]
    assert tab.complaints == []
    words = tab.run("document.body.innerText + document.getElementById('viewer-case').textContent")
    assert HOSTILE_METHOD in words
    assert HOSTILE_CASE in words
    assert tab.run("document.querySelectorAll('img[onerror], script:not([type])').length") == 2  # its own scripts


def test_a_click_and_a_drag_move_the_cross_hairs_of_all_panes(report: Path, tab: Page) -> None:
    open_viewer(tab, report)
    choose_layout(tab, 0)
    boxes = tab.run(
        "[...document.querySelectorAll('.pane canvas')].map(e => e.getBoundingClientRect())"
        ".map(b => [b.left, b.top, b.width, b.height])"
    )

    def act(kind: str, pane: int, across: float, down: float) -> None:
        left, top, width, height = boxes[pane]
        place = {"x": left + across * width, "y": top + down * height}
        held = {"button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
        tab.call("Input.dispatchMouseEvent", type=kind, **place, **held)

    def places() -> list[str]:
        return [text.partition(" · ")[2] for text in tab.run(READINGS)]

    seen = [places()[0]]
    for pane, across, down in ((1, 0.35, 0.4), (0, 0.6, 0.65), (2, 0.4, 0.55)):
        act("mousePressed", pane, across, down)
        act("mouseReleased", pane, across, down)
        assert len(set(places())) == 1
        seen.append(places()[0])
    act("mousePressed", 1, 0.4, 0.55)
    for step in range(1, 6):
        act("mouseMoved", 1, 0.4 + 0.04 * step, 0.55 - 0.03 * step)
        assert len(set(places())) == 1
    act("mouseReleased", 1, 0.6, 0.4)
    seen.append(places()[0])
    assert len(set(places())) == 1
    assert len(set(seen)) == len(seen)  # each moved them, and none back

    choose_layout(tab, 4)
    before = canvases(tab)
    for kind, across in (("mousePressed", 0.4), ("mouseMoved", 0.5), ("mouseMoved", 0.7), ("mouseReleased", 0.7)):
        act(kind, 0, across, 0.5)
    assert all(np.abs(one - other).max() > 0.1 for one, other in zip(before, canvases(tab), strict=True))
    assert tab.complaints == []


def test_a_case_named_in_the_page_is_opened_in_the_viewer(report: Path, tab: Page) -> None:
    tab.open(report)
    last = tab.run("[...document.querySelectorAll('a[data-case]')].map(e => e.dataset.case).pop()")
    tab.run("[...document.querySelectorAll('a[data-case]')].pop().click(); 1")
    tab.wait(READY)
    tab.wait("document.getElementById('viewer-case').selectedOptions.length === 1")
    assert tab.run("document.getElementById('viewer-case').selectedOptions[0].textContent").endswith(last)
    assert tab.complaints == []


def test_the_policy_stops_what_is_not_of_the_page(report: Path, tab: Page) -> None:
    tab.open(report)
    tab.run(
        "const s = document.createElement('script'); s.textContent = 'window.broken = true'; document.body.append(s);"
        "const i = document.createElement('div'); i.innerHTML = '<img src=x onerror=\"window.broken = true\">';"
        "document.body.append(i); 1"
    )
    assert tab.run("fetch('data:text/plain,hello').then(() => 'fetched', () => 'refused')") == "refused"
    assert tab.run("window.broken === undefined")
    assert any("Content Security Policy" in text for text in tab.complaints)


def test_nothing_is_wider_than_a_phone(report: Path, tab: Page) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=360, height=720, deviceScaleFactor=1, mobile=True)
    open_viewer(tab, report)
    assert tab.run("document.documentElement.scrollWidth") <= 360
    assert tab.complaints == []


def test_tables_of_the_committed_results_fit_a_screen(tmp_path: Path, tab: Page) -> None:
    out, committed = tmp_path / "report.html", tmp_path / "results"
    shutil.copytree(Path(__file__).parents[2] / "results", committed, ignore=shutil.ignore_patterns("*-smoke-*"))
    write_report(ReportRequest(out, committed, tmp_path / "runs"), Progress())
    tab.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    tab.open(out)
    assert tab.run("document.documentElement.scrollHeight") <= 10_000  # all blocks but the first are folded
    assert "The printed order." in tab.run("document.getElementById('findings').innerText")
    tab.run("document.querySelectorAll('details').forEach(e => e.open = true); 1")
    assert tab.run("document.querySelectorAll('table.results td .second').length") > 50
    values = "[...document.querySelector('table.results').tBodies[0].rows].map(e => Number(e.cells[3].dataset.value))"
    before = tab.run(values)
    assert before == sorted(before, reverse=True)
    for order in (sorted(before), before):
        tab.run("document.querySelectorAll('table.results thead th button')[3].click(); 1")
        assert tab.run(values) == order
    main = "[...document.querySelectorAll('.scroll')].filter(e => !e.closest('details:not(.group)'))"  # others scroll
    assert tab.run(f"{main}.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)") == []
    assert tab.run(f"{main}.length") >= 3
    tab.call("Emulation.setDeviceMetricsOverride", width=360, height=720, deviceScaleFactor=1, mobile=True)
    assert tab.run("document.documentElement.scrollWidth") <= 360


def test_a_browser_without_webgl_is_told_so(report: Path, tab: Page) -> None:
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="HTMLCanvasElement.prototype.getContext = () => null")
    tab.open(report)
    tab.run("document.getElementById('viewer').scrollIntoView(); 1")
    tab.wait("!document.getElementById('viewer-error').hidden")
    assert "no WebGL 2" in tab.run("document.getElementById('viewer-error').textContent")
    assert tab.complaints == []
