"""The Hounsfield units of luggage: what two independent tables of attenuation say, and what the README prints."""

from pathlib import Path

import numpy as np
import pytest

import bench.datasets.baggage as baggage
from bench.datasets.baggage.materials import BEAM_KEV, BRIGHTEST, MATERIALS, NUMBERS, visible_hounsfield

# μ/ρ in cm²/g at 60 and 80 keV: Hubbell and Seltzer (1995), NISTIR 5632, tables 3 and 4
NIST = {
    "water": (0.2059, 0.1837),
    "polyethylene": (0.1970, 0.1823),
    "aluminium": (0.2778, 0.2018),
    "steel": (1.205, 0.5952),
    "copper": (1.593, 0.7630),
}


def between_energies(at_60: float, at_80: float) -> float:
    """Straight on a doubly logarithmic scale, as attenuation nearly is between absorption edges."""
    return float(np.exp(np.interp(np.log(BEAM_KEV), np.log([60, 80]), np.log([at_60, at_80]))))


@pytest.mark.parametrize("name", NIST)
def test_pure_materials_attenuate_as_the_tables_of_nist_say(name: str) -> None:
    material = MATERIALS[name]
    ratio = material.density * between_energies(*NIST[name]) / between_energies(*NIST["water"])
    assert material.hounsfield + 1000 == pytest.approx(1000 * ratio, rel=0.02)


def test_all_constants_are_those_of_xraydb() -> None:
    xraydb = pytest.importorskip("xraydb")
    water = xraydb.material_mu("H2O", 1000 * BEAM_KEV, 1.0)
    for name, material in MATERIALS.items():
        assert sum(share for _, share in material.composition) == pytest.approx(1)
        per_gram = sum(share * xraydb.material_mu(f, 1000 * BEAM_KEV, 1.0) for f, share in material.composition)
        expected = 1000 * (material.density * per_gram / water - 1)
        assert material.hounsfield == pytest.approx(expected, abs=0.6, rel=1e-4), name


def test_metals_are_clipped_and_the_rest_scales_with_density() -> None:
    assert {visible_hounsfield(name) for name in ("steel", "brass", "copper", "lithium cell")} == {BRIGHTEST}
    assert visible_hounsfield("aluminium") == 2222 < BRIGHTEST
    assert visible_hounsfield("paper", 0.5) == pytest.approx(-647)
    assert visible_hounsfield("cotton", 0.0) == -1000
    assert sorted(NUMBERS.values()) == list(range(1, len(MATERIALS) + 1))


def test_the_readme_shows_every_material() -> None:
    readme = (Path(baggage.__file__).parent / "README.md").read_text()
    for name, material in MATERIALS.items():
        parts = material.composition
        made = parts[0][0] if len(parts) == 1 else ", ".join(f"{share:.0%} {formula}" for formula, share in parts)
        clipped = min(material.hounsfield, BRIGHTEST)
        row = f"| {name} | {made} | {material.density:g} | {material.hounsfield:.0f} | {clipped:.0f} |\n"
        assert row in readme
