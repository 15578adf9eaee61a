"""One prediction under every protocol; a run scored again from its files; what is printed of the published tables."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.card import MethodCard
from bench.cases import Cases
from bench.cli import run_command
from bench.data import cases as loading
from bench.dataset import DataConfig, to_unit
from bench.errors import BenchError, UsageError
from bench.method import Method
from bench.pipeline import evaluate  # noqa: F401 - takes hold of get_dataset before a test replaces it
from bench.pipeline import reopen as storedrun
from bench.pipeline.predict import predict
from bench.pipeline.reopen import open_stored
from bench.plugins import registry
from bench.plugins.config import FitConfig, RunConfig
from bench.results.audit import BLOCK, compare_printed_psnr_and_mse, compare_text_and_tables, list_doubtful_prints
from bench.runs.folder import RunFolder, find_run
from bench.runs.manifest import read_manifest
from bench.runs.predictions import ENCODED_TRUTH, read_prediction, write_prediction
from bench.runs.record import DataRecord, StageRecord
from bench.scoring.cases import score_case
from bench.scoring.protocol import TRUTH_CT, TRUTH_ENCODED, CaseVolumes, Fidelity
from bench.scoring.protocols import PROTOCOLS, list_definitions
from bench.scoring.rows import read_scores
from bench.scoring.store import load_results
from bench.system.generated import replace_block
from bench.system.progress import Progress

from ..helpers.toy_runs import toy_record, toy_run

START, END = "<!-- audit -->", "<!-- /audit -->"
RUN_ID = "toy_method-toy-tiny-s3-01234567"
FEW = Fidelity(nearest_k=3, encoder_seeds=(0,), baseline_draws=1, small_encoded_side=48)


class Halved(Method):
    """Reconstructs half of a grey volume; encodes the truth as 0.9 of it."""

    calls = 0
    card = MethodCard("halved", "Halved", "", 2024, "", "", frozenset({"volume", "oracle"}))

    def __init__(self, config, data) -> None:
        self.size = data.size

    def stages(self):
        return []

    def reconstruct(self, views, *, seeds):
        Halved.calls += 1
        return torch.full((len(seeds), *(self.size,) * 3), 0.5)

    def reconstruct_truth(self, volume):
        return 0.9 * volume


def predicted(truth: np.ndarray) -> np.ndarray:
    return 0.1 + 0.8 * truth**2


def encoded(truth: np.ndarray) -> np.ndarray:
    return 0.9 * truth**1.5


@pytest.fixture
def data(make_data) -> dict[str, Cases]:
    return make_data(train=10, test=9)


@pytest.fixture
def run(tmp_path: Path, data, monkeypatch) -> RunFolder:
    """A finished run in files only, of the toy data set; protocols have one small encoder and no images all round."""
    for name, protocol in PROTOCOLS.items():
        few = protocol.fidelity and replace(FEW, batch=protocol.fidelity.batch)
        monkeypatch.setitem(PROTOCOLS, name, replace(protocol, turn=None, fidelity=few))
    folder = RunFolder(tmp_path / "runs" / "toy" / "toy_method" / RUN_ID)
    cases = data["test"]
    named = {"method": "toy_method", "dataset": "toy", "preset": "tiny"}
    config = RunConfig(**named, data=DataConfig(size=16), fit=FitConfig(), options={})
    for index, case in enumerate(cases.names):
        truth = cases.volumes([index])[0].numpy()
        target = folder.predictions("test")
        write_prediction(target, case, predicted(truth), cases, seconds=0.5, seed=3)
        write_prediction(target / ENCODED_TRUTH, case, encoded(truth), cases, seconds=0.0, seed=None)
    data_record = DataRecord(source="phantom", fingerprint=cases.card.fingerprint)
    stage = StageRecord(sha256="", after="", steps=5, seconds=7.0)
    folder.write(toy_record(RUN_ID, status="done", seed=3, config=config, data=data_record, stages={"only": stage}))

    class Spec:
        name = "toy"
        presets = {"tiny": None}  # noqa: RUF012

    monkeypatch.setattr(storedrun, "find_installed_dataset", lambda name: Spec)
    monkeypatch.setattr(storedrun, "get_dataset", lambda name: Spec)
    monkeypatch.setattr(storedrun, "load_dataset", lambda *_: data)
    monkeypatch.setattr(registry, "get_dataset", lambda name: Spec)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return folder


def test_a_run_is_scored_again_from_its_files_under_any_protocol(run: RunFolder, tmp_path: Path, data, capsys) -> None:
    assert run_command(["score", RUN_ID, "--protocol", "x2ct-2019"]) == 0
    assert run_command(["score", str(run.root), "--protocol", "paper-2023"]) == 0
    assert "psnr" in capsys.readouterr().out
    frame = load_results(tmp_path / "results")
    assert set(frame["protocol"]) == {"x2ct-2019", "paper-2023"}
    assert set(frame["run_id"]) == {RUN_ID}
    assert set(frame["seed"]) == {3}
    assert "time" not in set(frame["space"])  # times stand under the protocol the run was made with
    hashes = {name: PROTOCOLS[name].sha256() for name in ("x2ct-2019", "paper-2023")}
    assert run.record().scored == hashes

    x2ct = frame[(frame["protocol"] == "x2ct-2019") & (frame["metric"] == "mse") & (frame["level"] == "case")]
    for index, case in enumerate(data["test"].names):
        truth = to_unit(data["test"].hounsfield[index].astype(np.float64), (-1000.0, 1000.0))
        expected = np.mean((predicted(truth) - truth) ** 2)
        assert x2ct.loc[x2ct["case"] == case, "value"].item() == pytest.approx(expected, rel=1e-4)
    paper = frame[(frame["protocol"] == "paper-2023") & (frame["space"] == "3d") & (frame["axis"] == "all")]
    notes = paper[paper["stat"] == "mean"].set_index("metric")["note"]
    assert (notes["psnr"], notes["l1_sample"]) == (TRUTH_ENCODED, TRUTH_CT)
    assert not frame["metric"].str.startswith("nll").any()

    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.csv")}
    assert run_command(["score", RUN_ID, "--protocol", "x2ct-2019"]) == 0
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.csv")} == before
    assert {score.protocol for score in read_scores(run.scores_csv)} == {"x2ct-2019", "paper-2023"}


def test_a_run_that_is_not_finished_or_of_other_data_is_refused(run: RunFolder) -> None:
    assert find_run("no-such-run", run.root.parents[2]) is None
    assert run_command(["score", "no-such-run"]) == 2
    assert run_command(["score", RUN_ID, "--method", "mine"]) == 2
    run.update(status="stopped")
    with pytest.raises(UsageError, match="is stopped; finish it with `bench run` first"):
        open_stored(run, Progress())
    run.update(status="done", data=DataRecord(source="phantom", fingerprint="another"))
    with pytest.raises(BenchError, match="was made of other toy data"):
        open_stored(run, Progress())


def test_a_damaged_encoding_of_the_truth_is_refused(run: RunFolder, data, capsys) -> None:
    folder = run.predictions("test") / ENCODED_TRUTH
    first, second = (folder / f"{name}.nii.gz" for name in data["test"].names[:2])
    first.write_bytes(second.read_bytes())
    assert run_command(["score", RUN_ID, "--protocol", "paper-2023"]) == 1
    assert "test-000 is missing or not the file its manifest describes" in capsys.readouterr().err
    assert run_command(["score", RUN_ID, "--protocol", "x2ct-2019"]) == 0  # takes no such truth


def test_audit_puts_the_protocols_side_by_side_and_writes_the_readme(run: RunFolder, data, tmp_path, capsys) -> None:
    case = data["test"].names[4]
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    command = ["audit", RUN_ID, "--case", case, "--format", "md"]
    assert run_command([*command, "--readme", str(readme)]) == 0
    text = capsys.readouterr().out
    lines = {cells[0]: cells[1:] for cells in read_tables(text)}
    truth = to_unit(data["test"].hounsfield[4].astype(np.float64), (-1000.0, 1000.0))
    volumes = CaseVolumes(truth, predicted(truth), encoded(truth))
    unencoded = CaseVolumes(truth, predicted(truth))
    assert score_case(volumes, PROTOCOLS["paper-2023-ct"])[:2] == score_case(unencoded, PROTOCOLS["paper-2023"])[:2]
    for column, protocol in enumerate(list_definitions()):
        values = {(s.space, s.axis, s.metric): s.value for s in score_case(volumes, protocol)}
        assert float(lines["PSNR, dB"][column]) == pytest.approx(values["3d", "all", "psnr"], abs=0.011)
        encodes = protocol.truth == "encoded"
        assert lines["scored against"][column] == ("its own encoding of the CT" if encodes else "the CT")
    assert f" paper-2023, CT as truth ({PROTOCOLS['paper-2023-ct'].sha256()[:8]}) |" in text
    assert lines["PSNR of slices, dB"][:2] == ["–", "–"]
    written = readme.read_text()
    assert re.fullmatch(f"before\n{START}\n{RUN_ID}.*{END}\nafter\n", written, re.DOTALL)
    assert "old" not in written
    assert run_command(["audit", RUN_ID, "--case", "nobody"]) == 2


def read_tables(text: str) -> list[list[str]]:
    """The cells of each line of the first table, in Markdown."""
    lines = (line for line in text.partition("Published numbers")[0].splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


@pytest.mark.usefixtures("run")
def test_audit_of_predictions_made_elsewhere(data, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(loading, "load_dataset", lambda *_: data)
    cases = data["test"]
    for index, case in enumerate(cases.names):
        truth = cases.volumes([index])[0].numpy()
        write_prediction(tmp_path / "outside", case, predicted(truth), cases, seconds=0.0, seed=None)
    assert run_command(["audit", "outside", "--dataset", "toy", "--case", cases.names[0], "--format", "md"]) == 0
    text = capsys.readouterr().out
    assert "outside (toy, tiny), phantom data, case test-000" in text
    (against,) = (cells[1:] for cells in read_tables(text) if cells[0] == "scored against")
    assert set(against) == {"the CT"}  # nobody stored an encoding
    assert run_command(["audit", "outside"]) == 2
    assert "a folder of predictions made elsewhere needs --dataset" in capsys.readouterr().err
    assert run_command(["audit", "outside", "--dataset", "toy", "--preset", "huge"]) == 2


@pytest.mark.usefixtures("run")
def test_audit_of_a_run_shows_the_means_of_the_set(data, tmp_path: Path, capsys) -> None:
    assert run_command(["audit", RUN_ID, "--format", "md"]) == 0
    text = capsys.readouterr().out
    assert f"{RUN_ID}, phantom data, test split, mean of 9 cases" in text
    lines = {cells[0]: cells[1:] for cells in read_tables(text)}
    for cell, protocol in zip(lines["Density"], list_definitions(), strict=True):
        assert cell == "–" if PROTOCOLS[protocol.id].fidelity is None else float(cell) > 0
    assert "Density, blurred" in lines
    assert not (tmp_path / "results").exists()


def test_the_published_numbers_that_cannot_be_are_found_by_computation(capsys) -> None:
    assert run_command(["audit"]) == 0
    assert "cannot both hold" in capsys.readouterr().out
    assert run_command(["audit", "--case", "x"]) == 2
    chests = {("2", "NLL", "0.10"), ("2", "MSE", "0.048"), ("2", "MAE", "0.013"), ("3b", "PSNR, dB", "25.25")}
    assert {(line[0], line[2], line[3]) for line in list_doubtful_prints().lines} == {("1", "NLL", "0.007"), *chests}
    lines = {(line[0], line[1]): line for line in compare_printed_psnr_and_mse().lines}
    assert len(lines) == 6
    assert lines["2", "CodeDiff3D"][2:] == ("25.05", "0.048", "13.19 (+11.86)", "19.21 (+5.84)")
    text = "\n".join(" ".join(line) for line in compare_text_and_tables().lines)
    for figure in (
        "42% and 29%",  # 1 − 0.0007/0.0012 and 1 − 0.0049/0.0069
        "50% above",  # 0.048/0.032
        "57%",  # 2.01/1.28
        "24.88 dB, 25.05 are printed",  # −10 log10(0.013/4)
        "10 of 10 columns best in 10",
        "8 of 10 columns best in 7",
        "26 of 102",
    ):
        assert figure in text


@pytest.mark.parametrize("content", ["", START, f"{END} {START}", f"{START} {START} {END}", f"{START} {END} {END}"])
def test_a_file_without_one_place_for_the_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "README.md").write_text(content)
    with pytest.raises(UsageError, match="needs one line"):
        replace_block(tmp_path / "README.md", BLOCK, "x")
    assert (tmp_path / "README.md").read_text() == content


def test_methods_that_encode_the_truth_leave_it_beside_their_predictions(tmp_path: Path, data) -> None:
    folder, cases = RunFolder(tmp_path), data["test"]
    method = Halved(None, cases.card)
    assert predict(method, toy_run(folder, data), ()) == 9
    inner = folder.predictions("test") / ENCODED_TRUTH
    assert set(read_manifest(inner)) == set(cases.names)
    volume, _ = read_prediction(inner / f"{cases.names[2]}.nii.gz", cases, cases.names[2])
    np.testing.assert_allclose(volume, 0.9 * cases.volumes([2])[0].numpy(), atol=1e-6)

    made = Halved.calls
    assert predict(method, toy_run(folder, data), ()) == 0
    (inner / f"{cases.names[8]}.nii.gz").unlink()
    assert predict(method, toy_run(folder, data), ()) == 1  # the group of the last case
    assert Halved.calls == made + 1
