"""What `bench performance` computes from measurements: pairs, exponents, rows, hours, and how it is used."""

import csv
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cli import run_command
from bench.errors import BenchError
from bench.performance import timing
from bench.performance.goals import judged
from bench.performance.growth import curves, exponent
from bench.performance.products import is_product, product_seconds
from bench.performance.report import extrapolated, markdown
from bench.performance.rows import COLUMNS, FILE_NAME, Row, as_csv, merge_rows, read_rows
from bench.performance.sampling import Drawn, compared, covered
from bench.performance.timing import Bench, summary
from bench.scoring.fidelity import prdc_scores
from bench.system.device import device_name

CPU = torch.device("cpu")


def row(item: str, **values: object) -> Row:
    return Row(**{"item": item, "device": "toy", "threads": 1, "clock": "cpu", "n": 3, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.3])
def test_the_exponent_of_a_power_law_is_its_power(power: float) -> None:
    amounts = [32.0, 64.0, 128.0]
    slope, error = exponent(amounts, [0.7 * amount**power for amount in amounts])
    assert slope == pytest.approx(power, abs=1e-12)
    assert error == pytest.approx(0.0, abs=1e-12)


def test_the_exponent_and_its_error_are_those_of_a_linear_regression_of_logarithms() -> None:
    random = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    y = 3 * x**1.7 * np.exp(0.1 * random.standard_normal(6))
    design = np.stack([np.ones(6), np.log(x)], axis=1)
    solution, residual, *_ = np.linalg.lstsq(design, np.log(y), rcond=None)
    covariance = np.linalg.inv(design.T @ design) * residual[0] / (6 - 2)
    slope, error = exponent(x, y)
    assert slope == pytest.approx(solution[1])
    assert error == pytest.approx(math.sqrt(covariance[1, 1]))


def test_two_points_have_an_exponent_without_an_error() -> None:
    slope, error = exponent([2.0, 4.0], [1.0, 8.0])
    assert slope == pytest.approx(3.0)
    assert math.isnan(error)


def test_a_constant_cost_does_not_hide_the_growth_of_the_largest_points() -> None:
    points = [row(f"growth/thing/volume side/{side}", ours_s=1.0 + 1e-3 * side**3) for side in (2, 4, 32, 64, 128)]
    (curve,) = curves([*points[::-1], row("step/a/b", ours_s=1.0), row("growth/alone/views/2", ours_s=1.0)])
    assert curve.amounts == (2, 4, 32, 64, 128)
    assert curve.exponent == pytest.approx(3.0, abs=0.03)


def test_a_load_that_doubles_all_seconds_leaves_the_ratio_as_it_is() -> None:
    load = np.array([1.0, 1.0, 2.0, 2.0, 5.0])
    found = summary(0.1 * load, 0.25 * load)
    assert found["ratio"] == pytest.approx(2.5)
    assert found["spread"] == pytest.approx(0.0)
    assert (found["ours_s"], found["reference_s"]) == pytest.approx((0.2, 0.5))


def test_spread_is_half_the_interquartile_range_of_the_ratio() -> None:
    found = summary(np.ones(5), np.array([1.0, 2.0, 3.0, 4.0, 9.0]))
    assert (found["ratio"], found["spread"]) == (3.0, 1.0)
    alone = summary(np.array([1.0, 2.0, 3.0, 4.0, 9.0]), np.empty(0))
    assert alone == {"ours_s": 3.0, "spread": 1.0}


def test_both_ways_are_warmed_up_and_then_take_turns() -> None:
    order: list[str] = []
    measured = Bench(CPU, 1, seconds=0.0, least=4).measure(
        "x", lambda: order.append("ours"), lambda: order.append("reference")
    )
    assert order[:2] == ["ours", "reference"]
    assert order[2:] == ["ours", "reference", "reference", "ours"] * 2
    assert measured.n == 4


def test_seconds_are_divided_among_cases_and_the_ratio_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"ours": 2.0, "reference": 6.0}
    works = {name: lambda: None for name in times}
    monkeypatch.setattr(Bench, "once", lambda self, work: next(times[n] for n in times if works[n] is work))
    found = Bench(CPU, 1, seconds=0.0).measure("x", works["ours"], works["reference"], per=4)
    assert (found.ours_s, found.reference_s, found.ratio) == (0.5, 1.5, 3.0)


def test_memory_that_a_call_holds_at_its_peak_is_seen() -> None:
    def work() -> None:
        np.ones(64 * 2**17)  # 64 MiB, let go at once

    if (peak := timing.peak_of(work, CPU)) is None:
        pytest.skip("this system does not tell the peak")
    assert 60 <= peak <= 90
    assert (timing.peak_of(lambda: None, CPU) or 0.0) < 20


