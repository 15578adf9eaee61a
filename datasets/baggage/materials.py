"""Materials of luggage and their Hounsfield units.

HU = 1000·(μ/μ_water − 1) with linear attenuation coefficients μ at 70 keV, near the mean energy of a 130–140 kV beam
behind 10 cm of water, from the tables of Elam, Ravel and Sieber (2002), doi 10.1016/S0969-806X(01)00227-4, as XrayDB
4.5.8 holds them (`xraydb.material_mu`); a mixture adds its parts' μ/ρ by mass. The numbers are constants here, so that
the phantom needs no such table.
"""

from dataclasses import dataclass

from ..shapes import AIR

BEAM_KEV = 70.0
BRIGHTEST = 3071.0  # a scanner of 12 bits shows no more: all that is denser is clipped to it


@dataclass(frozen=True)
class Material:
    """A material by its composition: formulas with their parts by mass, and g/cm³."""

    hounsfield: float  # unclipped
    density: float
    composition: tuple[tuple[str, float], ...]


def _of(hounsfield: float, density: float, *composition: str | tuple[str, float]) -> Material:
    return Material(hounsfield, density, tuple((c, 1.0) if isinstance(c, str) else c for c in composition))


MATERIALS: dict[str, Material] = {
    # cloth, paper, skin
    "cotton": _of(-765, 0.25, "C6H10O5"),  # as packed; garments scale it
    "padding": _of(-908, 0.10, "C10H8O4"),  # polyester fleece, lining, a rolled umbrella's cloth
    "paper": _of(-294, 0.75, "C6H10O5"),
    "leather": _of(-198, 0.86, "C12H18O5N4"),
    # plastics
    "polypropylene": _of(-114, 0.905, "C3H6"),
    "polyethylene": _of(-69, 0.951, "C2H4"),
    "abs": _of(-22, 1.05, "C15H17N"),
    "rubber": _of(55, 1.10, "C5H8"),
    "foam": _of(-808, 0.20, "C10H18O2"),  # ethylene vinyl acetate
    "nylon": _of(77, 1.13, "C6H11NO"),
    "polycarbonate": _of(104, 1.20, "C16H14O3"),
    "polyester": _of(265, 1.38, "C10H8O4"),  # also the PET of bottles
    "pvc": _of(944, 1.40, "C2H3Cl"),
    # liquids and food
    "ethanol": _of(-221, 0.789, "C2H6O"),
    "water": _of(0, 1.0, "H2O"),
    "peroxide": _of(97, 1.11, ("H2O2", 0.30), ("H2O", 0.70)),  # 30 %
    "juice": _of(43, 1.05, ("C12H22O11", 0.12), ("H2O", 0.88)),
    "soap": _of(23, 1.05, "C18H35NaO2"),
    "fruit": _of(-150, 0.85, "H2O"),
    "chocolate": _of(180, 1.25, "C12H22O11"),
    "sugar": _of(498, 1.587, "C12H22O11"),
    # minerals, electronics, metals
    "ceramic": _of(1601, 2.40, "SiO2(Al2O3)"),
    "glass": _of(2016, 2.50, ("SiO2", 0.73), ("Na2O", 0.15), ("CaO", 0.12)),
    "circuit board": _of(1985, 2.0, ("SiO2", 0.55), ("C21H24O4", 0.35), ("Cu", 0.10)),
    "lithium cell": _of(4449, 2.4, ("LiCoO2", 0.40), ("C", 0.22), ("Cu", 0.10), ("Al", 0.08), ("C3H4O3", 0.20)),
    "aluminium": _of(2222, 2.70, "Al"),
    "steel": _of(32315, 7.87, "Fe"),
    "brass": _of(47668, 8.50, ("Cu", 0.63), ("Zn", 0.37)),
    "copper": _of(48443, 8.96, "Cu"),
    # stands in for an organic explosive
    "energetic": _of(654, 1.80, "C3H6N6O6"),
}
NUMBERS = {name: index for index, name in enumerate(MATERIALS, start=1)}  # in label maps; 0 is air
NAMES = {number: name for name, number in NUMBERS.items()}


def visible_hounsfield(material: str, scale: float = 1.0) -> float:
    """Return the HU that a scanner shows of a material at `scale` times its density, at most 3071."""
    return min((MATERIALS[material].hounsfield - AIR) * scale + AIR, BRIGHTEST)
