"""What headers of MetaImage and NRRD state themselves: ITK fills in what they lack, as if they had stated it."""

import re
from pathlib import Path

HEADER_BYTES = 65536
NRRD_SUFFIXES = (".nrrd", ".nhdr")
DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file\s*:)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
META_END = re.compile(rb"^ElementDataFile\s*=[^\n]*", re.MULTILINE)
META_SPACING = re.compile(rb"^\s*Element(?:Spacing|Size)\s*=", re.MULTILINE)
META_DIRECTIONS = re.compile(rb"^\s*(?:TransformMatrix|Rotation|Orientation)\s*=", re.MULTILINE)
NRRD_SPACE = re.compile(rb"^space\s*:\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
NRRD_DIRECTIONS = re.compile(rb"^space directions\s*:", re.IGNORECASE | re.MULTILINE)
NRRD_UNITS = re.compile(rb"^space units\s*:\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
ANATOMICAL = {
    name + time
    for side in ("right-anterior", "left-anterior", "left-posterior")
    for name in (f"{side}-superior", "".join(word[0] for word in side.split("-")) + "s")
    for time in ("", "-time", "t")
}
MILLIMETRES = {
    "": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
}  # fmt: skip


def is_nrrd(path: Path) -> bool:
    """Return whether a file is NRRD by its name; else it is MetaImage."""
    return path.suffix.lower() in NRRD_SUFFIXES


def read_beginning(path: Path) -> bytes:
    """Return the first bytes of a file, in which its header lies."""
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def header_of(path: Path) -> bytes:
    """Return the header of a file, without voxels that may follow it."""
    content = read_beginning(path)
    if is_nrrd(path):
        return re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0]
    end = META_END.search(content)
    return content[: end.end()] if end else content


def data_file(path: Path) -> str:
    """Return the name of the file that a header says its voxels lie in; empty where they follow in the same file."""
    named = DATA_FILE.search(header_of(path))
    name = named.group(1).decode("utf-8", "replace") if named else ""
    return "" if name.upper() == "LOCAL" else name


def lacks_spacing(path: Path) -> str:
    """Return what a header lacks to know its voxel size, and empty where it states it."""
    header = header_of(path)
    if is_nrrd(path):
        return "" if NRRD_DIRECTIONS.search(header) else "space directions"
    return "" if META_SPACING.search(header) else "ElementSpacing"


def lacks_directions(path: Path) -> str:
    """Return what a header lacks to know how its voxels lie in the patient, and empty where it states it."""
    header = header_of(path)
    if not is_nrrd(path):
        return "" if META_DIRECTIONS.search(header) else "TransformMatrix"
    space = NRRD_SPACE.search(header)
    if not space:
        return "space"
    if space.group(1).decode("ascii", "replace").lower() not in ANATOMICAL:
        return "anatomical space (such as left-posterior-superior)"
    return "" if NRRD_DIRECTIONS.search(header) else "space directions"


def millimetres(path: Path) -> float:
    """Return how many millimetres a unit of its geometry is. Raises ValueError for units that are none of length."""
    units = NRRD_UNITS.search(header_of(path)) if is_nrrd(path) else None
    if not units:
        return 1.0
    text = units.group(1).decode("utf-8", "replace")
    names = {name.strip().lower() for name in re.findall(r'"([^"]*)"', text)} or {text.strip().lower()}
    if len(names) > 1 or not names <= MILLIMETRES.keys():
        raise ValueError(f"its space units {text[:40]} are no known length")
    return MILLIMETRES[names.pop()]
