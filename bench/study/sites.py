"""Where a study plants what was not there: drawn in the lungs of phantoms, read from a file for real scans."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from bench.cases import Cases
from bench.errors import BenchError, UsageError
from bench.system.csv_files import read_rows
from bench.system.seeding import derive_seed

HOST = "lung"  # in the name of a label, of what a nodule is planted in
Centre = tuple[float, float, float]
"""(d, h, w) in mm from the centre of the cube."""


@dataclass(frozen=True)
class Site:
    """One line of a file of sites: a place in the scan of a case, in RAS millimetres as the case's NIfTI has them."""

    case: str
    x_mm: float
    y_mm: float
    z_mm: float


def find_sites(cases: Cases, label_names: Mapping[str, Mapping[int, str]], radius_mm: float) -> dict[str, Centre]:
    """Return a place in a lung of each phantom, drawn among those further than a radius from all that is no lung.

    Where no place is that far, the furthest is taken; a case without lungs is left out. Raises UsageError for real
    cases, and for a dataset that labels no lungs.
    """
    hosts = {kind: [number for number, name in names.items() if HOST in name] for kind, names in label_names.items()}
    kind = next((kind for kind, numbers in hosts.items() if numbers), None)
    if cases.phantoms is None or kind is None:
        what = "real scans have no labels" if cases.phantoms is None else f"{cases.card.name} labels no {HOST}s"
        raise UsageError(f"{what}; say with --sites FILE where to plant: a CSV with case, x_mm, y_mm, z_mm")
    sites: dict[str, Centre] = {}
    for name in cases.names:
        host = np.isin(cases.labels(name)[kind], hosts[kind])
        if not host.any():
            continue
        depth = distance_transform_edt(np.pad(host, 1))[1:-1, 1:-1, 1:-1]
        far = np.minimum(depth.max(), radius_mm / cases.card.voxel_mm + 0.5)  # from the centre of a voxel to a face
        places = np.argwhere(depth >= far)
        chosen = places[np.random.default_rng(derive_seed("site", name)).integers(len(places))]
        sites[name] = _centre(chosen, cases)
    if not sites:
        raise UsageError(f"none of the {len(cases)} cases shows a {HOST}")
    return sites


def read_sites(path: Path, cases: Cases) -> dict[str, Centre]:
    """Return the sites of some cases from a CSV with the columns case, x_mm, y_mm, z_mm.

    Raises UsageError for a missing file, and for a case or place that is not there, BenchError for a damaged file.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}; it needs the columns case, x_mm, y_mm, z_mm")
    sites: dict[str, Centre] = {}
    for site in read_rows(path, Site):
        if site.case in sites:
            raise BenchError(f"{path}: {site.case} has two sites; keep one")
        affine = cases.affines[cases.index(site.case)]
        place = (np.linalg.inv(affine) @ [site.x_mm, site.y_mm, site.z_mm, 1.0])[2::-1]  # (w, h, d) turned round
        if not np.isfinite(place).all() or (place < -0.5).any() or (place > cases.card.size - 0.5).any():
            raise UsageError(f"{path}: the site of {site.case} lies outside of its volume")
        sites[site.case] = _centre(place, cases)
    if not sites:
        raise UsageError(f"{path} names no site")
    return sites


def take_cases(cases: Cases, names: Sequence[str]) -> Cases:
    """Return some cases of a split, in the split's order."""
    wanted = set(names)
    chosen = [index for index, name in enumerate(cases.names) if name in wanted]
    arrays = {key: getattr(cases, key)[chosen] for key in ("hounsfield", "line_integrals", "affines")}
    return replace(cases, names=tuple(cases.names[index] for index in chosen), **arrays)


def _centre(index: Iterable[float], cases: Cases) -> Centre:
    d, h, w = ((float(i) + 0.5 - cases.card.size / 2) * cases.card.voxel_mm for i in index)
    return d, h, w
