"""Each request that failed has a row of its own, and only its own success removes it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.pipeline.failures import forget_failure, record_failure
from bench.pipeline.plan import RunRequest
from bench.results.model import variant_of
from bench.scoring.store import read_runs

OTHERS: dict[str, dict[str, Any]] = {  # what makes another request of the plain one
    "overrides": {"overrides": ("data.phantoms=[3,1,2]",)},
    "other overrides": {"overrides": ("data.phantoms=[3,1,1]",)},
    "source": {"source": "phantom"},
    "split": {"split": "validation"},
    "protocol": {"protocol": "x2ct-2019"},
    "pretrained": {"from_pretrained": True},
    "seed": {"seed": 1},
    "method": {"method": "nearest"},
}


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    """Of data that cannot be loaded, so that a failure costs nothing."""
    return RunRequest("mean", "gone", "smoke", results_dir=tmp_path / "results")


def errors(request: RunRequest) -> dict[str, str]:
    """The reasons by run."""
    return {run.run_id: run.error for run in read_runs(request.results_dir)}


@pytest.mark.parametrize("kind", OTHERS)
def test_two_requests_that_fail_have_two_rows_and_each_success_takes_its_own(kind: str, request_: RunRequest) -> None:
    other = replace(request_, **OTHERS[kind])
    record_failure(request_, BenchError("first"))
    record_failure(other, BenchError("second"))
    assert sorted(errors(request_).values()) == ["first", "second"]
    forget_failure(other)
    assert errors(request_) == {"mean-gone-smoke-s0-failed": "first"}  # named as its run would be
    record_failure(other, BenchError("second"))
    forget_failure(request_)
    assert list(errors(request_).values()) == ["second"]


def test_where_it_ran_and_how_it_was_written_make_no_other_request(request_: RunRequest, tmp_path: Path) -> None:
    first = replace(request_, overrides=("fit.workers=0", "data.phantoms=[3,1,2]"))
    again = replace(first, overrides=first.overrides[::-1], device="cpu", only="fit", runs_dir=tmp_path)
    record_failure(first, BenchError("why"))
    forget_failure(again)
    assert errors(request_) == {}


def test_files_of_one_name_are_not_mixed_up(request_: RunRequest) -> None:
    for reference in ("a/mine.py:Mine", "b/mine.py:Mine", "a/mine.py:Other"):
        record_failure(replace(request_, method=reference), BenchError(reference))
    assert len(errors(request_)) == 3
    forget_failure(replace(request_, method="b/mine.py:Mine"))
    assert sorted(errors(request_).values()) == ["a/mine.py:Mine", "a/mine.py:Other"]


def test_tables_tell_the_failures_of_one_method_apart(request_: RunRequest) -> None:
    for kind in ("overrides", "other overrides"):
        record_failure(replace(request_, **OTHERS[kind]), BenchError(kind))
    assert len({variant_of(run) for run in errors(request_)}) == 2


PLUGIN = """
from bench.methods.floors.training_cases import MeanVolume
from dataclasses import replace
class Mine(MeanVolume):
    card = replace(MeanVolume.card, name="nanny")
"""


@pytest.mark.parametrize(("text", "name"), [(PLUGIN, "nanny"), ("import nothing_like_it\n", "nan")])
def test_a_failed_run_has_the_name_of_the_runs_that_succeed(
    text: str, name: str, request_: RunRequest, tmp_path: Path
) -> None:
    (tmp_path / "nan.py").write_text(text)
    request = replace(request_, method=f"{tmp_path}/nan.py:Mine")
    record_failure(request, BenchError("why"))
    assert [(run.method, run.origin) for run in read_runs(request.results_dir)] == [(name, "plugin")]
    (tmp_path / "nan.py").write_text(PLUGIN)
    forget_failure(request)
    assert errors(request) == {}
