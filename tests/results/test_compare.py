"""Comparisons: cases are paired, seeds averaged, and what was not measured alike is refused in one line."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.stats import holm
from bench.results.compare import Comparison, compare_methods
from bench.results.inference import Difference
from bench.results.model import read_results

from ..helpers.score_rows import enter_run
from ..helpers.table_rows import CASES, add, draw


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


def test_cases_are_paired_by_name_and_seeds_averaged(tmp_path: Path) -> None:
    runs = {("a", seed): draw(seed, 21.0) for seed in (0, 1, 2)}
    baseline = draw(9, 20.0)
    for (method, seed), values in runs.items():
        add(tmp_path, method, cases={"psnr": values}, seed=seed)
    add(tmp_path, "b", cases={"psnr": dict(reversed(baseline.items()))})
    found = only(compare(tmp_path, "a", "b"), "psnr")
    mean = np.array([np.mean([values[case] for values in runs.values()]) for case in CASES])
    other = np.array([baseline[case] for case in CASES])
    assert found.n == 20
    assert found.difference == pytest.approx((mean - other).mean())
    assert (found.first, found.second) == (pytest.approx(mean.mean()), pytest.approx(other.mean()))
    assert found.p == pytest.approx(wilcoxon(mean, other).pvalue)
    assert found.low < found.difference < found.high
    spread = np.std([np.mean(list(values.values())) for values in runs.values()], ddof=1)
    assert found.first_sd == pytest.approx(spread)
    assert found.second_sd is None


def test_p_values_are_adjusted_for_all_metrics_shown(tmp_path: Path) -> None:
    for method, seed in (("a", 0), ("b", 5)):
        add(tmp_path, method, cases={"psnr": draw(seed, 20.0), "ssim": draw(seed + 1, 0.5, 0.1)})
    both = compare(tmp_path, "a", "b")
    raw = np.array([d.p for d in both.differences])
    assert [d.p_holm for d in both.differences] == pytest.approx(holm(raw).tolist())
    alone = only(compare(tmp_path, "a", "b", metrics=["psnr"]), "psnr")
    assert alone.p_holm == alone.p == only(both, "psnr").p


def test_the_better_one_follows_the_direction_of_the_metric(tmp_path: Path) -> None:
    add(tmp_path, "a", cases={"psnr": draw(0, 30.0), "mae": draw(0, 0.10, 0.01), "ssim": draw(0, 0.5, 0.1)})
    add(tmp_path, "b", cases={"psnr": draw(1, 20.0), "mae": draw(1, 0.05, 0.01), "ssim": draw(0, 0.5, 0.1)})
    differences = {d.metric: d for d in compare(tmp_path, "a", "b").differences}
    assert {metric: d.better for metric, d in differences.items()} == {"psnr": "A", "mae": "B", "ssim": ""}
    assert replace(differences["psnr"], p=0.001, p_holm=0.2).better == ""


def test_cases_without_a_value_leave_their_metric_alone(tmp_path: Path) -> None:
    gappy = {**draw(0, 20.0), CASES[3]: None}
    add(tmp_path, "a", cases={"psnr": gappy, "ssim": draw(2, 0.5, 0.1)})
    add(tmp_path, "b", cases={"psnr": draw(1, 20.0), "ssim": draw(3, 0.5, 0.1)})
    found = compare(tmp_path, "a", "b")
    assert (only(found, "psnr").n, only(found, "ssim").n) == (19, 20)


def test_only_common_cases_count_and_the_header_says_so(tmp_path: Path) -> None:
    add(tmp_path, "a", cases={"psnr": draw(0, 20.0)})
    add(tmp_path, "b", cases={"psnr": dict.fromkeys(CASES[:5], 19.0)})
    found = compare(tmp_path, "a", "b")
    assert only(found, "psnr").n == 5
    assert "5 cases in common of 20" in found.header
    add(tmp_path, "c", cases={"psnr": dict.fromkeys(CASES[:2], 19.0)})
    with pytest.raises(UsageError, match=r"2 cases in common on lidc .*; a comparison needs 3"):
        compare(tmp_path, "a", "c")


def test_run_ids_choose_seeds_and_configurations(tmp_path: Path) -> None:
    first = add(tmp_path, "a", cases={"psnr": draw(0, 20.0)})
    second = add(tmp_path, "a", cases={"psnr": draw(1, 22.0)}, variant="bbbbbbbb")
    add(tmp_path, "b", cases={"psnr": draw(2, 20.0)})
    assert only(compare(tmp_path, second, "b"), "psnr").difference > 0.5
    assert compare(tmp_path, first, second).first.run_ids == (first,)
    with pytest.raises(UsageError, match="the same runs"):
        compare(tmp_path, first, first)
    with pytest.raises(UsageError, match="the same runs"):
        compare(tmp_path, "b", "b")


def test_a_hash_stands_for_all_seeds_of_a_configuration(tmp_path: Path) -> None:
    runs = [add(tmp_path, "a", cases={"psnr": draw(seed, 20.0)}, seed=seed) for seed in (0, 1)]
    add(tmp_path, "a", cases={"psnr": draw(5, 30.0)}, variant="bbbbbbbb")
    add(tmp_path, "b", cases={"psnr": draw(2, 20.0)}, variant="cccccccc")
    assert compare(tmp_path, "aaaaaaaa", "b").first.run_ids == tuple(runs)


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


def test_a_version_of_a_protocol_that_is_not_todays_is_named_in_the_header(tmp_path: Path) -> None:
    for method in ("a", "b"):
        add(tmp_path, method, cases={"psnr": draw(0, 20.0)}, protocol_hash="0" * 64)
    assert "ct3d-1 (00000000), protocol as another version defines it" in compare(tmp_path, "a", "b").header


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Both methods at two presets, on two datasets and under two protocols."""
    for size, preset, dataset in ((64, "small", "lidc"), (24, "tiny", "lidc"), (24, "tiny", "baggage")):
        for method in ("a", "b"):
            variant = f"{method}{preset[:3]}{dataset[:3]}0"
            for protocol in ("paper-2023", "ct3d-1"):
                add(
                    tmp_path,
                    method,
                    cases={"psnr": draw(ord(method) + size, 20.0)},
                    variant=variant,
                    preset=preset,
                    dataset=dataset,
                    protocol=protocol,
                    run={"size": size},
                )
    return tmp_path


