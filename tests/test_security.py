"""Names in results and stored configurations are never run as files."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.cli import run_command
from bench.plugins.config import PLAIN_NAME, RunConfig

from .helpers.table_rows import add


def test_names_in_results_that_are_files_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\n")
    for dataset, method in (("evil.py", "mine"), ("./evil.py:DATASET", "evil.py"), ("lidc", "./evil.py:Method")):
        add(tmp_path / "results", method, dataset=dataset, run_id=f"run-{len(dataset + method)}")
    for command in (["table", "all"], ["leaderboard"], ["findings"], ["report", "--out", "r.html"]):
        assert run_command(command) == 0
    assert (tmp_path / "r.html").exists()
    assert not (tmp_path / "ran").exists()
    assert not any(PLAIN_NAME.fullmatch(name) for name in ("evil.py", "a.py:B", "./a", ""))


@pytest.mark.parametrize("field", ["method", "dataset"])
def test_a_stored_configuration_names_no_file(field: str) -> None:
    stored = {"method": "mean", "dataset": "lidc", "preset": "tiny", "data": {}, "fit": {}, "options": {}}
    assert RunConfig.model_validate(stored).method == "mean"
    with pytest.raises(ValidationError, match="is no name of a method or dataset"):
        RunConfig.model_validate({**stored, field: "./evil.py"})
