"""Seconds a case and memory of reconstruction, of making phantoms, of projecting and of scoring."""

from collections.abc import Iterator

import numpy as np
import torch
from prdc import compute_prdc
from skimage.metrics import structural_similarity

from bench.cases import Views
from bench.dataset import DatasetSpec
from bench.metrics.settings import WANG_2004
from bench.performance.hooks import published_reconstruct
from bench.performance.rows import Row
from bench.performance.sampling import NEAREST
from bench.performance.subjects import Subject
from bench.performance.timing import Bench, Work
from bench.projector import project
from bench.scoring.cases import score_case
from bench.scoring.fidelity import calling_prdc, prdc_scores
from bench.scoring.protocol import CaseVolumes
from bench.scoring.protocols import DEFAULT, get_protocol
from bench.system.seeding import derived_seed

ANGLES = (270.0, 0.0)
SCORE_CASE, SCORE_SET = "score/one case", "score/one set"
CASE_SIDE = 128
SET_CASES, SET_FEATURES = 1000, 2197  # the encoder's features of 128³


def reconstruct_rows(subject: Subject, bench: Bench, cases: int = 4) -> Iterator[Row]:
    """Reconstruction of some cases at once, a case; beside the published way where the method offers it."""
    size = f"{subject.preset}, {cases} cases at once, untrained"
    yield bench.measure(
        f"reconstruct/{subject.name}",
        reconstruction(subject, cases, bench.device),
        published(subject, cases, bench.device),
        per=cases,
        size=size,
    )


def reconstruction(subject: Subject, cases: int, device: torch.device) -> Work:
    """Reconstructing the test cases, again from the first where there are too few."""
    views, seeds = repeated_views(subject, cases, device)
    return lambda: subject.method.reconstruct(views, seeds=seeds)


def published(subject: Subject, cases: int, device: torch.device) -> Work | None:
    """The same as published; None where the method does not offer it."""
    function = published_reconstruct(subject.method)
    if function is None:
        return None
    views, seeds = repeated_views(subject, cases, device)
    return torch.inference_mode()(lambda: function(views, seeds))


def repeated_views(subject: Subject, cases: int, device: torch.device) -> tuple[Views, list[int]]:
    """Views and seeds of so many cases."""
    test = subject.cases["test"]
    views = test.views([index % len(test) for index in range(cases)])
    return views.to(device), [derived_seed("performance", index) for index in range(cases)]


def data_rows(spec: DatasetSpec, size: int, bench: Bench) -> Iterator[Row]:
    """Making one phantom at twice the preset's side, as preparation does, projecting it, and scoring a prediction."""
    fine = min(spec.full_grid, 2 * size)
    yield bench.measure(f"prepare/{spec.name}", lambda: spec.phantom(0, fine), size=f"{fine}³")
    yield bench.measure(f"project/{spec.name}", projection(spec, fine, 2), size=f"{fine}³ to two views of {2 * size}²")
    yield bench.measure(f"score/{DEFAULT}", scoring(size), size=f"volumes of {size}³, per-case numbers")
    yield bench.measure(
        SCORE_CASE,
        scoring(CASE_SIDE),
        _one_ssim(CASE_SIDE),
        size=f"volumes of {CASE_SIDE}³",
        note="reference: scikit-image's SSIM alone",
    )
    real, made = np.random.default_rng(0).random((2, SET_CASES, SET_FEATURES), dtype=np.float32)
    yield bench.measure(
        SCORE_SET,
        lambda: prdc_scores(real, made, NEAREST),
        lambda: _prdc_alone(real, made),
        size=f"{SET_CASES} and {SET_CASES} cases of {SET_FEATURES} features",
        note="reference: prdc alone",
    )


def projection(spec: DatasetSpec, size: int, views: int) -> Work:
    """Projecting one volume of a side to views as wide as it."""
    volume = torch.from_numpy(_smooth(size)).mul_(2000).sub_(1000)[None]
    angles = [ANGLES[0] + 360.0 * view / views for view in range(views)]
    flat = [False] * views
    return torch.inference_mode()(
        lambda: project(volume, spec.cube_mm / size, spec.geometry, angles, size, mirrored=flat)
    )


def scoring(size: int) -> Work:
    """All per-case numbers of the default protocol for one pair of volumes."""
    protocol, volumes = get_protocol(DEFAULT), CaseVolumes(*_pair(size))
    return lambda: score_case(volumes, protocol)


def _one_ssim(size: int) -> Work:
    """The SSIM of the default protocol, by scikit-image itself, of the volumes of `scoring`."""
    truth, made = _pair(size)
    return lambda: structural_similarity(
        truth, made, data_range=1.0, gaussian_weights=True, sigma=WANG_2004.sigma, use_sample_covariance=False
    )


def _prdc_alone(real: np.ndarray, made: np.ndarray) -> None:
    with calling_prdc():
        compute_prdc(real, made, NEAREST)


def _pair(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A true volume and one that is a voxel off, (size, size, size) in [0, 1]."""
    truth = _smooth(size).astype(np.float64)
    return truth, np.roll(truth, 1, 0)


def _smooth(size: int) -> np.ndarray:
    """A volume (size, size, size) in [0, 1]."""
    line = np.sin(np.linspace(0, 6, size, dtype=np.float32))
    return (3 + line[:, None, None] + line[:, None] * line + line) / 7
