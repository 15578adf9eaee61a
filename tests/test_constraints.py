"""constraints.txt names one version, of no local build, for every package the project may need, within its bounds."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CORE = PROJECT["project"]["dependencies"]
EXTRAS = [text for group in PROJECT["project"]["optional-dependencies"].values() for text in group]
GROUPS = [text for group in PROJECT["dependency-groups"].values() for text in group if isinstance(text, str)]
NOT_INSTALLED = {"tensorboard"}  # optional, and no test needs it


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    parts = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in parts}


def test_every_dependency_has_bounds_that_hold_its_constraint() -> None:
    for needed in map(Requirement, (*CORE, *EXTRAS, *GROUPS)):
        operators = {specifier.operator for specifier in needed.specifier}
        assert operators & {"<", "=="}, f"{needed} has no upper bound"
        assert operators & {">=", "=="}, f"{needed} has no lower bound"
        if needed.name not in NOT_INSTALLED:
            assert pinned()[canonicalize_name(needed.name)] in needed.specifier, needed


def test_no_constraint_is_a_local_build_or_a_path() -> None:
    assert len(pinned()) > 50
    assert not [name for name, version in pinned().items() if version.local]
