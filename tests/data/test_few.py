"""A preview makes the phantoms it draws and a few more, and takes a whole set that is cached."""

from pathlib import Path

import numpy as np
import pytest

from bench.data.cases import FEW_TRAINING, load_dataset, load_few
from bench.plugins.registry import get_dataset


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_few_phantoms_are_the_first_of_the_whole_set(
    split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    spec = get_dataset("lidc")
    config, made = spec.presets["smoke"], []
    few = load_few(spec, config, "phantom", split, 2, lambda done, total: made.append(total))
    assert max(made) <= FEW_TRAINING + 3 < sum(config.phantoms)
    whole = load_dataset(spec, config, "phantom")[split]
    assert few.names[:2] == whole.names[:2]
    np.testing.assert_array_equal(few.hounsfield[:2], whole.hounsfield[:2])
    assert len(load_few(spec, config, "phantom", split, 2)) == len(whole)  # it is cached now
