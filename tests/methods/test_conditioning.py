"""A trained CodeDiff3D uses the views it is given, and knows more than the mean of its training set."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Views
from bench.data.cases import load_dataset
from bench.metrics.distortion import psnr
from bench.pipeline.fit import load_stages
from bench.pipeline.plan import RunRequest
from bench.pipeline.run import run_one
from bench.plugins.config import resolve
from bench.plugins.registry import get_dataset, get_method
from bench.system.progress import Progress
from bench.system.seeding import derive_seed

from ..helpers.toy_runs import toy_run

LEAST_OVER_SHUFFLED, LEAST_OVER_MEAN = 2.5, 2.5  # dB
SEEDS = (0, 1, 2)  # what a training gains over the mean volume differs by more than a decibel between them


def mean_psnr(truth: np.ndarray, made: np.ndarray) -> float:
    return float(np.mean([psnr(t, m, data_range=1.0) for t, m in zip(truth, made, strict=True)]))


def scores_of(seed: int, folder: Path) -> dict[str, float]:
    """Mean PSNR in dB with the right views and with another patient's, of the mean volume, and of the encoding."""
    request = RunRequest("codediff", "lidc", "tiny", seed, source="phantom", runs_dir=folder, results_dir=folder)
    run = run_one(request, Progress())
    spec, plugin = get_dataset("lidc"), get_method("codediff")
    config, settings = resolve(plugin, spec, "tiny")
    cases = load_dataset(spec, config.data, "phantom")
    method = plugin.load()(settings, cases["test"].card)
    load_stages(method.stages(), toy_run(run, cases))
    for stage in method.stages():
        for network in stage.networks.values():
            network.eval()

    everyone = range(len(cases["test"]))
    truth = cases["test"].volumes(everyone).numpy()
    views = cases["test"].views(everyone)
    shuffled = Views(views.images.roll(1, 0), views.angles, views.mirrored, views.geometry)
    seeds = [derive_seed(seed, "sample", name) for name in cases["test"].names]
    with torch.inference_mode():
        right, wrong = (method.reconstruct(given, seeds=seeds).numpy() for given in (views, shuffled))
        ceiling = method.reconstruct_truth(cases["test"].volumes(everyone)).numpy()
    mean = np.broadcast_to(cases["train"].volumes(range(len(cases["train"]))).mean(0).numpy(), truth.shape)
    made = {"right": right, "shuffled": wrong, "mean": mean, "ceiling": ceiling}
    return {name: mean_psnr(truth, volumes) for name, volumes in made.items()}


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_the_right_views_beat_another_patients_views_and_the_mean_volume(tmp_path: Path) -> None:
    scores = [scores_of(seed, tmp_path) for seed in SEEDS]
    print([{name: round(value, 2) for name, value in of_seed.items()} for of_seed in scores])
    for of_seed in scores:
        assert of_seed["right"] >= of_seed["shuffled"] + LEAST_OVER_SHUFFLED, of_seed
        assert of_seed["mean"] < of_seed["right"] <= of_seed["ceiling"], of_seed
    assert np.mean([of_seed["right"] - of_seed["mean"] for of_seed in scores]) >= LEAST_OVER_MEAN, scores
