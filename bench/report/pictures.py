"""Volumes on the page: as small PNGs of truth, prediction, difference and spread, and whole for the viewer."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from matplotlib.image import imsave

from bench.dataset import to_hounsfield
from bench.errors import BenchError
from bench.metrics import METRICS
from bench.pictures.preview import DIFFERENCE_RANGE, panels
from bench.report.collect import CHARTED, Group, Subject
from bench.runs.folder import RunFolder
from bench.runs.predictions import nifti_bytes, read_prediction, sample_folder

SLICES = 3  # of PANELS; the others are projections
WHITE_PERCENTILE = 99.95  # of a case's truth: drawn white, so that a wide window does not make all of it black
SPREAD_RANGE = 0.25  # of the unit window, where the colour scale of spreads ends
LEAST_SAMPLES = 3
MIB = 2**20
Pictures = tuple[str, ...]
"""data: addresses in the order of PANELS."""


@dataclass(frozen=True)
class Strip:
    """One method on one case: its pictures, or why there are none."""

    subject: Subject
    score: str = ""
    prediction: Pictures = ()
    difference: Pictures = ()
    reason: str = ""


@dataclass(frozen=True)
class CasePictures:
    """One case: the views given, the truth, and what each method made of it."""

    name: str
    scale: tuple[float, float]  # HU drawn black and white
    views: tuple[tuple[str, str], ...]  # angle, picture
    truth: Pictures
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Spread:
    """What several volumes of one case agree on: pictures of middle slices, and what the volumes are."""

    subject: Subject
    case: str
    what: str
    mean_sd: float  # of the voxels, in units of the window
    truth: Pictures
    mean: Pictures
    sd: Pictures
    error: Pictures


def draw_case(group: Group, case: str) -> CasePictures:
    """Return the pictures of a case."""
    assert group.cases is not None
    truth = group.truth(case)
    white = white_of(truth)
    images = _greys(group.cases.images([group.cases.index(case)])[0].numpy(), 1.0)
    views = zip((f"{angle:g}°" for angle in group.cases.card.angles), images, strict=True)
    strips = (_draw_strip(group, one, case, truth, white) for one in group.subjects if one.folders)
    low, high = map(float, to_hounsfield(np.array([0.0, white]), group.cases.card.window))
    return CasePictures(case, (low, high), tuple(views), _greys(panels(truth), white), tuple(strips))


def white_of(truth: np.ndarray) -> float:
    """Return the value in [0, 1] that pictures of a case and the viewer begin to draw white."""
    return max(float(np.percentile(truth, WHITE_PERCENTILE)), 0.1)


def draw_spreads(group: Group, cases: Sequence[str]) -> Iterator[Spread]:
    """Yield the spreads of samples that a study stored, and of runs that differ in their seed alone."""
    for subject in group.subjects:
        for folder in subject.folders:
            for case in cases:
                drawn = list(_read_samples(group, folder, case))
                if len(drawn) >= LEAST_SAMPLES:
                    yield _draw_spread(group, subject, case, f"{len(drawn)} samples of one trained model", drawn)
        if len(subject.folders) >= LEAST_SAMPLES and cases:
            try:
                drawn = [group.prediction(folder, cases[0]) for folder in subject.folders]
            except BenchError:  # said beside the pictures of the case
                continue
            if np.ptp(np.stack(drawn), axis=0).any():
                what = f"{len(drawn)} runs with different seeds, trained anew"
                yield _draw_spread(group, subject, cases[0], what, drawn)


def view_case(group: Group, case: str, left: int) -> tuple[dict[str, Any] | None, str]:
    """Return what the viewer needs of a case, and why something is left out.

    None where its volumes take more than `left` bytes. Voxels are rounded to whole HU. A case is shown with all its
    predictions or not at all.
    """
    assert group.cases is not None
    cases = group.cases
    volumes = [{"title": "Truth", "kind": "truth", "data": _encode(group, group.truth(case), case)}]
    reasons = []
    for subject in group.subjects:
        if not subject.folders:
            continue
        try:
            made = group.prediction(subject.folders[0], case)
        except BenchError as error:
            reasons.append(str(error))
            continue
        volumes.append({"title": subject.entry.title, "kind": subject.entry.kind, "data": _encode(group, made, case)})
    white = float(to_hounsfield(np.array(white_of(group.truth(case))), cases.card.window))
    shown = {"group": group.title, "case": case, "window": cases.card.window, "white": white, "volumes": volumes}
    if (size := size_of(shown)) > left:
        reasons.append(f"{case} needs {size / MIB:.1f} MiB and {left / MIB:.1f} MiB are left")
    return (shown if size <= left else None), "; ".join(reasons)


def size_of(shown: dict[str, Any]) -> int:
    """Return the bytes that the volumes of a case take in the page."""
    return sum(len(volume["data"]) for volume in shown["volumes"])


def _draw_strip(group: Group, subject: Subject, case: str, truth: np.ndarray, white: float) -> Strip:
    folder = subject.folders[0]
    try:
        made = group.prediction(folder, case)
    except BenchError as error:
        return Strip(subject, reason=str(error))
    score = _describe_scores(subject, folder.root.name, case)
    if np.ptp(made) == 0:
        score += ", one value everywhere"
    ends = -DIFFERENCE_RANGE, DIFFERENCE_RANGE
    differences = (_colour(a - b, "RdBu_r", *ends) for a, b in zip(panels(made), panels(truth), strict=True))
    return Strip(subject, score, _greys(panels(made), white), tuple(differences))


def _describe_scores(subject: Subject, run_id: str, case: str) -> str:
    """Return what a run scores on a case, in words, under the first protocol."""
    values = subject.entry.by_run.reindex([(run_id, case)], columns=[("3d", metric) for metric in CHARTED])
    known = [(METRICS[name], value) for name, value in zip(CHARTED, values.to_numpy()[0], strict=True)]
    return ", ".join(f"{m.label} {m.write(value)} {m.unit}".strip() for m, value in known if value == value)


def png_uri(content: bytes) -> str:
    """Return a PNG as a data: address."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _read_samples(group: Group, folder: RunFolder, case: str) -> Iterator[np.ndarray]:
    """Yield the samples that the run itself holds of a case or, where it holds one, those that a study kept."""
    split = group.facts["split"]
    predictions = folder.predictions(split)
    assert group.cases is not None
    several = sample_folder(predictions, 1).is_dir()
    for index in count():
        path = (sample_folder(predictions, index) if several else folder.samples(split, index)) / f"{case}.nii.gz"
        if not path.is_file():
            return
        try:
            yield read_prediction(path, group.cases, case)[0]
        except BenchError:  # a damaged sample ends what can be trusted
            return


