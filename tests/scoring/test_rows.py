"""The scores of one run: schema, digits, and values that cannot be."""

import math
from pathlib import Path

import pytest

from bench.dataset import format_views
from bench.errors import BenchError
from bench.metrics import METRICS
from bench.scoring.rows import COLUMNS, KEY, SINGLE_FILE, Score, check_scores, frame_of, read_scores, write_scores
from bench.scoring.store import load_results, put_run

from ..helpers.score_rows import run_line, score

RUN = "mine-toy-tiny-s0-0123abcd"


def check(*scores: Score) -> None:
    check_scores(frame_of(scores))


def test_the_key_tells_scores_of_a_run_apart_and_joined_columns_are_those_of_the_design() -> None:
    assert set(KEY) < set(COLUMNS) < set(SINGLE_FILE)
    assert ", ".join(SINGLE_FILE) == (
        "run_id, protocol, protocol_hash, method, origin, dataset, source, split, preset, seed, views, space, axis, "
        "metric, level, case, rep, stat, value, n, status, note, code_version"
    )


def test_scores_come_back_digit_by_digit_and_sorted(tmp_path: Path) -> None:
    awkward = [1 / 3, 1e-17, 123456789.123456789, 5e-324, 0.1 + 0.2]
    scores = [score("l1_sample", value, case=str(i)) for i, value in reversed(list(enumerate(awkward)))]
    scores.append(score("psnr", None, status="na", note="exact match, so PSNR is infinite", n=None))
    path = tmp_path / "scores.csv"
    digest = write_scores(path, scores)
    assert read_scores(path) == sorted(scores, key=lambda one: (one.metric, one.case))
    assert write_scores(tmp_path / "again.csv", scores[::-1]) == digest
    assert b"\r" not in path.read_bytes()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (score("ssim", 1.01), "outside the range"),
        (score("ssim", -1.01), "outside the range"),
        (score("coverage", 1.1, level="set", case=""), "outside the range"),
        (score("density", -0.1, level="set", case=""), "outside the range"),
        (score("mse", -1e-9), "outside the range"),
        (score("nll_bits_per_voxel", -0.1), "outside the range"),
        (score("psnr", math.inf), "missing or not finite"),
        (score("psnr", math.nan), "missing or not finite"),
        (score("psnr", None), "missing or not finite"),
        (score("psnr", 3.0, status="na", note="x"), "needs a note and no value"),
        (score("psnr", None, status="na"), "needs a note and no value"),
        (score("pnsr", 3.0), "unknown metric 'pnsr'"),
        (score("l1_sample", 0.1, space="mip"), "not measured in this space"),
        (score(case=""), "a case belongs to rows of level case"),
        (score(level="set"), "a case belongs to rows of level case"),
        (score("coverage", -0.5, level="set", case="", stat="sd"), "outside the range"),
        (score(protocol="ct3d"), "unknown protocol 'ct3d'"),
    ],
)
def test_scores_that_cannot_be_are_refused(bad: Score, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        check(score(case="b"), bad)


def test_a_spread_may_be_larger_than_the_range_of_its_metric() -> None:
    check(score("coverage", 1.1, level="set", case="", stat="sd"))


@pytest.mark.parametrize(
    ("mse", "mae", "fine"),
    [(0.04, 0.2, True), (0.04, 0.04, True), (0.04, 0.1, True), (0.039, 0.2, False), (0.048, 0.013, False)],
)
def test_mse_lies_between_the_square_of_mae_and_mae(mse: float, mae: float, fine: bool) -> None:
    scores = [score("mse", mse), score("mae", mae)]
    means = [one.model_copy(update={"level": "set", "case": "", "stat": "mean"}) for one in scores]
    for some in (scores, means):
        if fine:
            check(*some)
        else:
            with pytest.raises(BenchError, match="cannot both be"):
                check(*some)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("psnr,set,,,mean,21.5,2", "psnr,set,,,mean,999.0,2"), "line 4: the mean of its 2 cases is 21.5, not 999"),
        (("psnr,set,,,mean,21.5,2", "psnr,set,,,mean,21.5,3"), "line 4: the mean of its 2 cases"),
        (("psnr,case,b,,value,22.0,1", "psnr,case,b,,value,22.0,-3"), "line 3.*greater than or equal to 0"),
        (("psnr,case,b,,value,22.0,1", "psnr,case,a,,value,22.0,1"), "line 3: two rows have the same key"),
        (("psnr,case,b,,value,22.0,1", "psnr,case,b,,value,nan,1"), "line 3: a value is missing or not finite"),
        (("psnr,case,b", "pnsr,case,b"), "line 3: unknown metric 'pnsr'"),
    ],
)
def test_what_the_writer_would_refuse_the_reader_refuses_by_its_line(edit, message: str, tmp_path: Path) -> None:
    cases = [score("psnr", value, case=case) for case, value in (("a", 21.0), ("b", 22.0))]
    mean = score("psnr", 21.5, case="", level="set", stat="mean", n=2)
    put_run(tmp_path, run_line(RUN), [*cases, mean])
    path = tmp_path / "scores" / f"{RUN}.csv"
    text = path.read_text()
    assert edit[0] in text
    path.write_text(text.replace(*edit))
    for read in (lambda: read_scores(path), lambda: load_results(tmp_path)):
        with pytest.raises(BenchError, match=f"{RUN}.csv {message}"):
            read()


