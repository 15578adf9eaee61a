"""What is measured: one entry a metric, so that direction, range and unit are written once.

The functions of arrays live beside this table, e.g. in distortion.py and anatomy.py. Which of them a result
uses, and with which settings, is decided by its protocol (bench/scoring/protocols.py).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Direction = Literal["up", "down", "toward_baseline"]
Space = Literal["3d", "mip", "drr", "anatomy", "tissue", "code", "time"]
Family = Literal["distortion", "samples", "likelihood", "fidelity", "anatomy", "cost"]
Axis = Literal["d", "h", "w"]
MOST_DIGITS = 8  # after the point; what is smaller is the rounding of float32
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
    decimals: int  # digits after the point in tables, at least
    family: Family = "distortion"
    tables: tuple[Space, ...] = ()  # the spaces whose tables, leaderboard and comparisons show it
    significant: int = 0  # digits shown of a value, however small; 0: its decimals alone
    baseline: float | None = None  # that a distance is taken from, where it is the same for all cases

    @property
    def name(self) -> str:
        """The label with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    def digits(self, value: float) -> int:
        """Return how many digits after the point show a value, and what stands beside it: its spread, its interval."""
        if not (self.significant and math.isfinite(value) and value):
            return self.decimals
        return max(self.decimals, min(MOST_DIGITS, self.significant - 1 - math.floor(math.log10(abs(value)))))

    def write(self, value: float, sign: str = "") -> str:
        """Return a value at its digits, without its unit; `sign` is that of Python's formats."""
        return f"{value:{sign}.{self.digits(value)}f}"

    @property
    def sortable(self) -> bool:
        """Whether a leaderboard may be sorted by it."""
        ranked = self.direction != "toward_baseline"
        return ranked and self.family in ("distortion", "samples") and bool(self.tables)


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
TRUTH_SUFFIX = "_truth"  # `psnr_views_truth` is what the truth itself scores in place of a prediction
OTHER_SUFFIX = "_other"  # `psnr_views_other` is what the views of another case score in place of its projections
BLURRED_SUFFIX = "_blurred"  # `density_blurred` is what the test cases themselves score when blurred
CONTROLS = {BASELINE_SUFFIX: "real", BLURRED_SUFFIX: "blurred"}  # suffix → what stands in place of predictions
NLL = "nll_bits_per_voxel"
CODES_SHARE, NLL_OF_CODES = "codes_share", "nll_bits_per_code"  # the codes' part of it
LAPLACE = "laplace_bits_per_voxel"  # of any method, and never beside NLL in one column: it is fitted on predictions
LIKELIHOODS = (NLL, CODES_SHARE, NLL_OF_CODES, LAPLACE)  # what their table shows
SAMPLED = ("ssim", "psnr", "mse", "mae")  # what the mean and the best of K samples of a case are scored by
MEAN_OF_K, BEST_OF_K = "_mean_of_k", "_best_of_k"  # `psnr_mean_of_k` is the PSNR of the mean volume of K samples
OF_K = {MEAN_OF_K: "mean of K", BEST_OF_K: "best of K"}  # suffix → what is scored in place of one sample
INTERVAL_COVERAGE = "interval_coverage"  # share of voxels whose CT lies from the lowest to the highest of K samples
ORGANS = ("body", "lung", "bone")  # of which there are masks; of a bag the body is the bag
CLASSES = {  # of voxels by the truth's HU, in bags and in patients
    **{"soft": "soft tissue", "lung": "lung", "fat": "fat", "bone": "bone"},
    **{"organic": "organic matter", "cloth": "cloth", "mineral": "minerals", "metal": "metal", "air": "air"},
}


def _variants(metric: Metric, words: Mapping[str, str], tables: tuple[Space, ...] = (), **changes: Any) -> list[Metric]:
    """Return a metric of something else for each suffix of its key, whose words stand in its label."""
    return [
        replace(metric, key=metric.key + suffix, label=f"{metric.label}, {what}", tables=tables, **changes)
        for suffix, what in words.items()
    ]


def _of_samples(metric: Metric) -> Iterator[Metric]:
    for variant in _variants(metric, OF_K, spaces=_3D, family="samples"):
        yield replace(variant, tables=_3D) if variant.key == "psnr" + MEAN_OF_K else variant


def _list_anatomy() -> Iterator[Metric]:
    """Yield what is measured of structures, with the masks that tables show where they say something of a method."""
    space: tuple[Space, ...] = ("anatomy",)
    views = Metric("psnr_views", "PSNR of given views", "up", "dB", (0.0, None), "case", space, 2, "anatomy", space)
    yield from (views, *_variants(views, {TRUTH_SUFFIX: "truth", OTHER_SUFFIX: "other case"}))
    yield replace(views, key="psnr_body", label="PSNR in the body")
    power = replace(views, key="high_frequency", label="High-frequency power", unit="")
    yield replace(power, direction="toward_baseline", baseline=1.0)
    for key, label, direction, unit, ends, decimals, shown in _OF_MASKS:
        for organ in ORGANS:
            metric = Metric(key, label, direction, unit, ends, "case", space, decimals, "anatomy")
            yield from _variants(metric, {f"_{organ}": organ}, space if organ in shown else ())


