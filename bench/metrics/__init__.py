"""What is measured: one entry a metric, so that direction, range and unit are written once.

The functions of arrays live beside this table: distortion.py, ssim.py, slices.py, encoder.py. Which of them a result
uses, and with which settings, is decided by its protocol (bench/scoring/protocols.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["up", "down", "toward_baseline"]
Space = Literal["3d", "mip", "drr", "code", "time"]
Family = Literal["distortion", "likelihood", "fidelity", "cost"]
Axis = Literal["d", "h", "w"]
AXES: tuple[Axis, Axis, Axis] = ("d", "h", "w")  # of every volume (D, H, W), in this order


@dataclass(frozen=True)
class Metric:
    """One measured quantity."""

    key: str
    label: str
    direction: Direction  # toward_baseline: neither more nor less is better, and it is never ranked
    unit: str
    range: tuple[float | None, float | None]  # closed; None = unbounded
    level: Literal["case", "set", "run"]  # what one value is computed from
    spaces: tuple[Space, ...]
    decimals: int  # digits after the point in tables
    family: Family = "distortion"
    tables: tuple[Space, ...] = ()  # the spaces whose tables, leaderboard and comparisons show it

    @property
    def name(self) -> str:
        """The label with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def sortable(self) -> bool:
        """Whether a leaderboard may be sorted by it."""
        return self.family == "distortion" and bool(self.tables)


_3D: tuple[Space, ...] = ("3d",)
_BOTH: tuple[Space, ...] = (*_3D, "mip")
_ALL: tuple[Space, ...] = (*_BOTH, "drr")
_DRAWN: tuple[Space, ...] = (*_3D, "drr")
_FIDELITY = (
    Metric("density", "Density", "toward_baseline", "", (0.0, None), "set", _BOTH, 2, "fidelity", _BOTH),
    Metric("coverage", "Coverage", "toward_baseline", "", (0.0, 1.0), "set", _BOTH, 2, "fidelity", _BOTH),
    Metric("precision", "Precision", "toward_baseline", "", (0.0, 1.0), "set", _BOTH, 2, "fidelity"),
    Metric("recall", "Recall", "toward_baseline", "", (0.0, 1.0), "set", _BOTH, 2, "fidelity"),
)
FIDELITY = tuple(metric.key for metric in _FIDELITY)  # the keys of the package prdc
BASELINE_SUFFIX = "_baseline"  # `density_baseline` is what real training cases score in place of predictions
BLURRED_SUFFIX = "_blurred"  # `density_blurred` is what the test cases themselves score when blurred
CONTROLS = {BASELINE_SUFFIX: "real", BLURRED_SUFFIX: "blurred"}  # suffix → what stands in place of predictions
NLL = "nll_bits_per_voxel"
CODES_SHARE, NLL_OF_CODES = "codes_share", "nll_bits_per_code"  # the codes' part of it
LAPLACE = "laplace_bits_per_voxel"  # of any method, and never beside NLL in one column: it is fitted on predictions
LIKELIHOODS = (NLL, CODES_SHARE, NLL_OF_CODES, LAPLACE)  # what their table shows


def _controls_of(metric: Metric) -> Iterator[Metric]:
    for suffix, control in CONTROLS.items():
        yield replace(metric, key=metric.key + suffix, label=f"{metric.label}, {control}", tables=())


METRICS: dict[str, Metric] = {  # columns of tables stand in this order
    metric.key: metric
    for metric in (
        Metric(NLL, "NLL", "down", "bits/voxel", (0.0, None), "case", _3D, 3, "likelihood", _3D),
        *(entry for metric in _FIDELITY for entry in (metric, *_controls_of(metric))),
        Metric("ssim", "SSIM", "up", "", (-1.0, 1.0), "case", _ALL, 3, tables=_ALL),
        Metric("psnr", "PSNR", "up", "dB", (0.0, None), "case", _ALL, 2, tables=_ALL),
        Metric("psnr_volume", "PSNR of the volume", "up", "dB", (0.0, None), "case", _3D, 2),
        Metric("psnr_slices", "PSNR of slices", "up", "dB", (0.0, None), "case", _3D, 2),
        Metric("mse", "MSE", "down", "", (0.0, None), "case", _ALL, 4, tables=_DRAWN),
        Metric("mae", "MAE", "down", "", (0.0, None), "case", _ALL, 4, tables=_DRAWN),
        Metric("mse_x4", "MSE on [-1, 1]", "down", "", (0.0, None), "case", _3D, 4),
        Metric("mae_x2", "MAE on [-1, 1]", "down", "", (0.0, None), "case", _3D, 4),
        Metric("mse_int", "MSE of integers", "down", "", (0.0, None), "case", _3D, 0),
        Metric("mae_int", "MAE of integers", "down", "", (0.0, None), "case", _3D, 1),
        Metric("cosine", "Cosine similarity", "up", "", (-1.0, 1.0), "case", _3D, 4),
        Metric("l1_sample", "L1 of one sample", "down", "", (0.0, None), "case", _3D, 4),
        Metric(CODES_SHARE, "Codes of it", "toward_baseline", "%", (0.0, 100.0), "case", ("code",), 2, "likelihood"),
        Metric(NLL_OF_CODES, "NLL of codes", "down", "bits/code", (0.0, None), "case", ("code",), 3, "likelihood"),
        Metric(
            LAPLACE, "Laplace around the prediction", "down", "bits/voxel", (0.0, None), "case", _3D, 3, "likelihood"
        ),
        Metric("train_hours", "Training time", "down", "h", (0.0, None), "run", ("time",), 2, "cost"),
        Metric("infer_seconds", "Inference time", "down", "s", (0.0, None), "run", ("time",), 3, "cost"),
    )
}


def metrics_shown(space: Space) -> tuple[str, ...]:
    """Return the metrics that the tables of `space` show, in the order of their columns."""
    return tuple(key for key, metric in METRICS.items() if space in metric.tables)
