"""What `bench performance` makes of measurements: pairs, exponents, rows, targets, estimates, and how it is used."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cli import run_command
from bench.performance import estimate, measuring
from bench.performance.comparisons import compare_samples, cover
from bench.performance.estimate import Memory
from bench.performance.growth import fit_curves, fit_exponent, measure_growth
from bench.performance.measuring import Bench, Row, measure_peak, merge_rows, read_rows, summarise
from bench.performance.report import judge
from bench.performance.subjects import Request, make_subject
from bench.plugins.registry import get_dataset
from bench.scoring import DEFAULT
from bench.scoring.fidelity import prdc_scores

CPU = torch.device("cpu")


def make_row(item: str, **values: object) -> Row:
    return Row(**{"item": item, "device": "toy", "threads": 1, "clock": "cpu", "n": 3, **values})  # type: ignore[arg-type]


def test_a_constant_cost_does_not_hide_the_growth_of_the_largest_points() -> None:
    sides = (2, 4, 32, 64, 128)
    points = [make_row(f"growth/thing/volume side/{side}", ours_s=1.0 + 1e-3 * side**3) for side in sides]
    (curve,) = fit_curves([*points[::-1], make_row("step/a/b", ours_s=1.0), make_row("growth/one/views/2", ours_s=1.0)])
    assert curve.amounts == sides
    assert curve.exponent == pytest.approx(3.0, abs=0.03)
    x, y = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 3.0, 5.0, 20.0])
    (slope, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    assert fit_exponent(x, y) == pytest.approx((slope, covariance[0, 0] ** 0.5))
    slope, error = fit_exponent([2.0, 4.0], [1.0, 8.0])
    assert slope == pytest.approx(3.0)
    assert math.isnan(error)  # two points do not tell how sure it is


def test_a_load_that_doubles_all_seconds_leaves_the_ratio_as_it_is() -> None:
    load = np.array([1.0, 1.0, 2.0, 2.0, 5.0])
    expected = {"ours_s": 0.2, "reference_s": 0.5, "ratio": 2.5, "spread": 0.0}
    assert summarise(0.1 * load, 0.25 * load) == pytest.approx(expected)
    alone = summarise(np.array([1.0, 2.0, 3.0, 4.0, 9.0]), np.empty(0))
    assert alone == {"ours_s": 3.0, "spread": 1.0}  # half the interquartile range


def test_both_ways_are_warmed_up_and_take_turns_and_seconds_are_those_of_a_case(monkeypatch) -> None:
    order: list[float] = []
    works = {seconds: lambda seconds=seconds: order.append(seconds) for seconds in (2.0, 6.0)}
    monkeypatch.setattr(Bench, "once", lambda self, work: (work(), order[-1])[1])
    row = Bench(CPU, 1, seconds=0.0).measure("x", works[2.0], works[6.0], per=4)
    assert order == [2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 2.0, 6.0]
    assert (row.n, row.ours_s, row.reference_s, row.ratio) == (3, 0.5, 1.5, 3.0)


def test_memory_that_a_call_holds_at_its_peak_is_seen() -> None:
    if (peak := measure_peak(lambda: np.ones(64 * 2**17), CPU)) is None:  # 64 MiB, let go at once
        pytest.skip("this system does not tell the peak")
    assert 60 <= peak <= 90
    assert (measure_peak(lambda: None, CPU) or 0.0) < 20


def test_the_file_holds_what_was_measured_and_a_newer_measurement_replaces_an_older(tmp_path: Path) -> None:
    first = make_row("step/a/b", ours_s=0.5, reference_s=1.0, ratio=2.0, spread=0.25, equal=False, note='a, "b"')
    elsewhere = make_row("step/a/b", device="other", ours_s=9.0, equal=True)
    merge_rows(tmp_path, [first, make_row("loop/a/b", ours_s=1.0)])
    merge_rows(tmp_path, [elsewhere, make_row("loop/a/b", ours_s=0.25)])
    assert read_rows(tmp_path) == [first, make_row("loop/a/b", ours_s=0.25), elsewhere]


def test_samples_count_as_equal_where_the_interval_of_the_difference_holds_zero() -> None:
    random = np.random.default_rng(1)
    published = random.normal(20.0, 3.0, (30, 3))
    equal, words = compare_samples(published, published + random.normal(0, 0.1, (30, 3)) + np.array([0, 0.5, 0]))
    assert not equal
    assert [part.endswith("] equal") for part in words.split("; ")] == [True, False, True, False]
    assert compare_samples(published, published)[0]


def test_the_mean_of_the_cases_that_are_covered_is_coverage() -> None:
    random = np.random.default_rng(2)
    real, made = random.normal(size=(2, 20, 6)), 0.4 * random.normal(size=(2, 25, 6)) + 0.8
    shares = cover(real, made)
    known = [prdc_scores(r, m, 5)["coverage"] for r, m in zip(real, made, strict=True)]
    assert shares.shape == (20,)
    assert shares.mean() == pytest.approx(np.mean(known))
    assert 0 < shares.mean() < 1


def test_targets_stand_beside_what_was_measured() -> None:
    rows = [
        make_row("loop/toy/net", ratio=0.98, spread=0.01, size="tiny"),
        make_row("loop/toy/slow", ratio=0.95, spread=0.001),
        make_row("step/codediff/transformer", ratio=1.8, spread=0.1),
        make_row("step/codediff/transformer, paper, batch 1 of 20", ratio=2.1, spread=0.1),
        make_row("sampling/codediff/4", ratio=20.0, spread=0.1, equal=False),
        make_row("sampling/codediff/8", ratio=9.95, spread=0.1, equal=True, note="48 cases"),
        make_row("sampling/codediff/30", ratio=30.0, spread=0.1),
        make_row("sampling/codediff/27", ratio=3.0, spread=0.1, equal=True),
    ]
    lines = {line[0]: line[1:] for line in judge(rows)}
    assert lines["loop/toy/net"] == ("≥ 0.97", "0.98 ± 0.01", "met", "tiny")
    assert lines["loop/toy/slow"][2] == "missed by 2%"
    assert lines["step/codediff/transformer"][:3] == ("≥ 2", "1.80 ± 0.10", "missed by 10%")
    assert lines["step/codediff/transformer, paper, batch 1 of 20"][2] == "met"
    assert lines["sampling/codediff/8"][1:] == ("9.95 ± 0.10", "missed by 1%, within its spread", "48 cases")
    assert not {f"sampling/codediff/{steps}" for steps in (4, 27, 30)} & lines.keys()
    assert lines["step/codediff/vqvae3d"][2] == "not measured"


@pytest.mark.parametrize(
    ("budget", "free", "expected"),
    [
        (100.0, 1e9, (40.5, "measured")),
        (12.5, 1e9, (40.5, "extrapolated from 4.5 s for 2 cases and 10.5 s for 5")),
        (100.0, 25.0, (45.0, "extrapolated from 4.5 s for 2 cases")),
        (3.0, 1e9, (45.0, "extrapolated from 4.5 s for 2 cases")),
        (100.0, 20.0, (50.0, "extrapolated from 2.5 s for 1 case")),
    ],
)
def test_a_whole_batch_is_extrapolated_from_what_time_and_memory_allow(
    budget: float, free: float, expected: tuple[float, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage, *_) = make_subject("codediff", get_dataset("lidc"), "smoke", CPU).stages
    stage.loop = stage.loop.model_copy(update={"batch_size": 20})
    monkeypatch.setattr(estimate, "_time_steps", lambda stage, cases, bench: [0.5 + 2 * cases])
    monkeypatch.setattr(estimate, "_find_free_bytes", lambda device: free)
    memory = Memory(weights=5, gradients=5, optimisers=0, average=0, activations=6)
    assert [memory.total(2), memory.largest(22), memory.largest(21.9), memory.largest(4)] == [22, 2, 1, 0]
    seconds, _, how = estimate._estimate_step(stage, lambda count: count, memory, Bench(CPU, 1, budget))
    assert (seconds, how) == expected


def test_curves_grow_until_the_next_point_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for least in ("REPEATS", "LEAST"):
        monkeypatch.setattr(measuring, least, 1)
    rows = list(measure_growth(Request(), Bench(CPU, 1, 0.1)))
    assert {"growth/project lidc/volume side/32", "growth/project lidc/volume side/64"} <= {row.item for row in rows}
    assert f"growth/score {DEFAULT}/volume side/256" not in {row.item for row in rows}
    assert fit_curves(rows)


def test_the_command_measures_keeps_and_writes_into_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n")
    merge_rows(tmp_path, [make_row(f"growth/toy/views/{views}", ours_s=2.0 * views) for views in (1, 2)])
    places = ["--results-dir", str(tmp_path), "--readme", str(readme)]
    asked = ["--method", "codediff", "--stage", "transformer", "--preset", "smoke", "--device", "cpu"]
    assert run_command(["performance", "--only", "estimate", *asked, *places]) == 0
    disk, made = read_rows(tmp_path)[-2:]
    assert disk.item == "estimate/lidc/disk, smoke"
    assert disk.note.startswith("28 cases take 0.0 GiB of disk")
    assert float(re.search(r"([\d.e-]+) TFLOP a step", made.note).group(1)) > 1e-6  # type: ignore[union-attr]
    assert (made.item, made.clock, made.size) == ("estimate/codediff/transformer, smoke", "wall", "smoke, batch 4")
    steps, hours = re.match(r"([\d,]+) steps take ([\d.]+(?:e-\d+)?) h; seconds measured;", made.note).groups()  # type: ignore[union-attr]
    assert float(hours) == pytest.approx((made.ours_s or 0) * int(steps) / 3600, rel=0.06)
    text, whole = readme.read_text(), (tmp_path / "performance.md").read_text()
    assert text.startswith("before\n<!-- performance -->\n**toy, 1 thread.**")
    assert text.endswith("cases and views](performance.png)\n<!-- /performance -->\nafter\n")
    for table in ("| toy | views  | 1 to 2     | 4                  | 1.00", "Training by a preset, estimated"):
        assert table in whole
        assert table not in text
    assert whole.endswith(capsys.readouterr().out.strip() + "\n")
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "stepp"], "unknown item 'stepp'; did you mean step"),
        (["--only", "step", "--method", "codedif"], "unknown method 'codedif'"),
        (["--steps", "4,x"], "--steps takes whole numbers"),
        (["--only", "step", "--readme", "absent.md"], "absent.md cannot be read"),
        (
            ["--only", "step", "--method", "codediff", "--preset", "smoke", "--stage", "vqvae4d"],
            "no stage vqvae4d of codediff has a published step",
        ),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], says: str, tmp_path: Path, capsys) -> None:
    assert run_command(["performance", *arguments, "--results-dir", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_the_disk_of_a_preset_follows_from_its_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_prepare_stages", lambda request, bench: iter(()))
    (row,) = estimate.estimate_training(Request(dataset="baggage", preset="paper"), Bench(CPU, 1, 1.0))
    gigabytes = 2126 * (2 * 256**3 + 2 * 4 * 256**2) / 2**30
    assert f"2,126 cases take {gigabytes:.1f} GiB of disk" in row.note
    assert "213 cases take 13.3 GiB at most" in row.note
