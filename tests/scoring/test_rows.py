"""The results files: schema, merging by several processes, and values that cannot be."""

import math
import multiprocessing
from pathlib import Path

import pandas as pd
import pytest

from bench.dataset import views_text
from bench.errors import BenchError
from bench.metrics import METRICS
from bench.scoring.protocols import describe, get_protocol
from bench.scoring.rows import (
    COLUMNS,
    KEY,
    RUN_COLUMNS,
    ScoreRow,
    check_rows,
    merge_rows,
    merge_run,
    read_runs,
    read_score_rows,
    read_scores,
    write_scores,
)

from ..helpers.score_rows import run_facts

DESIGNED = (
    "run_id, protocol, protocol_hash, method, origin, dataset, source, split, preset, seed, views, space, axis, "
    "metric, level, case, rep, stat, value, n, status, note, code_version"
)


def row(metric: str = "mse", value: float | None = 0.01, **other) -> ScoreRow:
    of_case = {
        "run_id": "mine-toy-tiny-s0-0123abcd",
        "dataset": "toy",
        "level": "case",
        "case": "a",
        "stat": "value",
        "n": 1,
    }
    return ScoreRow(**run_facts("mine", **{**of_case, "metric": metric, "value": value, **other}))


def test_the_columns_are_those_of_the_design_and_the_key_ends_at_stat() -> None:
    assert ", ".join(COLUMNS) == DESIGNED
    assert KEY[-1] == "stat"
    assert len(KEY) == 18


def test_rows_come_back_digit_by_digit(tmp_path: Path) -> None:
    awkward = [1 / 3, 1e-17, 123456789.123456789, 5e-324, 0.1 + 0.2]
    rows = [row("l1_sample", value, case=str(i)) for i, value in enumerate(awkward)]
    rows.append(row("psnr", None, status="na", note="exact match, so PSNR is infinite", seed=None, n=None))
    merge_rows(tmp_path, rows)
    assert sorted(read_score_rows(tmp_path / "scores.csv"), key=repr) == sorted(rows, key=repr)
    frame = read_scores(tmp_path)
    assert sorted(frame["value"].dropna()) == sorted(awkward)
    assert frame["seed"].dtype == "Int64"
    assert frame["seed"].isna().sum() == 1


def test_the_file_is_sorted_and_the_same_whatever_the_order_of_merging(tmp_path: Path) -> None:
    a = [row(case=case, run_id="a") for case in "cab"]
    b = [row(case=case, run_id="b") for case in "ba"]
    merge_rows(tmp_path / "1", a)
    merge_rows(tmp_path / "1", b)
    merge_rows(tmp_path / "2", b[::-1])
    merge_rows(tmp_path / "2", a[::-1])
    text = (tmp_path / "1" / "scores.csv").read_text()
    assert text == (tmp_path / "2" / "scores.csv").read_text()
    keys = [line.split(",")[:18] for line in text.splitlines()[1:]]
    assert keys == sorted(keys)
    assert "\r" not in text


def test_scoring_again_replaces_only_the_rows_of_that_run_protocol_and_split(tmp_path: Path) -> None:
    time = row("infer_seconds", 2.0, space="time", axis="all", level="run", case="")
    old = [row(case="a"), row(case="gone"), row(case="a", split="validation"), row(case="a", run_id="other"), time]
    merge_rows(tmp_path, old)
    merge_rows(tmp_path, [row(value=0.02, case="a")])
    kept = read_score_rows(tmp_path / "scores.csv")
    assert sorted(kept, key=repr) == sorted([row(value=0.02, case="a"), *old[2:]], key=repr)


def test_a_rejected_merge_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    merge_rows(tmp_path, [row()])
    before = (tmp_path / "scores.csv").read_bytes()
    with pytest.raises(BenchError, match="outside the range"):
        merge_rows(tmp_path, [row(run_id="b"), row("ssim", 1.5, run_id="b")])
    assert (tmp_path / "scores.csv").read_bytes() == before


def merge_one(folder: Path, index: int) -> None:
    merge_rows(folder, [row(run_id=f"run-{index}", case=case) for case in "abc"])
    merge_run(folder, {"run_id": f"run-{index}", "steps": index})


