"""A trained CodeDiff3D uses the views it is given, and knows more than the mean of its training set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.metrics.distortion import psnr
from bench.pipeline.plan import RunRequest
from bench.pipeline.run import run_one
from bench.study.runs import StudyRequest, TrainedRun, find_runs
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

LEAST_OVER_SHUFFLED, LEAST_OVER_MEAN = 2.5, 2.5  # dB
SEEDS = (0, 1, 2)  # what a training gains over the mean volume differs by more than a decibel between them
PRESET = "tiny"


def scores_of(run: TrainedRun) -> dict[str, float]:
    """Mean PSNR in dB with the right views and with another patient's, of the mean volume, and of the encoding."""
    train, test = run.cases["train"], run.cases["test"]
    truth, views = test.volumes(range(len(test))), test.views(range(len(test)))
    seeds = [derive_seed(run.seed, "sample", name) for name in test.names]
    with torch.inference_mode():
        made = {
            "right": run.method.reconstruct(views, seeds=seeds),
            "shuffled": run.method.reconstruct(replace(views, images=views.images.roll(1, 0)), seeds=seeds),
            "mean": train.volumes(range(len(train))).mean(0).expand_as(truth),
            "ceiling": run.method.reconstruct_truth(truth),
        }
    pairs = {name: zip(truth.numpy(), volumes.numpy(), strict=True) for name, volumes in made.items()}
    return {name: float(np.mean([psnr(t, m, data_range=1.0) for t, m in both])) for name, both in pairs.items()}


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_the_right_views_beat_another_patients_views_and_the_mean_volume(tmp_path: Path) -> None:
    places = {"source": "phantom", "device": "cpu", "runs_dir": tmp_path}
    for seed in SEEDS:
        run_one(RunRequest("codediff", "lidc", PRESET, seed, results_dir=tmp_path, **places), Progress())
    asked = StudyRequest(methods=("codediff",), preset=PRESET, seeds=SEEDS, **places)
    scores = [scores_of(run) for run in find_runs(asked, Progress())]
    print([{name: round(value, 2) for name, value in of_seed.items()} for of_seed in scores])
    for of_seed in scores:
        assert of_seed["right"] >= of_seed["shuffled"] + LEAST_OVER_SHUFFLED, of_seed
        assert of_seed["mean"] < of_seed["right"] <= of_seed["ceiling"], of_seed
    assert np.mean([of_seed["right"] - of_seed["mean"] for of_seed in scores]) >= LEAST_OVER_MEAN, scores
