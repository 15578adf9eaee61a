"""What asks, lists, compares or is refused answers without PyTorch, whose import takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..helpers.score_rows import enter_rows, enter_run, run_facts

RUN = "run --method codediff --dataset lidc --preset smoke"
ANSWERED = (
    "--help",
    "run --help",
    "list",
    "show codediff",
    "show lift_unet --preset tiny",
    "show x2ctgan --preset tiny",
    "show mednerf+graf --preset tiny",
    "show ct3d-1",
    "table",
    "compare x2ctgan mean",
    "leaderboard",
)
REFUSED = (
    "nothing",
    f"{RUN} --nothing 1",
    f"{RUN} --device tpu",
    f"{RUN} --seeds one",
    f"{RUN} --set transformer.layer=3",
    f"{RUN} --set transformer.layers=none",
    f"{RUN} --set data.sise=3",
    f"{RUN} --set transformer",
    f"{RUN} --protocol nothing",
    "run --method codedif --dataset lidc",
    "run --method codediff+nothing --dataset lidc",
    "run --method none.py:Mine --dataset lidc",
    "run --method mean --dataset lid",
    "run --method mean --dataset none.py",
    "run --method mean,codedif --dataset lidc",
    "run --method mean --dataset lidc --preset tinny",
    "sweep --dataset lidc",
    "sweep --method mean,codedif --dataset lidc",
    "sweep --method mean --dataset lidc --preset tiny,tinny",
    "sweep --method mean --dataset lid",
    "sweep --method mean --dataset lidc --set steps=1",
    "sweep --method mean --dataset lidc --protocol nothing",
    "sweep --method codediff --dataset lidc --vary transformer.layer=[1,2]",
    "sweep --method codediff --dataset lidc --vary transformer.layers",
    "study shuffle --method codedif",
    "study shuffle --method codediff --set transformer.layer=3",
    "study shuffle --method mean --preset tinny",
    "import-weights codedif file --dataset lidc",
    "score folder --dataset lid --method mine",
    "score folder --dataset lidc --method mine --preset tinny",
    "score folder --dataset lidc --method mine --protocol nothing",
    "audit folder --dataset lid",
    "performance --method codedif",
    "fingerprint codedif",
    "data check lid",
    "data preview lid",
    "data preview lidc --preset tinny",
    "data export lid folder",
    "show codedif",
    "verify nothing",
    "export nothing",
    "submit nothing --submitter me",
    "score nothing",
    "audit nothing",
    "table 9",
    "leaderboard --by nothing",
    "compare mean nothing",
)
CODE = """
import json, shlex, sys
from bench.cli import run_command
told = []
for line in sys.argv[1:]:
    code = run_command(shlex.split(line))
    told.append([line, code, sorted({"torch", "accelerate", "kornia"} & sys.modules.keys())])
print(json.dumps(told))
"""


def run_apart(code: str, folder: Path, *arguments: str) -> str:
    """Return what a new process prints that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("lines", "code"), [(ANSWERED, 0), (REFUSED, 2)], ids=["answered", "refused"])
def test_a_command_that_computes_nothing_imports_no_pytorch(lines: tuple[str, ...], code: int, tmp_path: Path) -> None:
    for method in ("x2ctgan", "mean"):
        shared = {**run_facts(method), "metric": "mae", "value": 0.04}
        rows = [dict(**shared, level="case", case=case, stat="value", n=1) for case in ("a", "b", "c")]
        enter_rows(tmp_path / "results", [*rows, dict(**shared, level="set", stat="mean", n=3)])
        enter_run(tmp_path / "results", run_id=shared["run_id"], data_fingerprint="f0", size=24)
    told = json.loads(run_apart(CODE, tmp_path, *lines).splitlines()[-1])
    assert told == [[line, code, []] for line in lines]
    assert not (tmp_path / "runs").exists()


def test_the_package_itself_imports_next_to_nothing_and_knows_its_version(tmp_path: Path) -> None:
    code = "import sys, bench; print(bench.__version__, sorted({'torch', 'numpy', 'pandas'} & sys.modules.keys()))"
    version, loaded = run_apart(code, tmp_path).split()
    assert version[0].isdigit()
    assert loaded == "[]"
