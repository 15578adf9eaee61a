"""Result files and rows of any content: merged whole, or refused with the file as it was."""

import csv
import io
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.errors import BenchError
from bench.scoring.rows import COLUMNS, ScoreRow, merge_rows, merge_run, read_runs, read_scores

from ..helpers.fuzzing import damaged, damages, profile, refused_or_fine, tried
from .test_rows import row

TEXTS = st.text(max_size=12) | st.sampled_from(
    ("=1+1", "@x", "-2", "+a", "\tx", "a\nb", 'a"b', "a,b", "\x00", "nan", "")
)
# no subnormals are drawn: a training loop in this process has them flushed to zero
NUMBERS = (
    st.none() | st.floats(allow_subnormal=False) | st.sampled_from((0.0, -0.0, 1.0, 5e-324, 1e308, math.nan, math.inf))
)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def any_row(**own: object) -> ScoreRow | None:
    """A row of these fields; None where the schema itself refuses them."""
    try:
        return row(**own)
    except ValidationError:
        return None


rows = st.builds(
    any_row,
    metric=st.sampled_from(("mse", "mae", "psnr", "ssim", "density", "coverage", "train_hours")) | TEXTS,
    value=NUMBERS,
    run_id=TEXTS,
    method=TEXTS,
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
def test_any_rows_are_merged_whole_or_not_at_all(examples: int, tmp_path: Path) -> None:
    merge_rows(tmp_path, [row()])

    @profile(examples)
    @given(st.lists(rows, min_size=1, max_size=4))
    def check(made: list[ScoreRow | None]) -> None:
        before, new = files(tmp_path), [one for one in made if one is not None]
        if refused_or_fine(lambda: merge_rows(tmp_path, new)):
            read = read_scores(tmp_path)
            assert len(read) >= len(new)
            assert not read.duplicated(list(COLUMNS[:18])).any()
            (tmp_path / "scores.csv").write_bytes(before["scores.csv"])
        assert files(tmp_path) == before

    check()


@tried(60, 1500)
def test_a_damaged_file_is_refused_and_left_alone_or_still_whole(examples: int, tmp_path: Path) -> None:
    merge_rows(tmp_path, [row(case=case) for case in "abcd"])
    path = tmp_path / "scores.csv"
    content = path.read_bytes()

    @profile(examples)
    @given(damages())
    def check(changes: list) -> None:
        text = damaged(content, changes)
        path.write_bytes(text)
        readable = refused_or_fine(lambda: read_scores(tmp_path))
        if not refused_or_fine(lambda: merge_rows(tmp_path, [row(run_id="other")])):
            assert path.read_bytes() == text
        elif readable:
            assert "other" in set(read_scores(tmp_path)["run_id"])
        assert not list(tmp_path.glob(".*.partial"))

    check()


@tried(40, 800)
def test_any_record_of_a_run_comes_back_or_is_refused(examples: int, tmp_path: Path) -> None:
    @profile(examples)
    @given(st.dictionaries(TEXTS, TEXTS | NUMBERS, max_size=4), TEXTS)
    def check(record: dict, run_id: str) -> None:
        (tmp_path / "runs.csv").unlink(missing_ok=True)
        if refused_or_fine(lambda: merge_run(tmp_path, {**record, "run_id": run_id})):
            assert read_runs(tmp_path)["run_id"].tolist() == [" ".join(run_id.split())]

    check()


def test_a_carriage_return_never_ends_a_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="carriage return"):
        merge_run(tmp_path, {"run_id": "a", "left\rright": 1})
    assert not files(tmp_path)
    merge_run(tmp_path, {"run_id": "a", "error": "left\rright"})
    edited = (tmp_path / "runs.csv").read_bytes().replace(b"left right", b'"left\rright"')
    (tmp_path / "runs.csv").write_bytes(edited)
    with pytest.raises(BenchError, match="carriage return"):
        merge_run(tmp_path, {"run_id": "b"})
    assert (tmp_path / "runs.csv").read_bytes() == edited


@pytest.mark.parametrize("text", ["=1+1", "@SUM(1)", "+1+cmd", "-cmd", "|x", "%0A"])
def test_cells_that_a_spreadsheet_would_compute_are_not_written(text: str, tmp_path: Path) -> None:
    for field in ("method", "run_id", "case", "note"):
        with pytest.raises(BenchError, match="spreadsheet"):
            merge_rows(tmp_path, [row(**{field: text})])
    with pytest.raises(BenchError, match="spreadsheet"):
        merge_run(tmp_path, {"run_id": "a", "error": text})
    assert not files(tmp_path)
    merge_rows(tmp_path, [row(value=1e-5, seed=-1, views="-90+0")])
    cells = [cell for line in csv.reader(io.StringIO((tmp_path / "scores.csv").read_text())) for cell in line]
    assert "-90+0" in cells
