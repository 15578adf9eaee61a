"""Planted nodules and misstated angles: projections by closed form, what keeps all contrast, and what keeps none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cases import Cases, Views
from bench.dataset import Geometry
from bench.errors import BenchError, UsageError
from bench.metrics.stats import auroc
from bench.projector import WATER_PER_CM, project, rays
from bench.study import inputs
from bench.study.catalogue import Answer
from bench.study.inputs import fine_cases
from bench.study.lesion import (
    NODULE_HU,
    Template,
    cover_ellipsoid,
    find_sites,
    plant_nodules,
    read_sites,
    take_cases,
)
from bench.study.runs import StudyRequest, TrainedRun
from bench.system.progress import Progress

from ..helpers.study_lab import Lab, at, own

GEOMETRY = Geometry(541.0, 949.0, 500.0)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Runs of back-projection, which learns nothing and does look at its views."""
    lab = Lab(tmp_path_factory.mktemp("lesion"), (12, 1, 6), "backprojection")
    lab.fit()
    return lab


@pytest.fixture(scope="module")
def run(lab: Lab) -> TrainedRun:
    return lab.run()


@pytest.fixture(scope="module")
def answer(lab: Lab) -> Answer:
    return lab.ask("lesion", values=(16, 32, 48))


def chord(start: np.ndarray, end: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Length in mm of rays (..., 3) inside an ellipsoid: the roots of a quadratic."""
    origin, direction = (start - centre) / radii, (end - start) / radii
    a, b, c = (direction**2).sum(-1), (origin * direction).sum(-1), (origin**2).sum(-1) - 1
    root = np.sqrt(np.clip(b**2 - a * c, 0, None))
    return 2 * root / a * np.linalg.norm(end - start, axis=-1)


@pytest.mark.parametrize("angle", [270.0, 0.0, 30.0])
def test_a_planted_ellipsoid_projects_to_its_chords(angle: float) -> None:
    size, voxel_mm = 96, 2.0
    centre, radii = (14.0, -10.0, 22.0), (30.0, 20.0, 40.0)  # d, h, w in mm
    box, share = cover_ellipsoid(size, voxel_mm, centre, radii)
    volume = np.full((size,) * 3, -1000.0, np.float32)
    volume[box] += share * 1000.0  # water in air
    shown = project(torch.from_numpy(volume)[None], voxel_mm, GEOMETRY, [angle], 64, mirrored=[False], samples=384)
    start, end = (points.numpy() for points in rays(GEOMETRY, angle, 64))
    expected = WATER_PER_CM * chord(start, end, np.array([22.0, -10.0, -14.0]), np.array([40.0, 20.0, 30.0])) / 10
    inside = expected > 0.5 * expected.max()
    assert expected.max() > 0.05
    np.testing.assert_allclose(shown[0, 0].numpy()[inside], expected[inside], rtol=0.06)
    assert shown.sum() == pytest.approx(expected.sum(), rel=0.03)
    assert np.abs(shown[0, 0].numpy()[expected == 0]).max() < 0.1 * expected.max()


@pytest.mark.parametrize("diameter", [3.0, 6.0, 20.0])
def test_a_ball_has_its_volume_even_below_a_voxel(diameter: float) -> None:
    _, share = cover_ellipsoid(32, 5.0, (1.3, -22.0, 40.4), (diameter / 2,) * 3)
    assert share.sum() * 125 == pytest.approx(np.pi / 6 * diameter**3, rel=0.03)
    assert 0 <= share.min() <= share.max() <= 1


def test_a_ball_at_the_edge_is_cut_and_outside_refused() -> None:
    box, share = cover_ellipsoid(16, 10.0, (-80.0, 0.0, 0.0), (20.0, 20.0, 20.0))
    assert box[0] == slice(0, 2)
    assert share.sum() * 1000 == pytest.approx(np.pi / 12 * 40**3, rel=0.03)  # half of it
    with pytest.raises(ValueError, match="outside of the cube"):
        cover_ellipsoid(16, 10.0, (-120.0, 0.0, 0.0), (20.0, 20.0, 20.0))


def test_the_template_of_a_volume_is_what_it_says() -> None:
    change, shell = np.zeros((6, 6, 6)), np.zeros((6, 6, 6), bool)
    change[2:4, 2:4, 2:4] = 500.0
    shell[1] = True
    template = Template((slice(0, 6),) * 3, change, shell)
    volume = np.full((6, 6, 6), -800.0)
    volume[2:4, 2:4, 2:4] = -550.0
    assert template.contrast(volume) == pytest.approx(250.0)
    without = np.full((6, 6, 6), -800.0)
    assert template.share(volume) - template.share(without) == pytest.approx(0.5)
    assert template.contrast(without) == pytest.approx(0.0)


def test_the_truth_keeps_all_contrast_and_what_ignores_its_views_none(answer: Answer) -> None:
    for setting in ("16", "32", "48"):
        truth, mean, blurred = (at(answer, setting, method) for method in ("truth", "mean", "backprojection"))
        assert list(truth.values["contrast_kept"].values()) == pytest.approx([1.0] * 6)
        assert list(mean.values["contrast_kept"].values()) == pytest.approx([0.0] * 6, abs=1e-9)
        assert mean.values["contrast_with"] == mean.values["contrast_without"]
        assert mean.of_set["auroc_nodule"].value == 0.5
        kept = np.array(list(blurred.values["contrast_kept"].values()))
        assert ((kept > 0) & (kept < 0.5)).all()  # smeared along two rays
    assert at(answer, "48", "truth").of_set["auroc_nodule"].value > 0.9


class Knowing:
    """Reconstructs the truth of whatever views it is shown."""

    def __init__(self, known: list[tuple[torch.Tensor, np.ndarray]]) -> None:
        self.images, self.volumes = torch.stack([one for one, _ in known]), [volume for _, volume in known]

    def reconstruct(self, views: Views, *, seeds) -> torch.Tensor:
        away = [(self.images - image).abs().amax((1, 2, 3)) for image in views.images]
        assert max(float(one.min()) for one in away) < 1e-5
        return torch.from_numpy(np.stack([self.volumes[int(one.argmin())] for one in away]))


def test_a_method_that_returns_the_truth_keeps_all_contrast(run: TrainedRun) -> None:
    cases, size = run.cases["test"], run.config.data.size
    card, centres, known = cases.card, find_sites(cases, run.spec.label_names, 20.0), []
    for name, fine in fine_cases(run, cases, ""):
        voxel_mm = 320.0 / len(fine)
        for diameter in (None, 40.0):
            volume = fine.copy()
            if diameter:
                box, share = cover_ellipsoid(len(fine), voxel_mm, centres[name], (diameter / 2,) * 3)
                volume[box] = (1 - share) * volume[box] + share * NODULE_HU
            seen = project(torch.from_numpy(volume)[None], voxel_mm, card.geometry, card.angles, card.image_size)
            coarse = volume.reshape(size, 2, size, 2, size, 2).mean((1, 3, 5)).astype(np.float64)
            known.append(((seen[0] / card.geometry.grey_scale).clamp(0, 1), (coarse.clip(-1000, 1000) + 1000) / 2000))
    knowing = replace(run, method=Knowing(known))
    points = {p.facts["method"]: p for p in plant_nodules(StudyRequest(values=(40,)), [knowing], Progress())}
    kept = list(points["backprojection"].values["contrast_kept"].values())
    assert kept == pytest.approx([1.0] * len(kept), abs=0.02)
    assert points["backprojection"].of_set["auroc_nodule"] == points["truth"].of_set["auroc_nodule"]


def test_larger_nodules_show_more_in_the_views_and_the_control_does_not_change(answer: Answer) -> None:
    signals = [np.mean(list(at(answer, s, "mean").values["view_signal"].values())) for s in ("16", "32", "48")]
    assert 0 < signals[0] < signals[1] < signals[2] < 1
    absent, present = (
        np.array(list(at(answer, "48", "backprojection").values[name].values()))
        for name in ("contrast_without", "contrast_with")
    )
    assert at(answer, "48", "backprojection").of_set["auroc_nodule"] == auroc(absent, present, paired=True)


def test_nodules_are_planted_in_lungs_and_always_at_the_same_place(run: TrainedRun) -> None:
    cases, names = run.cases["test"], run.spec.label_names
    centres = find_sites(cases, names, 16.0)
    assert centres == find_sites(cases, names, 16.0)
    lungs = [number for number, name in names["organs"].items() if "lung" in name]
    for name, centre in centres.items():
        d, h, w = (int(mm / cases.card.voxel_mm + cases.card.size / 2) for mm in centre)
        assert cases.labels(name)["organs"][d, h, w] in lungs
        assert cases.hounsfield[cases.index(name), d, h, w] < -300
    assert len(set(centres.values())) > 1


def test_given_sites_are_read_in_the_millimetres_of_the_scan(run: TrainedRun, tmp_path: Path) -> None:
    cases, file = run.cases["test"], tmp_path / "sites.csv"
    wanted = {1: (3, 5, 9), 4: (10, 2, 7)}
    lines = ["case,x_mm,y_mm,z_mm"]
    for case, (d, h, w) in wanted.items():
        x, y, z, _ = cases.affines[case] @ [w, h, d, 1]
        lines.append(f"{cases.names[case]},{x},{y},{z}")
    file.write_text("\n".join(lines) + "\n")
    found = read_sites(file, cases)
    for case, index in wanted.items():
        expected = [(i + 0.5 - cases.card.size / 2) * cases.card.voxel_mm for i in index]
        assert found[cases.names[case]] == pytest.approx(expected)
    chosen = take_cases(cases, list(found))
    assert chosen.names == (cases.names[1], cases.names[4])
    assert (chosen.hounsfield == cases.hounsfield[[1, 4]]).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("case,x_mm,y_mm,z_mm\nnobody,0,0,0\n", "no case 'nobody'"),
        ("case,x_mm,y_mm,z_mm\nCASE,999,0,0\n", "outside of its volume"),
        ("case,x_mm,y_mm,z_mm\nCASE,nan,0,0\n", "outside of its volume"),
        ("case,x_mm,y_mm,z_mm\nCASE,0,0,0\nCASE,0,0,1\n", "has two sites"),
        ("case,x_mm,y_mm,z_mm\n", "names no site"),
        ("case,x_mm\nCASE,0\n", "has no column"),
    ],
)
def test_sites_that_cannot_be_are_refused(run: TrainedRun, tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(content.replace("CASE", run.cases["test"].names[0]))
    with pytest.raises(BenchError, match=reason):
        read_sites(file, run.cases["test"])


def test_what_lesion_cannot_do_is_said_in_one_line(lab: Lab, run: TrainedRun) -> None:
    cases, names = run.cases["test"], run.spec.label_names
    with pytest.raises(UsageError, match="real scans have no labels; say with --sites"):
        find_sites(replace(cases, phantoms=None), names, 10.0)
    with pytest.raises(UsageError, match="lidc labels no lungs"):
        find_sites(cases, {"things": {1: "knife"}}, 10.0)
    with pytest.raises(UsageError, match="diameters of 1 to 80 mm"):
        lab.ask("lesion", values=(81,))
    with pytest.raises(UsageError, match="no file nowhere"):
        lab.ask("lesion", sites=Path("nowhere.csv"))


def test_cases_without_a_lung_are_left_out(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, real = run.cases["test"], Cases.labels

    def labels(self, case):
        return {kind: values * (case != cases.names[0]) for kind, values in real(self, case).items()}

    monkeypatch.setattr(Cases, "labels", labels)
    assert list(find_sites(cases, run.spec.label_names, 16.0)) == list(cases.names[1:])
    monkeypatch.setattr(Cases, "labels", lambda self, case: {k: 0 * v for k, v in real(self, case).items()})
    with pytest.raises(UsageError, match="none of the 6 cases shows a lung"):
        find_sites(cases, run.spec.label_names, 16.0)


def test_a_misstated_angle_moves_the_second_view_alone(lab: Lab, run: TrainedRun, monkeypatch) -> None:
    seen: dict[str, np.ndarray] = {}
    real = inputs.measure

    def measure(one: TrainedRun, cases: Cases, what: str):
        if not one.floor:
            seen[what.rpartition(" ")[2]] = np.array(cases.line_integrals)
        return real(one, cases, what)

    monkeypatch.setattr(inputs, "measure", measure)
    points = own(lab.ask("angle"))
    assert [p.setting for p in points] == ["0", *(f"{error:g}" for error in inputs.ANGLE_ERRORS)]
    cases = run.cases["test"]
    assert (seen["0"] == cases.line_integrals).all()
    assert all((seen[p.setting][:, 0] == cases.line_integrals[:, 0]).all() for p in points)
    away = [np.abs(seen[error][:, 1] - cases.line_integrals[:, 1]).mean() for error in ("0", "1", "2.5", "5", "10")]
    assert away == sorted(set(away))
