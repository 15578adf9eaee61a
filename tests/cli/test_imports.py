"""What only names, lists or refuses imports no PyTorch: it answers at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.scoring.store import put_run

from ..helpers.score_rows import run_line, score

HEAVY = ("torch", "accelerate", "kornia")
RUN = ("run", "--method", "codediff", "--dataset", "lidc")
COMMANDS = {
    "help": ("--help",),
    "help of a verb": ("run", "--help"),
    "list": ("list",),
    "show": ("show", "codediff"),
    "table": ("table", "2"),
    "leaderboard": ("leaderboard",),
    "compare": ("compare", "mine", "other"),
    "unknown verb": ("rum",),
    "unknown option": (*RUN, "--sed", "1"),
    "unknown method": ("run", "--method", "codedif", "--dataset", "lidc"),
    "unknown dataset": ("run", "--method", "codediff", "--dataset", "lid"),
    "unknown preset": (*RUN, "--preset", "large"),
    "unknown protocol": (*RUN, "--protocol", "ct3d"),
    "unknown setting": (*RUN, "--set", "vqvae3d.multiplier=[1]"),
    "bad value": (*RUN, "--set", "vqvae3d.loop.steps=-1"),
    "unknown setting of a sweep": ("sweep", "--method", "codediff", "--dataset", "lidc", "--vary", "vqvae=[1]"),
    "unknown preset of a study": ("study", "shuffle", "--method", "codediff", "--preset", "large"),
    "unknown run": ("verify", "nothing"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_computes_nothing_imports_no_torch(name: str, tmp_path: Path) -> None:
    if name in ("table", "leaderboard", "compare"):
        for method in ("mine", "other"):
            scores = [score(case=case) for case in "abcd"]
            put_run(tmp_path / "results", run_line(f"{method}-toy-tiny-s0-0123abcd", method=method), scores)
    code = (
        "import sys; from bench.cli import run_command\n"
        f"code = run_command({list(COMMANDS[name])!r})\n"
        f"print('imported:', *sorted({{*{HEAVY!r}}} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines()[-1] == "imported: ", (done.stdout[-500:], done.stderr[-2000:])


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = f"import sys, bench; print({{*{HEAVY!r}, 'pandas', 'numpy'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