def test_psnr_is_that_of_the_mse() -> None:
    check(score("mse", 0.01), score("psnr", 20.0))
    for psnr in (19.99, 20.01):
        with pytest.raises(BenchError, match="PSNR is not that of MSE"):
            check(score("mse", 0.01, case="b"), score("psnr", 20.0, case="b"), score("mse", 0.01), score("psnr", psnr))
    mean = {"space": "mip", "axis": "mean"}  # a mean of PSNRs is at least the PSNR of the mean
    check(score("mse", 0.01, **mean), score("psnr", 20.5, **mean))
    with pytest.raises(BenchError, match="is not that of"):
        check(score("mse", 0.01, **mean), score("psnr", 19.5, **mean))


def test_psnr_of_slices_is_at_least_that_of_their_mean_error_and_of_integers_that_of_theirs() -> None:
    slices = {"protocol": "paper-2023"}
    check(score("mse", 0.01, **slices), score("psnr", 23.0, **slices))
    check(score("mse", 1e-13, **slices), score("psnr", 110.0, **slices))  # the cap may lower it
    with pytest.raises(BenchError, match="is not that of"):
        check(score("mse", 0.01, **slices), score("psnr", 19.0, **slices))
    integers = {"protocol": "x2ct-2019"}
    check(
        score("mse", 0.01, **integers), score("mse_int", 4095.0**2 / 100, **integers), score("psnr", 20.0, **integers)
    )
    with pytest.raises(BenchError, match="is not that of"):
        check(score("mse", 0.01, **integers), score("mse_int", 4095.0, **integers), score("psnr", 20.0, **integers))


def test_a_file_whose_rows_name_their_run_is_read_for_that_run_alone(tmp_path: Path) -> None:
    facts = dict(run_line()) | dict(score())
    line = ["" if facts[name] is None else str(facts[name]) for name in SINGLE_FILE]
    (tmp_path / "scores.csv").write_text(f"{','.join(SINGLE_FILE)}\n{','.join(line)}\n")
    assert read_scores(tmp_path / "scores.csv", run_line()) == [score()]
    with pytest.raises(BenchError, match="rows of another run than other"):
        read_scores(tmp_path / "scores.csv", run_line("other"))


def test_views_are_written_as_angles() -> None:
    assert format_views((270.0, 0.0, 22.5)) == "270+0+22.5"


def test_the_metrics_of_sets_that_are_read_against_a_baseline_are_known() -> None:
    assert {m.key for m in METRICS.values() if m.direction == "toward_baseline" and m.level == "set"} == {
        f"{name}{suffix}"
        for name in ("density", "coverage", "precision", "recall")
        for suffix in ("", "_baseline", "_blurred")
    }


def test_scores_of_another_version_of_a_protocol_are_not_judged_by_this_one() -> None:
    check(*(one.model_copy(update={"protocol_hash": "f" * 64}) for one in (score("mse", 0.01), score("psnr", 40.0))))
