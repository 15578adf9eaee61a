"""What a file cannot say of itself, in a small TOML beside it: unit, voxel spacing, axis order; README.md shows one.

`<name>.toml` beside `<name>.npz` (or beside the folder `<name>` of a stack) speaks of that scan alone; `scans.toml` in
a folder speaks of all scans in it and below. The nearest one counts, wholly.
"""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, PositiveFloat, ValidationError, model_validator

from bench.errors import describe_invalid

Unit = Literal["hu", "mhu", "hu+1024", "mu_per_cm"]
OFFSETS: dict[str, int] = {"hu": 0, "mhu": -1000, "hu+1024": -1024}
FOLDER_FILE = "scans.toml"
DIRECTIONS = {"D": (0, 0, -1), "H": (0, -1, 0), "W": (-1, 0, 0)}  # in RAS
EXAMPLES = {"unit": 'unit = "hu"', "spacing_mm": "spacing_mm = [1.0, 1.0, 1.0]", "axes": 'axes = ["D", "H", "W"]'}


def _check_axes(axes: tuple[str, str, str]) -> tuple[str, str, str]:
    if sorted(axis.removeprefix("-") for axis in axes) != ["D", "H", "W"]:
        raise ValueError('axes must name D, H and W once each, such as ["-D", "H", "W"]')
    return axes


class SideFile(BaseModel):
    """What a side file states; all of it optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: Path | None = None
    unit: Unit | None = None
    mu_water_per_cm: PositiveFloat | None = None  # attenuation of water on the scale of `mu_per_cm`
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None  # of slice, row, column
    axes: Annotated[tuple[str, str, str], AfterValidator(_check_axes)] | None = None  # of slice, row, column
    padding: float | None = None  # stored value outside the field of view, read as air
    key: str | None = None  # of the array in an .npz
    view_angles: dict[str, float] | None = None  # name of an X-ray that came with it → gantry angle in degrees
    mirrored_views: tuple[str, ...] = ()  # those whose columns are flipped from what the source sees

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.unit == "mu_per_cm") != (self.mu_water_per_cm is not None):
            raise ValueError('mu_water_per_cm belongs to unit = "mu_per_cm" and to no other')
        if lacking := set(self.mirrored_views) - set(self.view_angles or {}):
            raise ValueError(f"view_angles states no angle of {', '.join(sorted(lacking))}")
        return self

    def apply(self, values: np.ndarray, affine: np.ndarray | None, unit: Unit | None) -> tuple[np.ndarray, np.ndarray]:
        """Return values (i, j, k) in HU and their affine to RAS millimetres; what is stated here wins over the file.

        Without a position of its own the scan is centred at the origin. Raises ValueError when something is missing.
        """
        missing = [] if self.unit or unit else ["unit"]
        if affine is None:
            missing += [name for name in ("spacing_mm", "axes") if getattr(self, name) is None]
        if missing:
            lines = "; ".join(EXAMPLES[name] for name in missing)
            raise ValueError(f"it does not state its {' and '.join(missing)}; write a .toml beside it with {lines}")
        return self.to_hounsfield(values, self.unit or unit or "hu"), self._affine(values.shape, affine)

    def to_hounsfield(self, values: np.ndarray, unit: Unit) -> np.ndarray:
        """Return values of a unit in HU; what is padding becomes air."""
        outside = None if self.padding is None else values == self.padding
        hounsfield: np.ndarray = values
        if unit == "mu_per_cm":
            hounsfield = 1000 * (values.astype(np.float32) / np.float32(self.mu_water_per_cm or math.nan) - 1)
        elif offset := OFFSETS[unit]:
            narrow = values.dtype.kind in "iu" and values.dtype.itemsize <= 2
            wide = values.astype(np.int32 if narrow else np.float32)
            hounsfield = wide + wide.dtype.type(offset)
        if outside is not None and outside.any():
            hounsfield = np.where(outside, hounsfield.dtype.type(-1000), hounsfield)
        return hounsfield

    def _affine(self, shape: tuple[int, ...], affine: np.ndarray | None) -> np.ndarray:
        if affine is not None and self.axes is None and self.spacing_mm is None:
            return affine
        middle = np.append((np.array(shape) - 1) / 2, 1.0)
        centre = np.zeros(3) if affine is None else (affine @ middle)[:3]
        own = np.eye(3) if affine is None else affine[:3, :3]
        spacing = np.linalg.norm(own, axis=0) if self.spacing_mm is None else np.array(self.spacing_mm[::-1])
        directions = own / np.linalg.norm(own, axis=0) if self.axes is None else _directions(self.axes)
        result = np.eye(4)
        result[:3, :3] = directions * spacing
        result[:3, 3] = centre - result[:3, :3] @ middle[:3]
        return result


NO_SIDE_FILE = SideFile()


def _directions(axes: tuple[str, str, str]) -> np.ndarray:
    """Return (3, 3): the column n is the direction in RAS of the axis n, the fastest varying first."""
    columns = [np.array(DIRECTIONS[axis[-1]]) * (-1 if axis.startswith("-") else 1) for axis in reversed(axes)]
    return np.stack(columns, axis=1).astype(float)


def find_side_file(path: Path, stem: str, root: Path) -> SideFile:
    """Return the side file that speaks of a scan at `path` (a file or the folder of a stack), looked for up to `root`.

    Raises ValueError, naming it, when it is not valid.
    """
    folder = path.parent
    own = [folder / f"{stem}.toml", folder / f"{path.stem}.toml", folder / f"{path.name}.toml"]
    start = path if path.is_dir() else folder
    folders = [start, *start.parents]
    top = root if root.is_dir() else root.parent
    shared = [parent / FOLDER_FILE for parent in folders if parent == top or top in parent.parents]
    for candidate in (*own, *shared):
        if candidate.is_file():
            return _parse(candidate)
    return NO_SIDE_FILE


def _parse(path: Path) -> SideFile:
    try:
        return SideFile(**{**tomllib.loads(path.read_text(encoding="utf-8-sig")), "path": path})
    except ValidationError as error:
        raise ValueError(f"its side file {path.name} is wrong: {describe_invalid(error)}; correct it") from error
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"its side file {path.name} cannot be read ({error}); correct it") from error
