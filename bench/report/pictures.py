"""Pictures of volumes as small PNGs in the page: slices and projections of truth, prediction, difference, spread."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from matplotlib.image import imsave

from bench.dataset import to_hounsfield
from bench.errors import BenchError
from bench.pictures.preview import DIFFERENCE_RANGE, panels
from bench.report.collect import Group, Subject
from bench.report.markup import data_uri
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction

SLICES = 3  # of PANELS; the others are projections
WHITE_PERCENTILE = 99.95  # of a case's truth: drawn white, so that a wide window does not make all of it black
SPREAD_RANGE = 0.25  # of the unit window, where the colour scale of spreads ends
LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Strip:
    """One method on one case: pictures in the order of PANELS, or why there are none."""

    subject: Subject
    run_id: str
    score: str
    prediction: tuple[str, ...]
    difference: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class CasePictures:
    """One case: the views given, the truth, and what each method made of it."""

    name: str
    scale: tuple[float, float]  # HU drawn black and white
    views: tuple[tuple[str, str], ...]  # angle, picture
    truth: tuple[str, ...]
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Spread:
    """What several volumes of one case agree on: pictures of middle slices, and what the volumes are."""

    subject: Subject
    case: str
    what: str
    mean_sd: float  # of the voxels, in units of the window
    truth: tuple[str, ...]
    mean: tuple[str, ...]
    sd: tuple[str, ...]
    error: tuple[str, ...]


def pictures_of(group: Group, case: str, score_of: dict[tuple[str, str], str]) -> CasePictures:
    """The pictures of a case; `score_of` is (run id, case) → what is written beside the name of the method."""
    assert group.cases is not None
    truth = group.truth(case)
    white = white_of(truth)
    images = group.cases.images([group.cases.index(case)])[0].numpy()
    views = [(f"{angle:g}°", _grey(image, 1.0)) for angle, image in zip(group.cases.card.angles, images, strict=True)]
    strips = [_strip(group, one, case, truth, white, score_of) for one in group.subjects if one.folders]
    low, high = to_hounsfield(np.array([0.0, white]), group.cases.card.window)
    return CasePictures(case, (float(low), float(high)), tuple(views), _greys(panels(truth), white), tuple(strips))


def white_of(truth: np.ndarray) -> float:
    """The value in [0, 1] that pictures of a case and the viewer begin to draw white."""
    return max(float(np.percentile(truth, WHITE_PERCENTILE)), 0.1)


def spreads_of(group: Group, cases: Sequence[str]) -> Iterator[Spread]:
    """Spreads of samples that a study stored, and of runs that differ in their seed alone."""
    for subject in group.subjects:
        for folder in subject.folders:
            for case in cases:
                drawn = list(_stored_samples(group, folder, case))
                if len(drawn) >= LEAST_SAMPLES:
                    yield _spread(group, subject, case, f"{len(drawn)} samples of one trained model", drawn)
        if len(subject.folders) >= LEAST_SAMPLES and cases:
            try:
                drawn = [group.prediction(folder, cases[0]) for folder in subject.folders]
            except BenchError:  # said beside the pictures of the case
                continue
            if np.ptp(np.stack(drawn), axis=0).any():
                yield _spread(group, subject, cases[0], f"{len(drawn)} runs with different seeds, trained anew", drawn)


def _strip(
    group: Group, subject: Subject, case: str, truth: np.ndarray, white: float, score_of: dict[tuple[str, str], str]
) -> Strip:
    folder = subject.folders[0]
    try:
        made = group.prediction(folder, case)
    except BenchError as error:
        return Strip(subject, folder.root.name, "", (), (), str(error))
    score = score_of.get((folder.root.name, case), "")
    if np.ptp(made) == 0:
        score += ", one value everywhere"
    differences = [a - b for a, b in zip(panels(made), panels(truth), strict=True)]
    return Strip(
        subject,
        folder.root.name,
        score,
        _greys(panels(made), white),
        tuple(_coloured(image, "RdBu_r", -DIFFERENCE_RANGE, DIFFERENCE_RANGE) for image in differences),
    )


def _stored_samples(group: Group, folder: RunFolder, case: str) -> Iterator[np.ndarray]:
    assert group.cases is not None
    for index in count():
        path = folder.samples(group.facts["split"], index) / f"{case}.nii.gz"
        if not path.is_file():
            return
        try:
            yield read_prediction(path, group.cases, case)[0]
        except BenchError:  # a damaged sample ends what can be trusted
            return


def _spread(group: Group, subject: Subject, case: str, what: str, drawn: Sequence[np.ndarray]) -> Spread:
    volumes, truth = np.stack(drawn), group.truth(case)
    mean, sd = volumes.mean(0), volumes.std(0, ddof=1)
    greys = [_greys(panels(volume)[:SLICES], white_of(truth)) for volume in (truth, mean)]
    heats = [tuple(map(_heat, panels(volume)[:SLICES])) for volume in (sd, np.abs(mean - truth))]
    return Spread(subject, case, what, float(sd.mean()), *greys, *heats)


def _greys(images: Sequence[np.ndarray], white: float) -> tuple[str, ...]:
    return tuple(_grey(image, white) for image in images)


def _grey(image: np.ndarray, white: float) -> str:
    return _coloured(image, "gray", 0.0, white)


def _heat(image: np.ndarray) -> str:
    return _coloured(image, "inferno", 0.0, SPREAD_RANGE)


def _coloured(image: np.ndarray, colours: str, low: float, high: float) -> str:
    """A PNG of the image's own pixels as a data: address."""
    buffer = io.BytesIO()
    imsave(buffer, np.asarray(image), cmap=colours, vmin=low, vmax=high, format="png")
    return data_uri(buffer.getvalue(), "image/png")