def test_the_file_holds_what_was_measured_and_a_newer_measurement_replaces_an_older(tmp_path: Path) -> None:
    first = row(
        "step/a/b",
        ours_s=0.5,
        reference_s=1.0,
        ratio=2.0,
        spread=0.25,
        peak_mib=3.0,
        times=20.0,
        equal=False,
        note='a, "b"',
    )
    merge_rows(tmp_path, [first, row("growth/p/tokens/256", ours_s=2.0), row("growth/p/tokens/64", ours_s=1.0)])
    elsewhere = row("step/a/b", device="other", ours_s=9.0)
    merge_rows(tmp_path, [elsewhere, row("step/a/b", ours_s=0.25)])
    rows = read_rows(tmp_path)
    assert [(r.device, r.item, r.ours_s) for r in rows] == [
        ("other", "step/a/b", 9.0),
        ("toy", "growth/p/tokens/64", 1.0),
        ("toy", "growth/p/tokens/256", 2.0),
        ("toy", "step/a/b", 0.25),
    ]
    with (tmp_path / FILE_NAME).open(newline="") as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    merge_rows(tmp_path, [first])
    assert first in read_rows(tmp_path)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", as_csv([row("x")]).replace(",3,", ",three,")])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(BenchError, match=r"performance\.csv is damaged"):
        read_rows(tmp_path)


def test_hours_of_table_4_are_seconds_of_a_step_times_a_hundred_thousand() -> None:
    rows = [
        row("step/toy/net", ours_s=0.036, reference_s=0.072, size="tiny, batch 4", note="losses equal"),
        row("reconstruct/toy", ours_s=1.5),
    ]
    lines = extrapolated(rows)
    assert lines[0] == ("toy/net (tiny, batch 4)", "1", "2", "")
    assert lines[1] == ("toy", "", "", "1.5")
    assert ("codediff/vqvae3d, as printed: one A100", "", "~56", "~0.27") in lines
    (cut, *_) = extrapolated(
        [row("step/toy/net, paper, batch 2 of 20", ours_s=0.036, size="paper, batch 2", times=10.0)]
    )
    assert cut == ("toy/net (paper, batch 2, taken 10 times)", "10", "", "")
    assert "**extrapolated**" in markdown(rows)
    assert extrapolated([]) == []


def test_samples_count_as_equal_where_the_interval_of_the_difference_holds_zero() -> None:
    random = np.random.default_rng(1)
    published = Drawn(random.normal(20.0, 3.0, (30, 2)), random.normal(size=(1, 30, 4)).astype(np.float32))
    judged = published.judged + random.normal(0.0, 0.1, (30, 2)) + np.array([0.0, 0.5])
    equal, words = compared(published, Drawn(judged, published.features), published.features)
    assert not equal
    quality, bound, coverage, count = words.split("; ")
    assert quality.startswith("PSNR")
    assert quality.endswith("] equal")
    assert bound.endswith("] not equal")
    assert coverage == "coverage +0.000 [+0.000, +0.000] equal"
    assert count == "30 cases"
    assert compared(published, published, published.features)[0]


def test_the_mean_of_the_cases_that_are_covered_is_coverage() -> None:
    random = np.random.default_rng(2)
    real, made = random.normal(size=(2, 20, 6)), 0.4 * random.normal(size=(2, 25, 6)) + 0.8
    shares = covered(real, made)
    known = [prdc_scores(r, m, 5)["coverage"] for r, m in zip(real, made, strict=True)]
    assert shares.shape == (20,)
    assert shares.mean() == pytest.approx(np.mean(known))
    assert 0 < shares.mean() < 1


def test_products_are_told_from_all_other_work() -> None:
    a = torch.rand(600, 600, requires_grad=True)
    began = time.process_time()
    a @ a
    alone = time.process_time() - began
    assert product_seconds(lambda: [a + a for _ in range(5)]) == 0.0
    assert product_seconds(lambda: a @ a) > 0.2 * alone
    forward, both = (product_seconds(work) for work in (lambda: a @ a, lambda: (a @ a).sum().backward()))
    assert both > 1.5 * forward  # two more products on the way back
    names = ("convolution_backward", "addmm", "_scaled_dot_product_flash_attention_for_cpu_backward", "bmm")
    assert all(is_product(name) for name in names)
    assert not any(is_product(name) for name in ("add", "mul", "native_group_norm", "gelu_backward", "_softmax"))


