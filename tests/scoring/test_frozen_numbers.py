"""Numbers under a version of a function stay what they are: of closed-form inputs, against a file made once.

The numbers of version 1 were computed by the code in which settings did not yet enter a protocol's hash.
"""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from bench.dataset import DatasetCard
from bench.likelihood import discretised_gaussian_nll, discretised_laplace_nll
from bench.runs.predictions import write_prediction
from bench.scoring.anatomy import score_anatomy
from bench.scoring.bits import CaseLikelihood, likelihood_scores
from bench.scoring.cases import score_case
from bench.scoring.fidelity import blur, bring_to_scale, draw_baseline, encode, prdc_by_encoder
from bench.scoring.laplace import LaplaceFit, fit_folder
from bench.scoring.protocol import VERSIONS, Anatomy, CaseVolumes, Reprojection, Samples, Turn
from bench.scoring.protocols import FITTED, PROTOCOLS
from bench.scoring.samples import score_samples
from bench.scoring.xrays import draw_images, score_given_views, score_turn, turn_angles

from ..helpers.toy_data import GEOMETRY, make_data

FILE = Path(__file__).parents[1] / "helpers" / "frozen_scores.json"
FROZEN = json.loads(FILE.read_text())
CPU = torch.device("cpu")
CARD = DatasetCard("toy", "phantom", 24, 13.0, (-1000.0, 1000.0), 24, (270.0, 0.0), (True, False), GEOMETRY, {}, "")


def wave(shape: tuple[int, ...], step: float, phase: float = 0.0) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(step * np.arange(np.prod(shape)) + phase).reshape(shape)


