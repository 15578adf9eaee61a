"""From nats of a method to bits a voxel and bits a code, and the file they are kept in beside the predictions."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.errors import BenchError
from bench.method import Likelihood
from bench.scoring.protocol import CaseScore
from bench.system.files import write_text

FILE_NAME = "likelihood.csv"
NO_LIKELIHOOD = "the method has no likelihood"


@dataclass(frozen=True)
class CaseLikelihood:
    """An upper bound of −log p(volume | views) of one case, split into the volume given codes and the codes."""

    case: str
    volume_given_codes_nats: float
    codes_given_views_nats: float
    voxels: int
    codes: int
    codes_se: float | None = None  # Monte-Carlo standard error of the second part, in nats


def nll_bits_per_voxel(likelihood: CaseLikelihood) -> float:
    """−log2 p(volume | views) / voxels, ≥ 0, in bits: both parts over the voxels of the grid at hand."""
    nats = likelihood.volume_given_codes_nats + likelihood.codes_given_views_nats
    return nats / (likelihood.voxels * math.log(2.0))


def nll_bits_per_code(likelihood: CaseLikelihood) -> float:
    """−log2 p(codes | views) / codes, ≥ 0, in bits; log2(K) for a uniform guess among K codes."""
    return likelihood.codes_given_views_nats / (likelihood.codes * math.log(2.0))


def likelihood_scores(likelihood: CaseLikelihood) -> list[CaseScore]:
    """Return both numbers of one case."""
    note = ""
    if likelihood.codes_se is not None:
        per_voxel = likelihood.codes_se / (likelihood.voxels * math.log(2.0))
        note = f"Monte-Carlo standard error {per_voxel:.3g} bits/voxel"
    return [
        CaseScore("3d", "all", "nll_bits_per_voxel", nll_bits_per_voxel(likelihood), note),
        CaseScore("code", "all", "nll_bits_per_code", nll_bits_per_code(likelihood), note),
    ]


def no_likelihood_scores(reason: str = NO_LIKELIHOOD) -> list[CaseScore]:
    """Return the same two numbers of a case that has none."""
    return [
        CaseScore("3d", "all", "nll_bits_per_voxel", None, reason),
        CaseScore("code", "all", "nll_bits_per_code", None, reason),
    ]


def per_case(names: Sequence[str], likelihood: Likelihood) -> list[CaseLikelihood]:
    """Split the bound of a batch into its cases."""
    volume = likelihood.volume_given_codes.tolist()
    codes = likelihood.codes_given_views.tolist()
    error = likelihood.codes_standard_error
    errors = error.tolist() if error is not None else [None] * len(names)
    return [
        CaseLikelihood(name, of_volume, of_codes, likelihood.voxels, likelihood.codes, codes_se)
        for name, of_volume, of_codes, codes_se in zip(names, volume, codes, errors, strict=True)
    ]


def write_likelihoods(path: Path, likelihoods: Sequence[CaseLikelihood]) -> None:
    """Write one line a case, ordered by name."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(CaseLikelihood)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in sorted(likelihoods, key=lambda entry: entry.case))
    write_text(path, text.getvalue())


def read_likelihoods(path: Path) -> dict[str, CaseLikelihood]:
    """Return case → its bound; empty without the file.

    Raises BenchError for missing columns or values that cannot be.
    """
    if not path.exists():
        return {}
    found: dict[str, CaseLikelihood] = {}
    with path.open(newline="") as file:
        for number, line in enumerate(csv.DictReader(file), start=2):
            entry = _parse(path, number, line)
            if entry.case in found:
                raise BenchError(f"{path} line {number}: case {entry.case} appears twice; keep one line a case")
            found[entry.case] = entry
    return found


def _parse(path: Path, number: int, line: dict[str, str | None]) -> CaseLikelihood:
    try:
        entry = CaseLikelihood(
            case=line["case"] or "",
            volume_given_codes_nats=float(line["volume_given_codes_nats"] or "nan"),
            codes_given_views_nats=float(line["codes_given_views_nats"] or "nan"),
            voxels=int(line["voxels"] or 0),
            codes=int(line["codes"] or 0),
            codes_se=float(line["codes_se"] or "nan") if line.get("codes_se") else None,
        )
    except KeyError as error:
        columns = ", ".join(field.name for field in fields(CaseLikelihood))
        raise BenchError(f"{path} has no column {error}; it needs {columns}") from error
    except ValueError as error:
        raise BenchError(f"{path} line {number}: {error}") from error
    nats = (entry.volume_given_codes_nats, entry.codes_given_views_nats, entry.codes_se or 0.0)
    if not entry.case or not all(math.isfinite(n) and n >= 0 for n in nats) or min(entry.voxels, entry.codes) < 1:
        raise BenchError(
            f"{path} line {number}: needs a case, finite nats ≥ 0 and at least one voxel and code; "
            "probabilities of 1-HU bins and of codes are never above one"
        )
    return entry
