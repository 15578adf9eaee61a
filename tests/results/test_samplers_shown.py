"""A sampler is never shown beside a regressor on PSNR alone: the mean of K is there, or it is said that it is not."""

from pathlib import Path

import numpy as np
import pytest

from bench.cli import run_command
from bench.results import model
from bench.results.compare import compare_methods
from bench.results.findings import write_findings
from bench.results.leaderboard import build_leaderboard, write_document
from bench.results.model import FAIR, draws, read_results

from ..helpers.table_rows import CASES, add, cell_of, draw, make_card, notes_of, table

MEAN = "psnr_mean_of_k"
SAID = "PSNR of one sample of many; that of the mean of several"


@pytest.fixture(autouse=True)
def _cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """`codediff` draws, all others do not."""
    known = {"codediff": make_card("codediff", "CodeDiff3D", "method", "samples")}
    known["x2ctgan"] = make_card("x2ctgan", "X2CT-GAN")
    monkeypatch.setattr(model, "method_card", lambda name: known.get(name) or make_card(name, name))
    monkeypatch.setattr(model, "find_installed_dataset", lambda name: None)


def both(results: Path, *, sampled: bool, alone: bool) -> None:
    """Enter a sampler whose mean of K is 3 dB above one sample, and a regressor between the two."""
    one = draw(0, 20.0, 1.0)
    means = {case: value + 3.0 for case, value in one.items() if value is not None}
    add(results, "codediff", cases={"psnr": one, **({MEAN: means} if sampled else {})}, samples=8)
    regressor = draw(1, 21.5, 1.0)
    add(results, "x2ctgan", cases={"psnr": regressor, **({MEAN: regressor} if alone else {})})


def differences(results: Path) -> tuple[dict[str, float], str]:
    ((found,), _) = compare_methods(read_results(results), "codediff", "x2ctgan")
    return {d.metric: d.difference for d in found.differences}, found.remark


def test_the_mean_of_k_is_compared_where_both_have_it_and_never_enters_the_mean_of_psnr(tmp_path: Path) -> None:
    both(tmp_path, sampled=True, alone=True)
    found, remark = differences(tmp_path)
    assert found["psnr"] < 0 < found[MEAN]
    assert found[MEAN] - found["psnr"] == pytest.approx(3.0)
    assert remark == "Mean of K: A that of 8 samples and B that of its one volume."
    (block,) = read_results(tmp_path).blocks
    entry = next(entry for entry in block.entries if entry.method == "codediff")
    assert float(entry.values([("3d", "psnr")]).mean().iloc[0]) == pytest.approx(np.mean(list(draw(0, 20, 1).values())))
    assert len(entry.values([FAIR])) == len(CASES)
    assert (entry.samples, draws("codediff"), draws("x2ctgan")) == ((8,), True, False)


@pytest.mark.parametrize(("sampled", "alone", "lacking"), [(False, False, "A and B have"), (True, False, "B has")])
def test_where_a_mean_of_k_is_missing_that_is_said(
    tmp_path: Path, sampled: bool, alone: bool, lacking: str, capsys: pytest.CaptureFixture
) -> None:
    both(tmp_path, sampled=sampled, alone=alone)
    found, remark = differences(tmp_path)
    assert MEAN not in found
    assert remark.startswith("A draws one of many possible volumes, the other method none")
    assert f"{lacking} no mean of K; `bench run --samples K` makes it." in remark
    form = "md" if sampled else "rich"
    assert run_command(["compare", "codediff", "x2ctgan", "--format", form, "--results-dir", str(tmp_path)]) == 0
    assert "A draws one of many possible volumes" in capsys.readouterr().out


def test_two_of_a_kind_need_no_remark(tmp_path: Path) -> None:
    add(tmp_path, "codediff", cases={"psnr": draw(0, 20.0)})
    add(tmp_path, "codediff", cases={"psnr": draw(1, 21.0)}, variant="bbbbbbbb")
    ((found,), _) = compare_methods(read_results(tmp_path), "aaaaaaaa", "bbbbbbbb")
    assert found.remark == ""
    for method in ("a", "b"):
        add(tmp_path / "more", method, cases={"psnr": draw(0, 20.0), MEAN: draw(0, 20.0)})
    ((found,), _) = compare_methods(read_results(tmp_path / "more"), "a", "b")
    assert found.remark == ""
    assert [d.metric for d in found.differences] == ["psnr"]
    assert len(table(tmp_path / "more").columns) == len(table(tmp_path).columns)


def test_tables_have_a_column_for_the_mean_of_k_and_the_leaderboard_can_be_sorted_by_it(tmp_path: Path) -> None:
    both(tmp_path, sampled=True, alone=True)
    shown = table(tmp_path)
    place = shown.columns.index("↑ PSNR, dB")
    assert shown.columns[place : place + 2] == ("↑ PSNR, dB", "↑ PSNR, mean of K, dB")
    (block,) = (block for block in shown.blocks if block.facts)
    one, mean = (cell_of(block, "CodeDiff3D", metric) for metric in ("psnr", MEAN))
    assert mean.value - one.value == pytest.approx(3.0)
    assert (one.rank, mean.rank) == (2, 1)
    assert not any(SAID in note for note in shown.footnotes)
    results = read_results(tmp_path)
    for by, first in (("psnr", "X2CT-GAN"), (MEAN, "CodeDiff3D")):
        text = write_document(build_leaderboard(results, by), by)
        assert f"| 1. {first} " in text
        assert "PSNR, mean of K" in text


@pytest.mark.parametrize("undefined", [False, True])
def test_tables_without_a_mean_of_k_say_so_at_the_psnr(tmp_path: Path, undefined: bool) -> None:
    numbers = {"psnr": 20.0, **({MEAN: None} if undefined else {})}
    add(tmp_path, "codediff", numbers=numbers)
    add(tmp_path, "x2ctgan", numbers={"psnr": 22.0})
    shown = table(tmp_path)
    assert not any("mean of K" in column for column in shown.columns)
    assert any(note.startswith(f"CodeDiff3D: {SAID}") for note in notes_of(shown, "CodeDiff3D", "psnr"))
    assert not any(SAID in note for note in notes_of(shown, "X2CT-GAN", "psnr"))


def test_findings_state_samples_or_that_there_is_no_mean(tmp_path: Path) -> None:
    both(tmp_path, sampled=False, alone=False)
    text = write_findings(read_results(tmp_path))
    assert "**Samples:** of CodeDiff3D one of many volumes was scored, and no mean of several." in text
    one = draw(0, 20.0, 1.0)
    of_samples = {MEAN: draw(2, 23.0, 1.0), "psnr_best_of_k": draw(3, 21.0, 1.0)}
    inside = dict.fromkeys(CASES, 0.25)
    add(tmp_path, "codediff", cases={"psnr": one, **of_samples, "interval_coverage": inside}, samples=4)
    text = write_findings(read_results(tmp_path))
    assert f"CodeDiff3D, K = 4: one sample {np.mean(list(one.values())):.2f} [" in text
    assert "enclose the CT in 0.250 [0.250, 0.250] of the voxels" in text