def _draw_spread(group: Group, subject: Subject, case: str, what: str, drawn: Sequence[np.ndarray]) -> Spread:
    volumes, truth = np.stack(drawn), group.truth(case)
    mean, sd = volumes.mean(0), volumes.std(0, ddof=1)
    greys = (_greys(panels(volume)[:SLICES], white_of(truth)) for volume in (truth, mean))
    heats = (
        tuple(_colour(image, "inferno", 0.0, SPREAD_RANGE) for image in panels(volume)[:SLICES])
        for volume in (sd, np.abs(mean - truth))
    )
    return Spread(subject, case, what, float(sd.mean()), *greys, *heats)


def _greys(images: Iterable[np.ndarray], white: float) -> Pictures:
    return tuple(_colour(image, "gray", 0.0, white) for image in images)


def _colour(image: np.ndarray, colours: str, low: float, high: float) -> str:
    """A PNG of the image's own pixels as a data: address."""
    buffer = io.BytesIO()
    imsave(buffer, np.asarray(image), cmap=colours, vmin=low, vmax=high, format="png")
    return png_uri(buffer.getvalue())


def _encode(group: Group, unit: np.ndarray, case: str) -> str:
    assert group.cases is not None
    hounsfield = np.rint(to_hounsfield(unit, group.cases.card.window)).astype(np.int16)
    affine = group.cases.affines[group.cases.index(case)]
    return base64.b64encode(nifti_bytes(hounsfield, affine)).decode()
