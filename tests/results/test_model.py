"""One home for each fact: a metric that is registered appears wherever people read, from its one definition."""

from pathlib import Path

import pytest

from bench.metrics import METRICS, Metric
from bench.plugins.registry import discover_methods
from bench.results.audit import list_lines
from bench.results.compare import compare_methods
from bench.results.latex import draw_latex
from bench.results.leaderboard import build_leaderboard
from bench.results.model import SPACES, columns_shown, read_results
from bench.results.renderers import render
from bench.results.tables import build_tables

from ..helpers.table_rows import add, cards, draw  # noqa: F401 - cards is a fixture

SHARPNESS = Metric("sharpness", "Sharpness", "up", "lp/mm", (0.0, None), "case", ("3d", "mip"), 1, tables=("3d",))


@pytest.mark.usefixtures("cards")
def test_a_metric_that_is_registered_appears_wherever_people_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, SHARPNESS.key, SHARPNESS)
    for method, mean in (("codediff", 8.0), ("x2ctgan", 6.0)):
        for seed in (0, 1):
            cases = {"sharpness": draw(ord(method[0]), mean + 0.01 * seed, 0.1), "psnr": draw(0, 20.0)}
            add(tmp_path, method, seed, cases=cases)
    results = read_results(tmp_path)
    (volumes,) = build_tables("2", results)
    assert volumes.columns[-1] == "↑ Sharpness, lp/mm"
    assert [row.cells[-1].rank for row in volumes.blocks[0].methods if row.entry] == [2, 1]  # in the paper's order
    for text in (render([volumes], "md"), render([volumes], "csv"), draw_latex([volumes])):
        assert "sharpness" in text.lower()
    board = build_leaderboard(results, by="sharpness")
    assert [(row.place, row.title) for row in board[0].blocks[0].methods] == [(1, "CodeDiff3D"), (2, "X2CT-GAN")]
    assert board[0].blocks[0].methods[0].cells[0].interval is not None
    (comparison,), _ = compare_methods(results, "codediff", "x2ctgan")
    assert [(d.space, d.metric, d.better) for d in comparison.differences][-1] == ("3d", "sharpness", "A")
    assert ("3d", "all", "sharpness") in list_lines()
    assert ("mip", "sharpness") not in columns_shown()  # where it has values, and no table asks for it


def test_every_column_is_of_a_metric_that_has_values_there() -> None:
    for metric in METRICS.values():
        assert set(metric.tables) <= set(metric.spaces) & set(SPACES), metric.key


@pytest.mark.parametrize(("kind", "deterministic"), [("floor", True), ("method", False)])
def test_cards_say_of_floors_and_of_no_trained_method_that_no_seed_matters(kind: str, deterministic: bool) -> None:
    """A trained method that said so would be compared as if all its trainings were equal."""
    cards_of_kind = [plugin.card for plugin in discover_methods()[0].values() if plugin.card.kind == kind]
    assert {card.deterministic for card in cards_of_kind} == {deterministic}


@pytest.mark.usefixtures("cards")
def test_what_is_not_known_to_be_deterministic_is_taken_for_trained(tmp_path: Path) -> None:
    for method, origin in (("floor", "builtin"), ("floor", "external"), ("x2ctgan", "builtin"), ("mine", "plugin")):
        add(tmp_path, method, origin=origin, variant=origin)
    (block,) = read_results(tmp_path).blocks
    assert [(entry.method, entry.origin) for entry in block.entries if entry.deterministic] == [("floor", "builtin")]