def test_targets_stand_beside_what_was_measured() -> None:
    products = {"ours_s": 1.0, "reference_s": 1.9, "products_s": 0.5, "reference_products_s": 0.95}
    rows = [
        row("loop/toy/net", ratio=1 / 1.02, spread=0.01),
        row("loop/toy/slow", ratio=1 / 1.05, spread=0.001),
        row("loop/toy/unclear", ratio=1 / 1.05, spread=0.03),
        row("step/codediff/transformer", ratio=1.8, spread=0.1, **products),
        row("step/codediff/transformer, paper, batch 1 of 20", ratio=2.1, spread=0.1),
        row("sampling/codediff/4", ratio=20.0, spread=0.1, equal=False),
        row("sampling/codediff/8", ratio=9.95, spread=0.1, equal=True, note="48 cases"),
        row("sampling/codediff/30", ratio=30.0, spread=0.1),
        row("sampling/codediff/27", ratio=3.0, spread=0.1, equal=True),
    ]
    lines = {line[0]: line[1:] for line in judged(rows)}
    assert [lines[f"loop/toy/{name}"][2] for name in ("net", "slow", "unclear")] == [
        "met",
        "missed",
        "missed, within its spread",
    ]
    assert lines["loop/toy/net"][:2] == ("overhead ≤ 3%", "+2.0% ± 1.0%")
    assert lines["step/codediff/transformer"] == (
        "≥ 2",
        "1.80 ± 0.10",
        "missed by 10%",
        "products take 50% of ours and 50% of the published step, so that products alone would give 3.8",
    )
    assert lines["step/codediff/transformer, paper, batch 1 of 20"][2] == "met"
    assert lines["sampling/codediff/8"][1:] == ("9.95 ± 0.10", "missed by 1%, within its spread", "48 cases")
    assert not {f"sampling/codediff/{steps}" for steps in (4, 27, 30)} & lines.keys()
    assert lines["step/codediff/vqvae3d"][2] == "not measured"


def test_the_command_measures_keeps_and_writes_into_the_readme(
    tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- performance -->\nold\n<!-- /performance -->\nafter\n")
    options = ["--quick", "--preset", "smoke", "--method", "x2ctgan", "--seconds", "5", "--device", "cpu"]
    places = ["--results-dir", str(tmp_path), "--readme", str(readme)]
    merge_rows(tmp_path, [replace(row("loop/toy/net", ours_s=1.0, ratio=1.0), device=device_name(CPU))])
    assert run_command(["performance", "--only", "growth", *options, *places]) == 0
    items = {r.item: r for r in read_rows(tmp_path) if r.kind == "growth"}
    assert {f"growth/project lidc/volume side/{side}" for side in (32, 64)} <= set(items)
    assert all((r.ours_s or 0) > 0 and r.n >= 2 for r in items.values())
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")
    text = readme.read_text()
    assert text.startswith("before\n<!-- performance -->\n**")
    assert "old" not in text
    assert "](performance.png)\n" in text
    whole = (tmp_path / "performance.md").read_text()
    for table in ("| project lidc | volume side | 32 to 64", "Harness loop beside a bare PyTorch loop, a step:\n"):
        assert table in whole
        assert table not in text
    assert text.endswith("<!-- /performance -->\nafter\n")
    assert "project lidc" in capsys.readouterr().out


def test_steps_of_cut_batches_do_not_replace_those_of_full_ones(tmp_path: Path, data_folder: Path) -> None:
    options = ["--quick", "--seconds", "3", "--preset", "smoke", "--method", "codediff", "--device", "cpu"]
    options += ["--stage", "transformer"]
    for batch in ("0", "2"):
        command = ["performance", "--only", "step", "--batch", batch, *options, "--results-dir", str(tmp_path)]
        assert run_command(command) == 0
    full, cut = read_rows(tmp_path)
    assert (full.item, cut.item) == (
        "step/codediff/transformer",
        "step/codediff/transformer, smoke, batch 2 of 4",
    )
    assert (full.size, full.times, cut.size, cut.times) == (
        "smoke, volumes of 16³, batch 4",
        1.0,
        "smoke, volumes of 16³, batch 2",
        2.0,
    )
    for known in (full, cut):
        assert "losses of the first step differ by" in known.note
        assert 0 < known.products_s < known.ours_s  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "stepp"], "unknown item 'stepp'; did you mean step"),
        (["--only", "step", "--method", "codedif"], "unknown method 'codedif'"),
        (["--steps", "4,x"], "--steps takes whole numbers"),
        (["--only", "step", "--readme", "absent.md"], "absent.md cannot be read"),
        (
            ["--only", "step", "--method", "codediff", "--preset", "smoke", "--batch", "1", "--stage", "vqvae4d"],
            "no stage vqvae4d of codediff has a published step",
        ),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], says: str, tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_command(["performance", *arguments, "--results-dir", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err
