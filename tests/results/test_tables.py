"""Tables: what may stand together, what is best, what is never ranked, and the same facts in every form."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import UsageError
from bench.metrics import METRICS
from bench.results.leaderboard import build_leaderboard
from bench.results.model import read_results
from bench.results.renderers import render
from bench.results.table_model import Cell, Row, rank_rows
from bench.results.tables import build_tables
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED
from bench.scoring.protocols import PROTOCOLS

from ..helpers.score_rows import HASH, enter_rows, run_facts
from ..helpers.table_rows import NUMBERS, add, cards, cell_of, notes_of, row_of, table  # noqa: F401 - cards is a fixture

pytestmark = pytest.mark.usefixtures("cards")
PAPER = PROTOCOLS["paper-2023"].sha256()


# --- without results


def test_without_results_the_published_numbers_are_shown_alone_by_table(tmp_path: Path) -> None:
    shown = build_tables("all", read_results(tmp_path))
    assert [t.id for t in shown] == ["1", "2", "3a", "3b", "4"]
    assert all(cell.value is None for t in shown for b in t.blocks for r in b.methods for cell in r.cells)
    chest = shown[1].blocks[0]
    assert [row.title for row in chest.methods] == ["X2CT-GAN", "CCX-rayNet", "CodeDiff3D"]
    assert cell_of(chest, "CodeDiff3D", "psnr").published == "25.05"
    assert cell_of(chest, "CodeDiff3D", "psnr").state == "not_run"
    assert cell_of(chest, "X2CT-GAN", "nll_bits_per_voxel").state == "cannot"
    assert [t.id for t in build_tables("3", read_results(tmp_path))] == ["3a", "3b"]
    assert [t.id for t in build_tables("all", read_results(tmp_path), dataset="lidc")] == ["2", "3b", "4"]
    with pytest.raises(UsageError, match="unknown table '9'"):
        build_tables("9", read_results(tmp_path))


# --- structures and classes of voxels


def add_structures(results: Path, method: str, dataset: str = "lidc", **numbers: float) -> None:
    """Enter means of a whole set in the spaces that the metrics have."""
    facts = run_facts(method, dataset=dataset, protocol="ct3d-2", protocol_hash=PROTOCOLS["ct3d-2"].sha256())
    shared = {**facts, "level": "set", "stat": "mean", "n": 48}
    spaces = {metric: METRICS[metric].spaces[0] for metric in numbers}
    enter_rows(results, [{**shared, "space": spaces[m], "metric": m, "value": value} for m, value in numbers.items()])


def test_tables_of_structures_show_what_the_data_set_has_and_what_stands_beside(tmp_path: Path) -> None:
    views = {"psnr_views_truth": 33.9, "psnr_views_other": 15.4}
    ours = {"psnr_views": 20.7, "dice_lung": 0.5, "high_frequency": 0.4, "bias_hu_bone": -250.0}
    theirs = {"psnr_views": 24.9, "dice_lung": 0.7, "high_frequency": 1.2, "bias_hu_bone": -200.0}
    add_structures(tmp_path, "codediff", **ours, **views)
    add_structures(tmp_path, "x2ctgan", **theirs, **views)
    add_structures(tmp_path, "x2ctgan", "baggage", psnr_views=30.0, mae_hu_cloth=20.0)
    results = read_results(tmp_path)
    bags, chests = build_tables("6", results)
    assert bags.columns == ("↑ PSNR of given views, dB",)
    assert chests.columns == ("↑ PSNR of given views, dB", "High-frequency power", "↑ Dice, lung")
    (block,) = chests.blocks
    power = cell_of(block, "CodeDiff3D", "high_frequency")
    assert power.rank is None  # neither more nor less is better
    assert power.distance == pytest.approx(-0.6)
    assert cell_of(block, "X2CT-GAN", "dice_lung").rank == 1
    shown = {row.title: row.cells[0].value for row in block.references}
    assert shown == {"the truth, projected as the predictions are": 33.9, "the views of another case": 15.4}
    assert build_tables("7b", results)[0].columns == ("Bias, bone, HU",)
    assert {"6a", "6b", "7a", "7b"} <= {table.id for table in build_tables("all", results)}
    sheets = build_leaderboard(results)
    heads = {table.title: [block.header.split(" · ")[0] for block in table.blocks] for table in sheets}
    assert heads["lidc, structures"] == ["sorted by PSNR of given views"]
    assert [row.method for row in sheets[-2].blocks[0].methods] == ["x2ctgan", "codediff"]


def test_a_table_that_nothing_was_measured_for_says_what_to_type(tmp_path: Path) -> None:
    add(tmp_path, "codediff")
    for which in ("6", "7b"):
        with pytest.raises(UsageError, match=r"no numbers of table .*type bench score RUN --protocol ct3d-2"):
            build_tables(which, read_results(tmp_path))
    assert not {"6a", "6b", "7a", "7b"} & {table.id for table in build_tables("all", read_results(tmp_path))}


def test_mse_has_three_significant_digits_by_which_small_errors_are_ranked(tmp_path: Path) -> None:
    """No number is shown below the rounding of float32, and none that rounds to zero has a sign."""
    texts = {0.0784: "0.0784", 0.00784: "0.00784", 0.0003123: "0.000312", 0.0: "0.0000", 7.9e-17: "0.00000000"}
    for value, text in texts.items():
        assert Cell("mse", "value", value).texts.value == text
        assert Cell("mae", "value", value).texts.value == f"{value:.4f}"
    assert Cell("ssim", "value", -0.0001).texts.value == "0.000"
    add(tmp_path, "codediff", 0, {**NUMBERS, "mse": 0.000312, "mae": 0.01})
    add(tmp_path, "x2ctgan", 0, {**NUMBERS, "mse": 0.000324, "mae": 0.01})
    (block,) = build_tables("2", read_results(tmp_path))[0].blocks
    assert [cell_of(block, name, "mse").rank for name in ("CodeDiff3D", "X2CT-GAN")] == [1, 2]


# --- what stands together


@pytest.mark.parametrize(
    "other",
    [
        {"source": "real"},
        {"run": {"trained_on": "real"}},
        {"preset": "small"},
        {"split": "validation"},
        {"views": "270"},
        {"dataset": "lidc-x2ct"},
        {"protocol_hash": "0" * 64},
        {"fingerprint": "f1"},
    ],
)
def test_rows_that_must_not_be_compared_never_share_a_block(tmp_path: Path, other: dict[str, Any]) -> None:
    add(tmp_path, "codediff", numbers={"psnr": 25.0})
    add(tmp_path, "x2ctgan", numbers={"psnr": 20.0}, **other)
    blocks = table(tmp_path).blocks
    assert len(blocks) == 2
    assert sum("trained on" in block.header for block in blocks) == ("run" in other)
    for block in blocks:
        values = [cell_of(block, title, "psnr").value for title in ("CodeDiff3D", "X2CT-GAN")]
        assert sorted(values, key=str) in ([20.0, None], [25.0, None])
        assert all(cell.rank is None for row in block.methods for cell in row.cells)


def test_the_header_says_what_the_rows_share(tmp_path: Path) -> None:
    add(tmp_path, "codediff", run={"window_low": -1000.0, "window_high": 1000.0})
    (block,) = table(tmp_path).blocks
    cell = cell_of(block, "CodeDiff3D", "psnr")
    assert (cell.value, cell.published, cell.n) == (25.0, "25.05", 48)
    assert block.header == (
        f"ct3d-2 ({HASH[:8]}) · lidc, phantom data · preset tiny, grid 32³ · test n=48 · views 270+0 · "
        "window [-1000, 1000] HU · k=5, 5 encoders at 64³ · data f0"
    )


def test_filters_choose_and_say_what_there_is(tmp_path: Path) -> None:
    add(tmp_path, "codediff")
    add(tmp_path, "codediff", source="real", variant="bbbbbbbb", fingerprint="f1")
    assert [b.facts["source"] for b in table(tmp_path).blocks] == ["phantom", "real"]
    assert [b.facts["source"] for b in table(tmp_path, source="real").blocks] == ["real"]
    with pytest.raises(UsageError, match="has no rows of preset paper; it has preset tiny"):
        table(tmp_path, preset="paper")


def test_configurations_of_one_method_are_rows_of_their_own_and_the_newest_says_so(tmp_path: Path) -> None:
    made = (("aaaaaaaa", "2026-01-03T00:00:00Z", 20.0), ("bbbbbbbb", "2026-01-01T00:00:00Z", 30.0), ("failed", "", 9.0))
    for variant, finished, psnr in made:
        add(tmp_path, "codediff", numbers={"psnr": psnr}, variant=variant, run={"finished": finished})
    (block,) = table(tmp_path).blocks
    own = [row.title for row in block.methods if row.method == "codediff"]
    assert own == ["CodeDiff3D · aaaaaaaa, newest", "CodeDiff3D · bbbbbbbb", "CodeDiff3D · failed"]
    assert [cell_of(block, title, "psnr").value for title in own] == [20.0, 30.0, 9.0]


def test_outside_predictions_are_never_taken_for_our_run_of_a_method(tmp_path: Path) -> None:
    add(tmp_path, "codediff", numbers={"psnr": 30.0}, origin="external")
    (block,) = table(tmp_path).blocks
    outside = cell_of(block, "CodeDiff3D (outside predictions)", "psnr")
    assert (outside.value, outside.published) == (30.0, "")
    assert cell_of(block, "CodeDiff3D", "psnr").state == "not_run"


# --- best and second


def test_best_and_second_are_computed_in_the_right_direction_of_runs_on_all_cases(tmp_path: Path) -> None:
    for method, psnr, mse in (("a", 20.0, 0.01), ("b", 25.0, 0.005), ("c", 22.5, 0.02)):
        add(tmp_path, method, numbers={"psnr": psnr, "mse": mse})
    add(tmp_path, "d", numbers={"psnr": 90.0, "mse": 0.001}, status="partial", note="of 48 cases in the split", n=7)
    shown = table(tmp_path)
    (block,) = shown.blocks
    ranks = {title: [cell_of(block, title, m).rank for m in ("psnr", "mse")] for title in "abcd"}
    assert ranks == {"a": [None, 2], "b": [1, 1], "c": [2, None], "d": [None, None]}
    assert notes_of(shown, "d", "psnr") == ["d: 7 of 48 cases in the split; not ranked"]


def test_density_coverage_floors_ceilings_and_printed_numbers_are_never_ranked(tmp_path: Path) -> None:
    best = {"psnr": 40.0, "ssim": 0.99, "density": 5.0, "coverage": 1.0}
    add(tmp_path, "codediff", numbers={**NUMBERS, "psnr": 10.0, "mse": 0.1, "mae": 0.2})
    add(tmp_path, "x2ctgan", numbers={**NUMBERS, "psnr": 11.0, "mse": 0.09, "mae": 0.2})
    add(tmp_path, "mean", numbers=best)
    add(tmp_path, "codediff-oracle", numbers=best)
    (block,) = table(tmp_path).blocks
    assert [cell_of(block, "CodeDiff3D", m).rank for m in ("psnr", "density", "coverage")] == [2, None, None]
    assert cell_of(block, "X2CT-GAN", "psnr").rank == 1  # though 25.05 is printed for another
    titles = [row.title for row in block.references]
    assert titles == ["Mean volume", "CodeDiff3D, its own encoding of the truth", "real training cases"]
    assert all(cell.rank is None for row in block.references for cell in row.cells)


def test_numbers_that_look_equal_share_a_rank_and_one_alone_has_none() -> None:
    def rows(*values: float | None) -> tuple[Row, ...]:
        cells = [Cell("psnr", "not_run" if v is None else "value", value=v) for v in values]
        return tuple(Row(str(i), "method", (cell,)) for i, cell in enumerate(cells))

    assert [r.cells[0].rank for r in rank_rows(rows(20.001, 20.004, 19.0, 18.0))] == [1, 1, 2, None]
    assert [r.cells[0].rank for r in rank_rows(rows(20.0, None))] == [None, None]
    assert rank_rows(()) == ()


def test_numbers_against_a_methods_own_truth_are_neither_ranked_nor_shown_unfolded(tmp_path: Path) -> None:
    scored = (("codediff", 70.0, TRUTH_ENCODED), ("x2ctgan", 20.0, TRUTH_CT), ("a", 19.0, TRUTH_CT))
    for method, value, note in scored:
        add(tmp_path, method, numbers={"psnr": value}, note=note, protocol="paper-2023", protocol_hash=PAPER)
    add(tmp_path, "x2ctgan", numbers={"psnr": 20.0})
    shown = table(tmp_path)
    unmixed, mixed = shown.blocks
    ranks = {title: cell_of(mixed, title, "psnr").rank for title in ("CodeDiff3D", "X2CT-GAN", "a")}
    assert ranks == {"CodeDiff3D": None, "X2CT-GAN": 1, "a": 2}
    (note,) = (note for note in notes_of(shown, "CodeDiff3D", "psnr", block=1) if "truth" in note)
    assert note.endswith("so not ranked")
    (board,) = (table for table in build_leaderboard(read_results(tmp_path)) if table.space == "3d")
    places = [(row.title, row.place) for row in board.blocks[1].methods]
    assert places == [("X2CT-GAN", 1), ("a", 2), ("CodeDiff3D", None)]
    assert (unmixed.warning, bool(mixed.warning)) == ("", True)
    folded = render([shown], "md").partition("<details>")[2].partition("</details>")[0]
    assert "70.00" in folded
    assert "Rows are scored against different truths" in folded


@pytest.mark.parametrize("trained", [True, False])
def test_pretrained_weights_are_shown_with_a_note_and_not_ranked(trained: bool, tmp_path: Path) -> None:
    if trained:
        add(tmp_path, "codediff", numbers={"psnr": 24.0})
    add(tmp_path, "x2ctgan", numbers={"psnr": 20.0})
    add(tmp_path, "a", numbers={"psnr": 19.0})
    run = {"pretrained_of": "codediff-lidc-tiny-s0-aaaaaaaa"}
    add(tmp_path, "codediff", numbers={"psnr": 25.0}, variant="bbbbbbbb", origin="pretrained", run=run)
    shown, title = table(tmp_path), "CodeDiff3D (pretrained weights)"
    cells = [cell_of(shown.blocks[0], name, "psnr") for name in (title, "X2CT-GAN", "a")]
    assert [cell.rank for cell in cells] == ([None, 2, None] if trained else [None, 1, 2])
    notes = notes_of(shown, title, row_of(shown.blocks[0], title).cells[0].metric)
    assert any("weights of codediff-lidc-tiny-s0-aaaaaaaa" in note and "not ranked" in note for note in notes)


# --- what a number means


def test_density_is_shown_with_its_distance_from_real_cases(tmp_path: Path) -> None:
    for seed in (0, 1):
        add(tmp_path, "codediff", seed, {"density": 1.3 + 0.2 * seed, "density_baseline": 1.0 + 0.1 * seed})
    (block,) = table(tmp_path).blocks
    assert cell_of(block, "CodeDiff3D", "density").distance == pytest.approx((0.3 + 0.4) / 2)
    assert cell_of(block, "real training cases", "density").value == pytest.approx(1.05)
    assert cell_of(block, "real training cases", "psnr").state == "blank"
    assert cell_of(block, "CodeDiff3D", "psnr").distance is None


def test_what_a_method_cannot_is_told_apart_from_what_was_not_run_and_from_what_is_missing(tmp_path: Path) -> None:
    reason = "4 cases; k = 5 needs at least 7"
    add(tmp_path, "x2ctgan", numbers={"psnr": 20.0, "nll_bits_per_voxel": None, "density": None}, note=reason)
    shown = table(tmp_path)
    metrics = ("nll_bits_per_voxel", "density")
    assert [cell_of(shown.blocks[0], "X2CT-GAN", metric).state for metric in metrics] == ["cannot"] * 2
    assert [reason in notes_of(shown, "X2CT-GAN", metric) for metric in metrics] == [False, True]
    assert cell_of(shown.blocks[0], "CodeDiff3D", "nll_bits_per_voxel").state == "not_run"


def test_a_run_that_failed_is_told_apart_from_what_a_method_cannot(tmp_path: Path) -> None:
    failed = run_facts("mine", level="set", stat="mean", value=None, n=0, note="error: it broke")
    status = {"psnr": "error", "ssim": "na"}
    enter_rows(tmp_path, [{**failed, "metric": metric, "status": status[metric]} for metric in status])
    shown = table(tmp_path)
    states = {metric: cell_of(shown.blocks[0], "mine", metric).state for metric in ("psnr", "ssim", "mse", "mae")}
    assert states == {"psnr": "error", "ssim": "cannot", "mse": "error", "mae": "error"}  # nothing was left undone
    assert notes_of(shown, "mine", "psnr") == ["mine: error: it broke"]
    text = render([shown], "md")
    assert re.search(r" error<sup>\d</sup> \|", text)
    assert "error: the run failed" in " ".join(text.split())


def test_images_at_angles_not_given_have_a_table_and_controls_without_a_value_are_left_out(tmp_path: Path) -> None:
    add(tmp_path, "codediff", numbers={"psnr": 21.5}, space="drr", axis="heldout")
    add(tmp_path, "x2ctgan", numbers={"psnr": 99.0}, space="drr", axis="input")
    add(tmp_path, "codediff", numbers={"psnr": 20.0}, dataset="baggage")
    (block,) = table(tmp_path, "5b").blocks
    assert [row.method for row in block.methods] == ["codediff"]
    assert cell_of(block, "CodeDiff3D", "psnr").value == 21.5
    assert block.references == ()
    assert [row.title for row in table(tmp_path, "1").blocks[0].references] == ["real training cases"]


def test_doubtful_prints_carry_their_footnotes_wherever_they_stand(tmp_path: Path) -> None:
    add(tmp_path, "codediff")
    metrics = ("nll_bits_per_voxel", "mse", "mae", "psnr")
    likelihood, mse, mae, psnr = (notes_of(table(tmp_path), "CodeDiff3D", metric) for metric in metrics)
    assert "mean absolute error" in likelihood[0]
    assert mse == mae == ["MSE 0.048 and MAE 0.013 cannot both hold: MSE ≤ MAE on [0, 1], MSE ≤ 2 MAE on [-1, 1]"]
    assert psnr == []


def test_projections_show_the_mean_of_the_axes(tmp_path: Path) -> None:
    for axis, psnr in (("d", 10.0), ("mean", 20.0)):
        add(tmp_path / axis, "mednerf", numbers={"psnr": psnr}, space="mip", axis=axis)
    (block,) = table(tmp_path / "mean", "3b").blocks
    assert cell_of(block, "MedNeRF", "psnr").value == 20.0
    (empty,) = table(tmp_path / "d", "3b").blocks
    assert empty.header == "no run yet; published numbers alone"


def test_other_data_sets_get_tables_of_their_own(tmp_path: Path) -> None:
    add(tmp_path, "codediff", dataset="knees")
    shown = {t.id: t for t in build_tables("all", read_results(tmp_path))}
    assert list(shown) == ["1", "2", "3a", "3b", "4", "knees-3d"]
    cell = cell_of(shown["knees-3d"].blocks[0], "CodeDiff3D", "psnr")
    assert (cell.value, cell.published) == (25.0, "")


# --- times


def test_times_are_scaled_to_the_steps_of_the_paper_and_kept_apart_by_device(tmp_path: Path) -> None:
    place = {"space": "time", "level": "run", "stat": "value", "axis": "transformer"}
    for seed, device, hours in ((0, "H200", 0.5), (1, "H200", 0.7), (2, "CPU", 9.0)):
        add(tmp_path, "codediff", seed, run={"device": device})
        times = {"train_hours": (hours, 20_000), "train_cpu_hours": (0.4, 20_000), "infer_seconds": (1.0 + seed, 48)}
        shared = run_facts("codediff", seed=seed, **place)
        enter_rows(tmp_path, [{**shared, "metric": name, "value": v, "n": n} for name, (v, n) in times.items()])
    cpu, gpu = table(tmp_path, "4").blocks
    train = cell_of(gpu, "CodeDiff3D: Transformer", "train_hours")
    assert (train.value, train.published) == (pytest.approx(3.0), "~4.5")
    assert train.sd == pytest.approx(pd.Series([2.5, 3.5]).std(ddof=1))
    processors = cell_of(gpu, "CodeDiff3D: Transformer", "train_cpu_hours")
    assert (processors.value, processors.sd) == pytest.approx((2.0, 0.0))
    assert cell_of(gpu, "CodeDiff3D: Transformer", "infer_seconds").value == pytest.approx(1.5)
    assert cell_of(cpu, "CodeDiff3D: Transformer", "train_hours").value == pytest.approx(45.0)
    assert cell_of(cpu, "CodeDiff3D: 2D VQ-VAE", "train_hours").state == "not_run"
    assert gpu.header.startswith("H200 · lidc, phantom data")
    assert "wall time" in render([table(tmp_path, "4")], "md")
