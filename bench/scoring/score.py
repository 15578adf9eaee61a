"""From a folder of predictions to rows: case by case, then over the whole set, then the means.

Our own runs and outside folders take the same way; nothing but the files is read. Case rows are kept as they are made,
so that a scoring that was stopped goes on at the first case whose prediction it has not seen.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.cases import Cases
from bench.data.cases import OnProgress
from bench.dataset import Split
from bench.errors import BenchError
from bench.metrics import LAPLACE, METRICS
from bench.runs.manifest import LIKELIHOOD, read_manifest
from bench.runs.prediction_card import PredictionCard, Unit, join_clipping
from bench.runs.predictions import (
    check_grid,
    check_prediction,
    encoded_truth,
    find_predictions,
    find_samples,
    read_prediction,
    sample_folder,
)
from bench.runs.record import Origin, StageRecord
from bench.scoring.anatomy import score_anatomy
from bench.scoring.bits import likelihood_scores, read_likelihoods
from bench.scoring.cases import score_case
from bench.scoring.laplace import NO_FIT, LaplaceFit
from bench.scoring.protocol import CaseScore, CaseVolumes, Protocol, SetScore
from bench.scoring.rows import Score, read_scores, scores_sha256, write_scores
from bench.scoring.samples import no_sample_scores, score_alone, score_samples
from bench.scoring.sets import plan_set, score_set
from bench.scoring.xrays import score_images
from bench.system.files import digest_of, read_json, sha256_of, write_json
from bench.system.provenance import code_version

SHOWN = 3  # predictions whose faults are told
SAVE_EVERY = 8  # cases between two writes of the unfinished rows


@dataclass(frozen=True)
class RunFacts:
    """What rows say of the run beside its numbers."""

    run_id: str
    method: str
    origin: Origin
    preset: str
    seed: int | None
    code_version: str
    split: Split = "test"
    stages: Mapping[str, StageRecord] = field(default_factory=dict)  # whose times have rows
    infer_seconds: Mapping[str, float] = field(default_factory=dict)  # of a case, by part of the method
    samples: int = 1  # of a case, among its predictions
    draws: bool | None = None  # whether its samples differ; None where that is not known


def score_predictions(
    facts: RunFacts,
    cases: Mapping[Split, Cases],
    predictions: Path,
    protocol: Protocol,
    scores_csv: Path | None = None,
    on_progress: OnProgress | None = None,
    *,
    unit: Unit | PredictionCard = "hu",
    allow_missing: bool = False,
    laplace: LaplaceFit | str = NO_FIT,
    device: torch.device | None = None,
) -> list[Score]:
    """Return all rows of one split: of each case, of the set, their means, and the run's times.

    `scores_csv` keeps them, and lets a later call reuse the cases whose predictions are the same. Likelihoods are read
    from the file beside the predictions; `laplace` is the distribution around predictions, or why there is none. Raises
    BenchError as bench.runs.predictions does. `on_progress` is called after each case that is scored or encoded.
    """
    truth = cases[facts.split]
    files = find_predictions(predictions, truth.names, allow_missing=allow_missing)
    checked = unit if facts.origin == "external" else None  # ours are written in HU, and what wrote them was checked
    hashes = check_and_hash(files, predictions, truth, checked)
    encoded = encoded_truth(predictions, truth, list(files)) if protocol.truth == "encoded" else {}
    for case, path in encoded.items():
        hashes[case] += sha256_of(path)
    drawn = find_samples(predictions, files, truth, facts.samples if protocol.samples else 1)
    for index, further in enumerate(drawn[1:], start=1):
        inner = sample_folder(predictions, index)
        for case, own in check_and_hash(further, inner, truth, checked).items():
            hashes[case] += own
    plan = None
    if protocol.fidelity:
        plan = plan_set(truth, cases["train"], files, protocol.fidelity, device or torch.device("cpu"))
    advance = _counter(on_progress, len(files) + (plan.count_volumes() if plan else 0))
    make = _RowMaker(facts, truth, protocol, unit, partial=len(files) < len(truth))
    kept = _KeptRows(scores_csv, make)
    rows: list[Score] = []
    for index, case in enumerate(files, start=1):
        known, paths = kept.of_case(case, hashes[case]), [sample[case] for sample in drawn]
        rows += known or _case_rows(make, paths, truth, case, protocol, unit, device, encoded.get(case))
        if not known and index % SAVE_EVERY == 0:
            kept.save(rows, hashes)
        advance()
    if protocol.likelihood:
        rows += _likelihood_rows(make, list(files), predictions / LIKELIHOOD, protocol)
    if protocol.laplace:
        rows += _laplace_rows(make, files, truth, unit, laplace)
    rows += _mean_rows(make, rows, len(truth))
    if protocol.samples and facts.samples == 1 and facts.draws is not False:
        rows += map(make.of_set, no_sample_scores())
    if plan:
        read = (read_prediction(path, truth, case, unit)[0] for case, path in files.items())
        rows += [make.of_set(s) for s in score_set(plan, (torch.from_numpy(v).float() for v in read), advance)]
    rows += _time_rows(make, len(files))
    kept.save(rows, hashes)
    return rows


def external_run(
    predictions: Path,
    cases: Mapping[Split, Cases],
    method: str,
    preset: str,
    split: Split,
    seed: int | None,
    *,
    allow_missing: bool = False,
) -> RunFacts:
    """Return what to call predictions made elsewhere.

    With a seed the run is named as ours are, so that seeds of one method stand in one row and a newer folder replaces
    an older one; without a seed the name holds a hash of the files.
    """
    truth = cases[split]
    files = find_predictions(predictions, truth.names, allow_missing=allow_missing)
    content = {case: sha256_of(path) for case, path in files.items()} if seed is None else None
    digest = digest_of({"external": content, "data": truth.card.fingerprint, "split": split})
    run_id = f"{method}-{truth.card.name}-{preset}-{'external' if seed is None else f's{seed}'}-{digest[:8]}"
    return RunFacts(run_id, method, "external", preset, seed, code_version(), split)


def check_and_hash(
    files: Mapping[str, Path], predictions: Path, truth: Cases, unit: Unit | PredictionCard | None
) -> dict[str, str]:
    """Return the SHA-256 of each file, after all headers and the manifest were checked: no hour is lost to the last.

    With a unit all voxels are read too. What is wrong is said of the first cases, and of how many more.
    """
    manifest = read_manifest(predictions)
    hashes: dict[str, str] = {}
    faults: list[BenchError] = []
    for case, path in files.items():
        try:
            if unit is None:
                check_grid(path, truth, case)
            else:
                check_prediction(path, truth, case, unit)
        except BenchError as error:
            faults.append(error)
            continue
        hashes[case] = sha256_of(path)
        if case in manifest and manifest[case].sha256 != hashes[case]:
            faults.append(BenchError(f"{path} is not the file its manifest describes; delete it and reconstruct again"))
        if case in manifest:
            hashes[case] += manifest[case].renders_sha256
    if len(faults) > 1:
        first = " | ".join(map(str, faults[:SHOWN])) + (f" | and {len(faults) - SHOWN} more" if faults[SHOWN:] else "")
        raise BenchError(f"{len(faults)} of {len(files)} predictions are refused: {first}")
    if faults:
        raise faults[0]
    return hashes


def _case_rows(
    make: "_RowMaker",
    paths: Sequence[Path],  # of its samples; what is not of several samples is of the first
    truth: Cases,
    case: str,
    protocol: Protocol,
    unit: Unit | PredictionCard,
    device: torch.device | None,
    encoded: Path | None,
) -> list[Score]:
    volume, note = read_prediction(paths[0], truth, case, unit)
    exact = truth.truth(case)
    volumes = CaseVolumes(exact, volume, read_prediction(encoded, truth, case)[0] if encoded else None)
    scores = score_case(volumes, protocol)
    rows = [make.of_case(case, score, note) for score in scores]
    more = score_anatomy(exact, volume, truth.card, protocol.anatomy) if protocol.anatomy else []
    if protocol.turn or protocol.reprojection:
        more += score_images(volumes, truth, case, protocol, paths[0].parent, device)
    if protocol.samples and len(paths) > 1:
        drawn = [volume, *(read_prediction(path, truth, case, unit)[0] for path in paths[1:])]
        more += score_samples(case, exact, drawn, truth.card, protocol.samples)
    elif protocol.samples and make.facts.draws is False:
        more += score_alone(scores)
    return rows + [make.of_case(case, score) for score in more]


def _likelihood_rows(make: "_RowMaker", names: Sequence[str], path: Path, protocol: Protocol) -> list[Score]:
    likelihoods, share = read_likelihoods(path), protocol.likelihood == "1-hu-bins-and-share"
    missing = [name for name in names if name not in likelihoods]
    if likelihoods and missing:
        raise BenchError(f"{path} has no line for {missing[0]}; it needs one for each predicted case")
    scores = {name: likelihood_scores(likelihoods.get(name), share=share) for name in names}
    return [make.of_case(name, score) for name, own in scores.items() for score in own]


def _laplace_rows(
    make: "_RowMaker", files: Mapping[str, Path], truth: Cases, unit: Unit | PredictionCard, fit: LaplaceFit | str
) -> list[Score]:
    if isinstance(fit, str):
        return [make.of_case(name, CaseScore("3d", "all", LAPLACE, None, fit)) for name in files]
    rows = []
    for name, path in files.items():
        predicted, _ = read_prediction(path, truth, name, unit)
        rows.append(make.of_case(name, fit.score(truth.hounsfield[truth.index(name)], predicted, truth.card.window)))
    return rows


def _mean_rows(make: "_RowMaker", case_rows: Sequence[Score], expected: int) -> list[Score]:
    """Return mean and sample standard deviation over the cases where a metric is defined."""
    groups: dict[tuple[Any, str, str], list[Score]] = defaultdict(list)
    for row in case_rows:
        groups[row.space, row.axis, row.metric].append(row)
    result = []
    for (space, axis, metric), group in groups.items():
        values = [row.value for row in group if row.value is not None]
        notes, clipped = join_clipping([row.note for row in group])
        note = next(iter(notes)) if len(set(notes)) == 1 else ""
        if len(values) < len(group):
            reason = next(own for row, own in zip(group, notes, strict=True) if row.value is None)
            note = f"{len(group) - len(values)} of {expected} cases left out: {reason}" if values else reason
        note = "; ".join(filter(None, (note, clipped)))
        mean = float(np.mean(values)) if values else None
        result.append(make.of_set(SetScore(space, axis, metric, "mean", mean, len(values), note=note)))
        if len(values) > 1:
            spread = float(np.std(values, ddof=1))
            result.append(make.of_set(SetScore(space, axis, metric, "sd", spread, len(values), note=note)))
    return result


def _time_rows(make: "_RowMaker", cases: int) -> list[Score]:
    result, stages, inference = [], make.facts.stages, make.facts.infer_seconds
    for part in dict.fromkeys((*stages, *inference)):
        place = {"space": "time", "axis": part, "level": "run", "stat": "value"}
        if stage := stages.get(part):
            spent = {"train_hours": stage.seconds, "train_cpu_hours": stage.cpu_seconds}
            known = {metric: seconds for metric, seconds in spent.items() if seconds is not None}
            result += [make(**place, metric=metric, value=s / 3600, n=stage.steps) for metric, s in known.items()]
        if part in inference:
            result.append(make(**place, metric="infer_seconds", value=inference[part], n=cases))
    return result


def _counter(on_progress: OnProgress | None, total: int) -> Callable[[], None]:
    done = count(1)

    def advance() -> None:
        if on_progress:
            on_progress(min(next(done), total), total)

    return advance


class _RowMaker:
    """Makes rows: holds what all rows of one scoring share."""

    def __init__(
        self, facts: RunFacts, truth: Cases, protocol: Protocol, unit: Unit | PredictionCard, partial: bool
    ) -> None:
        self.facts, self.expected, self.partial = facts, len(truth), partial
        self.shared: dict[str, Any] = {
            "protocol": protocol.id,
            "protocol_hash": protocol.sha256(),
            "code_version": facts.code_version,
        }
        whose: dict[str, Any] = {"run_id": facts.run_id, "origin": facts.origin, "split": facts.split}
        whose |= {"draws": facts.draws} if protocol.samples else {}
        stated = unit.model_dump() if isinstance(unit, PredictionCard) else unit
        self.context = digest_of({**self.shared, **whose, "data": truth.card.fingerprint, "unit": stated})

    def __call__(self, **own: Any) -> Score:
        return Score(**self.shared, **own)

    def of_case(self, case: str, score: CaseScore, extra_note: str = "") -> Score:
        own = asdict(score) | {"note": "; ".join(filter(None, (score.note, extra_note)))}
        status = "ok" if score.value is not None else "na"
        return self(**own, level="case", case=case, stat="value", status=status)

    def of_set(self, score: SetScore) -> Score:
        status = "na" if score.value is None else "partial" if self.partial else "ok"
        some = f"of {self.expected} cases in the split" if status == "partial" else ""
        own = asdict(score) | {"note": "; ".join(filter(None, (some, score.note)))}
        return self(**own, level="set", status=status)


class _KeptRows:
    """The scores.csv of a run: rows that need not be made again, and rows of other protocols to keep.

    A JSON file beside it says which predictions the rows of each protocol belong to, and has their hash: a
    kill between the two writes costs the rows that were being made, and no others.
    """

    def __init__(self, path: Path | None, make: _RowMaker) -> None:
        self.path, self.context, self.scope = path, make.context, make.shared["protocol"]
        self.cases: dict[str, list[Score]] = defaultdict(list)
        self.record: dict[str, Any] = {}
        rows: dict[str, list[Score]] = defaultdict(list)
        if path is not None and path.exists():
            # damaged or of another version: everything is scored anew
            with suppress(BenchError, KeyError, TypeError, AttributeError):
                record = read_json(path.with_suffix(".json"))["scored"]
                for row in read_scores(path):
                    rows[row.protocol].append(row)
                whole = (scope for scope in rows if record.get(scope, {}).get("rows") == scores_sha256(rows[scope]))
                self.record = {scope: record[scope] for scope in whole}
        self.others = [row for scope in self.record if scope != self.scope for row in rows[scope]]
        for row in rows[self.scope] if self.scope in self.record else []:
            if row.level == "case" and METRICS[row.metric].family != "likelihood":
                self.cases[row.case].append(row)

    def of_case(self, case: str, sha256: str) -> list[Score]:
        """The rows of a case if they were made of the same prediction in the same context; else none."""
        mine = self.record.get(self.scope, {})
        same = mine.get("context") == self.context and mine.get("predictions", {}).get(case) == sha256
        return self.cases.get(case, []) if same else []

    def save(self, rows: Sequence[Score], hashes: Mapping[str, str]) -> None:
        """Write the rows, then beside them what they belong to."""
        if self.path is None:
            return
        write_scores(self.path, [*self.others, *rows])
        scored = sorted({row.case for row in rows if row.level == "case"})
        mine = {"context": self.context, "predictions": {case: hashes[case] for case in scored}}
        record = {**self.record, self.scope: {**mine, "rows": scores_sha256(rows)}}
        write_json(self.path.with_suffix(".json"), {"scored": record})
