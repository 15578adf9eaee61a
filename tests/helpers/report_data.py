"""Runs and results for tests of the report: made by hand, with names that try to break out of the page."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cases import Cases
from bench.metrics.distortion import mae, mse, psnr
from bench.metrics.ssim import ssim
from bench.pipeline.reopen import StoredRun
from bench.report import collect
from bench.results import model
from bench.runs.folder import RunFolder
from bench.runs.predictions import write_prediction
from bench.runs.record import DataRecord
from bench.scoring.score import RunFacts

from .score_rows import enter_rows, enter_run, run_facts
from .table_rows import make_card
from .toy_runs import toy_record

HOSTILE_METHOD = "</script><script>alert('method')</script>"
HOSTILE_CASE = "<img src=x onerror=alert(1)>&quot;"
FLOOR = "floor"
CODER = "coder"  # a floor too


def install(patch: pytest.MonkeyPatch, data: dict[str, Cases]) -> dict[str, Cases]:
    """Make `floor` and `coder` floors and let every run be one of `data`, whose first test case gets a hostile name."""
    names = (HOSTILE_CASE, *data["test"].names[1:])
    mine = {**data, "test": replace(data["test"], names=names)}

    def opened(folder: RunFolder, report: object) -> StoredRun:
        facts = RunFacts(folder.root.name, "any", "builtin", "tiny", 0, "0")
        return StoredRun(folder, folder.record(), facts, mine)

    patch.setattr(
        model, "method_card", lambda name: make_card(name, name, FLOOR if name in (FLOOR, CODER) else "method")
    )
    patch.setattr(model, "find_installed_dataset", lambda name: None)
    patch.setattr(collect, "find_installed_dataset", lambda name: None)
    patch.setattr(collect, "open_stored", opened)
    return mine


def add_run(
    root: Path,
    cases: Cases,
    method: str,
    error: float,
    seed: int = 0,
    variant: str = "aaaaaaaa",
    more: Mapping[str, float] | None = None,
) -> RunFolder:
    """A finished run: predictions that are off by noise of size `error`, run.json, and its rows in the results.

    `more` are values of further metrics, the same of each case.
    """
    name = "".join(character for character in method if character.isalnum())
    run_id = f"{name}-toy-tiny-s{seed}-{variant}"
    folder = RunFolder(root / "runs" / "toy" / name / run_id)
    random = np.random.default_rng((seed, len(method)))
    shared = run_facts(method, run_id=run_id, dataset="toy", source=cases.card.source, seed=seed)
    rows, scores = [], []
    for case in cases.names:
        truth = cases.truth(case)
        made = np.clip(truth + random.normal(0, error, truth.shape), 0, 1)
        write_prediction(folder.predictions("test"), case, made, cases, seconds=0.1, seed=seed)
        values = {"psnr": psnr(truth, made, data_range=1.0), "ssim": ssim(truth, made, data_range=1.0)}
        values |= {"mse": mse(truth, made), "mae": mae(truth, made)} | dict(more or {})
        scores.append(values)
        of_case = shared | {"level": "case", "case": case, "stat": "value", "n": 1}
        rows += [of_case | {"metric": metric, "value": value} for metric, value in values.items()]
    for metric in scores[0]:
        mean = float(np.mean([values[metric] for values in scores]))
        rows.append(dict(**shared, metric=metric, level="set", stat="mean", value=mean, n=len(scores)))
    enter_rows(root / "results", rows)
    data = DataRecord(fingerprint=cases.card.fingerprint, source=cases.card.source)
    folder.write(toy_record(run_id, status="done", data=data))
    facts = {"run_id": run_id, "status": "done", "size": cases.card.size, "data_fingerprint": cases.card.fingerprint}
    enter_run(root / "results", **facts)
    return folder
