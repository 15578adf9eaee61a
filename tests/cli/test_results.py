"""`bench results`: one CSV of all scores or all runs, with the columns of the joined table."""

from pathlib import Path

import pandas as pd

from bench import load_results
from bench.cli import run_command
from bench.scoring.store import put_run

from ..helpers.score_rows import run_line, score


def test_all_scores_and_all_runs_are_written_as_they_are_joined(tmp_path: Path) -> None:
    put_run(tmp_path / "r", run_line(size=16), [score(), score("psnr", None, status="na", note="x", case="b")])
    put_run(tmp_path / "r", run_line("other", status="failed", error="no luck"), [])
    for name, options in (("scores.csv", []), ("runs.csv", ["--runs"])):
        places = ["--out", str(tmp_path / name), "--results-dir", str(tmp_path / "r")]
        assert run_command(["results", *options, *places]) == 0
    scores, joined = pd.read_csv(tmp_path / "scores.csv"), load_results(tmp_path / "r")
    assert list(scores.columns) == list(joined.columns)
    assert scores["value"].dropna().tolist() == joined["value"].dropna().tolist() == [0.01]
    assert scores["size"].tolist() == [16.0, 16.0]
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert dict(zip(runs["run_id"], runs["status"], strict=True)) == {run_line().run_id: "done", "other": "failed"}
