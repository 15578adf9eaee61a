"""What a run or an evaluation came to, as a notebook asks for it: its scores, and its volumes beside the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.cases import Cases
from bench.errors import UsageError, unknown_name
from bench.metrics import METRICS
from bench.runs.predictions import find_predictions, read_prediction
from bench.scoring.rows import COLUMNS
from bench.scoring.store import read_run

SHOWN = ("psnr", "ssim")  # in the one line that stands for all of it


@dataclass(frozen=True, eq=False)
class Result:
    """One run under one protocol.

    `scores` has a row a number, with the columns of `bench.load_results` that vary within a run: space, axis, metric,
    level, case, stat, value, n, status and note.
    """

    run_id: str
    protocol: str
    scores: pd.DataFrame
    cases: Cases  # of the split that was reconstructed
    predictions: Path  # folder of <case>.nii.gz, in HU
    results_dir: Path  # that the scores were entered in

    @property
    def means(self) -> pd.DataFrame:
        """The means over the cases: a row a metric with space, axis, metric, value, n, status and note."""
        rows = self.scores[(self.scores["level"] == "set") & (self.scores["stat"] == "mean")]
        return rows[["space", "axis", "metric", "value", "n", "status", "note"]].reset_index(drop=True)

    def value(self, metric: str, space: str = "3d", axis: str = "all") -> float:
        """Return the mean of a metric over the cases, in the metric's own unit; NaN where it is not defined.

        Raises UsageError for a metric that was not measured there.
        """
        means = self.means
        found = means[(means["metric"] == metric) & (means["space"] == space) & (means["axis"] == axis)]
        if not len(found):
            known = means[(means["space"] == space) & (means["axis"] == axis)]["metric"]
            raise unknown_name(f"metric of space {space}, axis {axis}", metric, sorted(map(str, known)))
        return float(found["value"].iloc[0])

    def prediction(self, case: str) -> np.ndarray:
        """Return the reconstruction (D, H, W) float64 of a case, in [0, 1] over the window of the data set.

        Raises UsageError for a case that has none, BenchError for a damaged file.
        """
        self.cases.index(case)
        path = find_predictions(self.predictions, self.cases.names, allow_missing=True).get(case)
        if path is None:
            raise UsageError(f"{self.predictions} has no prediction of {case}")
        return read_prediction(path, self.cases, case)[0]

    def truth(self, case: str) -> np.ndarray:
        """Return the true volume (D, H, W) float64 of a case, in [0, 1] over the window of the data set."""
        return self.cases.truth(case)

    def __repr__(self) -> str:
        means = self.means[(self.means["space"] == "3d") & self.means["value"].notna()]
        found = dict(zip(means["metric"], means["value"], strict=True))
        shown = {METRICS[name]: found[name] for name in SHOWN if name in found}
        said = [f"{metric.label} {value:.{metric.decimals}f} {metric.unit}".strip() for metric, value in shown.items()]
        return f"<Result {self.run_id}, {self.protocol}: {', '.join((*said, f'{len(self.cases)} cases'))}>"


def read_result(results_dir: Path, run_id: str, protocol: str, cases: Cases, predictions: Path) -> Result:
    """Return what a results folder says of a run under a protocol. Raises UsageError where it says nothing."""
    found = read_run(results_dir, run_id)
    scores = [score.model_dump() for score in found[1] if score.protocol == protocol] if found else []
    if not scores:
        raise UsageError(f"{results_dir} has no scores of {run_id} under {protocol}; run it with `only` left out")
    table = pd.DataFrame(scores, columns=list(COLUMNS)).astype({"value": "float64", "n": "Int64"})
    return Result(run_id, protocol, table, cases, predictions, results_dir)
