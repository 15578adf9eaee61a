"""Outside predictions whose files state a wrong orientation are told from those that are merely bad."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.cases import Cases
from bench.pipeline.doubts import find_better_turn
from bench.runs.predictions import find_predictions, write_prediction

Change = Callable[[np.ndarray], np.ndarray]
NOISE = np.random.default_rng(5)


def hint(folder: Path, cases: Cases, change: Change) -> str:
    for case, volume in zip(cases.names, cases.volumes(range(len(cases))).numpy(), strict=True):
        write_prediction(folder, case, change(volume), cases, seconds=0.0, seed=None)
    return find_better_turn(find_predictions(folder, cases.names), cases, "hu")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda volume: volume[::-1], "flipped along D:"),
        (lambda volume: volume[:, ::-1, ::-1], "flipped along H and W:"),
        (lambda volume: volume.transpose(2, 1, 0), "with axes W, H, D:"),
        (lambda volume: 0.9 * volume, ""),
        (lambda volume: NOISE.random(volume.shape, dtype=np.float32), ""),
        (lambda volume: np.full_like(volume, volume.mean()), ""),
    ],
)
def test_only_a_wrong_orientation_is_doubted(change: Change, says: str, tmp_path: Path, make_data) -> None:
    found = hint(tmp_path, make_data(train=1, test=3)["test"], lambda volume: change(volume).copy())
    assert found.startswith(f"the volumes fit the truth better {says}" if says else "")
    assert bool(found) == bool(says)
