"""What a result was made with: code and packages. No host name, no user name, no path."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VERSION = "0.1.0"  # of the package, as in pyproject.toml
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "prdc", "pandas", "nibabel", "accelerate", "kornia")


def code_version() -> str:
    """Return the package version, with the commit and a `.dirty` mark when it runs from a git checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return VERSION
    commit = _git(root, "rev-parse", "--short=10", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "bench", "methods", "datasets")
    return f"{VERSION}+{commit}{'.dirty' if changed else ''}" if commit else VERSION


def software() -> dict[str, Any]:
    """Return the versions of code, Python and packages, and the system, as they go into run.json."""
    return {
        "code_version": code_version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _package_version(name) for name in PACKAGES},
    }


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _git(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
