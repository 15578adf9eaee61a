"""`bench data preview`: real cases beside phantoms, each with its views, slices and projections."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread
from typer.testing import CliRunner

from bench.cases import Cases
from bench.cli.data import app
from bench.pictures.preview import preview_cases


def test_real_cases_fill_the_left_half_and_phantoms_the_right(
    tmp_path: Path, make_data: Callable[..., dict[str, Cases]]
) -> None:
    real, phantom = (make_data(source=source, seed=seed)["test"] for seed, source in enumerate(("real", "phantom")))
    pictures = {}
    for name, groups in {"both": [real, phantom], "other": [real, make_data(seed=5)["test"]], "one": [real]}.items():
        preview_cases(tmp_path / f"{name}.png", groups, 2)
        pictures[name] = imread(tmp_path / f"{name}.png")[..., :3].astype(float)
    both, other = pictures["both"], pictures["other"]
    middle = both.shape[1] // 2
    assert both.shape == other.shape
    assert both.shape[1] == pytest.approx(2 * pictures["one"].shape[1], rel=0.01)
    below_title = both.shape[0] // 10
    changed = np.abs(both - other)[below_title:].mean((0, 2))
    assert changed[middle + 5 :].mean() > 10  # another seed draws other phantoms
    assert changed[: middle - 5].max() < 1


def test_without_real_cases_the_phantoms_are_drawn_and_it_is_said(
    tmp_path: Path,
) -> None:
    out = tmp_path / "p.png"
    arguments = ["preview", "lidc", "--preset", "smoke", "--count", "1", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "phantoms alone: no prepared lidc data" in result.output
    assert imread(out).std() > 20
    assert CliRunner().invoke(app, [*arguments, "--source", "real"]).exit_code == 1
