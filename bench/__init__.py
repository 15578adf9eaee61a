"""Benchmark harness for CT reconstruction from X-ray views: the interface for notebooks and scripts.

    import bench

    result = bench.run(method="mean", dataset="lidc", preset="smoke")
    result.means                                    # a table of PSNR, SSIM and all else
    bench.plot.case(result.cases, result.cases.names[0], result.prediction(result.cases.names[0]))
    bench.evaluate(my_network, dataset="lidc", preset="smoke", name="mine")
    bench.compare("mine", "mean")

Volumes are (D, H, W): D from superior to inferior, H from anterior to posterior, W from the patient's right to left;
baggage has the same axes as it lies in the scanner. They are in [0, 1] over the window of the data set, whose ends in
HU are `Cases.card.window`; files hold HU. Whatever fails raises `bench.errors.BenchError`, whose message is one line.

Importing this takes a moment only: PyTorch comes with the first function that computes.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.scoring import DEFAULT
from bench.system.provenance import VERSION

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import nn

    from bench.cases import Cases, Views
    from bench.dataset import Split
    from bench.pictures import plot as plot
    from bench.pipeline.outcome import Result

__all__ = ["compare", "evaluate", "load_cases", "load_results", "load_volume", "run"]  # and plot, which is lazy
__version__ = VERSION


def run(
    method: str,
    dataset: str,
    preset: str = "tiny",
    *,
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    source: str = "auto",
    test_on: str | None = None,
    protocol: str = DEFAULT,
    samples: int = 1,
    device: str = "auto",
    from_pretrained: bool = False,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    quiet: bool = False,
) -> "Result":
    """Train a method, reconstruct the test cases, score them, and return the result; the same as `bench run`.

    A run that is finished is not repeated, one that was stopped goes on where it was. `settings` are what --set takes,
    such as `{"data.phantoms": [8, 2, 3]}`; `source` is auto, real or phantom; `device` auto, cpu or cuda;
    `test_on="real"` tests what was trained on phantoms on all real scans that are prepared. Rows are added to
    `results_dir`, weights and volumes lie in `runs_dir`.

    Raises UsageError for a name or setting that does not exist, BenchError when a phase fails.
    """
    from bench.pipeline.outcome import read_result
    from bench.pipeline.plan import RunRequest, choose_request_source
    from bench.pipeline.reopen import open_stored
    from bench.pipeline.run import run_one
    from bench.runs.folder import RunFolder
    from bench.system.progress import Progress

    progress = Progress()
    progress.quiet = quiet
    request = RunRequest(
        method=method,
        dataset=dataset,
        preset=preset,
        seed=seed,
        overrides=tuple(f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()),
        protocol=protocol,
        source=choose_request_source(source, test_on),
        device=device,
        runs_dir=Path(runs_dir),
        results_dir=Path(results_dir),
        from_pretrained=from_pretrained,
        samples=samples,
    )
    stored = open_stored(RunFolder(run_one(request, progress)), progress, dataset)
    cases = stored.cases[stored.facts.split]
    return read_result(request.results_dir, stored.facts.run_id, protocol, cases, stored.predictions)


def evaluate(
    model: "nn.Module | Callable[[Views], Any]",
    dataset: str,
    preset: str = "tiny",
    *,
    name: str | None = None,
    seed: int | None = None,
    split: "Split" = "test",
    source: str = "auto",
    protocol: str = DEFAULT,
    runs_dir: str | Path = "runs",
    results_dir: str | Path = "results",
    quiet: bool = False,
) -> "Result":
    """Reconstruct every case of a split with a model of your own, score the volumes, enter the rows, return the result.

    A `torch.nn.Module` is given the X-ray images of one case, a tensor (1, V, h, w) float32 in [0, 1] on its own
    device, in its mode of evaluation. Any other callable is given `bench.cases.Views`: the same images with the gantry
    angles (V,) in degrees and the geometry in millimetres. Either returns the volume (D, H, W) in [0, 1] over the
    window of the data set, as a tensor or an array, with leading axes of length one or without.

    The rows stand under `name`, by default that of the class or function, marked as outside predictions. With a `seed`
    a later evaluation replaces an earlier one, and several seeds become one row with ±; without, each other model is
    another row.

    Raises UsageError for a name or choice that does not exist, BenchError for volumes of another shape or range; what
    the model raises is raised as it is.
    """
    from bench.pipeline.evaluate import evaluate_model
    from bench.system.progress import Progress

    progress = Progress()
    progress.quiet = quiet
    return evaluate_model(
        model,
        dataset,
        preset,
        name=name,
        seed=seed,
        split=split,
        source=source,
        protocol=protocol,
        runs_dir=Path(runs_dir),
        results_dir=Path(results_dir),
        progress=progress,
    )


def load_results(folder: str | Path = "results") -> "pd.DataFrame":
    """Return every score in a results folder as a row, with the facts of its run; without PyTorch.

    The folder `builtin` stands for the results that come with the harness.

    `value` and the numbers of a run are float64, NaN where unknown; `n` and `seed` Int64; all else is text, empty where
    unknown. Rows of level `case` are of single cases, those of level `set` with stat `mean` their means.

    Raises BenchError, naming file and row, for what does not fit.
    """
    from bench.results.published import find_results
    from bench.scoring import store

    return store.load_results(find_results(folder))


def compare(
    first: str,
    second: str,
    metrics: Sequence[str] = (),
    *,
    dataset: str | None = None,
    preset: str | None = None,
    protocol: str | None = None,
    source: str | None = None,
    split: str | None = None,
    results_dir: str | Path = "results",
) -> "pd.DataFrame":
    """Return how two methods, configurations or runs differ over the same cases, a row a place and metric.

    `first`, `second` and `difference` (first − second) are in the unit of the metric, `low` and `high` the ends of the
    95 % interval, `p_holm` adjusted for all rows, `better` A, B or empty, `verdict` in words; the same as
    `bench compare`, without PyTorch. What is left out is said in a warning each.

    Raises UsageError where nothing was measured in the same way on the same data.
    """
    import pandas as pd

    from bench.results.compare import CSV_COLUMNS, compare_methods, list_differences
    from bench.results.model import read_results
    from bench.results.published import find_results

    asked = {"dataset": dataset, "preset": preset, "protocol": protocol, "source": source, "split": split}
    comparisons, left_out = compare_methods(read_results(find_results(results_dir)), first, second, metrics, **asked)
    for reason in left_out:
        warnings.warn(f"left out: {reason}", stacklevel=2)
    return pd.DataFrame(list_differences(comparisons), columns=list(CSV_COLUMNS))


def load_cases(
    dataset: str, preset: str = "tiny", *, split: "Split" = "test", source: str = "auto", quiet: bool = True
) -> "Cases":
    """Return the cases of a split: names, volumes (N, D, H, W) in HU, and X-ray views; computed once, then cached.

    `cases.truth(name)` is a volume (D, H, W) in [0, 1], `cases.images([0, 1])` views (2, V, h, w) in [0, 1],
    `cases.card` says voxel size in millimetres, window in HU, angles in degrees and where the data are from.

    Raises UsageError for an unknown name, BenchError for data that are asked for and missing.
    """
    from bench.data.cases import load_preset
    from bench.plugins.registry import get_dataset
    from bench.system.progress import Progress

    progress = Progress()
    progress.quiet = quiet
    return load_preset(get_dataset(dataset), preset, source, progress)[split]


def load_volume(path: str | Path) -> "np.ndarray":
    """Return a volume file (.nii.gz, .nii, .nrrd, .mha, .mhd or .npy) as (D, H, W) float32, turned to these axes.

    Values are those of the file: HU in all that the harness writes. A .npy array is taken as (D, H, W) already.

    Raises BenchError, naming the file, for what cannot be read or does not say how it lies.
    """
    from bench.runs.volume_files import read_volume

    return read_volume(Path(path))


def __getattr__(name: str) -> Any:
    """Return `plot`, which brings Matplotlib, when it is first asked for."""
    if name == "plot":
        return import_module("bench.pictures.plot")
    raise AttributeError(f"module 'bench' has no attribute '{name}'")
