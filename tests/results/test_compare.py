"""Comparisons: cases are paired, seeds drawn, and what was not measured alike is refused in one line."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.stats import contrast_methods, holm
from bench.results.compare import Comparison, compare_methods
from bench.results.inference import Difference
from bench.results.model import read_results
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED

from ..helpers.score_rows import enter_run
from ..helpers.table_rows import CASES, add, cards, draw  # noqa: F401 - cards is a fixture

pytestmark = pytest.mark.usefixtures("cards")


def compare_all(results: Path, *names: str, **options) -> tuple[list[Comparison], list[str]]:
    return compare_methods(read_results(results), *names, **options)


def compare(results: Path, *names: str, **options) -> Comparison:
    """The one comparison, with nothing left out."""
    (found,), left_out = compare_all(results, *names, **options)
    assert left_out == []
    return found


def only(comparison: Comparison, metric: str, space: str = "3d") -> Difference:
    (found,) = [d for d in comparison.differences if (d.space, d.metric) == (space, metric)]
    return found


def add_trainings(results: Path, method: str, by_seed: Sequence[float]) -> None:
    """Runs of one method, each with PSNR around a mean; methods differ by a constant in every case."""
    for seed, mean in enumerate(by_seed):
        add(results, method, seed, cases={"psnr": draw(0, mean)})


def psnr_of(results: Path, *names: str, **options) -> Difference:
    return only(compare(results, *names, **options), "psnr")


def print_csv(results: Path, *names: str, capsys: pytest.CaptureFixture) -> list[dict[str, str]]:
    assert run_command(["compare", *names, "--format", "csv", "--results-dir", str(results)]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_cases_are_paired_by_name_and_seeds_belong_to_their_method(tmp_path: Path) -> None:
    runs = {("a", seed): draw(seed, 21.0) for seed in (0, 1, 2)}
    baseline = draw(9, 20.0)
    for (method, seed), values in runs.items():
        add(tmp_path, method, cases={"psnr": values}, seed=seed)
    add(tmp_path, "floor", cases={"psnr": dict(reversed(baseline.items()))})
    found = psnr_of(tmp_path, "a", "floor")
    mine = np.array([[values[case] for case in CASES] for values in runs.values()])
    other = np.array([[baseline[case] for case in CASES]])
    expected = contrast_methods(mine, other)
    assert (found.n, found.first_seeds, found.second_seeds) == (20, 3, 1)
    assert found.difference == pytest.approx((mine.mean(0) - other[0]).mean())
    assert (found.first, found.second) == (pytest.approx(mine.mean()), pytest.approx(other.mean()))
    assert (found.low, found.high, found.p) == pytest.approx((*expected.interval, expected.p))
    assert found.case_error == pytest.approx((mine.mean(0) - other[0]).std(ddof=1) / 20**0.5)
    assert found.first_sd == pytest.approx(mine.mean(1).std(ddof=1))
    assert found.second_sd is None


def test_p_values_are_adjusted_for_all_that_is_printed_also_in_other_tables(tmp_path: Path) -> None:
    for method, seed in (("a", 0), ("b", 5)):
        for dataset in ("lidc", "baggage"):
            cases = {"psnr": draw(seed, 20.0), "ssim": draw(seed + 1, 0.5, 0.1)}
            add(tmp_path, method, cases=cases, dataset=dataset)
    found, _ = compare_all(tmp_path, "a", "b")
    together = [d for comparison in found for d in comparison.differences]
    assert len(together) == 4
    assert [d.p_holm for d in together] == pytest.approx(holm(np.array([d.p for d in together])).tolist())
    alone = psnr_of(tmp_path, "a", "b", dataset="lidc", metrics=["psnr"])
    assert alone.p_holm == alone.p < only(found[1], "psnr").p_holm
    assert not any(d.established for d in together)
    first, second = (np.array([list(draw(seed, 20.0).values())]) for seed in (0, 5))
    for own, tests in ((alone, 1), (only(found[1], "psnr"), 4)):
        assert own.detectable == pytest.approx(contrast_methods(first, second).detectable(0.05 / tests))


def test_holms_p_decides_who_is_better_and_not_p(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """One of two metrics differs, as surely as a single test asks for but not as two ask for together."""
    noise = np.random.default_rng(3).normal(size=len(CASES))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    shift = 2.4 / len(CASES) ** 0.5  # t = 2.4 of 19 degrees of freedom: p = 0.027, for two 0.054
    flat = dict.fromkeys(CASES, 0.5)
    add(tmp_path, "floor", cases={"psnr": dict(zip(CASES, 20 + shift + noise, strict=True)), "ssim": flat})
    add(tmp_path, "mean", cases={"psnr": dict.fromkeys(CASES, 20.0), "ssim": flat})
    (ssim, psnr) = print_csv(tmp_path, "floor", "mean", capsys=capsys)
    assert float(psnr["p"]) < 0.05 < float(psnr["p_holm"])
    assert float(psnr["low"]) > 0
    assert (psnr["better"], psnr["verdict"]) == ("", "cannot be told apart")
    assert (ssim["better"], ssim["verdict"]) == ("", "equal")
    alone = psnr_of(tmp_path, "floor", "mean", metrics=["psnr"])
    assert (alone.better, alone.verdict) == ("A", "A is better")
    assert float(psnr["difference"]) == alone.difference  # unrounded


def test_the_better_one_follows_the_direction_of_the_metric(tmp_path: Path) -> None:
    add(tmp_path, "floor", cases={"psnr": draw(0, 30.0), "mae": draw(0, 0.10, 0.01), "ssim": draw(0, 0.5, 0.1)})
    add(tmp_path, "mean", cases={"psnr": draw(1, 20.0), "mae": draw(1, 0.05, 0.01), "ssim": draw(0, 0.5, 0.1)})
    for names, better in ((("floor", "mean"), "AB"), (("mean", "floor"), "BA")):
        differences = {d.metric: d for d in compare(tmp_path, *names).differences}
        assert [differences[metric].better for metric in ("psnr", "mae", "ssim")] == [*better, ""]
        assert differences["mae"].verdict == f"{better[1]} is better"
        higher = replace(differences["psnr"], metric="high_frequency")  # neither more nor less of it is better
        assert (higher.better, higher.verdict) == ("", f"{better[0]} is higher")


def test_methods_are_called_different_where_they_differ_more_than_their_seeds(tmp_path: Path) -> None:
    """All differ by a constant in every case."""
    add_trainings(tmp_path, "c", [31.0, 31.01, 31.02])
    add_trainings(tmp_path, "d", [30.5, 30.51, 30.52])
    found = psnr_of(tmp_path, "c", "d")
    assert (found.better, found.verdict) == ("A", "A is better")
    assert found.low == pytest.approx(found.high, abs=0.1)
    add_trainings(tmp_path, "a", [19.0, 22.0, 22.2])
    add_trainings(tmp_path, "b", [21.6, 21.1, 21.2])
    found = psnr_of(tmp_path, "a", "b")
    assert found.case_error < 1e-9  # cases alone would call them different
    assert (found.better, found.verdict) == ("", "cannot be told apart")
    assert found.low < 0 < found.high
    assert found.detectable > 2


@pytest.mark.parametrize(
    ("second", "origin", "scope"),
    [
        ("b", "builtin", "of these two trainings"),
        ("floor", "builtin", "of this training"),
        ("floor", "external", "of these two trainings"),  # predicted elsewhere, so it may have been trained
    ],
)
def test_one_training_gets_no_verdict_on_its_method(
    second: str, origin: str, scope: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    add(tmp_path, "a", cases={"psnr": draw(0, 30.0), "ssim": draw(0, 0.5, 0.1)})
    add(tmp_path, second, cases={"psnr": draw(1, 20.0), "ssim": draw(1, 0.5, 0.1)}, origin=origin)
    ssim, psnr = print_csv(tmp_path, "a", second, capsys=capsys)
    assert float(psnr["p_holm"]) < 0.001
    assert (psnr["better"], psnr["verdict"]) == ("", f"A is better, {scope}")
    assert ssim["verdict"] == f"cannot be told apart, {scope}"


def test_seeds_of_a_method_that_needs_none_are_no_trainings(tmp_path: Path) -> None:
    add_trainings(tmp_path, "floor", [20.0, 26.0])
    add_trainings(tmp_path, "mean", [20.0])
    found = psnr_of(tmp_path, "floor", "mean")
    assert (found.seed_error, found.verdict) == (0.0, "A is better")


def test_numbers_against_different_truths_are_left_out(tmp_path: Path) -> None:
    paper = {"protocol": "paper-2023"}
    for seed, (method, truth) in enumerate((("a", TRUTH_ENCODED), ("b", TRUTH_CT))):
        cases = {name: {c: v / 100 for c, v in draw(seed, 20.0).items()} for name in ("mae", "l1_sample")}
        add(tmp_path, method, cases=cases, truths={"mae": f"{truth}; clipped"}, **paper)
    found, left_out = compare_all(tmp_path, "a", "b", metrics=["mae", "l1_sample"])
    assert [d.metric for d in found[0].differences] == ["l1_sample"]  # which sees the CT
    assert left_out[0].startswith("MAE on")
    assert left_out[0].endswith("scored against different truths")
    with pytest.raises(UsageError, match="scored against different truths"):
        compare_all(tmp_path, "a", "b", metrics=["mae"])


def test_a_metric_of_too_few_cases_is_na_with_the_reason(tmp_path: Path) -> None:
    for method in ("a", "b"):
        few = {case: 0.5 if case in CASES[:2] else None for case in CASES}
        add(tmp_path, method, cases={"psnr": draw(1, 20.0), "ssim": few})
    (found,), left_out = compare_all(tmp_path, "a", "b")
    assert [d.metric for d in found.differences] == ["psnr"]
    (reason,) = left_out
    assert reason.startswith("SSIM of volumes is na on lidc")
    assert reason.endswith("fewer than 3 cases have it in all runs")


@pytest.mark.parametrize("form", ["rich", "md", "csv"])
def test_whatever_is_compared_nothing_printed_is_nan(form: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for method in ("a", "b"):
        for seed in range(1 if method == "a" else 3):
            same, apart = dict.fromkeys(CASES, 0.1), dict.fromkeys(CASES, 0.1 if method == "a" else 0.05)
            cases = {"psnr": draw(0, 20.0), "mae": same, "mse": apart, "ssim": draw(seed, 0.0, 0.1)}
            add(tmp_path, method, seed, cases=cases, space="drr", axis="heldout")
    assert run_command(["compare", "a", "b", "--format", form, "--results-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.lower()
    assert not re.search(r"\b(nan|inf|none)\b", shown)
    assert "equal, of this training" in " ".join(shown.split())


def test_only_cases_count_that_both_have_a_value_of_and_the_header_says_so(tmp_path: Path) -> None:
    add(tmp_path, "a", cases={"psnr": {**draw(0, 20.0), CASES[3]: None}, "ssim": draw(2, 0.5, 0.1)})
    add(tmp_path, "b", cases={"psnr": dict.fromkeys(CASES[:5], 19.0), "ssim": dict.fromkeys(CASES[:5], 0.5)})
    found = compare(tmp_path, "a", "b")
    assert (only(found, "psnr").n, only(found, "ssim").n) == (4, 5)
    assert "5 cases in common of 20" in found.header
    add(tmp_path, "c", cases={"psnr": dict.fromkeys(CASES[:2], 19.0)})
    with pytest.raises(UsageError, match=r"2 cases in common on lidc .*; a comparison needs 3"):
        compare(tmp_path, "a", "c")


def test_run_ids_choose_seeds_and_configurations(tmp_path: Path) -> None:
    first = add(tmp_path, "a", cases={"psnr": draw(0, 20.0)})
    second = add(tmp_path, "a", cases={"psnr": draw(1, 22.0)}, variant="bbbbbbbb")
    later = add(tmp_path, "a", cases={"psnr": draw(3, 22.0)}, variant="bbbbbbbb", seed=1)
    add(tmp_path, "b", cases={"psnr": draw(2, 20.0)}, variant="cccccccc")
    assert psnr_of(tmp_path, second, "b").difference > 0.5
    assert compare(tmp_path, "bbbbbbbb", "b").first.run_ids == (second, later)  # a hash: all seeds of a configuration
    assert compare(tmp_path, first, second).first.run_ids == (first,)
    for same in (first, "b"):
        with pytest.raises(UsageError, match="the same runs"):
            compare(tmp_path, same, same)


@pytest.mark.parametrize("second", ["b", "a"])
def test_several_configurations_are_named_newest_first_with_a_command_that_works(
    second: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Also where a method is named twice."""
    for method in ("a", "b"):
        old, new = f"{method}1000000", f"{method}f000000"
        for variant, finished in ((new, "2026-01-02T00:00:00Z"), (old, "2026-01-01T00:00:00Z")):
            run = {"finished": finished, "config_sha256": "c0" if method == "a" else variant}
            add(tmp_path, method, cases={"psnr": draw(ord(variant[1]), 20.0)}, variant=variant, run=run)
    with pytest.raises(UsageError) as refusal:
        compare(tmp_path, "a", second)
    said = str(refusal.value)
    assert "\n" not in said
    assert "a has 2 configurations of equal settings" in said
    assert "newest first: af000000 (2026-01-02T00:00:00Z), a1000000 (2026-01-01T00:00:00Z)" in said
    assert ("b has 2 configurations, newest first: bf000000" in said) == (second == "b")
    command = said.rpartition("as in `bench ")[2].removesuffix("`").split()
    assert command[:3] == ["compare", "af000000", "bf000000" if second == "b" else "a1000000"]
    assert run_command(command) == 0
    assert "a-lidc-tiny-s0-af000000" in capsys.readouterr().out


