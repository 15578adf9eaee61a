"""The `bench` command and its verbs. Heavy modules are imported by the verbs as they run, so that `--help` is quick."""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from bench.cli import (
    archive,
    audit,
    data,
    doctor,
    fingerprint,
    listing,
    new,
    performance,
    publish,
    report,
    run,
    score,
    study,
    sweep,
    table,
)
from bench.cli.usage import Application, refused, show_examples
from bench.errors import BenchError, StoppedError
from bench.system.provenance import code_version
from bench.system.signals import INTERRUPTED, stopped_by_warnings
from bench.system.text import describe_error, plain_line

OUTPUT_FAULTS = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF)  # of standard output
LONGEST_MESSAGE = 5000  # characters; some name many files

VERBS: dict[str, dict[str, tuple[Callable[..., Any], str, str]]] = {  # panel → verb → function and two examples
    "Run": {
        "run": (run.run, "--method codediff --dataset lidc", "--method mean,x2ctgan --dataset lidc --preset smoke"),
        "sweep": (
            sweep.sweep,
            "--method mean,x2ctgan --dataset lidc,baggage --seeds 0,1,2 --max-parallel 2",
            "--method x2ctgan --dataset lidc --vary generator.learning_rate=[1e-4,2e-4]",
        ),
        "import-weights": (
            run.import_weights,
            "x2ctgan 90_net_G.pth --dataset lidc",
            "codediff ct/vqgan_ema_100000.th xray/vqgan_ema_100000.th absorbing_ema_100000.th --dataset lidc",
        ),
        "score": (score.score, "predictions --dataset lidc --preset tiny --method Mine", "RUN --protocol x2ct-2019"),
        "study": (study.study, "views --method codediff", "lesion --method x2ctgan,codediff --dataset lidc"),
        "doctor": (doctor.doctor, "", "| grep lidc"),
    },
    "Results": {
        "leaderboard": (publish.leaderboard, "", "--by ssim --check"),
        "table": (table.table, "2", "all --format latex --out tables.tex"),
        "compare": (table.compare, "x2ctgan codediff", "codediff nearest --metric psnr --format md"),
        "literature": (table.literature, "", "x2ct --format md"),
        "findings": (publish.findings, "", "--protocol ct3d-2 --out findings.md"),
        "report": (report.report, "--out report.html", "--out report.html --cases 4"),
        "gallery": (report.gallery, "", "--out gallery.png --by ssim"),
        "results": (report.results, "--out all.csv", "--out runs.csv --runs"),
        "publish": (publish.publish, "", "--check"),
    },
    "Extend": {
        "new-method": (new.new_method, "mine", "lung_net"),
        "new-dataset": (new.new_dataset, "ours", "path/to/knees"),
        "list": (listing.list_, "", "--json"),
        "show": (listing.show, "codediff --preset paper", "RUN"),
    },
    "Prove": {
        "fingerprint": (fingerprint.fingerprint, "", "codediff"),
        "audit": (audit.audit, "", "RUN --format md"),
        "verify": (archive.verify, "RUN", "runs/lidc/codediff/RUN"),
        "export": (archive.export, "RUN", "RUN --out run.zip"),
        "submit": (archive.submit, "RUN --submitter NAME", "RUN --submitter NAME --out mine.bench.zip"),
        "import": (archive.import_, "run.zip", "run.zip --results-dir results"),
        "performance": (performance.performance, "--only step", "--only estimate --method codediff --preset paper"),
    },
}

app = Application(
    name="bench",
    help="Benchmark of CT reconstruction from X-ray views: train a method, reconstruct, score, and compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="First steps: `bench run --method codediff --dataset lidc`, then `bench table`.",
)
for panel, verbs in VERBS.items():
    for verb, (function, *examples) in verbs.items():
        app.command(verb, rich_help_panel=panel, epilog=show_examples(f"bench {verb}", examples))(function)
    if panel == "Results":  # panels stand in the order of their first verbs
        app.add_typer(data.app, name="data", rich_help_panel="Data")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ct-from-views-bench {code_version()}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show version and commit.")
    ] = False,
) -> None:
    """Options of all commands; `main` reads --debug itself, before any command can fail."""


def main() -> None:
    """Run the command line. Exit codes: 0 all well, 1 something failed, 2 wrong usage, 143 stopped by SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name or sign that the terminal cannot show ends no command
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an error is one line on standard error."""
    debug = "--debug" in arguments
    if debug:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    return ended_by(lambda: app(args=arguments, standalone_mode=False), debug)


def ended_by(work: Callable[[], Any], debug: bool = False) -> int:
    """Do `work` and return the exit code it ends a command with; with `debug` what fails is raised."""
    try:
        with stopped_by_warnings():
            result = work()
        sys.stdout.flush()  # here, where a full disk can still be told
        return result if isinstance(result, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except typer.TyperException as error:
        return refused(error)
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted; what is done is kept, and the same command goes on from there", INTERRUPTED)
    except StoppedError as stop:
        return _say(str(stop), stop.exit_code)
    except BenchError as error:
        if debug:
            raise
        return _say(str(error), error.exit_code)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # whoever read the output has gone
            return 1
        return _say(f"code that is not the harness's asked Python to exit ({stop.code}); nothing after it was done", 1)
    except BaseException as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in OUTPUT_FAULTS and error.filename is None:
            with suppress(OSError, ValueError, AttributeError):  # Python would try to write once more as it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _say(f"the output cannot be written: {error.strerror}; send it elsewhere and try again", 1)
        return _say(f"{describe_error(error)} (a defect; run again with --debug and report it)", 1)


def _say(line: str, code: int) -> int:
    print(f"bench: {plain_line(line, LONGEST_MESSAGE)}", file=sys.stderr)
    return code
