"""The results of all runs: whole or absent, nothing shared rewritten, and the one file of earlier days read too."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from bench.runs.record import RunLine
from bench.scoring import store
from bench.scoring.rows import COLUMNS, SINGLE_FILE, Score
from bench.scoring.store import RUN_COLUMNS, drop_run, load_results, load_runs, put_run, read_run

from ..helpers.disturbed_runs import prepare_processes
from ..helpers.score_rows import run_line, score

OTHER = "other-toy-tiny-s0-0123abcd"


def write_single(results: Path, entries: list[tuple[RunLine, list[Score]]]) -> None:
    """Write the two files that held all runs."""
    results.mkdir(parents=True, exist_ok=True)
    rows = [dict(run) | dict(one) for run, scores in entries for one in scores]
    pd.DataFrame(rows, columns=list(SINGLE_FILE), dtype=object).to_csv(results / "scores.csv", index=False)
    columns = ["run_id", "status", "method", "protocol", "seed", "size", "finished", "dataset", "preset", "error"]
    lines = [dict(run) for run, _ in entries]
    pd.DataFrame(lines, columns=columns, dtype=object).to_csv(results / "runs.csv", index=False)


def test_a_run_is_two_files_of_its_own_and_no_other_file_changes(tmp_path: Path) -> None:
    put_run(tmp_path, run_line(), [score()])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    assert sorted(path.parent.name for path in before) == ["runs", "scores"]
    put_run(tmp_path, run_line(OTHER, method="other"), [score()])
    assert {path: path.read_bytes() for path in before} == before
    assert read_run(tmp_path, OTHER) == (run_line(OTHER, method="other"), [score()])
    assert read_run(tmp_path, "absent") is None


def test_scores_without_the_line_of_their_run_do_not_exist(tmp_path: Path) -> None:
    put_run(tmp_path, run_line(), [score(), score(case="gone")])
    (tmp_path / "runs" / f"{run_line().run_id}.csv").unlink()  # as a kill between the two files leaves it
    assert not len(load_results(tmp_path))
    assert read_run(tmp_path, run_line().run_id) is None
    put_run(tmp_path, run_line(), [score()])
    assert load_results(tmp_path)["case"].tolist() == ["a"]


def test_scoring_again_replaces_the_scores_of_that_protocol_and_leaves_times(tmp_path: Path) -> None:
    seconds = score("infer_seconds", 2.0, space="time", level="run", case="")
    other = score("mse", 0.5, protocol="paper-2023")
    put_run(tmp_path, run_line(), [score(), score(case="gone"), seconds, other])
    put_run(tmp_path, run_line(steps=3), [score(value=0.02)])
    line, scores = read_run(tmp_path, run_line().run_id) or pytest.fail("no run")
    assert line.steps == 3
    assert sorted(scores, key=repr) == sorted([score(value=0.02), seconds, other], key=repr)


def test_a_refused_run_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    put_run(tmp_path, run_line(), [score()])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    for line, scores in (
        (run_line(steps=5), [score("ssim", 1.5)]),
        (run_line(error="=1+1"), [score(value=0.5)]),
        (run_line("../up"), [score()]),
    ):
        with pytest.raises(BenchError):
            put_run(tmp_path, line, scores)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.csv")} == before


def test_joined_results_have_the_columns_of_the_design_then_those_of_the_run(tmp_path: Path) -> None:
    put_run(
        tmp_path, run_line(size=24, device="a CPU", seed=None), [score(), score("psnr", None, status="na", note="x")]
    )
    frame = load_results(tmp_path)
    assert tuple(frame.columns) == (*SINGLE_FILE, *RUN_COLUMNS)
    assert frame["seed"].isna().all()
    assert frame["seed"].dtype == frame["n"].dtype == "Int64"
    assert frame["size"].tolist() == [24.0, 24.0]
    assert frame["steps"].isna().all()
    assert frame["value"].isna().tolist() == [False, True]
    assert frame["device"].tolist() == ["a CPU"] * 2
    assert load_runs(tmp_path)["size"].tolist() == [24.0]


def test_no_results_are_an_empty_table(tmp_path: Path) -> None:
    assert tuple(load_results(tmp_path).columns) == (*SINGLE_FILE, *RUN_COLUMNS)
    assert not len(load_results(tmp_path))
    assert not len(load_runs(tmp_path / "absent"))


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    awkward = ["001", "1.10", "nan", "NA", "", "a,b", 'a"b', "1e3"]
    scores = [score(case=text or "x", note=text) for text in awkward]
    put_run(tmp_path, run_line(), scores)
    frame = load_results(tmp_path)
    assert sorted(frame["case"]) == sorted(text or "x" for text in awkward)
    assert sorted(frame["note"]) == sorted(awkward)


def test_a_failed_run_without_scores_has_a_line(tmp_path: Path) -> None:
    put_run(tmp_path, run_line(status="failed", error="out of luck"), [])
    assert load_runs(tmp_path)["error"].tolist() == ["out of luck"]
    assert not len(load_results(tmp_path))
    drop_run(tmp_path, run_line().run_id)
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize(
    ("part", "old", "new", "message"),
    [
        ("scores", "0.01,", "much,", r"line 2, column value"),
        ("scores", ",0.01,1,ok,\n", ",0.01\n", r"line 2 has 11 fields, not 14; it was cut"),
        ("scores", ",mse,case,", ",mse,cases,", "level"),
        ("scores", "protocol,", "protokoll,", "other columns"),
        ("runs", ",tiny,0,", ",tiny,zero,", r"line 2, column seed"),
        ("runs", "mine-toy", "mine-boy", "does not hold the one line"),
        ("runs", "mine-toy", "\xff", "does not hold the one line"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, part: str, old: str, new: str, message: str) -> None:
    put_run(tmp_path, run_line(), [score()])
    path = tmp_path / part / f"{run_line().run_id}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BenchError, match=message):
        load_results(tmp_path)


def put_three(folder: Path, index: int) -> None:
    put_run(folder, run_line(f"run-{index}", steps=index), [score(case=case) for case in "abc"])


def test_processes_that_enter_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    context = prepare_processes()
    workers = [context.Process(target=put_three, args=(tmp_path, index)) for index in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(load_results(tmp_path)) == 9
    assert load_runs(tmp_path)["steps"].tolist() == [0, 1, 2]


def test_the_one_file_that_held_all_runs_is_read_and_divided_by_the_next_run(tmp_path: Path) -> None:
    old = [(run_line(size=16), [score(), score(case="b")]), (run_line(OTHER, method="other"), [score()])]
    failed = run_line("mine-toy-tiny-s1-failed", status="failed", error="no luck", seed=1)
    write_single(tmp_path, [*old, (failed, [])])
    before = load_results(tmp_path)
    assert before["run_id"].tolist() == [old[0][0].run_id] * 2 + [OTHER]
    assert load_runs(tmp_path)["error"].tolist() == ["", "no luck", ""]
    assert read_run(tmp_path, OTHER) == (run_line(OTHER, method="other"), [score()])
    put_run(tmp_path, run_line("third"), [score()])
    assert not (tmp_path / "scores.csv").exists()
    assert not (tmp_path / "runs.csv").exists()
    after = load_results(tmp_path)
    assert after[after["run_id"] != "third"].reset_index(drop=True).equals(before)
    assert load_runs(tmp_path)["run_id"].tolist() == [old[0][0].run_id, failed.run_id, OTHER, "third"]


def test_a_division_that_was_killed_goes_on_and_prefers_what_is_divided(tmp_path: Path) -> None:
    write_single(tmp_path, [(run_line(), [score(value=0.5)]), (run_line(OTHER), [score()])])
    single = {name: (tmp_path / name).read_bytes() for name in ("scores.csv", "runs.csv")}
    put_run(tmp_path, run_line(), [score(value=0.25)])
    (tmp_path / "runs" / f"{OTHER}.csv").unlink()
    for name, content in single.items():
        (tmp_path / name).write_bytes(content)
    assert load_results(tmp_path)["value"].tolist() == [0.25, 0.01]
    drop_run(tmp_path, "absent")
    assert load_results(tmp_path)["value"].tolist() == [0.25, 0.01]
    assert not (tmp_path / "scores.csv").exists()


def test_an_old_file_whose_run_is_two_things_is_refused(tmp_path: Path) -> None:
    write_single(tmp_path, [(run_line(), [score()]), (run_line(preset="small"), [score(case="b")])])
    with pytest.raises(BenchError, match="differ in what a run has once"):
        load_results(tmp_path)


@pytest.mark.slow
def test_a_million_rows_of_nine_hundred_runs_are_read_in_seconds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(900):
        values = random.uniform(0.1, 1, 1111)
        scores = [score("l1_sample", float(value), case=f"case-{i}") for i, value in enumerate(values)]
        line = run_line(f"mine-toy-tiny-s{index}-0123abcd", seed=index)
        store.write_scores(tmp_path / "scores" / f"{line.run_id}.csv", scores)
        store.write_rows(tmp_path / "runs" / f"{line.run_id}.csv", RunLine, [line])
    began = time.process_time()
    frame = load_results(tmp_path)
    assert time.process_time() - began < 6  # 3 on a quiet core
    assert len(frame) == 999_900
    began = time.process_time()
    put_run(tmp_path, run_line("one-more"), [score()])
    assert time.process_time() - began < 0.5
    assert set(COLUMNS) <= set(frame.columns)
