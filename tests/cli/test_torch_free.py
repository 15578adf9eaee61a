"""What asks, lists, compares or is refused answers in seconds: without PyTorch, and refusals in one line."""

import json
import subprocess
import sys
from pathlib import Path

from ..helpers.score_rows import enter_rows, enter_run, run_facts

RUN = "run --method codediff --dataset lidc --preset smoke"
FULL = "run --method mean --dataset lidc"
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
REFUSED = {  # command line → words of the one line that says why
    "nothing": "No such command",
    "rum": "Did you mean 'run'?",
    "run": "--method",
    f"{FULL} --nope": "--nope",
    f"{FULL} --preset": "--preset",
    f"{FULL} --preset tinny": "tiny",
    f"{FULL} --device tpu": "'tpu' is not one of 'auto', 'cpu', 'cuda'",
    f"{FULL} --seeds one": "not 'one'",
    f"{FULL} --seeds ''": "--seeds needs at least one",
    f"{FULL} --seeds ,": "--seeds needs at least one",
    f"{FULL} --seeds=-1": "whole numbers from 0 to",
    f"{FULL} --seeds 100000000000000000000": "whole numbers from 0 to",
    f"{FULL} --seed 0 --seeds 1": "--seeds",
    f"{FULL} --method nearest": "'--method': given 2 times; separate values with commas",
    f"{FULL} --protocol ct3d": "ct3d-1",
    f"{FULL} --set data.size=true": "'data.size': true and false are no numbers",
    f"{FULL} --set data.size=0 --set data.image_size=0": "'data.size'",  # what gathers values may be repeated
    f"{FULL} --set data.angles=[nan,0]": "'data.angles.0'",
    f"{FULL} --set data.angles=[270,true]": "true and false are no numbers",
    f"{FULL} --set data.phantoms=[1000001,1,1]": "'data.phantoms.0'",
    f"{FULL} --set fit.workers=-1": "'fit.workers'",
    f"{RUN} --set transformer.layer=3": "nearest: transformer.layers",
    f"{RUN} --set transformer.layers=none": "valid integer",
    f"{RUN} --set data.sise=3": "nearest: data.size",
    f"{RUN} --set transformer": "key=value",
    "run --method '' --dataset lidc": "--method needs at least one",
    "run --method codedif --dataset lidc": "did you mean codediff",
    "run --method codediff+nothing --dataset lidc": "no variant 'nothing'",
    "run --method none.py:Mine --dataset lidc": "no file none.py",
    "run --method mean --dataset lid": "did you mean lidc",
    "run --method mean --dataset none.py": "no file none.py",
    "run --method mean,codedif --dataset lidc": "did you mean codediff",
    "sweep --method '' --dataset lidc": "--method needs at least one",
    "sweep --dataset lidc": "at least one method",
    "sweep --method mean,codedif --dataset lidc": "did you mean codediff",
    "sweep --method mean --dataset lidc --preset tiny,tinny": "did you mean tiny",
    "sweep --method mean --dataset lid": "did you mean lidc",
    "sweep --method mean --dataset lidc --set steps=1": "unknown setting 'steps'",
    "sweep --method mean --dataset lidc --protocol nothing": "unknown protocol",
    "sweep --method codediff --dataset lidc --vary transformer.layer=[1,2]": "nearest: transformer.layers",
    "sweep --method codediff --dataset lidc --vary transformer.layers": "key=[first, second]",
    "study": "NAME",
    "study shuffle extra": "extra",
    "study views --values ''": "--values needs at least one",
    "study steps --values two --method codediff": "--values takes whole numbers",
    "study shuffle --run a --run b": "'--run': given 2 times",
    "study shuffle --method codedif": "did you mean codediff",
    "study shuffle --method codediff --set transformer.layer=3": "nearest: transformer.layers",
    "study shuffle --method mean --preset tinny": "did you mean tiny",
    "import-weights codedif file --dataset lidc": "did you mean codediff",
    "score folder --dataset lid --method mine": "did you mean lidc",
    "score folder --dataset lidc --method mine --preset tinny": "did you mean tiny",
    "score folder --dataset lidc --method mine --protocol nothing": "unknown protocol",
    "score nothing": "no run 'nothing'",
    "audit folder --dataset lid": "did you mean lidc",
    "audit nothing": "no run 'nothing'",
    "performance --method codedif": "did you mean codediff",
    "performance --only ''": "--only needs at least one",
    "fingerprint codedif": "did you mean codediff",
    "data check lid": "did you mean lidc",
    "data preview lid": "did you mean lidc",
    "data preview lidc --preset tinny": "did you mean tiny",
    "data preview lidc --count 1 --count 2": "'--count': given 2 times",
    "data export lid folder": "did you mean lidc",
    "show codedif": "did you mean codediff",
    "verify nothing": "unknown run 'nothing'",
    "export nothing": "unknown run 'nothing'",
    "submit nothing --submitter me": "unknown run 'nothing'",
    "table 9": "unknown table",
    "leaderboard --by nothing": "not by 'nothing'",
    "compare mean nothing": "nothing",
}
CODE = """
import io, json, shlex, sys
from contextlib import redirect_stderr
from bench.cli import run_command
told = []
for line in sys.argv[1:]:
    with redirect_stderr(io.StringIO()) as said:
        code = run_command(shlex.split(line))
    told.append([line, code, said.getvalue(), sorted({"torch", "accelerate", "kornia"} & sys.modules.keys())])
print(json.dumps(told))
"""


def run_apart(code: str, folder: Path, *arguments: str) -> str:
    """Return what a new process prints that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_lines(folder: Path, *lines: str) -> list[tuple[str, int, str]]:
    """Return lines with their exit codes and what they said of errors, where none imported PyTorch."""
    for method in ("x2ctgan", "mean"):
        shared = {**run_facts(method), "metric": "mae", "value": 0.04}
        rows = [dict(**shared, level="case", case=case, stat="value", n=1) for case in ("a", "b", "c")]
        enter_rows(folder / "results", [*rows, dict(**shared, level="set", stat="mean", n=3)])
        enter_run(folder / "results", run_id=shared["run_id"], data_fingerprint="f0", size=24)
    told = json.loads(run_apart(CODE, folder, *lines).splitlines()[-1])
    assert [(line, heavy) for line, _, _, heavy in told if heavy] == []
    return [(line, code, said) for line, code, said, _ in told]


def test_a_command_that_computes_nothing_imports_no_pytorch(tmp_path: Path) -> None:
    assert run_lines(tmp_path, *ANSWERED) == [(line, 0, "") for line in ANSWERED]


def test_a_wrong_command_line_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    for line, code, said in run_lines(tmp_path, *REFUSED):
        assert (line, code, said[:7], said.count("\n")) == (line, 2, "bench: ", 1)
        assert REFUSED[line] in said, line
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_package_itself_imports_next_to_nothing_and_knows_its_version(tmp_path: Path) -> None:
    code = "import sys, bench; print(bench.__version__, sorted({'torch', 'numpy', 'pandas'} & sys.modules.keys()))"
    version, loaded = run_apart(code, tmp_path).split()
    assert version[0].isdigit()
    assert loaded == "[]"
