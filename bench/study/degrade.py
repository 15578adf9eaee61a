"""What makes views worse than those a method was trained on: few photons, a wide spectrum, an object that moves.

Line integrals are those of bench/projector.py. Its 0.022 per cm, kept from the tool of the published data, is a tenth
of what water attenuates (0.206 per cm at 60 keV), so photons are counted after TO_PHYSICAL.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TO_PHYSICAL = 10.0
AIR_HU = -1000.0
FILTER_CM = 0.25  # aluminium between tube and patient
ALUMINIUM_PER_CM3 = 2.699  # grams
# Hubbell and Seltzer, NIST Standard Reference Database 126: energy in keV, attenuation of water and of aluminium in
# cm² per gram.
ENERGIES_KEV = np.array([15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0])
WATER_CM2_PER_GRAM = np.array([1.673, 0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505])
ALUMINIUM_CM2_PER_GRAM = np.array([7.955, 3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378])


def add_poisson_noise(integrals: np.ndarray, photons: float, random: np.random.Generator) -> np.ndarray:
    """Return line integrals (any shape) as `photons` a pixel at the tube would have measured them; no unit.

    Each pixel counts Poisson(photons · exp(−integral)) photons, at least one. The noise grows where less arrives.
    """
    counts = random.poisson(photons * np.exp(-TO_PHYSICAL * integrals.astype(np.float64)))
    measured = -np.log(np.maximum(counts, 1) / photons) / TO_PHYSICAL
    return measured.astype(integrals.dtype)


def harden_beam(integrals: np.ndarray, kilovolts: float, unchanged: float) -> np.ndarray:
    """Return line integrals ≥ 0 (any shape) as the spectrum of a tube at 20 to 150 kV measures them, without scatter.

    Everything is taken for water. The result is scaled so that `unchanged` stays what it is, as a display's grey scale
    would: what remains is the curve, thin parts look denser than they are beside thick ones.
    """
    energies, weights = compute_spectrum(kilovolts)
    water = _interpolate(energies, WATER_CM2_PER_GRAM)
    relative = water / np.sum(weights * water)  # to what a thin object shows

    def measured(true: np.ndarray) -> np.ndarray:
        arriving = np.exp(-TO_PHYSICAL * true.astype(np.float64)[..., None] * relative)
        return -np.log(arriving @ weights) / TO_PHYSICAL

    scale = unchanged / measured(np.array([unchanged]))[0]
    return (scale * measured(integrals)).astype(integrals.dtype)


def compute_spectrum(kilovolts: float) -> tuple[np.ndarray, np.ndarray]:
    """Return energies in keV and the share of the detected signal at each, of a tube with 2.5 mm of aluminium.

    Kramers' law for the bremsstrahlung, number ∝ (E₀ − E) / E, on a detector that integrates energy; no lines of the
    anode. Raises ValueError outside 20 to 150 kV.
    """
    if not 20 <= kilovolts <= 150:
        raise ValueError(f"the spectrum is known for 20 to 150 kV, not {kilovolts:g}")
    energies = np.arange(15.0, kilovolts, 1.0)
    passed = np.exp(-FILTER_CM * ALUMINIUM_PER_CM3 * _interpolate(energies, ALUMINIUM_CM2_PER_GRAM))
    signal = (kilovolts - energies) * passed
    return energies, signal / signal.sum()


def move_object(
    hounsfield: Tensor, voxel_mm: float, *, degrees: float = 0.0, shift_mm: Tensor | None = None, scale: float = 1.0
) -> Tensor:
    """Return volumes (B, D, H, W) in HU of the object scaled, turned about the D axis, then shifted; air comes in.

    `shift_mm` is (d, h, w). A positive turn takes the H axis towards the W axis. Everything happens about the centre.
    """
    turn = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    cosine, sine = turn.cos(), turn.sin()
    # where each voxel (w, h, d) of the result comes from: the inverse of scale, turn and shift
    back = torch.eye(3, dtype=torch.float64)
    back[0, 0], back[0, 1], back[1, 0], back[1, 1] = cosine, -sine, sine, cosine
    back /= scale
    sides = torch.tensor([hounsfield.shape[3], hounsfield.shape[2], hounsfield.shape[1]], dtype=torch.float64)
    shift = torch.zeros(3, dtype=torch.float64) if shift_mm is None else shift_mm.double().flip(0)
    offset = -back @ (2 * shift / (sides * voxel_mm))
    matrix = torch.cat([back, offset[:, None]], dim=1)[None].to(hounsfield)
    grid = F.affine_grid(matrix, [1, 1, *hounsfield.shape[1:]], align_corners=False)
    above_air = (hounsfield - AIR_HU)[None]  # the batch as channels
    sampled = F.grid_sample(above_air, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[0] + AIR_HU


def _interpolate(energies: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Attenuation between tabulated energies, straight on logarithmic axes."""
    return np.exp(np.interp(np.log(energies), np.log(ENERGIES_KEV), np.log(table)))
