"""Scores and lines of runs of any content: entered whole, or refused with the folder as it was."""

import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.runs.record import RunLine
from bench.scoring.rows import Score
from bench.scoring.store import load_results, load_runs, put_run, read_run

from ..helpers.fuzzing import damaged, damages, profile, refused_or_fine, tried
from ..helpers.score_rows import run_line, score

TEXTS = st.text(max_size=12) | st.sampled_from(
    ("=1+1", "@x", "-2", "+a", "\tx", "a\nb", 'a"b', "a,b", "\x00", "nan", "")
)
# no subnormals are drawn: a training loop in this process has them flushed to zero
NUMBERS = (
    st.none() | st.floats(allow_subnormal=False) | st.sampled_from((0.0, -0.0, 1.0, 5e-324, 1e308, math.nan, math.inf))
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.suffix == ".csv"}


def score_or_none(**own: object) -> Score | None:
    """A score of these fields; None where the schema itself refuses them."""
    try:
        return score(**own)
    except ValidationError:
        return None


def line_or_none(run_id: str, own: dict) -> RunLine | None:
    try:
        return run_line(run_id, **own)
    except ValidationError:
        return None


scores = st.builds(
    score_or_none,
    metric=st.sampled_from(("mse", "mae", "psnr", "ssim", "density", "coverage", "train_hours")) | TEXTS,
    value=NUMBERS,
    case=TEXTS,
    protocol=st.sampled_from(("ct3d-1", "x2ct-2019")) | TEXTS,
    space=st.sampled_from(("3d", "mip", "time", "code", "drr")),
    level=st.sampled_from(("case", "set", "run")),
    stat=st.sampled_from(("value", "mean", "sd", "ci_lo")),
    status=st.sampled_from(("ok", "na", "error", "partial")),
    n=st.none() | st.integers(-3, 10**20),
    note=TEXTS,
)


@tried(60, 2000)
def test_any_scores_are_entered_whole_or_not_at_all(examples: int, tmp_path: Path) -> None:
    put_run(tmp_path, run_line(), [score()])
    (path,) = (tmp_path / "scores").glob("*.csv")

    @profile(examples)
    @given(st.lists(scores, min_size=1, max_size=4))
    def check(made: list[Score | None]) -> None:
        before, new = files(tmp_path), [one for one in made if one is not None]
        if refused_or_fine(lambda: put_run(tmp_path, run_line(), new)):
            assert len(load_results(tmp_path)) >= len(new)
            path.write_bytes(before[str(path.relative_to(tmp_path))])
        assert files(tmp_path) == before

    check()


@tried(60, 1500)
def test_a_damaged_file_is_refused_and_left_alone_or_still_whole(examples: int, tmp_path: Path) -> None:
    put_run(tmp_path, run_line(), [score(case=case) for case in "abcd"])
    (path,) = (tmp_path / "scores").glob("*.csv")
    content = path.read_bytes()

    @profile(examples)
    @given(damages())
    def check(changes: list) -> None:
        text = damaged(content, changes)
        path.write_bytes(text)
        readable = refused_or_fine(lambda: load_results(tmp_path))
        assert readable == refused_or_fine(lambda: read_run(tmp_path, run_line().run_id))
        if not refused_or_fine(lambda: put_run(tmp_path, run_line(), [score(value=0.5)])):
            assert path.read_bytes() == text
        assert not list(tmp_path.rglob(".*.partial"))

    check()


@tried(40, 800)
def test_any_line_of_a_run_comes_back_or_is_refused(examples: int, tmp_path: Path) -> None:
    names = [name for name in RunLine.model_fields if name != "run_id"]

    @profile(examples)
    @given(st.dictionaries(st.sampled_from(names), TEXTS | NUMBERS, max_size=4), TEXTS)
    def check(own: dict, run_id: str) -> None:
        for path in tmp_path.rglob("*.csv"):
            path.unlink()
        line = line_or_none(run_id, own)
        if line is not None and refused_or_fine(lambda: put_run(tmp_path, line, [])):
            assert load_runs(tmp_path)["run_id"].tolist() == [run_id]

    check()