def places(comparisons: list[Comparison]) -> list[tuple[str, str, str]]:
    facts = [comparison.first.facts for comparison in comparisons]
    return [(fact["protocol"], fact["dataset"], fact["preset"]) for fact in facts]


def test_each_place_where_both_were_measured_is_compared_the_largest_grid_first(several: Path) -> None:
    found, left_out = compare_all(several, "a", "b")
    assert places(found) == [("ct3d-1", "lidc", "small"), ("ct3d-1", "baggage", "tiny"), ("ct3d-1", "lidc", "tiny")]
    assert left_out == []
    assert all(comparison.first.facts == comparison.second.facts for comparison in found)


def test_options_narrow_what_is_compared(several: Path) -> None:
    assert places([compare(several, "a", "b", preset="small")]) == [("ct3d-1", "lidc", "small")]
    other = compare(several, "a", "b", protocol="paper-2023", dataset="baggage")
    assert places([other]) == [("paper-2023", "baggage", "tiny")]
    with pytest.raises(UsageError, match="a has no rows of preset paper; it has preset small, tiny"):
        compare_all(several, "a", "b", preset="paper")


def test_two_runs_need_no_options(several: Path) -> None:
    found = compare(several, "a-lidc-tiny-s0-atinlid0", "b-lidc-tiny-s0-btinlid0")
    assert found.first.facts["protocol"] == "ct3d-1"


def test_where_the_default_protocol_is_missing_the_others_are_shown(tmp_path: Path) -> None:
    for method, protocol in (("a", "ct3d-1"), ("a", "x2ct-2019"), ("b", "x2ct-2019")):
        add(tmp_path, method, cases={"psnr": draw(0, 20.0 + ord(method))}, protocol=protocol)
    assert places(compare_all(tmp_path, "a", "b")[0]) == [("x2ct-2019", "lidc", "tiny")]


def test_a_place_that_is_not_clear_is_left_out_and_said(several: Path, capsys: pytest.CaptureFixture) -> None:
    add(several, "a", cases={"psnr": draw(3, 20.0)}, variant="second00")
    found, left_out = compare_all(several, "a", "b")
    assert [comparison.first.facts["preset"] for comparison in found] == ["small", "tiny"]
    (reason,) = left_out
    assert "a has 2 configurations" in reason
    for form in ("rich", "md", "csv"):
        assert run_command(["compare", "a", "b", "--format", form, "--results-dir", str(several)]) == 0
        captured = capsys.readouterr()
        lack = f"{several} has no rows of ct3d-2, but of ct3d-1, paper-2023: type --protocol ct3d-1"
        assert captured.err.splitlines() == [lack, f"left out: {reason}"]
        assert "left out" not in captured.out
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


def test_a_method_that_failed_is_named_with_its_reason(tmp_path: Path) -> None:
    add(tmp_path, "a", cases={"psnr": draw(0, 20)})
    enter_run(tmp_path, run_id="b-lidc-tiny-s0-failed", method="b", status="failed", error="it is broken")
    with pytest.raises(UsageError, match="b has no scores of single cases to compare: it is broken"):
        compare_all(tmp_path, "a", "b")


def test_the_command_prints_all_forms(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    add(tmp_path, "a", cases={"psnr": draw(0, 30.0)})
    add(tmp_path, "b", cases={"psnr": draw(1, 20.0)})
    base = ["compare", "a", "b", "--results-dir", str(tmp_path)]
    assert run_command(base) == 0
    shown = capsys.readouterr().out
    assert "a-lidc-tiny-s0-aaaaaaaa" in shown
    assert "<0.001" in shown
    assert run_command([*base, "--format", "md"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 3d")]
    assert len(rows) == 1
    assert rows[0].rstrip().endswith("| A        |")
    assert run_command([*base, "--format", "csv"]) == 0
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(line["difference"]) == only(compare(tmp_path, "a", "b"), "psnr").difference
    assert run_command(["compare", "a", "z", "--results-dir", str(tmp_path)]) == 2
    assert "unknown method or run 'z'" in capsys.readouterr().err
