"""Outside predictions whose files state a wrong orientation are told from those that are merely bad."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.pipeline.doubts import find_better_turn
from bench.runs.predictions import find_predictions

from ..helpers.toy_data import predict

Change = Callable[[np.ndarray], np.ndarray]
NOISE = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda volume: volume[::-1], "flipped along D:"),
        (lambda volume: volume[:, ::-1, ::-1], "flipped along H and W:"),
        (lambda volume: volume.transpose(2, 1, 0), "with axes W, H, D:"),
        (lambda volume: 0.9 * volume, ""),
        (lambda volume: NOISE.random(volume.shape), ""),
        (lambda volume: np.full_like(volume, volume.mean()), ""),
    ],
)
def test_only_a_wrong_orientation_is_doubted(change: Change, says: str, tmp_path: Path, make_data) -> None:
    cases = make_data(train=1, test=3)["test"]
    predict(tmp_path, cases, lambda volume, _: change(volume))
    found = find_better_turn(find_predictions(tmp_path, cases.names), cases, "hu")
    assert found.startswith(f"the volumes fit the truth better {says}" if says else "")
    assert bool(found) == bool(says)
