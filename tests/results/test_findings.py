"""Findings: the sentences follow the numbers, and change with them."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bench.cli import run_command
from bench.errors import UsageError
from bench.results import model
from bench.results.findings import write_findings
from bench.results.model import read_results
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED
from bench.scoring.protocols import get_protocol

from ..helpers.table_rows import CASES, add, draw


def add_run(
    results: Path, method: str, psnr: float, density: float = 1.0, *, real: float = 1.1, blurred: float = 1.7, **other
) -> None:
    """One run with PSNR around a mean, and density in three encoders."""
    other.setdefault("protocol_hash", get_protocol(other.get("protocol", "ct3d-2")).sha256())
    means = {"density": density, "density_baseline": real, "density_blurred": blurred}
    encoders = {metric: [mean - 0.01, mean, mean + 0.01] for metric, mean in means.items()}
    add(results, method, cases={"psnr": draw(len(method), psnr, 0.3)}, encoders=encoders, **other)


def add_trainings(results: Path, method: str, psnr: float, density: float = 1.0, **other) -> None:
    """Three seeds of one method."""
    for seed in range(3):
        add_run(results, method, psnr + 0.02 * seed, density + 0.001 * seed, seed=seed, **other)


def findings(results: Path) -> str:
    return write_findings(read_results(results))


def line_of(text: str, start: str) -> str:
    (line,) = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line.startswith(start)]
    return line


def test_the_order_of_the_table_is_that_of_the_numbers(tmp_path: Path) -> None:
    add_trainings(tmp_path, "x2ctgan", 21.0)
    add_trainings(tmp_path, "codediff", 19.0)
    add_trainings(tmp_path, "ccx_raynet", 20.0)
    add_run(tmp_path, "mean", 18.0)
    text = findings(tmp_path)
    line = line_of(text, "| volumes | PSNR")
    assert "CodeDiff3D > CCX-rayNet > X2CT-GAN" in line  # printed 27.53, 24.70, 24.01 dB
    assert "X2CT-GAN > CCX-rayNet > CodeDiff3D" in line
    assert "-1.00" in line
    assert "p < 0.001" in line
    assert "| -1.9" in line
    assert "first in 2 of 2 columns" in line_of(text, "**The printed order.**")  # density and PSNR
    assert "every method is better" in line_of(text, "- **PSNR of volumes against mean training")
    for seed in range(3):
        add_run(tmp_path, "codediff", 22.0 + 0.02 * seed, seed=seed)
    line = line_of(findings(tmp_path), "| volumes | PSNR")
    assert "+0.33" in line
    assert "same" in line


def test_a_title_of_a_plugin_is_text_in_sentences_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    title, known = "<b>|`x`](http://e) **y** $z$", model.method_card
    card = replace(known("x2ctgan"), title=f"{title}\x1b[2J")
    monkeypatch.setattr(model, "method_card", lambda method: card if method == "x2ctgan" else known(method))
    for method, psnr in (("x2ctgan", 20.0), ("ccx_raynet", 18.0), ("codediff", 19.0), ("mean", 17.0)):
        add_trainings(tmp_path, method, psnr)
    text = findings(tmp_path)
    shown = MarkdownIt().enable("table").render(text)
    assert text.count("\\<b>") == shown.count(html.escape(title)) >= 3  # seeds, sentences, the table of orders
    assert "\x1b" not in text


def test_a_tie_with_the_first_counts_as_one_and_has_its_detectable_difference(tmp_path: Path) -> None:
    for seed, (ours, other, third) in enumerate(((20.0, 21.0, 12.0), (21.0, 20.2, 12.1), (20.2, 20.3, 12.2))):
        add_run(tmp_path, "codediff", ours, seed=seed, density=2.0)
        add_run(tmp_path, "x2ctgan", other, seed=seed)
        add_run(tmp_path, "ccx_raynet", third, seed=seed)
    text = findings(tmp_path)
    assert re.search(r", p = \d\.\d+, detectable \d+\.\d\d dB \|", line_of(text, "| volumes | PSNR"))
    said = "The printed first is first here in 1 of 2; it is first or not distinguishable from the first in 2."
    assert said in line_of(text, "**The printed order.**")
    for seed in range(3):
        add_run(tmp_path, "ccx_raynet", 25.0 + 0.1 * seed, seed=seed)
    assert "not distinguishable from the first in 1." in line_of(findings(tmp_path), "**The printed order.**")


def test_one_training_is_no_verdict_on_the_order(tmp_path: Path) -> None:
    add_run(tmp_path, "x2ctgan", 21.0, density=0.9)
    add_trainings(tmp_path, "codediff", 19.0)
    text = findings(tmp_path)
    assert "of this training" in line_of(text, "| volumes | PSNR")
    assert "In 1 there is no verdict: one of the two was trained once" in line_of(text, "**The printed order.**")


def test_density_has_a_line_by_its_arrow_and_one_by_its_distance_from_real_cases(tmp_path: Path) -> None:
    add_run(tmp_path, "codediff", 19.0, density=2.0)
    add_run(tmp_path, "x2ctgan", 19.0, density=1.0)
    text = findings(tmp_path)
    assert line_of(text, "| volumes | Density |").count("CodeDiff3D > X2CT-GAN |") == 2
    assert line_of(text, "| volumes | Density, distance").count("X2CT-GAN > CodeDiff3D |") == 2
    assert "**Seeds:**" not in text  # of which one says nothing


def test_results_of_another_version_of_the_protocol_have_a_section_of_their_own(tmp_path: Path) -> None:
    for method, psnr in (("x2ctgan", 18.0), ("codediff", 20.0)):
        add_run(tmp_path, method, psnr)
        add_run(tmp_path, method, psnr + 9.0, variant="bbbbbbbb", protocol_hash="0" * 64, real=3.3)
    text = findings(tmp_path)
    sections = {"as another version defines it" in part: part for part in text.split("## ")[1:]}
    assert len(sections) == text.count("## ") == 2
    assert "ct3d-2 (protocol as another version defines it, 00000000)" in sections[True]
    assert "real training cases score 1.10" in sections[False]
    assert "real training cases score 3.30" in sections[True]


def test_methods_are_sorted_by_what_tests_against_a_floor_say(tmp_path: Path) -> None:
    add_run(tmp_path, "mean", 18.0)
    add_trainings(tmp_path, "x2ctgan", 21.0)
    add_trainings(tmp_path, "codediff", 16.0)
    for seed, psnr in enumerate((16.0, 18.5, 20.0)):
        add_run(tmp_path, "ccx_raynet", psnr, seed=seed)
    add_run(tmp_path, "mednerf", 25.0)
    line = line_of(findings(tmp_path), "- **PSNR of volumes against mean training volume**")
    assert re.search(
        r"better: X2CT-GAN; worse: CodeDiff3D \(-2.*, p .*\); cannot be told apart: CCX-rayNet \(.*detectable \d.*\); "
        r"no verdict \(trained once\), better here: MedNeRF \(\+6.* \[[^,]*, [^,]*\]\)\.$",
        line,
    )


def test_a_method_trained_once_that_no_test_tells_from_a_floor_stands_with_what_it_could_have_found(
    tmp_path: Path,
) -> None:
    add_run(tmp_path, "mean", 18.0)
    add_run(tmp_path, "x2ctgan", 18.0)
    add_run(tmp_path, "codediff", 16.0)
    line = line_of(findings(tmp_path), "- **PSNR of volumes against mean training volume**")
    assert re.search(r"no verdict \(trained once\), worse here: CodeDiff3D \(-[12]\.\d+ \[", line)
    assert re.search(r"not told apart here: X2CT-GAN \(.*, p = .*, detectable .*, of this training\)\.$", line)


def test_methods_are_called_higher_than_real_cases_where_a_test_says_so(tmp_path: Path) -> None:
    add_trainings(tmp_path, "codediff", 19.0, density=1.3)
    add_trainings(tmp_path, "x2ctgan", 19.0, density=1.0)
    add_run(tmp_path, "mednerf", 19.0, density=2.0)
    for seed, density in enumerate((0.9, 1.2, 1.6)):
        add_run(tmp_path, "ccx_raynet", 19.0, density=density, seed=seed)
    assert "; higher than real cases: CodeDiff3D. A high density" in line_of(findings(tmp_path), "- **Density:**")


@pytest.mark.parametrize(("blurred", "warned"), [(1.7, True), (1.0, False)])
def test_the_warning_about_density_follows_the_blurred_control(tmp_path: Path, blurred: float, warned: bool) -> None:
    for method in ("x2ctgan", "codediff"):
        add_run(tmp_path, method, 19.0, blurred=blurred)
    assert ("no sign of realism" in findings(tmp_path)) == warned


def test_another_definition_that_turns_the_order_is_shown(tmp_path: Path) -> None:
    for method, ours, theirs in (("x2ctgan", 21.0, 24.0), ("codediff", 19.0, 26.0)):
        add_run(tmp_path, method, ours)
        add_run(tmp_path, method, theirs, protocol="paper-2023")
    line = line_of(findings(tmp_path), "| PSNR")
    assert "paper-2023" in line
    assert line.index("CodeDiff3D > X2CT-GAN") < line.index("X2CT-GAN > CodeDiff3D")
    add_run(tmp_path, "codediff", 19.0, seed=1)  # no longer the same predictions under both
    assert "paper-2023" not in findings(tmp_path)


def test_what_is_scored_against_its_own_encoding_has_no_place_in_an_order(tmp_path: Path) -> None:
    for method, truth in (("x2ctgan", TRUTH_CT), ("ccx_raynet", TRUTH_CT), ("codediff", TRUTH_ENCODED)):
        add_run(tmp_path, method, 20.0 + len(method))
        add_run(tmp_path, method, 30.0 - len(method), protocol="paper-2023", note=truth)
    line = line_of(findings(tmp_path), "| PSNR")
    assert "| X2CT-GAN > CCX-rayNet | CCX-rayNet > X2CT-GAN | CodeDiff3D 2" in line


@pytest.mark.parametrize("given", ["0" * 8, "f" * 8], ids=["before", "after"])
def test_pretrained_weights_do_not_stand_for_what_was_trained(given: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        weights = {"run_id": f"x2ctgan-lidc-tiny-s{seed}-{given}", "origin": "pretrained"}
        add_run(tmp_path, "x2ctgan", 40.0, seed=seed, **weights)
    add_trainings(tmp_path, "x2ctgan", 21.0)
    add_run(tmp_path, "codediff", 19.0)
    add_run(tmp_path, "mean", 30.0)
    line = line_of(findings(tmp_path), "- **PSNR of volumes")
    assert "X2CT-GAN (-9." in line.partition("worse:")[2].partition("no verdict")[0]


def test_results_of_another_preset_are_never_mixed_in(tmp_path: Path) -> None:
    add_run(tmp_path, "x2ctgan", 21.0)
    add_run(tmp_path, "codediff", 30.0, run_id="codediff-lidc-small-s0-bbbbbbbb", preset="small")
    assert findings(tmp_path).startswith("Nothing has been measured")


def test_the_spread_of_seeds_and_a_changing_order_are_stated(tmp_path: Path) -> None:
    for seed, (first, second) in enumerate(((21.0, 19.0), (22.0, 19.5), (23.0, 20.0))):
        add_run(tmp_path, "x2ctgan", first, seed=seed)
        add_run(tmp_path, "codediff", second, seed=seed)
    line = line_of(findings(tmp_path), "- **Seeds:**")
    assert re.search(r"CodeDiff3D 19\.\d\d ± 0\.50, X2CT-GAN 2[12]\.\d\d ± 1\.00;", line)  # the noise is shared
    assert "each of the 3 seeds alone gives the same order" in line
    add_run(tmp_path, "codediff", 24.0, seed=2)
    assert "the 3 seeds give 2 different orders" in line_of(findings(tmp_path), "- **Seeds:**")


def test_equal_and_single_cases_make_no_sentence_nan(tmp_path: Path) -> None:
    for method in ("codediff", "x2ctgan", "mean"):
        for seed in (0, 1):
            cases = {"psnr": dict.fromkeys(CASES, 20.0), "mae": {CASES[0]: 0.1}}
            add(tmp_path, method, seed, cases=cases, protocol_hash=get_protocol().sha256())
    text = findings(tmp_path)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "cannot be told apart: CodeDiff3D (+0.00 [+0.00, +0.00], p = 1.000, detectable 0.00 dB)" in text


def test_another_protocol_than_the_default_one_is_asked_for_by_name(tmp_path: Path) -> None:
    for method, psnr in (("a", 20.0), ("bb", 25.0)):
        add_run(tmp_path, method, psnr, protocol="ct3d-1")
    results = read_results(tmp_path)
    with pytest.raises(UsageError, match=r"no rows of ct3d-2, but of ct3d-1: type --protocol ct3d-1"):
        write_findings(results)
    assert "protocol ct3d-1; seeds" in write_findings(results, "ct3d-1")
    assert "type --protocol" not in write_findings(read_results(tmp_path / "nothing"))
    command = ["findings", "--out", str(tmp_path / "FINDINGS.md"), "--results-dir", str(tmp_path)]
    assert [run_command([*command, *more]) for more in ([], ["--protocol", "ct3d-1"])] == [2, 0]
