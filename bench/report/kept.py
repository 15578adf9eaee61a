"""What the results keep of a run for pictures alone, so that a clone without its folder shows volumes and curves.

results/volumes/<run_id>/predictions/<split>/<case>.nii.gz   the first cases, int16 HU
results/volumes/<run_id>/train.csv                           some of the values that were logged
results/volumes/cases-<data>.npz                             truth and views of these cases, once for all runs

Nothing is scored from them: volumes are rounded and are part of the cases.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bench.cases import Cases, take_first
from bench.dataset import DatasetCard, to_hounsfield
from bench.errors import BenchError, UsageError
from bench.pipeline.reopen import open_stored
from bench.pipeline.trainlog import TrainRow
from bench.runs.folder import RunFolder
from bench.runs.predictions import nifti_bytes, read_prediction
from bench.scoring.store import VOLUMES
from bench.system.csv_files import read_rows, write_rows
from bench.system.files import write_atomic
from bench.system.progress import Progress

KEPT_CASES = 3
MOST_ROWS = 100  # of one curve
CARD = TypeAdapter(DatasetCard)


def keep_run(folder: RunFolder, results_dir: Path, progress: Progress) -> Path:
    """Write what is kept of a finished run; return the folder.

    Raises UsageError for a run of real scans, which are not ours to publish, and BenchError as `open_stored` does.
    """
    run = open_stored(folder, progress)
    cases = take_first(run.cases[run.facts.split], KEPT_CASES)
    name = folder.root.name
    if cases.card.source != "phantom":
        raise UsageError(f"{name} shows real scans, which their owners publish; volumes are kept of phantoms")
    kept = RunFolder(results_dir / VOLUMES / name)
    for case in cases.names:
        _write_volume(kept.predictions(cases.split) / f"{case}.nii.gz", run.predictions, cases, case)
    if folder.train_csv.exists():
        write_rows(kept.train_csv, TrainRow, _thin(read_rows(folder.train_csv, TrainRow)))
    _write_cases(results_dir, cases)
    return kept.root


def find_kept(results_dir: Path) -> dict[str, RunFolder]:
    """Return run id → what is kept of it, laid out as the folder of a run."""
    return {path.name: RunFolder(path) for path in sorted((results_dir / VOLUMES).glob("*")) if path.is_dir()}


def read_cases(results_dir: Path, fingerprint: str) -> Cases | None:
    """Return the cases that are kept of data of this fingerprint; None without any.

    Raises BenchError for a damaged file.
    """
    path = _cases_path(results_dir, fingerprint)
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            facts = json.loads(str(kept["facts"]))
            card, split, names = CARD.validate_python(facts["card"]), facts["split"], tuple(facts["names"])
            volumes, greys, affines = (kept[name] for name in ("volumes", "greys", "affines"))
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, ValidationError) as error:
        raise BenchError(f"{path} is damaged: {error}") from error
    shapes = (len(names), *(card.size,) * 3), (len(names), card.views, *(card.image_size,) * 2), (len(names), 4, 4)
    if (volumes.shape, greys.shape, affines.shape) != shapes or card.fingerprint != fingerprint:
        raise BenchError(f"{path} is damaged: it holds other cases than it says")
    integrals = greys.astype(np.float32) * np.float32(card.geometry.grey_scale / 255)
    return Cases(card, split, names, volumes, integrals, affines)


def _write_volume(path: Path, predictions: Path, cases: Cases, case: str) -> None:
    unit, _ = read_prediction(predictions / path.name, cases, case)
    whole = np.rint(to_hounsfield(unit, cases.card.window)).astype(np.int16)
    content = nifti_bytes(whole, cases.affines[cases.index(case)])
    write_atomic(path, lambda file: file.write(content))


def _write_cases(results_dir: Path, cases: Cases) -> None:
    facts = {"card": CARD.dump_python(cases.card, mode="json"), "split": cases.split, "names": cases.names}
    greys = np.rint(cases.images(range(len(cases))).numpy() * 255).astype(np.uint8)
    arrays = {"volumes": cases.hounsfield, "greys": greys, "affines": cases.affines, "facts": json.dumps(facts)}
    path = _cases_path(results_dir, cases.card.fingerprint)
    write_atomic(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def _cases_path(results_dir: Path, fingerprint: str) -> Path:
    return results_dir / VOLUMES / f"cases-{fingerprint[:16]}.npz"


def _thin(rows: Sequence[TrainRow]) -> list[TrainRow]:
    """Return at most MOST_ROWS of each curve, evenly spaced, the first and the last among them."""
    curves: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        curves[row.stage, row.name].append(index)
    chosen: list[int] = []
    for own in curves.values():
        places = np.linspace(0, len(own) - 1, min(len(own), MOST_ROWS)).round().astype(int)
        chosen += {own[place] for place in places}
    return [rows[index] for index in sorted(chosen)]
