"""From nats of a method to bits a voxel and bits a code, and the file they are kept in beside the predictions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from bench.errors import BenchError
from bench.method import Likelihood
from bench.metrics import CODES_SHARE, NLL, NLL_OF_CODES, Space
from bench.scoring.protocol import CaseScore
from bench.system.csv_files import read_rows, write_rows

Nats = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NO_LIKELIHOOD = "the method has no likelihood"
NO_CODES = "the method has no codes"


@dataclass(frozen=True)
class CaseLikelihood:
    """An upper bound of −log p(volume | views) of one case, split into the volume given codes and the codes."""

    case: Annotated[str, Field(min_length=1)]
    volume_given_codes_nats: Nats
    codes_given_views_nats: Nats
    voxels: PositiveInt
    codes: NonNegativeInt  # 0 of a method without
    codes_se: Nats | None = None  # Monte-Carlo standard error of the second part, in nats


def nll_bits_per_voxel(likelihood: CaseLikelihood) -> float:
    """−log2 p(volume | views) / voxels, ≥ 0, in bits: both parts over the voxels of the grid at hand."""
    nats = likelihood.volume_given_codes_nats + likelihood.codes_given_views_nats
    return nats / (likelihood.voxels * math.log(2.0))


def nll_bits_per_code(likelihood: CaseLikelihood) -> float | None:
    """−log2 p(codes | views) / codes, ≥ 0, in bits; log2(K) for a uniform guess among K codes. None without codes."""
    if not likelihood.codes:
        return None
    return likelihood.codes_given_views_nats / (likelihood.codes * math.log(2.0))


def codes_share(likelihood: CaseLikelihood) -> float | None:
    """−log p(codes | views) in percent of −log p(volume | views), 0 to 100. None without codes, or where nothing costs
    anything.
    """
    nats = likelihood.volume_given_codes_nats + likelihood.codes_given_views_nats
    return 100 * likelihood.codes_given_views_nats / nats if likelihood.codes and nats else None


def likelihood_scores(likelihood: CaseLikelihood | None, *, share: bool = False) -> list[CaseScore]:
    """Return the bits of one case a voxel and a code and, with `share`, what percent of them the codes are.

    None of a method without a likelihood: its scores say so.
    """
    if likelihood is None:
        places: list[tuple[Space, str]] = [("3d", NLL), ("code", NLL_OF_CODES), ("code", CODES_SHARE)]
        return [CaseScore(space, "all", metric, None, NO_LIKELIHOOD) for space, metric in places[: 3 if share else 2]]
    note = ""
    if likelihood.codes_se is not None:
        per_voxel = likelihood.codes_se / (likelihood.voxels * math.log(2.0))
        note = f"Monte-Carlo standard error {per_voxel:.3g} bits/voxel"
    of_codes = note if likelihood.codes else NO_CODES
    scores = [
        CaseScore("3d", "all", NLL, nll_bits_per_voxel(likelihood), note),
        CaseScore("code", "all", NLL_OF_CODES, nll_bits_per_code(likelihood), of_codes),
    ]
    if share:
        percent = codes_share(likelihood)
        free = "no bits that the codes could have a share of" if likelihood.codes else NO_CODES
        scores.append(CaseScore("code", "all", CODES_SHARE, percent, free if percent is None else ""))
    return scores


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
    write_rows(path, CaseLikelihood, sorted(likelihoods, key=lambda entry: entry.case))


def read_likelihoods(path: Path) -> dict[str, CaseLikelihood]:
    """Return case → its bound; empty without the file.

    Raises BenchError for missing columns, values that cannot be (probabilities of 1-HU bins and of codes are never
    above one), and a case that stands there twice.
    """
    known: dict[str, CaseLikelihood] = {}
    for number, entry in enumerate(read_rows(path, CaseLikelihood), start=2):
        if entry.case in known:
            raise BenchError(f"{path} line {number}: case {entry.case} appears twice; keep one line a case")
        known[entry.case] = entry
    return known