def _list_tissue() -> Iterator[Metric]:
    """Yield errors by class of voxel, and the share of the volume that is of it."""
    space: tuple[Space, ...] = ("tissue",)
    classes = {f"_{key}": name for key, name in CLASSES.items()}
    error = Metric("mae_hu", "MAE", "down", "HU", (0.0, None), "case", space, 1, "anatomy")
    bias = replace(error, key="bias_hu", label="Bias", direction="toward_baseline", range=(None, None))
    yield from (*_variants(error, classes, space), *_variants(bias, classes, space))
    for key, name in CLASSES.items():
        yield Metric(f"share_{key}", f"Share of {name}", "toward_baseline", "", (0.0, 1.0), "case", space, 3, "anatomy")
    yield from _variants(_INSIDE, classes, space, spaces=space)


_INSIDE = Metric(INTERVAL_COVERAGE, "Inside K samples", "toward_baseline", "", (0.0, 1.0), "case", _3D, 3, "samples")
_OF_MASKS: tuple[tuple[str, str, Direction, str, tuple[float | None, float | None], int, tuple[str, ...]], ...] = (
    ("dice", "Dice", "up", "", (0.0, 1.0), 3, ORGANS),
    ("assd", "ASSD", "down", "mm", (0.0, None), 1, ("lung", "bone")),
    ("volume_error", "Volume error", "toward_baseline", "%", (-100.0, None), 1, ("lung", "bone")),
    ("detection", "Detected", "up", "", (0.0, 1.0), 2, ("lung", "bone")),
)
METRICS: dict[str, Metric] = {  # columns of tables stand in this order
    metric.key: metric
    for metric in (
        Metric(NLL, "NLL", "down", "bits/voxel", (0.0, None), "case", _3D, 3, "likelihood", _3D),
        *(entry for metric in _FIDELITY for entry in (metric, *_variants(metric, CONTROLS))),
        Metric("ssim", "SSIM", "up", "", (-1.0, 1.0), "case", _ALL, 3, tables=_ALL),
        Metric("psnr", "PSNR", "up", "dB", (0.0, None), "case", _ALL, 2, tables=_ALL),
        Metric("psnr_volume", "PSNR of the volume", "up", "dB", (0.0, None), "case", _3D, 2),
        Metric("psnr_slices", "PSNR of slices", "up", "dB", (0.0, None), "case", _3D, 2),
        Metric("mse", "MSE", "down", "", (0.0, None), "case", _ALL, 4, tables=_DRAWN, significant=3),
        Metric("mae", "MAE", "down", "", (0.0, None), "case", _ALL, 4, tables=_DRAWN),
        Metric("mse_x4", "MSE on [-1, 1]", "down", "", (0.0, None), "case", _3D, 4, significant=3),
        Metric("mae_x2", "MAE on [-1, 1]", "down", "", (0.0, None), "case", _3D, 4),
        Metric("mse_int", "MSE of integers", "down", "", (0.0, None), "case", _3D, 0),
        Metric("mae_int", "MAE of integers", "down", "", (0.0, None), "case", _3D, 1),
        Metric("cosine", "Cosine similarity", "up", "", (-1.0, 1.0), "case", _3D, 4),
        Metric("l1_sample", "L1 of one sample", "down", "", (0.0, None), "case", _3D, 4),
        _INSIDE,
        Metric(CODES_SHARE, "Codes of it", "toward_baseline", "%", (0.0, 100.0), "case", ("code",), 2, "likelihood"),
        Metric(NLL_OF_CODES, "NLL of codes", "down", "bits/code", (0.0, None), "case", ("code",), 3, "likelihood"),
        Metric(
            LAPLACE, "Laplace around the prediction", "down", "bits/voxel", (0.0, None), "case", _3D, 3, "likelihood"
        ),
        *_list_anatomy(),
        *_list_tissue(),
        Metric("train_hours", "Training time", "down", "h", (0.0, None), "run", ("time",), 2, "cost"),
        Metric("train_cpu_hours", "Processor time of training", "down", "h", (0.0, None), "run", ("time",), 2, "cost"),
        Metric("infer_seconds", "Inference time", "down", "s", (0.0, None), "run", ("time",), 3, "cost"),
    )
}
METRICS = {  # those of several samples stand behind their own
    entry.key: entry
    for metric in METRICS.values()
    for entry in (metric, *(_of_samples(metric) if metric.key in SAMPLED else ()))
}


def metrics_shown(space: Space, *, of_samples: bool = False) -> tuple[str, ...]:
    """Return the metrics that the tables of `space` show, in the order of their columns.

    With `of_samples` also those of several samples of a case, which tables show where something has them.
    """
    shown = (metric for metric in METRICS.values() if space in metric.tables)
    return tuple(metric.key for metric in shown if of_samples or metric.family != "samples")
