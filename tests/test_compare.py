"""Comparisons: cases are paired, seeds averaged, and what was not measured alike is refused in one line."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from bench.cli import run_command
from bench.compare import Comparison, compare
from bench.errors import UsageError
from bench.protocols import get_protocol
from bench.scores import ScoreRow, merge_rows, merge_run
from bench.stats import holm
from bench.tables import Filters

HASH = get_protocol("ct3d-1").sha256()
CASES = [f"case-{index:02d}" for index in range(20)]


def add(results: Path, method: str, numbers: dict, *, variant: str = "aaaaaaaa", fingerprint: str = "f0", **other):
    """Case rows of one run; `numbers` is metric → {case: value}, None a value that is na."""
    seed = other.get("seed", 0)
    shared = {
        "run_id": f"{method}-lidc-tiny-s{seed}-{variant}",
        "protocol": "ct3d-1",
        "protocol_hash": HASH,
        "method": method,
        "origin": "builtin",
        "dataset": "lidc",
        "source": "phantom",
        "split": "test",
        "preset": "tiny",
        "seed": seed,
        "views": "270+0",
        "space": "3d",
        "axis": "all",
        "level": "case",
        "stat": "value",
        "n": 1,
        "code_version": "0",
        **other,
    }
    rows = []
    for metric, values in numbers.items():
        for case, value in values.items():
            own = {"status": "na", "note": "none"} if value is None else {}
            rows.append(ScoreRow(**{**shared, **own}, metric=metric, case=case, value=value))
    merge_rows(results, rows)
    merge_run(results, {"run_id": shared["run_id"], "data_fingerprint": fingerprint})
    return shared["run_id"]


def drawn(seed: int, mean: float, spread: float = 2.0) -> dict[str, float]:
    values = np.random.default_rng(seed).normal(mean, spread, len(CASES))
    return dict(zip(CASES, values.tolist(), strict=True))


def only(comparison: Comparison, metric: str, space: str = "3d"):
    (found,) = [d for d in comparison.differences if (d.space, d.metric) == (space, metric)]
    return found


def test_cases_are_paired_by_name_and_seeds_averaged(tmp_path: Path) -> None:
    runs = {("a", seed): drawn(seed, 21.0) for seed in (0, 1, 2)}
    baseline = drawn(9, 20.0)
    for (method, seed), values in runs.items():
        add(tmp_path, method, {"psnr": values}, seed=seed)
    add(tmp_path, "b", {"psnr": dict(reversed(baseline.items()))})
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
        add(tmp_path, method, {"psnr": drawn(seed, 20.0), "ssim": drawn(seed + 1, 0.5, 0.1)})
    both = compare(tmp_path, "a", "b")
    raw = np.array([d.p for d in both.differences])
    assert [d.p_holm for d in both.differences] == pytest.approx(holm(raw).tolist())
    alone = only(compare(tmp_path, "a", "b", metrics=["psnr"]), "psnr")
    assert alone.p_holm == alone.p == only(both, "psnr").p


def test_the_better_one_follows_the_direction_of_the_metric(tmp_path: Path) -> None:
    add(tmp_path, "a", {"psnr": drawn(0, 30.0), "mae": drawn(0, 0.10, 0.01), "ssim": drawn(0, 0.5, 0.1)})
    add(tmp_path, "b", {"psnr": drawn(1, 20.0), "mae": drawn(1, 0.05, 0.01), "ssim": drawn(0, 0.5, 0.1)})
    better = {d.metric: d.better for d in compare(tmp_path, "a", "b").differences}
    assert better == {"psnr": "A", "mae": "B", "ssim": ""}


def test_cases_without_a_value_leave_their_metric_alone(tmp_path: Path) -> None:
    gappy = {**drawn(0, 20.0), CASES[3]: None}
    add(tmp_path, "a", {"psnr": gappy, "ssim": drawn(2, 0.5, 0.1)})
    add(tmp_path, "b", {"psnr": drawn(1, 20.0), "ssim": drawn(3, 0.5, 0.1)})
    found = compare(tmp_path, "a", "b")
    assert (only(found, "psnr").n, only(found, "ssim").n) == (19, 20)


def test_only_common_cases_count_and_the_header_says_so(tmp_path: Path) -> None:
    add(tmp_path, "a", {"psnr": drawn(0, 20.0)})
    add(tmp_path, "b", {"psnr": dict.fromkeys(CASES[:5], 19.0)})
    found = compare(tmp_path, "a", "b")
    assert only(found, "psnr").n == 5
    assert "5 cases in common of 20" in found.header
    add(tmp_path, "c", {"psnr": dict.fromkeys(CASES[:2], 19.0)})
    with pytest.raises(UsageError, match="2 cases in common; a comparison needs 3"):
        compare(tmp_path, "a", "c")


def test_run_ids_choose_seeds_and_configurations(tmp_path: Path) -> None:
    first = add(tmp_path, "a", {"psnr": drawn(0, 20.0)})
    second = add(tmp_path, "a", {"psnr": drawn(1, 22.0)}, variant="bbbbbbbb")
    add(tmp_path, "b", {"psnr": drawn(2, 20.0)})
    with pytest.raises(UsageError, match=f"several configurations there; name runs: {first}.*{second}"):
        compare(tmp_path, "a", "b")
    assert only(compare(tmp_path, second, "b"), "psnr").difference > 0.5
    assert compare(tmp_path, first, second).first.run_ids == (first,)
    with pytest.raises(UsageError, match=r"the same runs|itself"):
        compare(tmp_path, first, first)


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
    add(tmp_path, "a", {"psnr": drawn(0, 20.0)})
    add(tmp_path, "b", {"psnr": drawn(1, 20.0)}, **other)
    with pytest.raises(UsageError, match=f"a and b cannot be compared: {said}") as refusal:
        compare(tmp_path, "a", "b")
    assert "\n" not in str(refusal.value)


def test_seeds_scored_by_different_versions_of_a_protocol_are_never_averaged(tmp_path: Path) -> None:
    first, second = drawn(0, 20.0), drawn(1, 30.0)
    add(tmp_path, "a", {"psnr": first}, seed=0)
    add(tmp_path, "a", {"psnr": second}, seed=1, protocol_hash="0" * 64)
    add(tmp_path, "b", {"psnr": drawn(2, 20.0)})
    found = compare(tmp_path, "a", "b")
    assert found.first.run_ids == ("a-lidc-tiny-s0-aaaaaaaa",)
    assert only(found, "psnr").first == pytest.approx(np.mean(list(first.values())))


def test_several_ways_of_measuring_ask_for_a_choice(tmp_path: Path) -> None:
    for seed, preset in enumerate(("tiny", "small")):
        for method in ("a", "b"):
            variant = f"{preset}000"
            add(tmp_path, method, {"psnr": drawn(seed, 20.0 + len(method))}, preset=preset, variant=variant)
    with pytest.raises(UsageError, match=r"choose with --preset small\|tiny"):
        compare(tmp_path, "a", "b")
    assert compare(tmp_path, "a", "b", Filters(preset="small")).first.facts["preset"] == "small"


def test_unknown_names_and_metrics_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scores of single cases"):
        compare(tmp_path, "a", "b")
    add(tmp_path, "codediff", {"psnr": drawn(0, 20.0)})
    with pytest.raises(UsageError, match="did you mean codediff"):
        compare(tmp_path, "codedif", "b")
    with pytest.raises(UsageError, match="unknown metric of single cases 'density'"):
        compare(tmp_path, "codediff", "b", metrics=["density"])


def test_the_command_prints_all_forms(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    add(tmp_path, "a", {"psnr": drawn(0, 30.0)})
    add(tmp_path, "b", {"psnr": drawn(1, 20.0)})
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
