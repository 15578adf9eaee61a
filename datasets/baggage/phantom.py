"""The baggage phantom: a CT of a bag that was never packed, from a seed, at any grid, with its factors and labels."""

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ..shapes import AIR, MAJORITY, Array, Canvas, smooth_field
from ..shapes import Box as Voxels
from .bag import Bag, draw_bag, place_things
from .materials import BRIGHTEST, NUMBERS
from .packing import CELL
from .solids import share_between
from .things import Placed, fillings

CUBE_MM = 640.0
CRUMPLES = 30  # of the cloth, along the cube
CLOTHES = 255  # in label maps
LEAST_BLUR = 0.3  # voxels; a narrower point spread is lost in the voxel's own


def bag_phantom(seed: int, grid: int) -> np.ndarray:
    """Return the CT (D, H, W) int16 HU in [-1024, 3071] of the bag `seed` on a cube of 640 mm; the same at every call.

    D runs downwards, H across the scanner's belt and W along it. All grids show the same bag.
    """
    return render(_draw_once(seed), grid)


def render(bag: Bag, grid: int, cube_mm: float = CUBE_MM) -> np.ndarray:
    """Return the CT (D, H, W) int16 HU of a bag on a grid of a cube centred like the one of 640 mm."""
    canvas = Canvas(grid, cube_mm, 0.0)
    matter, covered = _matter(canvas, place_things(bag))
    box, clothes, _ = _clothes(canvas, bag)
    matter[box] += clothes * np.clip(1 - covered[box], 0, 1)
    if bag.blur > LEAST_BLUR * canvas.voxel:
        matter = gaussian_filter(matter, bag.blur / canvas.voxel)
    canvas.hounsfield += matter
    canvas.add_noise(np.random.default_rng([bag.texture, grid, 0x401]), bag.noise)
    return np.clip(np.rint(canvas.hounsfield), -1024, BRIGHTEST).astype(np.int16)


def bag_labels(seed: int, grid: int) -> dict[str, np.ndarray]:
    """Return the maps (D, H, W) uint8 `things` and `materials` of the bag `seed` on the same grid as its CT.

    What most of each voxel is: `things` holds 1, 2, … in the order of `bag_factors(seed)["thing_list"]`, 255 for
    clothes, 0 for air; `materials` the numbers of materials.NUMBERS, cloth for clothes. What is thinner than half a
    voxel has no label.
    """
    return labels_of(_draw_once(seed), grid)


def labels_of(bag: Bag, grid: int) -> dict[str, np.ndarray]:
    """Return the maps of `bag_labels` of a bag."""
    canvas = Canvas(grid, CUBE_MM, 0.0)
    room, _, cloth = _clothes(canvas, bag)
    things, materials = (np.zeros((grid,) * 3, np.uint8) for _ in range(2))
    things[room][cloth > MAJORITY], materials[room][cloth > MAJORITY] = CLOTHES, NUMBERS["cotton"]
    clothes = things.copy(), materials.copy()
    for number, placed in enumerate(place_things(bag), start=1):
        for item, box, filled, below in fillings(placed, canvas):
            inside = filled > MAJORITY
            if item.material:
                things[box][inside] = number
                materials[box][inside] = np.where((filled * below)[inside] > MAJORITY, NUMBERS[item.material], 0)
            else:
                things[box][inside] = clothes[0][box][inside]
                materials[box][inside] = clothes[1][box][inside]
    return {"things": things, "materials": materials}


def bag_factors(seed: int) -> dict[str, Any]:
    """Return all that was drawn for a bag, as plain values: mm, degrees, HU, positions (d, h, w) from the centre."""
    bag = _draw_once(seed)
    things = [
        {
            "label": number,
            "kind": placed.thing.kind,
            "threat": placed.thing.threat,
            "place": [round(float(value), 1) for value in placed.place],
            "turn": np.round(placed.turn, 4).tolist(),
            "materials": list(dict.fromkeys(item.material for item in placed.thing.parts if item.material)),
            **dict(placed.thing.facts),
        }
        for number, placed in enumerate(place_things(bag), start=1)
    ]
    garments = [
        {"hounsfield": round(garment.hounsfield, 1), "fold": round(garment.fold, 1)} for garment in bag.packed.garments
    ]
    thickness, width, length = (round(2 * half, 1) for half in bag.luggage.half)
    return {
        "trolley": bag.luggage.kind == "trolley",
        "thickness": thickness,
        "width": width,
        "length": length,
        "standing": not np.array_equal(bag.luggage.turn, np.eye(3)),
        "yaw": bag.yaw,
        "shift_h": bag.shift[0],
        "shift_w": bag.shift[1],
        "in_tray": bag.in_tray,
        "on_belt": bag.on_belt,
        "packed": len(bag.packed.things),
        "threats": sum(thing["threat"] for thing in things),
        "liquids": sum("liquid" in thing for thing in things),
        "laptop": any(thing["kind"] == "laptop" for thing in things),
        "garments": len(garments),
        "clothes": float(np.mean([garment["hounsfield"] for garment in garments] or [bag.loose])),
        "loose": bag.loose,
        "blur": bag.blur,
        "noise": bag.noise,
        "thing_list": things,
        "garment_list": garments,
    }


