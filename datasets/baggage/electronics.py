"""Things with circuit boards, cells and cables."""

import numpy as np

from .solids import Box, rod, sizes
from .things import ACROSS, FLAT, ON_EDGE, Part, Strand, Thing, part


def laptop(rng: np.random.Generator) -> Thing:
    """A closed notebook: a metal or plastic shell, board, cells, heat pipe and display."""
    half = np.array([rng.uniform(8, 11), rng.uniform(104, 124), rng.uniform(150, 178)])
    metal = rng.random() < 0.6
    thick = 0.8 if metal else 1.8
    shell = part(Box(sizes(half), 9), "aluminium" if metal else "abs")
    room = part(Box(sizes(half - thick), 8), "abs", within=shell, scale=0.4)
    parts = [shell, room]
    half = half - thick
    parts.append(part(Box((0.6, half[1] - 6, half[2] - 6)), "glass", (2.2 - half[0], 0, 0), within=room))
    parts.append(part(Box((0.8, 0.42 * half[1], 0.8 * half[2])), "circuit board", (1, -0.45 * half[1], 0), within=room))
    cells = int(rng.integers(3, 7))
    step = 1.84 * half[2] / cells
    cell = Box((0.32 * half[0], 0.34 * half[1], step / 2 - 1.5), 3)
    for index in range(cells):
        place = ((index + 0.5 - cells / 2) * step, 0.52 * half[1], 0.25 * half[0])
        parts.append(part(cell, "lithium cell", place[::-1], within=room))
    pipe = Box((1.2, 3.5, 0.4 * half[2]))
    parts.append(part(pipe, "copper", (0.55 * half[0], -0.7 * half[1], 0.2 * half[2]), within=room))
    return Thing("laptop", tuple(parts), (FLAT, FLAT, ON_EDGE), facts=(("cells", cells),))


def phone(rng: np.random.Generator) -> Thing:
    """A telephone, or a tablet of the same build."""
    tablet = rng.random() < 0.35
    half = np.array([3.4, rng.uniform(78, 92), rng.uniform(110, 130)] if tablet else [4.2, 37, rng.uniform(70, 82)])
    shell = part(Box(sizes(half), 8), "aluminium")
    room = part(Box(sizes(half - 0.9), 7), "abs", within=shell, scale=0.7)
    glass = part(Box((0.5, half[1] - 2, half[2] - 2), 6), "glass", (1.4 - half[0], 0, 0), within=room)
    cell = Box((1.5, 0.62 * half[1], 0.5 * half[2]), 3)
    board = Box((0.8, 0.8 * half[1], 0.2 * half[2]))
    inner = (
        part(cell, "lithium cell", (0.8, 0, 0.3 * half[2]), within=room),
        part(board, "circuit board", (0.8, 0, -0.6 * half[2]), within=room),
    )
    return Thing("tablet" if tablet else "phone", (shell, room, glass, *inner), (FLAT, FLAT, ON_EDGE))


def charger(rng: np.random.Generator) -> Thing:
    """A power supply with its cable coiled beside it."""
    half = np.array([rng.uniform(12, 17), rng.uniform(20, 28), rng.uniform(36, 52)])
    shell = part(Box(sizes(half), 5, True), "abs")
    room = part(Box(sizes(half - 2), 4, True), "polypropylene", within=shell, scale=0.5)
    core = part(Box((0.6 * half[0], 0.4 * half[1], 0.3 * half[2])), "copper", (0, 0, 8), within=room, scale=0.5)
    board = part(Box((0.8, 0.8 * half[1], 0.85 * half[2])), "circuit board", (0.75 * half[0], 0, 0), within=room)
    cable = _coil(rng, (0.4 * half[0], half[1] + 36, 0), turns=int(rng.integers(3, 7)))
    return Thing("charger", (shell, room, core, board, *cable))


def power_bank(rng: np.random.Generator) -> Thing:
    """Two to four round cells in a plastic case."""
    cells = int(rng.integers(2, 5))
    shell = part(Box((12.5, 10.5 * cells, 40), 4), "abs")
    room = part(Box((10.8, 10.5 * cells - 1.7, 38)), "", within=shell)
    places = [(0, (index + 0.5 - cells / 2) * 19.5, 0) for index in range(cells)]
    round_cells = [part(rod(9, 65), "lithium cell", place) for place in places]
    return Thing("power bank", (shell, room, *round_cells), (FLAT, ON_EDGE), facts=(("cells", cells),))


def camera(rng: np.random.Generator) -> Thing:
    """A camera with its lens: shell, glass, board and cell."""
    half = np.array([rng.uniform(32, 44), rng.uniform(22, 32), rng.uniform(55, 70)])
    shell = part(Box(sizes(half), 6, True), "abs")
    room = part(Box(sizes(half - 2.5), 4, True), "abs", within=shell, scale=0.25)
    board = part(Box((0.7 * half[0], 0.8, 0.8 * half[2])), "circuit board", (0, -0.5 * half[1], 0), within=room)
    cell = part(Box((18, 10, 8)), "lithium cell", (6, 4, -0.7 * half[2]), within=room)
    length, radius = rng.uniform(40, 80), rng.uniform(26, 34)
    barrel = part(rod(radius, length), "aluminium", (0, half[1] + length / 2, 8), turn=ACROSS)
    bore = part(rod(radius - 2, length - 1), "abs", (0, half[1] + length / 2, 8), within=barrel, turn=ACROSS, scale=0.2)
    lenses = [
        part(rod(radius - 5, 7), "glass", (0, half[1] + length * share, 8), within=bore, turn=ACROSS)
        for share in (0.2, 0.55, 0.85)
    ]
    return Thing("camera", (shell, room, board, cell, barrel, bore, *lenses))


def hair_dryer(rng: np.random.Generator) -> Thing:
    """Barrel with motor and heating wire, handle, and cable."""
    length, radius = rng.uniform(150, 200), rng.uniform(33, 42)
    barrel = part(rod(radius, length), "abs")
    bore = part(rod(radius - 2.5, length - 2), "", within=barrel)
    motor = part(rod(14, 34), "steel", (0, 0, -0.3 * length), scale=0.6)
    angle = np.linspace(0, 2 * np.pi * 9, 120)
    spread = np.linspace(-10, 0.4 * length, 120)
    wire = np.stack([0.6 * radius * np.cos(angle), 0.6 * radius * np.sin(angle), spread], axis=1)
    heater = part(Strand(wire, 0.7), "steel")
    handle = part(Box((15, 52, 20), 8), "abs", (0, radius + 48, -0.2 * length))
    hollow = part(Box((12.5, 50, 17.5), 6), "", (0, radius + 48, -0.2 * length), within=handle)
    cable = _coil(rng, (0, radius + 50, 0.3 * length + 10), turns=4)
    return Thing("hair dryer", (barrel, bore, motor, heater, handle, hollow, *cable))


def _coil(rng: np.random.Generator, centre: tuple[float, float, float], turns: int) -> list[Part]:
    """A cable wound flat: copper in its sheath."""
    angle = np.linspace(0, 2 * np.pi * turns, 14 * turns)
    radius = rng.uniform(24, 32) + 2.5 * np.sin(0.37 * angle + rng.uniform(0, 6))
    rise = 5 * np.sin(0.61 * angle)
    path = np.stack([rise, radius * np.cos(angle), 1.2 * radius * np.sin(angle)], axis=1)
    thickness = rng.uniform(1.8, 2.8)
    sheath = part(Strand(path, thickness), "pvc", centre)
    return [sheath, part(Strand(path, 0.45 * thickness), "copper", centre, within=sheath)]
