"""Runs of a few stages or toy methods, as the pipeline makes them, without a request or a plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cases import Cases
from bench.dataset import DataConfig
from bench.distributed import is_main
from bench.pipeline.fit import Run, make_accelerator
from bench.plugins.config import FitConfig, RunConfig
from bench.runs.folder import RunFolder
from bench.runs.record import DataRecord, ProtocolRecord, RunRecord
from bench.scoring import DEFAULT
from bench.system.progress import Progress


def toy_record(run_id: str = "toy", **other: Any) -> RunRecord:
    """The record of a run that has begun, but for what is said."""
    data = DataConfig(size=16, image_size=16)
    config = RunConfig(method="toy", dataset="toy", preset="tiny", data=data, fit=FitConfig(), options={})
    facts: dict[str, Any] = {
        "run_id": run_id,
        "status": "running",
        "seed": 0,
        "split": "test",
        "config": config,
        "config_sha256": config.sha256(),
        "data": DataRecord(source="phantom", fingerprint="f0"),
        "protocol": ProtocolRecord(id=DEFAULT, sha256=""),
        "parameters": 0,
        "provenance": {},
        "started": "",
    }
    return RunRecord(**{**facts, **other})


def toy_run(folder: Path | RunFolder, cases: Mapping[Any, Cases] | None = None, seed: int = 0, **other: Any) -> Run:
    """A run in a folder on the CPU; its record is begun where there is none."""
    place = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    if is_main() and place.record() is None:
        place.write(toy_record())
    return Run(
        **{"accelerator": make_accelerator("cpu"), **other},
        cases=cases or {},
        folder=place,
        seed=seed,
        progress=Progress(),
    )