@pytest.mark.parametrize("other", ["pretrained", "external"])
def test_a_method_stands_for_what_was_trained_here(other: str, tmp_path: Path) -> None:
    trained = add(tmp_path, "a", cases={"psnr": draw(0, 20.0)})
    given = add(tmp_path, "a", cases={"psnr": draw(0, 20.5)}, variant="bbbbbbbb", origin=other)
    add(tmp_path, "b", cases={"psnr": draw(2, 20.0)})
    alone = add(tmp_path, "c", cases={"psnr": draw(3, 20.0)}, origin=other)
    assert compare(tmp_path, "a", "b").first.run_ids == (trained,)
    assert compare(tmp_path, given, "a").first.run_ids == (given,)
    assert compare(tmp_path, "bbbbbbbb", "a").first.run_ids == (given,)
    assert compare(tmp_path, "c", "a").first.run_ids == (alone,)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"protocol_hash": "0" * 64}, "version of the protocol"),
        ({"dataset": "baggage"}, "dataset lidc against baggage"),
        ({"source": "real"}, "source phantom against real"),
        ({"run": {"trained_on": "real"}}, "trained on phantom against real"),
        ({"split": "validation"}, "split test against validation"),
        ({"preset": "small"}, "preset tiny against small"),
        ({"views": "270+0+45"}, "views 270\\+0 against 270\\+0\\+45"),
        ({"fingerprint": "f1"}, "data f0 against f1"),
    ],
)
def test_what_was_not_measured_alike_is_refused_in_one_line(tmp_path: Path, other: dict, said: str) -> None:
    add(tmp_path, "a", cases={"psnr": draw(0, 20.0)})
    add(tmp_path, "b", cases={"psnr": draw(1, 20.0)}, **other)
    with pytest.raises(UsageError, match=f"a and b cannot be compared: {said}") as refusal:
        compare(tmp_path, "a", "b")
    assert "\n" not in str(refusal.value)


