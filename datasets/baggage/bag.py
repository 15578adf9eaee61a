"""Whose bag it is: everything about one phantom, drawn from a seed alone, before any grid is chosen.

Two views show how large the bag is, how high everything lies and where dense things are. They leave open what only
depth or density could tell: which of two shadows at one height belong together, how a path through dense and light
stuff divides, how clothes are folded, and what is too light to attenuate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import belongings, electronics, threats, vessels
from .luggage import TRAY_HALF, TRAY_WALL, Luggage, conveyor, draw_luggage, tray
from .packing import Packed, pack, turn_about_vertical
from .things import Placed, Thing

Maker = Callable[[np.random.Generator], Thing]

BELT_D = 110.0  # mm below the cube's centre, where the belt runs in every scan
EDGE = 290.0  # mm from the centre, within which a bag is laid where it fits
SHARES: dict[Maker, float] = {  # how often one more thing is of a kind
    belongings.book: 1.0,
    belongings.umbrella: 0.35,
    belongings.keys: 0.6,
    belongings.coins: 0.5,
    belongings.belt: 0.6,
    belongings.soap: 0.5,
    belongings.fruit: 0.6,
    belongings.groceries: 1.0,
    belongings.mug: 0.3,
    belongings.spectacles: 0.5,
    belongings.tool: 0.25,
    belongings.towel: 0.7,
    electronics.phone: 0.7,
    electronics.charger: 1.0,
    electronics.power_bank: 0.4,
    electronics.camera: 0.3,
    electronics.hair_dryer: 0.35,
    vessels.bottle: 1.1,
    vessels.can: 0.6,
    vessels.flask: 0.35,
    vessels.spray: 0.7,
    vessels.toiletry: 1.8,
    vessels.jar: 0.3,
}
TWINS = 0.2  # how often a thing comes twice: which shadow in one view belongs to which in the other is then open
THREATS: tuple[Maker, ...] = (threats.block, threats.sheet, threats.angle_iron, threats.blade, threats.pipe)


@dataclass(frozen=True, eq=False)
class Bag:
    """One bag in the scanner. Lengths in mm, densities in HU."""

    seed: int
    # Seen well by two views: the sizes, heights and places of large or dense things.
    luggage: Luggage
    yaw: float  # degrees about the vertical; 0 lies along W
    shift: tuple[float, float]  # (h, w) of the bag's middle
    in_tray: bool
    on_belt: bool
    packed: Packed  # things are seen, garments are not
    # Not seen, or only as sums along the rays.
    texture: int  # seed of how clothes are crumpled
    loose: float  # what fills the gaps between things
    # The scanner's.
    blur: float  # sigma of its point spread
    noise: float  # HU, sd in voxels of 1 mm³

    @property
    def turn(self) -> np.ndarray:
        """The bag's axes → the cube's."""
        return turn_about_vertical(np.deg2rad(self.yaw))

    @property
    def place(self) -> np.ndarray:
        """(d, h, w) of the bag's middle."""
        return np.array([self.underside - self.luggage.half[0], *self.shift])

    @property
    def underside(self) -> float:
        """d of what the bag lies on."""
        return BELT_D - TRAY_WALL * self.in_tray


def draw_bag(seed: int) -> Bag:
    """Return the bag of a seed, a non-negative integer; the same whatever the grid."""
    rng = np.random.default_rng([seed, 0xBA6])
    luggage = draw_luggage(rng)
    packed = pack(rng, luggage.room, _draw_things(rng), float(rng.uniform(0.8, 1.0)))
    in_tray = bool(rng.random() < 0.4) and all(
        half < room - 15 for half, room in zip(luggage.half[1:], TRAY_HALF[1:], strict=True)
    )
    crosswise = not in_tray and rng.random() < 0.35
    yaw = float(90.0 * crosswise + rng.normal(0, 1.5 if in_tray else 6))
    reach = np.abs(turn_about_vertical(np.deg2rad(yaw))) @ np.array(luggage.half)
    spare = np.clip(EDGE - reach[1:], 0, 10 if in_tray else 45)
    return Bag(
        seed=seed,
        luggage=luggage,
        yaw=yaw,
        shift=(float(rng.uniform(-spare[0], spare[0])), float(rng.uniform(-spare[1], spare[1]))),
        in_tray=in_tray,
        on_belt=bool(rng.random() < 0.7),
        packed=packed,
        texture=seed,
        loose=float(rng.uniform(-890, -820)),
        blur=float(rng.uniform(0.5, 1.2)),
        noise=float(rng.uniform(30, 80)),
    )


def place_things(bag: Bag) -> list[Placed]:
    """Return everything but clothes, where it is in the cube: the belt, the tray, the bag, and what is packed."""
    room = bag.luggage.room
    moves = [item.move(np.eye(3), room.centre).move(bag.turn, bag.place) for item in bag.packed.things]
    shell = Placed(bag.luggage.shell, bag.turn @ bag.luggage.turn, bag.place)
    rng = np.random.default_rng([bag.seed, 0x7A1])
    around = []
    if bag.on_belt:
        around.append(Placed(conveyor(rng), np.eye(3), np.array([BELT_D + 1.0, 0.0, 0.0])))
    if bag.in_tray:
        around.append(Placed(tray(rng), np.eye(3), np.array([BELT_D - TRAY_HALF[0], 0.0, 0.0])))
    return [*around, shell, *moves]


def _draw_things(rng: np.random.Generator) -> list[Thing]:
    """Return 14 to 32 things in the order they are packed, roughly the largest first; at most three threats."""
    makers, shares = list(SHARES), np.array(list(SHARES.values()))
    things = []
    if rng.random() < 0.55:
        things.append(electronics.laptop(rng))
    for _ in range(rng.choice([0, 1, 2], p=[0.35, 0.5, 0.15])):  # shoes come in pairs
        state = int(rng.integers(2**32))
        things += [belongings.shoe(np.random.default_rng(state)) for _ in range(2)]
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.6, 0.25, 0.1, 0.05])):
        things.append(THREATS[rng.integers(len(THREATS))](rng))
    count = max(1, int(rng.integers(14, 33)) - len(things))
    for index in rng.choice(len(makers), count, p=shares / shares.sum()):
        thing = makers[index](rng)
        things += [thing] * (2 if rng.random() < TWINS else 1)
    size = [np.prod(np.max([item.shape.reach for item in thing.parts], axis=0)[1:]) for thing in things]
    return [things[k] for k in np.argsort(-np.log(size) + rng.normal(0, 0.5, len(size)), kind="stable")]
