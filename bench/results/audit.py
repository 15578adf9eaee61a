"""What one prediction, or one run, scores under every protocol; and what of the published tables and text cannot stand.

The point is the spread: the predictions are the same in all columns. What differs is the truth they are scored
against, which each column names, and the formula.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from bench.cases import Cases
from bench.errors import BenchError
from bench.metrics import CONTROLS, METRICS, Family, Space, metrics_shown
from bench.results.model import SPACES, truth_of
from bench.results.published import Published, count_firsts, find_doubts, read_published, read_table, title_of
from bench.results.renderers import Sheet
from bench.runs.prediction_card import PredictionCard, Unit
from bench.runs.predictions import encoded_truth, find_predictions, read_prediction
from bench.scoring.cases import score_case
from bench.scoring.protocol import CaseScore, CaseVolumes
from bench.scoring.protocols import PROTOCOLS, list_definitions
from bench.scoring.rows import Score

Place = tuple[Space, str, str]
"""Space, axis and metric of a number."""
OF_SPACE: dict[Space, str] = {"3d": "", "mip": f", {SPACES['mip'].noun}"}  # said behind a metric
UNDEFINED, NOTHING = "na", "–"  # defined but without a value here; not part of the protocol
BLOCK = "audit"  # between <!-- audit --> and <!-- /audit --> of a file


def list_lines() -> list[Place]:
    """Return what is shown: distortion first, then likelihood, then fidelity with its controls."""
    lines: list[Place] = []
    for space in OF_SPACE:
        shown = {key + suffix for key in metrics_shown(space) for suffix in ("", *(CONTROLS if space == "3d" else ()))}
        if space == "3d":
            shown |= {key for key, metric in METRICS.items() if metric.level == "case" and space in metric.spaces}
        families = get_args(Family)
        keys = sorted((key for key in METRICS if key in shown), key=lambda key: families.index(METRICS[key].family))
        lines += [(space, SPACES[space].axis, key) for key in keys]
    return lines


def compare_protocols(title: str, rows_of: Mapping[str, Sequence[Score]]) -> Sheet:
    """Return the means of one scored set under several protocols; `rows_of` is protocol id → its rows."""
    means = {
        protocol: [row for row in rows if row.level == "set" and row.stat == "mean"]
        for protocol, rows in rows_of.items()
    }
    return _sheet(title, means)


def compare_protocols_on_case(title: str, volumes: CaseVolumes) -> Sheet:
    """Return the numbers of one prediction under every protocol; those of whole sets have none."""
    return _sheet(title, {p.id: score_case(volumes, p) for p in list_definitions()})


def read_case(folder: Path, cases: Cases, name: str, unit: Unit | PredictionCard = "hu") -> CaseVolumes:
    """Return one case of a folder of predictions.

    Raises UsageError for an unknown name, BenchError as `read_prediction`.
    """
    truth = cases.truth(name)
    files = find_predictions(folder, cases.names, allow_missing=True)
    if name not in files:
        raise BenchError(f"{folder}: no prediction of {name}")
    encoded = encoded_truth(folder, cases, [name]).get(name)
    return CaseVolumes(
        truth,
        read_prediction(files[name], cases, name, unit)[0],
        read_prediction(encoded, cases, name)[0] if encoded else None,
    )


def list_doubtful_prints() -> Sheet:
    """Return the printed cells that are impossible, of another quantity, or in bold without being best, and why."""
    lines = []
    for table in dict.fromkeys(cell.table for cell in read_published()):
        for (method, key), cell in (cells := read_table(table)).items():
            metric = METRICS[key]
            name = metric.label if metric.family == "likelihood" else metric.name  # the printed NLL has no unit
            reasons = find_doubts(cells, method, key)
            lines += [(table, title_of(method), name, cell.text, reason) for reason in reasons]
    heads = ("Table", "Method", "Metric", "Printed", "Why")
    return Sheet(heads, lines, "Published numbers that cannot stand as printed", words=(0, -1), keys=3)


def compare_printed_psnr_and_mse() -> Sheet:
    """Return printed PSNR beside what the printed MSE gives on [0, 1] and on [-1, 1]: no definition fits the rows."""
    cells = {(cell.table, cell.method, cell.metric): cell for cell in read_published()}
    lines = []
    for (table, method, metric), cell in cells.items():
        mse = cells.get((table, method, "mse"))
        if metric != "psnr" or mse is None or not mse.number or cell.number is None:
            continue
        narrow = -10 * np.log10(mse.number)
        wide = narrow + 20 * np.log10(2)
        gaps = (f"{implied:.2f} ({cell.number - implied:+.2f})" for implied in (narrow, wide))
        lines.append((table, title_of(method), cell.text, mse.text, *gaps))
    heads = ("Table", "Method", "PSNR, dB", "MSE", "dB of that MSE on [0, 1]", "on [-1, 1]")
    return Sheet(heads, lines, "Printed PSNR beside what the printed MSE gives (and by how much it is off)", keys=2)


def compare_text_and_tables() -> Sheet:
    """Return what the paper says in words beside what its own tables and its released code hold."""
    bags, chests = read_table("1"), read_table("2")
    swapped = -10 * np.log10(_value(chests, "codediff", "mae") / 4)  # as an MSE on [-1, 1], whose peak is 2
    lines = [
        (
            "§4, chests",
            "41% better in MSE and 28% in MAE (printed as a second MSE) than CCX-rayNet",
            f"Table 1, bags: {1 - _ratio(bags, 'mse'):.0%} and {1 - _ratio(bags, 'mae'):.0%}. Table 2, chests: MSE is "
            f"{_ratio(chests, 'mse') - 1:.0%} above CCX-rayNet's, so not all distortion metrics are best",
        ),
        ("§4, bags", "density 53% above CCX-rayNet's", f"Table 1: {_ratio(bags, 'density') - 1:.0%}"),
        (
            "Table 2",
            f"MSE {chests['codediff', 'mse'].text} and MAE {chests['codediff', 'mae'].text}",
            f"exchanged they fit: an MSE of {chests['codediff', 'mae'].text} on [-1, 1] gives {swapped:.2f} dB, "
            f"{chests['codediff', 'psnr'].text} are printed",
        ),
        *(
            (f"Tables {' and '.join(tables)}", f"CodeDiff3D in bold in {bold} of {columns} columns", f"best in {best}")
            for tables in (("1", "3a"), ("2", "3b"))
            for best, bold, columns in [count_firsts("codediff", tables)]
        ),
        (
            "Tables 1–3",
            "SSIM, PSNR, MSE and MAE over the test set",
            "the released script computes MSE alone, on the first patient of each shuffled batch of 4: 26 of 102 "
            "(samb-t/x2ct-vqvae, eval_sampler.py:70,91,110; sampler_utils.py:100-101)",
        ),
        (
            "Table 2",
            "a window of -1,000 to +1,000 HU",
            "the released loader stretches each volume by its own minimum and maximum (dataloader.py:78, "
            "transforms.py:63-77); the history of the repository has the window first",
        ),
    ]
    return Sheet(
        ("Where", "In print", "In its tables and code"), lines, "What is said, and what there is", words=(0, 1, 2)
    )


def _value(cells: Mapping[tuple[str, str], Published], method: str, metric: str) -> float:
    number = cells[method, metric].number
    assert number is not None, (method, metric)
    return number


def _ratio(cells: Mapping[tuple[str, str], Published], metric: str) -> float:
    return _value(cells, "codediff", metric) / _value(cells, "ccx_raynet", metric)


def _sheet(title: str, scores_of: Mapping[str, Sequence[CaseScore] | Sequence[Score]]) -> Sheet:
    texts = {name: {(s.space, s.axis, s.metric): _say(s) for s in scores} for name, scores in scores_of.items()}
    protocols = [PROTOCOLS[name] for name in texts]
    heads = ("", *(f"{protocol.title or protocol.id} ({protocol.sha256()[:8]})" for protocol in protocols))
    encoded = (any(truth_of(score.note) == "encoded" for score in scores) for scores in scores_of.values())
    lines = [("scored against", *("its own encoding of the CT" if own else "the CT" for own in encoded))]
    for line in list_lines():
        if any(line in own for own in texts.values()):
            name = METRICS[line[2]].name + OF_SPACE[line[0]]
            lines.append((name, *(own.get(line, NOTHING) for own in texts.values())))
    return Sheet(heads, lines, title)


def _say(score: CaseScore | Score) -> str:
    return UNDEFINED if score.value is None else METRICS[score.metric].write(score.value)
