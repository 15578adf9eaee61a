"""The rooms of bench/ stand on each other as bench/README.md says, and no import runs up or in a circle."""

import ast
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
PAGE = (BENCH / "README.md").read_text(encoding="utf-8")
ROOM = re.compile(r"^\| `([\w/]+)` \| [^|]+ \| ([^|]*) \|$", re.MULTILINE)  # | room | what it holds | imports |
PATHS = re.compile(r"`((?:bench|methods|datasets|results|tests)/[^`*<]*?)`")
DOORS = "doors"
LOWEST = "errors"
FEW = 12  # modules beside the rooms
LONGEST = 400  # lines


def module_name(file: Path) -> str:
    parts = file.relative_to(BENCH.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in BENCH.rglob("*.py") if file.parent.name != "templates"}
PLUGINS = {module_name(f): f for own in ("methods", "datasets") for f in (BENCH.parent / own).rglob("*.py")}


def names_in(module: str, file: Path) -> set[str]:
    """Whatever a file imports anywhere in it, in functions and under TYPE_CHECKING too, and each of it as a module."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def imported(module: str, file: Path) -> set[str]:
    """The modules of bench that a file imports."""
    return {
        name
        for name in names_in(module, file)
        if name in MODULES and name != module and not module.startswith(f"{name}.")
    }


GRAPH = {module: imported(module, file) for module, file in MODULES.items()}


def room_of(module: str) -> str:
    parts = module.split(".")
    if module in ("bench", "bench.__main__"):
        return DOORS
    if module == "bench.errors":
        return LOWEST
    return parts[1] if (BENCH / parts[1]).is_dir() else "root"


def arrows() -> dict[str, set[str]]:
    """Room → the rooms it imports from."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, targets in GRAPH.items():
        found[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return found


def test_no_import_runs_in_a_circle() -> None:
    try:
        tuple(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"{' → '.join(error.args[1])}")


def test_the_page_names_the_rooms_from_ground_to_roof_with_all_their_arrows() -> None:
    stated = {room: set(re.findall(r"\w+", below)) for room, below in ROOM.findall(PAGE)}
    folders = {path.name for path in BENCH.iterdir() if (path / "__init__.py").exists()}
    assert set(stated) == {LOWEST, "root", DOORS, *folders}
    assert stated == {room: arrows().get(room, set()) for room in stated}
    order = list(stated)
    for room, below in stated.items():
        assert all(order.index(other) < order.index(room) for other in below), f"an arrow of {room} runs up"


def test_plugins_import_root_modules_alone_and_no_module_imports_a_plugin_by_name() -> None:
    below = {target for module, file in PLUGINS.items() for target in imported(module, file)}
    assert {room_of(target) for target in below} == {"root", LOWEST}
    named = {name for module, file in MODULES.items() for name in names_in(module, file)}
    assert not [name for name in named if name.startswith(("bench.methods.", "bench.datasets."))]


def test_few_modules_stand_beside_the_rooms_and_none_is_too_long() -> None:
    beside = [file.name for file in BENCH.glob("*.py") if file.name != "__init__.py"]
    assert len(beside) <= FEW, beside
    code = [*BENCH.rglob("*.py"), *BENCH.parent.glob("methods/**/*.py"), *BENCH.parent.glob("datasets/**/*.py")]
    long = {file.name: lines for file in code if (lines := file.read_text(encoding="utf-8").count("\n")) > LONGEST}
    assert not long


def test_every_place_that_the_page_names_is_there() -> None:
    places = PATHS.findall(PAGE)
    assert len(places) > 12
    assert not [place for place in places if not (BENCH.parent / place).exists()]
