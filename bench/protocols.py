"""How numbers are made, by name and version: a protocol is data and one function, and its hash is in every row.

To add one, append to PROTOCOLS. To change one, give it a new id: results that carry the old one must stay true.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np

from bench.errors import unknown_name
from bench.files import digest_of
from bench.metrics.cases import AXES, CaseScore, windowed_scores
from bench.metrics.ssim import SIGMA, WINDOW

CaseFunction = Callable[[np.ndarray, np.ndarray, "Protocol"], list[CaseScore]]


@dataclass(frozen=True)
class Fidelity:
    """How density, coverage, precision and recall are computed."""

    nearest_k: int = 5
    encoder_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baseline_draws: int = 5  # random sets of training cases, as many as there are test cases
    baseline_seed: int = 0
    encoded_side: int = 128  # voxels a side before encoding …
    small_encoded_side: int = 64  # … and for presets whose grid …
    small_below: int = 96  # … is smaller than this

    def side(self, grid: int) -> int:
        """Voxels a side that volumes of `grid` voxels a side are resampled to before encoding."""
        return self.small_encoded_side if grid < self.small_below else self.encoded_side


@dataclass(frozen=True)
class Turn:
    """X-ray images all round a case, at the size and grey scale of its views."""

    images: int = 72  # at equal steps from gantry angle 0


@dataclass(frozen=True)
class Protocol:
    """One way to turn predictions into numbers."""

    id: str
    values: Literal["window"]
    truth: Literal["ct"]
    peak: float  # largest value of a voxel; the range is [0, peak]
    psnr: Literal["volume"]
    ssim: Literal["gaussian-1.5"]
    likelihood: Literal["1-hu-bins"]
    fidelity: Fidelity | None
    turn: Turn | None
    case_scores: CaseFunction

    def sha256(self) -> str:
        """Hash of everything the numbers depend on."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data["fidelity"] = asdict(self.fidelity) if self.fidelity else None
        data["turn"] = asdict(self.turn) if self.turn else None
        return digest_of({**data, "case_scores": self.case_scores.__name__})


PROTOCOLS: dict[str, Protocol] = {
    protocol.id: protocol
    for protocol in (
        Protocol(
            id="ct3d-1",
            values="window",
            truth="ct",
            peak=1.0,
            psnr="volume",
            ssim="gaussian-1.5",
            likelihood="1-hu-bins",
            fidelity=Fidelity(),
            turn=Turn(),
            case_scores=windowed_scores,
        ),
    )
}

IN_WORDS = {
    "window": "the fixed HU window of the dataset mapped to [0, 1]; predictions are clipped to it",
    "ct": "the CT",
    "volume": "−10 log10(MSE / peak²) of each whole volume or projection; an exact match is na, not infinity",
    "gaussian-1.5": f"Gaussian window σ {SIGMA}, {WINDOW} a side, population covariance, 3-D on volumes, 2-D on MIPs",
    "1-hu-bins": "−log2 p(volume | views) in 1-HU bins over the window, the outer bins take the tails",
}


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises UsageError, with the nearest names, when there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, list(PROTOCOLS))
    return PROTOCOLS[name]


def describe(protocol: Protocol) -> str:
    """What `bench show PROTOCOL` prints: one line a decision."""
    lines = {
        "protocol": f"{protocol.id} (sha256 {protocol.sha256()[:12]})",
        "values": IN_WORDS[protocol.values],
        "truth": IN_WORDS[protocol.truth],
        "MSE, MAE": "mean over all voxels of a case, then over cases",
        "PSNR": f"{IN_WORDS[protocol.psnr]}; peak {protocol.peak:g}; mean over cases",
        "SSIM": f"{IN_WORDS[protocol.ssim]}; range {protocol.peak:g}; mean over cases",
        "MIP": f"maximum along {', '.join(AXES)} of the volume, each scored as an image; `mean` is the mean of them",
        "NLL": f"{IN_WORDS[protocol.likelihood]}; per voxel and per code, mean over cases",
    }
    if protocol.turn:
        lines["X-ray images"] = (
            f"projections of truth and prediction at {protocol.turn.images} angles of a turn; PSNR and SSIM of each "
            "image, mean over those at angles not given to the method; those given are kept apart"
        )
    if protocol.fidelity:
        f = protocol.fidelity
        seeds = ", ".join(map(str, f.encoder_seeds))
        lines["density, coverage"] = (
            f"the whole split at once, k = {f.nearest_k}; na under {f.nearest_k + 2} cases; never ranked"
        )
        lines["encoders"] = f"{len(f.encoder_seeds)} random ones (seeds {seeds}) with exact spectral norm"
        lines["encoded at"] = (
            f"{f.encoded_side} a side, {f.small_encoded_side} for grids under {f.small_below}; resampled linearly"
        )
        lines["baseline"] = (
            f"test cases against as many training cases, {f.baseline_draws} draws (seed {f.baseline_seed})"
        )
    return "\n".join(f"{name:18} {text}" for name, text in lines.items())