@lru_cache(maxsize=1)
def _draw_once(seed: int) -> Bag:
    """Return a bag, whose packing costs more than its rendering, kept for what is asked of it next."""
    return draw_bag(seed)


def _matter(canvas: Canvas, things: list[Placed]) -> tuple[Array, Array]:
    """Return the sum of (HU + 1000) × filled part over all parts, and the part of each voxel that is taken."""
    matter, covered = np.zeros_like(canvas.hounsfield), np.zeros_like(canvas.hounsfield)
    for placed in things:
        for item, box, filled, below in fillings(placed, canvas):
            value, inside = np.float32(item.value - AIR), np.float32((item.within or AIR) - AIR)
            if not item.material:
                matter[box] -= filled * inside
                covered[box] -= filled
            else:
                matter[box] += filled * (below * value - inside)
                if item.within is None:
                    covered[box] += filled
    return matter, covered


def _clothes(canvas: Canvas, bag: Bag) -> tuple[Voxels, Array, Array]:
    """Return the voxels of the bag, their (HU + 1000) where nothing but clothes is, and the part that clothes fill."""
    luggage, rng = bag.luggage, np.random.default_rng([bag.texture, 0xC10])
    _, box, inside, _ = next(fillings(Placed(luggage.inside, bag.turn @ luggage.turn, bag.place), canvas))
    crumple = np.clip(smooth_field(rng, CRUMPLES, canvas.grid)[box], -2, 2)
    warp = 2 * smooth_field(rng, 10, canvas.grid)[box]
    left = np.float32(0.3 / (1 + (canvas.voxel * CRUMPLES / CUBE_MM) ** 2))  # of the crumples, in a voxel
    place = bag.place + bag.turn @ luggage.room.centre
    d, h, w = (axis - np.float32(p) for axis, p in zip(canvas.axes(box), place, strict=True))
    columns = [h[0] * bag.turn[1, axis] + w[0] * bag.turn[2, axis] for axis in (1, 2)]
    garments = bag.packed.garments
    surface, *sides = _interpolate([bag.packed.surface, *(s for g in garments for s in (g.top, g.bottom))], columns)
    loose = np.float32(bag.loose - AIR)
    stuffed = share_between(d, surface[None], np.inf, canvas.edge)
    density = stuffed * loose
    for garment, top, bottom in zip(garments, sides[::2], sides[1::2], strict=True):
        part = _box_between(d[:, 0, 0], top, bottom, canvas.edge)
        top, bottom, here = top[part[1:]], bottom[part[1:]], d[part[0]]
        filled = share_between(here, top, bottom, canvas.edge)
        layers = float((garment.bottom - garment.top).max()) / garment.fold
        depth = (here - top) / np.maximum(bottom - top, 1)
        seen = np.float32(0.4 * np.sinc(canvas.edge / garment.fold))  # folds finer than a voxel average out
        wave = seen * np.sin(np.float32(2 * np.pi * layers) * depth + warp[part])
        density[part] += filled * (np.float32(garment.hounsfield - AIR) * (1 + wave) - loose)
    return box, density * (1 + left * crumple) * inside, stuffed * inside


def _interpolate(charts: list[np.ndarray], columns: list[Array]) -> Array:
    """Return (N, H, W): maps over the room's columns at positions along its two axes, interpolated bilinearly."""
    stack, value = np.stack(charts).astype(np.float32), np.float32(0)
    limits = [size - 1 for size in stack.shape[1:]]
    places = [np.clip(p / CELL + m / 2, 0, m - 1e-3) for p, m in zip(columns, limits, strict=True)]
    corner = [place.astype(int) for place in places]
    upper = [(place - low).astype(np.float32) for place, low in zip(places, corner, strict=True)]
    for row, col in np.ndindex(2, 2):
        weight = (upper[0] if row else 1 - upper[0]) * (upper[1] if col else 1 - upper[1])
        value = value + weight * stack[:, corner[0] + row, corner[1] + col]
    return value


def _box_between(d: Array, top: Array, bottom: Array, margin: float) -> Voxels:
    """Return the part of voxels at heights d that lies between two surfaces (H, W)."""
    laid = np.argwhere(bottom - top > 0.5)
    if not len(laid):
        return np.s_[0:0, 0:0, 0:0]
    rows, cols = (slice(int(first), int(last) + 1) for first, last in zip(laid.min(0), laid.max(0), strict=True))
    start, stop = np.searchsorted(d, [top[rows, cols].min() - margin, bottom[rows, cols].max() + margin])
    return slice(int(start), int(stop)), rows, cols
