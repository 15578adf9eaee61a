"""What is measured: one entry a metric, so that direction, range and unit are written once.

The functions of arrays live beside this table: distortion.py, ssim.py, slices.py, encoder.py. Which of them a result
uses, and with which settings, is decided by its protocol (bench/scoring/protocols.py).
"""

from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["up", "down", "toward_baseline"]
Space = Literal["3d", "mip", "drr", "code", "time"]
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


_BOTH: tuple[Space, ...] = ("3d", "mip")
_ALL: tuple[Space, ...] = (*_BOTH, "drr")
_FIDELITY = (
    Metric("density", "Density", "toward_baseline", "", (0.0, None), "set", _BOTH, 2),
    Metric("coverage", "Coverage", "toward_baseline", "", (0.0, 1.0), "set", _BOTH, 2),
    Metric("precision", "Precision", "toward_baseline", "", (0.0, 1.0), "set", _BOTH, 2),
    Metric("recall", "Recall", "toward_baseline", "", (0.0, 1.0), "set", _BOTH, 2),
)
FIDELITY = tuple(metric.key for metric in _FIDELITY)  # the keys of the package prdc
BASELINE_SUFFIX = "_baseline"  # `density_baseline` is what real training cases score in place of predictions
BLURRED_SUFFIX = "_blurred"  # `density_blurred` is what the test cases themselves score when blurred
CONTROLS = {BASELINE_SUFFIX: "real", BLURRED_SUFFIX: "blurred"}  # suffix → what stands in place of predictions

METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("mse", "MSE", "down", "", (0.0, None), "case", _ALL, 4),
        Metric("mae", "MAE", "down", "", (0.0, None), "case", _ALL, 4),
        Metric("psnr", "PSNR", "up", "dB", (0.0, None), "case", _ALL, 2),
        Metric("ssim", "SSIM", "up", "", (-1.0, 1.0), "case", _ALL, 3),
        Metric("mse_x4", "MSE on [-1, 1]", "down", "", (0.0, None), "case", ("3d",), 4),
        Metric("mae_x2", "MAE on [-1, 1]", "down", "", (0.0, None), "case", ("3d",), 4),
        Metric("mse_int", "MSE of integers", "down", "", (0.0, None), "case", ("3d",), 0),
        Metric("mae_int", "MAE of integers", "down", "", (0.0, None), "case", ("3d",), 1),
        Metric("psnr_volume", "PSNR of the volume", "up", "dB", (0.0, None), "case", ("3d",), 2),
        Metric("psnr_slices", "PSNR of slices", "up", "dB", (0.0, None), "case", ("3d",), 2),
        Metric("cosine", "Cosine similarity", "up", "", (-1.0, 1.0), "case", ("3d",), 4),
        Metric("l1_sample", "L1 of one sample", "down", "", (0.0, None), "case", ("3d",), 4),
        *_FIDELITY,
        *(
            replace(metric, key=metric.key + suffix, label=f"{metric.label}, {control}")
            for suffix, control in CONTROLS.items()
            for metric in _FIDELITY
        ),
        Metric("nll_bits_per_voxel", "NLL", "down", "bits/voxel", (0.0, None), "case", ("3d",), 3),
        Metric("nll_bits_per_code", "NLL of codes", "down", "bits/code", (0.0, None), "case", ("code",), 3),
        Metric("train_hours", "Training time", "down", "h", (0.0, None), "run", ("time",), 2),
        Metric("infer_seconds", "Inference time", "down", "s", (0.0, None), "run", ("time",), 3),
    )
}
