"""The report: one page that says what was measured and what is missing, and that nothing in it can break out of."""

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread, imsave
from scipy.stats import ttest_1samp

from bench.cases import Cases
from bench.cli import run_command
from bench.errors import BenchError
from bench.report.html import script_text
from bench.report.page import ReportRequest, write_report
from bench.runs.folder import RunFolder
from bench.runs.predictions import read_prediction, sample_folder, write_prediction
from bench.runs.record import DataRecord
from bench.scoring.rows import SINGLE_FILE
from bench.scoring.store import load_results, load_runs
from bench.study.points import Point, write_points
from bench.system.progress import Progress

from ..helpers.report_data import FLOOR, HOSTILE_CASE, HOSTILE_METHOD, add_run, install
from ..helpers.toy_runs import toy_record

VENDORED = files("bench.report").joinpath("niivue")


class Read(HTMLParser):
    """A page as a browser's tokeniser splits it: elements with attributes, and text by element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str, str]] = []  # type, content
        self.rows: list[tuple[str, list[str]]] = []  # class of the body, cells
        self.text = ""
        self._body, self._in = "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        self._in = tag
        if tag == "script":
            self.scripts.append((given.get("type") or "", ""))
        if tag == "tbody":
            self._body = given.get("class") or ""
        if tag == "tr":
            self.rows.append((self._body, []))
        if tag in ("td", "th") and self.rows:
            self.rows[-1][1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag in ("script", "style") else self._in

    def handle_data(self, data: str) -> None:
        if self._in == "script":
            kind, content = self.scripts[-1]
            self.scripts[-1] = (kind, content + data)
        elif self._in != "style":
            self.text += data
            if self.rows and self.rows[-1][1]:
                self.rows[-1][1][-1] += data


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch, make_data: Callable[..., dict[str, Cases]]) -> Cases:
    return install(monkeypatch, make_data(test=4))["test"]


MakePage = Callable[..., Read]


@pytest.fixture
def page(tmp_path: Path) -> MakePage:
    """Make the report of what lies in `tmp_path` and read it."""

    def call(**options: object) -> Read:
        places = {"results_dir": tmp_path / "results", "runs_dir": tmp_path / "runs"}
        request = ReportRequest(tmp_path / "report.html", **{**places, **options})
        size = write_report(request, Progress())
        assert size == request.out.stat().st_size
        return Read(request.out.read_text())

    return call


def test_the_viewer_is_the_build_its_sums_name() -> None:
    digest, name = VENDORED.joinpath("SHA256SUMS").read_text().split()
    assert hashlib.sha256(VENDORED.joinpath(name).read_bytes()).hexdigest() == digest
    licence = VENDORED.joinpath("LICENSE").read_text()
    assert "Copyright (c) 2021, Niivue" in licence
    assert "Redistributions in binary form must reproduce" in licence
    version = re.search(r"NiiVue (\d+\.\d+\.\d+)", licence)[1]
    assert all(version in VENDORED.joinpath(file).read_text() for file in ("README.md", name))


def test_names_are_text_and_the_policy_allows_the_pages_own_scripts_alone(
    cases: Cases, tmp_path: Path, page: MakePage
) -> None:
    folder = add_run(tmp_path, cases, HOSTILE_METHOD, 0.1)
    add_run(tmp_path, cases, FLOOR, 0.2)
    folder.train_csv.write_text(f'stage,step,name,value\n"{HOSTILE_CASE}",1,loss,1\n"{HOSTILE_CASE}",2,loss,2\n')
    read = page()
    assert read.text.count(HOSTILE_METHOD) >= 4  # table, pictures, curves, runs
    assert HOSTILE_CASE in read.text
    for tag, given in read.elements:
        assert not [name for name in given if name.startswith("on") or name == "style"], (tag, given)
        assert tag not in ("base", "iframe", "object", "embed", "form", "link")
        for name in ("src", "href"):
            assert (given.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert [kind for kind, _ in read.scripts] == ["application/json", "", ""]
    volumes = json.loads(read.scripts[0][1])[0]
    assert volumes["case"] == HOSTILE_CASE
    assert HOSTILE_METHOD in [volume["title"] for volume in volumes["volumes"]]
    policy = next(given["content"] for tag, given in read.elements if given.get("http-equiv"))
    rules = {name: values for name, *values in (rule.split() for rule in policy.split(";"))}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]
    assert not {"connect-src", "'unsafe-inline'", "'unsafe-eval'"} & set(policy.replace(";", " ").split())
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for _, text in read.scripts[1:]]
    assert rules["script-src"] == [f"'sha256-{digest}'" for digest in hashes]


@pytest.mark.parametrize("text", ["let a = '</SCRIPT>'", "a <!-- b"])
def test_a_script_that_would_end_its_element_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="end its element"):
        script_text(text)


def test_tables_rank_methods_and_keep_floors_apart(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    for method, error in (("worse", 0.2), ("better", 0.05), (FLOOR, 0.01)):
        add_run(tmp_path, cases, method, error)
    read = page(viewer_mib=0)
    rows = [row for row in read.rows if row[1] and row[1][0].strip()]
    ranked = [cells for body, cells in rows if body == "" and re.match(r"\d", cells[0])]
    assert [cells[0] for cells in ranked] == ["1better", "2worse"]
    apart = [cells[0] for body, cells in rows if body == "references"]
    assert any(name.startswith(FLOOR) for name in apart)
    assert not any(FLOOR in cells[0] for cells in ranked)
    off = ((cases.truth(case) - prediction(tmp_path, cases, "better", case)) ** 2 for case in cases.names)
    psnr = np.array([-10 * np.log10(squares.mean()) for squares in off])
    low, high = ttest_1samp(psnr, 0.0).confidence_interval()  # of this training
    assert f"{psnr.mean():.2f}[{low:.2f}, {high:.2f}]" in [cell.strip() for cell in ranked[0]]
    assert "First by PSNR: better. Without a verdict, for one of the two was trained once: worse." in read.text


def prediction(root: Path, cases: Cases, method: str, case: str) -> np.ndarray:
    """What a run stored, read and brought to [0, 1] without the harness."""
    path = next((root / "runs").glob(f"toy/{method}/*/predictions/test/{case}.nii.gz"))
    low, high = cases.card.window
    return (np.clip(nib.load(path).get_fdata().T, low, high) - low) / (high - low)


def test_pictures_are_the_voxels_and_a_collapsed_one_is_called_so(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    folder = add_run(tmp_path, cases, "mine", 0.1)
    truth = cases.truth(cases.names[0])
    made = np.clip(truth + 0.1, 0, 1)
    for case, volume in zip(cases.names, (made, np.zeros_like(truth)), strict=False):
        write_prediction(folder.predictions("test"), case, volume, cases, seconds=0.1, seed=0)
    read = page(viewer_mib=0)
    images = [given for tag, given in read.elements if tag == "img"]
    first = {given["alt"]: given["src"] for given in reversed(images)}  # the first of six, an axial slice
    drawn = {alt: imread(io.BytesIO(base64.b64decode(src.partition("base64,")[2]))) for alt, src in first.items()}
    middle, white = truth.shape[0] // 2, np.percentile(truth, 99.95)
    shown = drawn[f"truth of {cases.names[0]}"]
    assert np.abs(shown[..., 0] - np.clip(truth[middle] / white, 0, 1)).max() <= 2 / 255  # one of 256 greys
    difference = drawn[f"mine: reconstruction − truth of {cases.names[0]}"]
    above = truth[middle] < 0.9
    assert (difference[above][:, 0] > difference[above][:, 2]).all()  # red where too much
    assert read.text.count("one value everywhere") == 1


def test_the_viewer_gets_hounsfield_units_on_the_grid_of_the_case(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    add_run(tmp_path, cases, "mine", 0.1)
    entries = json.loads(page(cases=2).scripts[0][1])
    assert [entry["case"] for entry in entries[:2]] == list(cases.names[:2])
    for entry in entries:
        index = cases.index(entry["case"])
        truth, made = (read_nifti(volume["data"]) for volume in entry["volumes"])
        expected = np.clip(cases.hounsfield[index], *cases.card.window)
        assert np.array_equal(truth.get_fdata().T, expected)
        assert np.allclose(truth.affine, cases.affines[index])
        assert np.abs(made.get_fdata().T - expected).mean() > 50


def read_nifti(data: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(data)))


def test_volumes_over_the_cap_are_left_out_and_named(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    add_run(tmp_path, cases, "mine", 0.1)
    size = sum(len(volume["data"]) for volume in json.loads(page(cases=1).scripts[0][1])[0]["volumes"])
    read = page(cases=2, viewer_mib=1.5 * size / 2**20)
    assert [entry["case"] for entry in json.loads(read.scripts[0][1])] == [cases.names[0]]
    assert f"{cases.names[1]} needs" in read.text
    without = page(cases=2, viewer_mib=0)
    assert "No volumes are in this page" in without.text
    assert [kind for kind, _ in without.scripts] == [""]  # the viewer itself is left out too


def test_what_is_missing_is_said(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    add_run(tmp_path, cases, "good", 0.1)
    assert "Nothing has been measured yet" in page(results_dir=tmp_path / "none").text
    for method in ("gone", "damaged", "stopped", "other", "partial", "broken"):
        add_run(tmp_path, cases, method, 0.2)
    runs = tmp_path / "runs" / "toy"
    folders = {path.name: RunFolder(next(path.iterdir())) for path in runs.iterdir()}
    folders["gone"].root.rename(tmp_path / "elsewhere")
    folders["damaged"].run_json.write_text("{")
    folders["stopped"].update(status="stopped")
    folders["other"].update(data=DataRecord(source="phantom", fingerprint="another"))
    (folders["partial"].predictions("test") / f"{cases.names[1]}.nii.gz").unlink()
    (folders["broken"].predictions("test") / f"{cases.names[1]}.nii.gz").write_bytes(b"\x1f\x8bnot a volume")
    folders["good"].train_csv.write_text("stage,step,name,value\na,b,c,d\n")
    studies = tmp_path / "results" / "studies"
    studies.mkdir()
    (studies / "views-x.csv").write_text("not,a,study\n")
    text = " ".join(page().text.split())
    for folder in (folders[name].root.name for name in ("damaged", "stopped", "other")):
        assert text.count(f"is not shown: {folder}: ") == 1  # of all cases at once
    assert text.count("the runs of gone") == 1
    assert "good" not in text.partition("the runs of ")[2].partition(".")[0]
    for reason in (
        f"Not in {tmp_path / 'runs'}, so without pictures and volumes: the runs of gone.",
        "run.json is not readable JSON",
        "the run is stopped",
        "it was made of other data",
        f"{folders['partial'].root.name} has no prediction of {cases.names[1]}",
        f"{cases.names[1]}.nii.gz cannot be read as NIfTI",
        "train.csv line 2, column step: Input should be a valid integer",
        "views-x.csv has a column 'a'",
    ):
        assert reason in text, reason


def test_studies_come_with_picture_numbers_and_notes(tmp_path: Path, page: MakePage) -> None:
    facts = dict.fromkeys(("run_id", "source", "preset", "seed"), "0") | {"method": HOSTILE_METHOD, "dataset": "toy"}
    values = [{"psnr": {f"case {index}": level + index for index in range(5)}} for level in (20.0, 17.5)]
    points = [Point(facts, "steps", str(step), own) for step, own in zip((4, 8), values, strict=True)]
    path = tmp_path / "results" / "studies" / "steps-toy.csv"
    path.parent.mkdir(parents=True)
    write_points(path, "steps", [*points, Point(facts, "steps", "16", {}, note="refused: at most 8 steps")])
    buffer = io.BytesIO()
    imsave(buffer, np.eye(4), format="png")
    path.with_suffix(".png").write_bytes(buffer.getvalue())
    read = page()
    shown = [given["src"] for tag, given in read.elements if tag == "img"]
    assert [base64.b64decode(address.partition(",")[2]) for address in shown] == [buffer.getvalue()]
    numbers = {cells[3]: cells for _, cells in read.rows if cells and cells[0] == HOSTILE_METHOD}
    assert numbers["4"][6:8] == ["5", "22.00"]
    assert numbers["8"][7] == "19.50"
    assert numbers["8"][9].startswith("-2.50")
    assert "refused: at most 8 steps" in read.text
    path.with_suffix(".png").write_bytes(b"<svg onload=alert(1)>")
    assert "is no PNG" in page().text


def test_data_that_are_not_there_leave_the_tables(
    cases: Cases, tmp_path: Path, page: MakePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(tmp_path, cases, "mine", 0.1)

    def refuse(*_: object) -> None:
        raise BenchError("prepare the same data, or run it again")

    monkeypatch.setattr("bench.report.collect.open_stored", refuse)
    read = page()
    assert "Pictures and volumes of these cases are missing: prepare the same data" in " ".join(read.text.split())
    assert any(cells[0] == "1mine" for _, cells in read.rows if cells)


def test_a_run_id_leads_nowhere_outside(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    add_run(tmp_path, cases, "mine", 0.1)
    secret = RunFolder(tmp_path / "secret-toy-tiny-s0-aaaaaaaa")
    secret.write(toy_record(secret.root.name, provenance={"note": "TOP SECRET"}))
    results = tmp_path / "results"
    scores, runs = (read(results).assign(run_id=f"../../../{secret.root.name}") for read in (load_results, load_runs))
    for part in ("scores", "runs"):
        shutil.rmtree(results / part)
    scores[list(SINGLE_FILE)].to_csv(results / "scores.csv", index=False)
    runs.to_csv(results / "runs.csv", index=False)
    read = page()
    assert "so without pictures and volumes: the runs of mine." in read.text
    assert "TOP SECRET" not in read.text


def test_a_page_that_cannot_be_written_leaves_the_old_one(cases: Cases, tmp_path: Path) -> None:
    add_run(tmp_path, cases, "mine", 0.1)
    (tmp_path / "file").write_text("in the way")
    request = ReportRequest(tmp_path / "file" / "report.html", tmp_path / "results", tmp_path / "runs", viewer_mib=0)
    with pytest.raises(BenchError, match="cannot write"):
        write_report(request, Progress())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "results", "runs"]


def test_spread_is_that_of_seeds_and_of_kept_samples(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    folder, *_ = (add_run(tmp_path, cases, "mine", 0.1, seed=seed) for seed in range(3))
    drawn = [np.full(cases.hounsfield.shape[1:], level) for level in (0.2, 0.4, 0.6, 0.4)]
    for index, volume in enumerate(drawn):
        write_prediction(folder.samples("test", index), cases.names[1], volume, cases, seconds=0, seed=0)
    text = " ".join(page(viewer_mib=0).text.split())
    expected = np.std([0.2, 0.4, 0.6, 0.4], ddof=1)
    assert f"4 samples of one trained model; standard deviation of a voxel {expected:.4f}" in text
    stored = tmp_path.glob(f"runs/toy/mine/*/predictions/test/{cases.names[0]}.nii.gz")
    made = [nib.load(path).get_fdata() for path in stored]
    expected = (np.clip(np.stack(made), -1000, 1000) / 2000).std(0, ddof=1).mean()
    assert f"3 runs with different seeds, trained anew; standard deviation of a voxel {expected:.4f}" in text


def test_spread_of_a_run_with_samples_is_that_of_its_own(cases: Cases, tmp_path: Path, page: MakePage) -> None:
    folder = add_run(tmp_path, cases, "mine", 0.1)
    for index in (1, 2):
        inner = sample_folder(folder.predictions("test"), index)
        volume = np.full(cases.hounsfield.shape[1:], index / 4)
        write_prediction(inner, cases.names[1], volume, cases, seconds=0, seed=0)
        write_prediction(folder.samples("test", index), cases.names[1], 1 - volume, cases, seconds=0, seed=0)
    first, _ = read_prediction(folder.predictions("test") / f"{cases.names[1]}.nii.gz", cases, cases.names[1])
    expected = np.stack([first, np.full_like(first, 0.25), np.full_like(first, 0.5)]).std(0, ddof=1).mean()
    text = " ".join(page(viewer_mib=0).text.split())
    assert f"3 samples of one trained model; standard deviation of a voxel {expected:.4f}" in text


def test_the_command_makes_the_page_of_real_runs(mean_run: Path, tmp_path: Path) -> None:
    places = ["--runs-dir", str(mean_run / "runs"), "--results-dir", str(mean_run / "results")]
    out = tmp_path / "page" / "report.html"
    assert run_command(["report", "--out", str(out), "--cases", "1", *places]) == 0
    read = Read(out.read_text())
    assert "It supports no claim about patients" in " ".join(read.text.split())
    (entry,) = json.loads(read.scripts[0][1])
    assert [volume["title"] for volume in entry["volumes"]] == ["Truth", "mean training volume"]
    assert run_command(["report", "--out", str(out), "--by", "density", *places]) == 2
