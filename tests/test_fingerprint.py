"""`bench fingerprint`: rules, comparison, and a command that prints one object and fails when a value is wrong."""

import json
import math
import re
import subprocess
import sys
from typing import Any

import pytest

from bench.cli import run_command
from bench.errors import UsageError
from bench.fingerprint import UnknownEntry, compare, compute, compute_path, deviation_of, golden_value, select
from bench.methods.codediff import fingerprint as codediff
from bench.methods.codediff import fingerprint_autoencoder, fingerprint_prior
from bench.plugins.config import method_settings
from bench.plugins.registry import get_method


@pytest.mark.parametrize(
    ("value", "golden", "scale", "expected"),
    [
        (1.1, 1.0, None, 0.1),
        (0.1, 0.0, None, 0.1),
        ([0.0, 2.2], [0.0, 2.0], None, 0.1),
        ([0.1], [0.0], 10.0, 0.01),
        (3, 3, None, 0.0),
        (3, 4, None, math.inf),
        ([1, 2], [1, 2, 3], None, math.inf),
        ("a", "b", None, math.inf),
        (None, 1.0, None, math.inf),
        (float("nan"), 1.0, None, math.inf),
        (["x", [2], 1.0, 4.4], ["x", [2], 1.0, 4.0], None, 0.1),
    ],
)
def test_deviations_are_relative_and_whole_numbers_must_be_equal(
    value: Any, golden: Any, scale: float | None, expected: float
) -> None:
    assert deviation_of(value, golden, scale) == pytest.approx(expected)


def test_a_value_that_is_not_computed_counts_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "losses_metrics_normalisation_prdc/recon_losses"
    assert all(row.ok for row in compare(codediff, entry))
    monkeypatch.setattr(codediff, "COMPUTED", [(re.compile(entry), lambda: {"l1": 0.1513047829})])
    rows = {row.key: row.ok for row in compare(codediff, entry)}
    assert rows["l1"]
    assert not rows["smooth_l1_beta_1_9"]


def test_any_path_is_found() -> None:
    whole = compute_path(codediff, "ae3d/params")
    assert compute_path(codediff, "ae3d/params/total") == whole["total"] == 26338689
    losses = compute_path(codediff, "transformer_and_diffusion/losses")
    assert set(losses) == {"tiny", "T512", "zero_mask_mlm_guard"}
    assert select(codediff, "ae3d/params/total") == [("ae3d/params", "total/")]
    assert ("ae3d/run128_f32", "") in select(codediff, "ae3d")
    assert ("ae3d/run128_f32", "") not in select(codediff, "ae3d", fast=True)
    with pytest.raises(UsageError, match="nearest: ae3d/params"):
        compute_path(codediff, "ae3d/parms")
    with pytest.raises(UsageError, match="has no 'totl'"):
        compute_path(codediff, "ae3d/params/totl")
    with pytest.raises(UnknownEntry):
        compute(codediff, "ae3d/run32_f16")


def test_the_networks_of_the_paper_preset_are_those_compared() -> None:
    settings: Any = method_settings(get_method("codediff"), "paper", "lidc")
    assert settings.vqvae3d.autoencoder == fingerprint_autoencoder.VOLUME
    assert settings.vqvae2d.autoencoder == fingerprint_autoencoder.VIEW
    assert settings.vqvae3d.discriminator == codediff.DISCRIMINATORS["progressive3d"]
    released = settings.vqvae2d.discriminator.model_copy(update={"crops": "released"})
    assert released == codediff.DISCRIMINATORS["progressive2d"]
    prior = fingerprint_prior.PRIOR
    for name in ("width", "heads", "layers", "dropout"):
        assert getattr(settings.transformer, name) == getattr(prior, name)


def test_the_command_computes_what_nobody_recorded_and_compares_what_was(capsys: pytest.CaptureFixture[str]) -> None:
    path = "discriminators_and_feature_extractor/chirp/progressive3d"
    assert run_command(["fingerprint", "codediff", "--entry", f"{path}/sn_exact_20_float64", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["shape"] == [8]  # 20 → 5 after two stages, 2³ places for a 4³ head
    assert list(value) == list(golden_value(codediff.GOLDEN, f"{path}/sn_exact_32_float64"))
    assert run_command(["fingerprint", "codediff", "--entry", f"{path}/sn_exact_32_float64"]) == 0
    assert "7 values of 1 entries, 0 differ" in capsys.readouterr().out


def test_a_wrong_network_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = codediff.DISCRIMINATORS["progressive3d"].model_copy(update={"channels": 15})
    monkeypatch.setitem(codediff.DISCRIMINATORS, "progressive3d", wrong)
    path = "discriminators_and_feature_extractor/chirp/progressive3d"
    for entry in ("params", "sn_exact_32_float64"):
        assert run_command(["fingerprint", "codediff", "--entry", f"{path}/{entry}"]) == 1
        assert "no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--entry", "ae3d/params"], "--entry needs a method"),
        (["codediff", "--entry", "ae3d/run48_f32"], "add --json"),
        (["codediff", "--entry", "nonsense", "--json"], "no entry 'nonsense'"),
        (["codediff", "--entry", "ae3d/run8_f64", "--json"], "fewer than 16 a side"),
        (["nobody"], "unknown method"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["fingerprint", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.slow
def test_the_whole_command_passes() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "fingerprint", "codediff", "--fast"], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()[-2000:]