def test_processes_that_merge_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=merge_one, args=(tmp_path, index)) for index in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(read_scores(tmp_path)) == 9
    assert len(read_runs(tmp_path)) == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("ssim", 1.01), "outside the range of ssim, -1.0..1.0"),
        (row("ssim", -1.01), "outside the range"),
        (row("coverage", 1.1, level="set", case=""), "outside the range"),
        (row("density", -0.1, level="set", case=""), "outside the range"),
        (row("mse", -1e-9), "outside the range"),
        (row("nll_bits_per_voxel", -0.1), "outside the range"),
        (row("psnr", math.inf), "value inf with status ok"),
        (row("psnr", math.nan), "value nan with status ok"),
        (row("psnr", None), "value None with status ok"),
        (row("psnr", 3.0, status="na", note="x"), "needs a note and no value"),
        (row("psnr", None, status="na"), "needs a note and no value"),
        (row("pnsr", 3.0), "unknown metric"),
        (row("l1_sample", 0.1, space="mip"), "has no space mip"),
        (row(case=""), "a case belongs to rows of level case"),
        (row(level="set"), "a case belongs to rows of level case"),
        (row("coverage", -0.5, level="set", case="", stat="sd"), "outside the range"),
    ],
)
def test_rows_that_cannot_be_are_refused(bad: ScoreRow, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        check_rows([bad])


def test_two_rows_of_one_key_are_refused() -> None:
    with pytest.raises(BenchError, match="two rows have the same key"):
        check_rows([row(value=0.1), row(value=0.2)])


@pytest.mark.parametrize(
    ("mse", "mae", "fine"),
    [(0.04, 0.2, True), (0.04, 0.04, True), (0.04, 0.1, True), (0.039, 0.2, False), (0.048, 0.013, False)],
)
def test_mse_lies_between_the_square_of_mae_and_mae(mse: float, mae: float, fine: bool) -> None:
    rows = [row("mse", mse), row("mae", mae)]
    means = [r.model_copy(update={"level": "set", "case": "", "stat": "mean"}) for r in rows]
    for some in (rows, means):
        if fine:
            check_rows(some)
        else:
            with pytest.raises(BenchError, match="cannot both be"):
                check_rows(some)


def test_psnr_is_that_of_the_mse() -> None:
    check_rows([row("mse", 0.01), row("psnr", 20.0)])
    for psnr in (19.99, 20.01):
        with pytest.raises(BenchError, match=r"PSNR .* is not that of MSE 0\.01"):
            check_rows([row("mse", 0.01), row("psnr", psnr)])
    mean = {"space": "mip", "axis": "mean"}  # a mean of PSNRs is at least the PSNR of the mean
    check_rows([row("mse", 0.01, **mean), row("psnr", 20.5, **mean)])
    with pytest.raises(BenchError, match="is not that of"):
        check_rows([row("mse", 0.01, **mean), row("psnr", 19.5, **mean)])


def test_a_file_of_other_columns_or_values_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("run_id,value\na,1\n")
    with pytest.raises(BenchError, match="has other columns"):
        read_scores(tmp_path)
    write_scores(path, [row(case="a"), row(case="b")])
    path.write_text(path.read_text().replace("0.01", "much", 1))
    with pytest.raises(BenchError, match=r"scores\.csv line 2, column value"):
        read_scores(tmp_path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) - 20])
    with pytest.raises(BenchError, match=r"scores\.csv line 3 has [0-9]+ fields, not 23; it was cut"):
        read_scores(tmp_path)
    path.write_text("")
    with pytest.raises(BenchError, match="cannot be read as CSV"):
        merge_rows(tmp_path, [row()])


def test_no_results_are_an_empty_table(tmp_path: Path) -> None:
    assert list(read_scores(tmp_path).columns) == list(COLUMNS)
    assert len(read_scores(tmp_path)) == 0
    assert list(read_runs(tmp_path).columns) == list(RUN_COLUMNS)


def test_a_run_has_one_line_and_may_bring_columns_of_its_own(tmp_path: Path) -> None:
    merge_run(tmp_path, {"run_id": "b", "steps": 10, "seconds_fit": 1.5, "device": None})
    merge_run(tmp_path, {"run_id": "a", "stage_hours": 2})
    merge_run(tmp_path, {"run_id": "b", "steps": 20})
    runs = read_runs(tmp_path)
    assert list(runs.columns) == [*RUN_COLUMNS, "stage_hours"]
    assert runs[["run_id", "steps", "seconds_fit", "stage_hours"]].values.tolist() == [
        ["a", "", "", "2"],
        ["b", "20", "", ""],
    ]
    with pytest.raises(BenchError, match="needs a run_id"):
        merge_run(tmp_path, {"steps": 3})


@pytest.mark.parametrize(
    ("name", "cell", "kind"),
    [
        ("size", "24.5", "whole"),
        ("size", "24³", "whole"),
        ("window_low", "low", "finite"),
        ("voxel_mm", "nan", "finite"),
    ],
)
def test_a_number_of_a_run_that_is_none_is_named_with_its_line(tmp_path: Path, name: str, cell: str, kind: str) -> None:
    merge_run(tmp_path, {"run_id": "a", "size": 24})
    merge_run(tmp_path, {"run_id": "b", name: cell})
    with pytest.raises(BenchError, match=f"runs.csv line 3, column {name}: '{cell}' is not a {kind} number"):
        read_runs(tmp_path)


def test_pandas_alone_reads_the_file(tmp_path: Path) -> None:
    merge_rows(tmp_path, [row(note='a, b and "c"\nd')])
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame.loc[0, "note"] == 'a, b and "c" d'
    assert frame.loc[0, "value"] == 0.01


def test_views_are_written_as_angles() -> None:
    assert views_text((270.0, 0.0, 22.5)) == "270+0+22.5"


def test_every_metric_has_a_direction_a_range_and_a_place() -> None:
    for key, metric in METRICS.items():
        assert key == metric.key
        assert metric.spaces
        low, high = metric.range
        assert low is None or high is None or low < high
    assert {m.key for m in METRICS.values() if m.direction == "toward_baseline"} == {
        f"{name}{suffix}"
        for name in ("density", "coverage", "precision", "recall")
        for suffix in ("", "_baseline", "_blurred")
    }


def test_a_protocol_is_found_described_and_hashed() -> None:
    protocol = get_protocol("ct3d-1")
    text = describe(protocol)
    for fact in (
        "ct3d-1",
        protocol.sha256()[:12],
        "k = 5",
        "0, 1, 2, 3, 4",
        "128 a side, 64 for grids under 96",
        "1-HU",
    ):
        assert fact in text
    with pytest.raises(BenchError, match="did you mean ct3d-1"):
        get_protocol("ct3d")