def pair(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    truth = wave(shape, 0.01)
    prediction = np.clip(truth + 0.1 * wave(shape, 0.013, 1.5) - 0.05, 0.0, 1.0)
    prediction[3] = truth[3]  # slices without any error
    return truth, prediction


def numbers_of_cases() -> dict[str, float | None]:
    truth, prediction = pair((16, 20, 24))
    volumes = CaseVolumes(truth, prediction, 0.9 * truth + 0.03)
    return {
        f"{name} {score.space}/{score.axis} {score.metric}": score.value
        for name, protocol in PROTOCOLS.items()
        for score in score_case(volumes, protocol)
    }


def numbers_of_xrays() -> dict[str, float | None]:
    turn = Turn(images=8)
    drawn = draw_images(CaseVolumes(*pair((24, 24, 24))), CARD, turn_angles(turn, CARD.angles))
    views = wave((2, 24, 24), 0.02)
    scores = [*score_turn(drawn, CARD, turn), *score_given_views(drawn[:, [6, 0]], views, views[::-1], Reprojection())]
    return {f"{score.space}/{score.axis} {score.metric}": score.value for score in scores}


def numbers_of_anatomy() -> dict[str, float | None]:
    truth, prediction = pair((24, 24, 24))
    truth, prediction = (v * (np.abs(np.arange(24) - 11.5) < 9)[:, None] for v in (truth, prediction))  # air in front
    numbers = {}
    for subject, high in (("patient", 1000.0), ("bag", 3095.0)):
        card = replace(CARD, window=(-1000.0, high), subject=subject)
        for score in score_anatomy(truth, prediction, card, Anatomy()):
            numbers[f"{subject} {score.space}/{score.axis} {score.metric}"] = score.value
    return numbers


def numbers_of_features() -> dict[str, float]:
    numbers = {}
    for name in ("ct3d-1", "paper-2023"):
        settings = PROTOCOLS[name].fidelity
        assert settings is not None
        settings = replace(settings, encoder_seeds=(0, 1), small_encoded_side=48)
        whole = [torch.from_numpy(wave((16, 16, 16), 0.01, phase)).float() for phase in (0.0, 2.0)]
        for sigma in (0.0, settings.blur_voxels):
            blurred = [(blur(volume, sigma, settings.blur_edge), volume) for volume in whole]
            volumes = [bring_to_scale(volume, ct, settings.stretch) for volume, ct in blurred]
            for key, features in encode(volumes, 16, settings, CPU).items():
                place = f"{name} blurred by {sigma:g}, {key}, encoder"
                numbers |= {f"{place} {index}": float(np.linalg.norm(own)) for index, own in enumerate(features)}
    return numbers


def numbers_of_neighbours() -> dict[str, float]:
    real, made = wave((2, 21, 5), 0.37), 0.9 * wave((2, 21, 5), 0.53, 0.4)
    numbers = {
        f"batch {batch}, encoder {encoder}, {name}": value
        for batch in (None, 8)
        for encoder, scores in enumerate(prdc_by_encoder(real, made, 3, batch))
        for name, value in scores.items()
    }
    settings = PROTOCOLS["ct3d-1"].fidelity
    assert settings is not None
    draws = draw_baseline(30, 4, settings).ravel().tolist()
    return numbers | {f"draw {index}": float(case) for index, case in enumerate(draws)}


def numbers_of_likelihoods() -> dict[str, float | None]:
    scores = likelihood_scores(CaseLikelihood("one", 5000.0, 300.0, voxels=4096, codes=64))
    values, means = torch.tensor([-1000.0, -999.6, 3.4, 1000.0]), torch.tensor([0.02, 0.3, 0.5, 0.97])
    nats = discretised_gaussian_nll(values, means, torch.tensor([-4.0, -9.0, -2.0, 1.0]), (-1000.0, 1000.0))
    narrow = discretised_laplace_nll(
        values, 2000 * means - 1000, torch.tensor([0.3, 7.0, 900.0, 40.0]), (-1000.0, 1000.0)
    )
    return {
        **{score.metric: score.value for score in scores},
        **{f"nats of voxel {i}": v for i, v in enumerate(nats.tolist())},
        **{f"nats of voxel {i}, Laplace": v for i, v in enumerate(narrow.tolist())},
    }


def numbers_of_fits() -> dict[str, float | None]:
    validation = make_data()["validation"]
    with TemporaryDirectory() as folder:
        for index, name in enumerate(validation.names):
            off = 0.9 * validation.truth(name) + 0.1 * wave((16, 16, 16), 0.37, index)
            write_prediction(Path(folder), name, off, validation, seconds=0.0, seed=0)
        fit = fit_folder(Path(folder), validation, FITTED, "hu")
    assert isinstance(fit, LaplaceFit)
    score = fit.score(validation.hounsfield[0], wave((16, 16, 16), 0.01), validation.card.window)
    return {score.metric: score.value, **{f"bits of {tried}": bits for tried, bits in fit.bits.items()}}


def numbers_of_samples() -> dict[str, float | None]:
    card = DatasetCard("toy", "phantom", 16, 20.0, (-1000.0, 1000.0), 16, (270.0, 0.0), (True, False), GEOMETRY, {}, "")
    truth = wave((16, 16, 16), 0.01)
    drawn = [np.clip(truth + 0.1 * wave((16, 16, 16), 0.013, phase) - 0.06, 0.0, 1.0) for phase in (0.5, 1.5, 2.5)]
    return {f"{s.space} {s.metric}": s.value for s in score_samples("one", truth, drawn, card, Samples())}


NUMBERS = {
    "samples": (numbers_of_samples, 1e-9),
    "cases": (numbers_of_cases, 1e-9),
    "xrays": (numbers_of_xrays, 1e-5),
    "anatomy": (numbers_of_anatomy, 1e-9),
    "features": (numbers_of_features, 1e-3),
    "neighbours": (numbers_of_neighbours, 1e-9),
    "likelihoods": (numbers_of_likelihoods, 1e-5),
    "fits": (numbers_of_fits, 1e-4),
}


@pytest.mark.parametrize("part", NUMBERS)
def test_a_function_gives_the_numbers_of_its_version(part: str) -> None:
    """A failure means that a function computes something else: raise its number in VERSIONS, then write the new
    numbers and versions to the file. Protocols then have other hashes, so no row of before is pooled with them.
    """
    compute, tolerance = NUMBERS[part]
    assert compute() == {
        name: value if value is None else pytest.approx(value, rel=tolerance, abs=1e-12)
        for name, value in FROZEN[part].items()
    }


def test_the_file_is_of_todays_versions() -> None:
    assert FROZEN["versions"] == VERSIONS
