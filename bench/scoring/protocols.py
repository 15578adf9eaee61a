"""How numbers are made, by name and version: a protocol is data and one function, and its hash is in every row.

To add one, append to PROTOCOLS. To change one, give it a new id: results that carry the old one must stay true.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Literal

from bench.errors import unknown_name
from bench.metrics.slices import EXACT, SLICE_WINDOW
from bench.metrics.ssim import SIGMA, WINDOW
from bench.scoring.cases import AXES, CaseScore, CaseVolumes, windowed_scores
from bench.scoring.released_codediff import QUIRKS as CODEDIFF_QUIRKS
from bench.scoring.released_codediff import released_codediff_scores
from bench.scoring.released_x2ct import CCX_QUIRKS, X2CT_QUIRKS, x2ct_scores
from bench.system.files import digest_of

CaseFunction = Callable[[CaseVolumes, "Protocol"], list[CaseScore]]


@dataclass(frozen=True)
class Fidelity:
    """How density, coverage, precision and recall are computed."""

    nearest_k: int = 5
    encoder_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baseline_draws: int = 5  # random sets of training cases, as many as there are test cases
    baseline_seed: int = 0
    blur_voxels: float = 1.0  # σ of the Gaussian, in voxels of the grid, that makes the over-smooth control
    encoded_side: int = 128  # voxels a side before encoding …
    small_encoded_side: int = 64  # … and for presets whose grid …
    small_below: int = 96  # … is smaller than this
    values: Literal["window", "min-max"] = "window"  # min-max: stretched by the CT's own extremes
    spectral_norm: Literal["exact", "random-vectors"] = "exact"  # random-vectors: W / uᵀWv of random u and v
    batch: int | None = None  # cases compared at a time, in split order, the rest dropped; None: the whole split

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
    values: Literal["window", "min-max", "window-and-integers"]
    truth: Literal["ct", "encoded"]  # encoded: the method's own encoding of the CT, where its predictions hold one
    peak: float  # largest value that PSNR and SSIM of [0, 1] assume
    psnr: Literal["volume", "slices", "integers"]
    ssim: Literal["gaussian-1.5", "slices-dhw", "slices-wwh"]
    mip: Literal["maximum"] | None
    likelihood: Literal["1-hu-bins"] | None
    fidelity: Fidelity | None
    turn: Turn | None
    case_scores: CaseFunction
    exact_db: float | None = None  # PSNR of an exact match, of volumes and of slices; None: it is na
    integer_peak: float | None = None  # largest value that PSNR of values × 2500 assumes
    quirks: tuple[str, ...] = ()  # what a reader would not expect, a sentence each; explains, and enters no hash

    def sha256(self) -> str:
        """Hash of everything the numbers depend on."""
        data = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "quirks"}
        data["fidelity"] = asdict(self.fidelity) if self.fidelity else None
        data["turn"] = asdict(self.turn) if self.turn else None
        return digest_of({**data, "case_scores": self.case_scores.__name__})


DEFAULT = "ct3d-1"
RENDERED = Turn()  # images that methods which render are asked for, whatever protocol their run is first scored under
PROTOCOLS: dict[str, Protocol] = {
    protocol.id: protocol
    for protocol in (
        Protocol(
            id=DEFAULT,
            values="window",
            truth="ct",
            peak=1.0,
            psnr="volume",
            ssim="gaussian-1.5",
            mip="maximum",
            likelihood="1-hu-bins",
            fidelity=Fidelity(),
            turn=RENDERED,
            case_scores=windowed_scores,
        ),
        Protocol(
            id="paper-2023",
            values="min-max",
            truth="encoded",
            peak=1.0,
            psnr="slices",
            ssim="slices-wwh",
            mip="maximum",
            likelihood=None,
            fidelity=Fidelity(
                nearest_k=3, encoder_seeds=(0,), values="min-max", spectral_norm="random-vectors", batch=8
            ),
            turn=None,
            case_scores=released_codediff_scores,
            exact_db=EXACT,
            quirks=CODEDIFF_QUIRKS,
        ),
        Protocol(
            id="x2ct-2019",
            values="window-and-integers",
            truth="ct",
            peak=1.0,
            psnr="integers",
            ssim="slices-dhw",
            mip=None,
            likelihood=None,
            fidelity=None,
            turn=None,
            case_scores=x2ct_scores,
            exact_db=EXACT,
            integer_peak=4095.0,
            quirks=X2CT_QUIRKS,
        ),
        Protocol(
            id="ccx-2021",
            values="window-and-integers",
            truth="ct",
            peak=4096 / 2500,
            psnr="volume",
            ssim="slices-dhw",
            mip=None,
            likelihood=None,
            fidelity=None,
            turn=None,
            case_scores=x2ct_scores,
            exact_db=EXACT,
            integer_peak=4096.0,
            quirks=CCX_QUIRKS,
        ),
    )
}

_WINDOW = "the fixed HU window of the dataset mapped to [0, 1]; predictions are clipped to it"
_UNIFORM = f"{SLICE_WINDOW}×{SLICE_WINDOW} uniform window, sample covariance, on slices across"
IN_WORDS = {
    "window": _WINDOW,
    "min-max": f"{_WINDOW}; then stretched to [0, 1] by the minimum and maximum of each CT",
    "window-and-integers": f"{_WINDOW}; and × 2500 truncated to integers (mse_int, mae_int, psnr_slices)",
    "ct": "the CT",
    "encoded": "the method's own encoding of the CT where its predictions hold one, else the CT; each row says which",
    "volume": "−10 log10(MSE / peak²) of each whole volume or projection",
    "slices": "−10 log10(MSE / peak²) of each slice, mean over the slices of an axis, then over the three axes",
    "integers": "−10 log10(mse_int / peak²) of each whole volume",
    "gaussian-1.5": f"Gaussian window σ {SIGMA}, {WINDOW} a side, population covariance, 3-D on volumes, 2-D on MIPs",
    "slices-dhw": f"{_UNIFORM} D, H and W, mean of the three",
    "slices-wwh": f"{_UNIFORM} W, W and H, mean of the three",
    "maximum": f"maximum along {', '.join(AXES)} of the volume, each scored as an image; `mean` is the mean of them",
    "1-hu-bins": "−log2 p(volume | views) in 1-HU bins over the window, the outer bins take the tails; per voxel and "
    "per code, mean over cases",
    None: "none",
}


def get_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises UsageError, with the nearest names, when there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, list(PROTOCOLS))
    return PROTOCOLS[name]


def describe(protocol: Protocol) -> str:
    """What `bench show PROTOCOL` prints: one line a decision, then one a quirk."""
    peak = protocol.integer_peak if protocol.psnr == "integers" else protocol.peak
    exact = "na, not infinity" if protocol.exact_db is None else f"{protocol.exact_db:g} dB"
    lines = {
        "protocol": f"{protocol.id} (sha256 {protocol.sha256()[:12]})",
        "values": IN_WORDS[protocol.values],
        "truth": IN_WORDS[protocol.truth],
        "MSE, MAE": "mean over all voxels of a case, then over cases",
        "PSNR": f"{IN_WORDS[protocol.psnr]}; peak {peak:g}; an exact match is {exact}; mean over cases",
        "SSIM": f"{IN_WORDS[protocol.ssim]}; range {protocol.peak:g}; mean over cases",
        "MIP": IN_WORDS[protocol.mip],
        "NLL": IN_WORDS[protocol.likelihood],
    }
    if protocol.integer_peak:
        lines["psnr_slices"] = f"of the integers: {IN_WORDS['slices']}; peak {protocol.integer_peak:g}"
    if protocol.turn:
        lines["X-ray images"] = (
            f"projections of truth and prediction at {protocol.turn.images} angles of a turn; PSNR and SSIM of each "
            "image, mean over those at angles not given to the method; those given are kept apart"
        )
    lines |= _fidelity_lines(protocol.fidelity) if protocol.fidelity else {"density, coverage": "none"}
    lines |= {f"quirk {number}": text for number, text in enumerate(protocol.quirks, start=1)}
    return "\n".join(f"{name:18} {text}" for name, text in lines.items())


def _fidelity_lines(f: Fidelity) -> dict[str, str]:
    seeds = ", ".join(map(str, f.encoder_seeds))
    fewest = f.nearest_k + 2 if f.batch is None else f.batch
    extent = "the whole split at once" if f.batch is None else f"batches of {f.batch} in split order, averaged"
    norm = "exact spectral norm" if f.spectral_norm == "exact" else "W / uᵀWv of random u and v in place of W / σ"
    return {
        "density, coverage": f"{extent}, k = {f.nearest_k}; na under {fewest} cases; never ranked",
        "encoders": f"{len(f.encoder_seeds)} random (seeds {seeds}) with {norm}",
        "encoded at": f"{f.encoded_side} a side, {f.small_encoded_side} for grids under {f.small_below}; "
        "resampled linearly",
        "baseline": f"test cases against as many training cases, {f.baseline_draws} draws (seed {f.baseline_seed})",
        "control": f"test cases against themselves blurred by a Gaussian of σ {f.blur_voxels:g} voxels of the grid",
    }