def test_seeds_scored_by_different_versions_of_a_protocol_are_never_averaged(tmp_path: Path) -> None:
    first, second = draw(0, 20.0), draw(1, 30.0)
    add(tmp_path, "a", cases={"psnr": first}, seed=0)
    add(tmp_path, "a", cases={"psnr": second}, seed=1, protocol_hash="0" * 64)
    add(tmp_path, "b", cases={"psnr": draw(2, 20.0)})
    found = compare(tmp_path, "a", "b")
    assert found.first.run_ids == ("a-lidc-tiny-s0-aaaaaaaa",)
    assert only(found, "psnr").first == pytest.approx(np.mean(list(first.values())))

    add(tmp_path, "c", cases={"psnr": draw(0, 20.0)}, protocol_hash="0" * 64)
    assert "ct3d-2 (00000000), protocol as another version defines it" in compare(tmp_path, "a", "c").header


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Both methods at two presets, on two datasets and under two protocols."""
    for size, preset, dataset in ((64, "small", "lidc"), (24, "tiny", "lidc"), (24, "tiny", "baggage")):
        for method in ("a", "b"):
            variant = f"{method}{preset[:3]}{dataset[:3]}0"
            for protocol in ("paper-2023", "ct3d-2"):
                cases, place = {"psnr": draw(ord(method) + size, 20.0)}, {"preset": preset, "dataset": dataset}
                add(tmp_path, method, cases=cases, variant=variant, protocol=protocol, run={"size": size}, **place)
    return tmp_path


def places(comparisons: list[Comparison]) -> list[tuple[str, str, str]]:
    facts = [comparison.first.facts for comparison in comparisons]
    return [(fact["protocol"], fact["dataset"], fact["preset"]) for fact in facts]


def test_each_place_where_both_were_measured_is_compared_the_largest_grid_first(several: Path) -> None:
    found, left_out = compare_all(several, "a", "b")
    assert places(found) == [("ct3d-2", "lidc", "small"), ("ct3d-2", "baggage", "tiny"), ("ct3d-2", "lidc", "tiny")]
    assert left_out == []
    assert all(comparison.first.facts == comparison.second.facts for comparison in found)
    assert places([compare(several, "a", "b", preset="small")]) == [("ct3d-2", "lidc", "small")]
    other = compare(several, "a", "b", protocol="paper-2023", dataset="baggage")
    assert places([other]) == [("paper-2023", "baggage", "tiny")]
    two_runs = compare(several, "a-lidc-tiny-s0-atinlid0", "b-lidc-tiny-s0-btinlid0")  # which need none
    assert two_runs.first.facts["protocol"] == "ct3d-2"
    with pytest.raises(UsageError, match="a has no rows of preset paper; it has preset small, tiny"):
        compare_all(several, "a", "b", preset="paper")


def test_where_the_default_protocol_is_missing_the_others_are_shown_and_it_is_said(tmp_path: Path, capsys) -> None:
    for method, protocol in (("a", "ct3d-1"), ("a", "x2ct-2019"), ("b", "x2ct-2019")):
        add(tmp_path, method, cases={"psnr": draw(0, 20.0 + ord(method))}, protocol=protocol)
    assert places(compare_all(tmp_path, "a", "b")[0]) == [("x2ct-2019", "lidc", "tiny")]
    assert run_command(["compare", "a", "b", "--results-dir", str(tmp_path)]) == 0
    lack = f"{tmp_path} has no rows of ct3d-2, but of ct3d-1, x2ct-2019: type --protocol ct3d-1"
    assert capsys.readouterr().err.splitlines() == [lack]


def test_a_place_that_is_not_clear_is_left_out_and_said(several: Path, capsys: pytest.CaptureFixture) -> None:
    add(several, "a", cases={"psnr": draw(3, 20.0)}, variant="second00")
    found, left_out = compare_all(several, "a", "b")
    assert [comparison.first.facts["preset"] for comparison in found] == ["small", "tiny"]
    (reason,) = left_out
    assert "a has 2 configurations" in reason
    assert run_command(["compare", "a", "b", "--format", "csv", "--results-dir", str(several)]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"left out: {reason}"]
    lines = list(csv.DictReader(io.StringIO(captured.out)))
    assert [(line["dataset"], line["preset"]) for line in lines] == [("lidc", "small"), ("baggage", "tiny")]


def test_unknown_names_and_metrics_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scores of single cases"):
        compare(tmp_path, "a", "b")
    add(tmp_path, "codediff", cases={"psnr": draw(0, 20.0)})
    with pytest.raises(UsageError, match="did you mean codediff"):
        compare(tmp_path, "codedif", "b")
    with pytest.raises(UsageError, match="unknown metric of single cases 'density'"):
        compare(tmp_path, "codediff", "b", metrics=["density"])
    enter_run(tmp_path, run_id="b-lidc-tiny-s0-failed", method="b", status="failed", error="it is broken")
    with pytest.raises(UsageError, match="b has no scores of single cases to compare: it is broken"):
        compare(tmp_path, "codediff", "b")
