"""X-rays that came with a CT replace projected ones where a run asks for it: the same pictures as are projected."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from bench.cases import Cases
from bench.data.cases import load_dataset
from bench.data.store import views_path
from bench.dataset import DataConfig, PreparedCase, Split
from bench.errors import BenchError, UsageError
from bench.plugins.config import resolve
from bench.plugins.registry import get_dataset, get_method
from bench.system.files import digest_of

from ..helpers.scan_files import BAG_NOTE, draw_xrays, seen, write_bag, write_chest_npz, write_h5, write_note
from ..helpers.scans import BAG, CHEST, phantom, prepare_chests, write_nifti

pytestmark = pytest.mark.usefixtures("data_folder")
SIZE = 32
PROJECTED = DataConfig(size=SIZE, image_size=SIZE)
STORED = PROJECTED.model_copy(update={"views": "stored"})


def one_of_each(records: Sequence[PreparedCase]) -> dict[str, Split]:
    return {record.case: split for record, split in zip(records, ("train", "test", "validation"), strict=False)}


SPEC = replace(CHEST, assign_splits=one_of_each)


def chest(number: int) -> np.ndarray:
    """A trunk whose left lung is filled from the front to a level that differs, so that no view is symmetric."""
    volume = phantom()
    volume[20:44, : 20 + 6 * number, 36:50][volume[20:44, : 20 + 6 * number, 36:50] == -860] = 30
    return volume


def write_x2ct(folder: Path, **xrays: np.ndarray) -> None:
    for number in range(2):
        write_h5(folder / f"case{number}" / "ct_xray_data.h5", chest(number), **xrays)


def loaded(config: DataConfig, source: str = "real") -> dict[Split, Cases]:
    return load_dataset(SPEC, config, source)


def likeness(first: Cases, second: Cases) -> float:
    """The least correlation of two sets of views; by far less where one is mirrored or of another angle."""
    pairs = zip(first.images([0])[0].numpy(), second.images([0])[0].numpy(), strict=True)
    return min(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs)


def test_those_of_x2ct_are_the_views_that_would_be_projected(tmp_path: Path) -> None:
    write_x2ct(tmp_path / "in")
    prepare_chests(tmp_path / "in", SPEC, keep_table=True)
    projected, stored = loaded(PROJECTED), loaded(STORED)
    for split in ("train", "test"):
        assert likeness(stored[split], projected[split]) > 0.998
        np.testing.assert_array_equal(stored[split].hounsfield, projected[split].hounsfield)
        flipped = replace(stored[split], line_integrals=stored[split].line_integrals[..., ::-1].copy())
        assert likeness(flipped, projected[split]) < 0.993
        images = stored[split].images([0])[0]
        assert images.amax((1, 2)).min() > 0.9  # stretched to its maximum, whatever its attenuation
    assert stored["train"].card.fingerprint != projected["train"].card.fingerprint
    assert stored["train"].card.geometry == projected["train"].card.geometry
    assert not np.array_equal(stored["train"].line_integrals[0, 0], stored["train"].line_integrals[0, 1])


@pytest.mark.parametrize("angles", [(270.0, 0.0), (0.0, 90.0, 225.0)])
def test_those_of_codediff3d_are_taken_at_the_angle_asked_for(tmp_path: Path, angles: tuple[float, ...]) -> None:
    for number in range(2):
        folder = tmp_path / "in" / f"000{number + 1}_chest"
        write_chest_npz(folder, chest(number))
        turn = [45.0 * index for index in range(8)]
        for index, picture in enumerate(draw_xrays(chest(number), turn, [True] * 8)):
            imsave(folder / f"drr_{index}.png", picture, check_contrast=False)
    prepare_chests(tmp_path / "in", SPEC, keep_table=True)
    projected = loaded(PROJECTED.model_copy(update={"angles": angles}))
    stored = loaded(STORED.model_copy(update={"angles": angles}))
    assert likeness(stored["train"], projected["train"]) > 0.995


def test_a_case_without_them_is_named_before_anything_is_computed(tmp_path: Path) -> None:
    write_x2ct(tmp_path / "in")
    write_nifti(tmp_path / "in" / "plain.nii.gz", phantom())
    prepare_chests(tmp_path / "in", SPEC)
    with pytest.raises(BenchError, match=r"no X-rays came with case plain of chest: leave it out with --split-file"):
        loaded(STORED)
    assert not list((tmp_path / "data" / "chest").glob("presets/*/volumes.npy"))
    assert len(loaded(PROJECTED)["validation"]) == 1


def test_an_angle_that_no_xray_was_taken_at_is_named(tmp_path: Path) -> None:
    write_x2ct(tmp_path / "in")
    prepare_chests(tmp_path / "in", SPEC)
    with pytest.raises(BenchError, match=r"case case0 has no X-ray at 45° \(it has 270°, 0°\); take another"):
        loaded(STORED.model_copy(update={"angles": (270.0, 45.0)}))


def test_phantoms_have_none() -> None:
    with pytest.raises(UsageError, match=r"data.views=stored needs real chest scans that came with X-rays \(phantom:"):
        loaded(STORED, "auto")


def test_the_angles_of_other_xrays_are_stated_in_a_side_file(tmp_path: Path) -> None:
    frontal, lateral = draw_xrays(phantom(), (270, 0), (False, False))
    for number in (7, 8):
        folder = tmp_path / "in" / f"bag{number}"
        write_bag(folder, seen(phantom()).astype(np.float32) + number)
        views = folder / "projections_grayscale2"
        imsave(views / f"bag{number}_azimuth_90.png", frontal, check_contrast=False)
        imsave(views / f"bag{number}_elevation_90.png", lateral, check_contrast=False)
        write_note(folder / "volumes" / "scans.toml", unit="hu", **BAG_NOTE)
    spec = replace(BAG, assign_splits=one_of_each)
    prepare_chests(tmp_path / "in", spec)
    with pytest.raises(BenchError, match=r"bag7 \(bag7_azimuth_90, bag7_elevation_90\) were taken is not known; state"):
        load_dataset(spec, STORED, "real")
    for number in (7, 8):
        note = tmp_path / "in" / f"bag{number}" / "volumes" / "scans.toml"
        names = f"{{bag{number}_azimuth_90 = 270, bag{number}_elevation_90 = 0}}"
        note.write_text(note.read_text() + f"view_angles = {names}\n")
    assert len(prepare_chests(tmp_path / "in", spec).prepared) == 2
    stored, projected = (load_dataset(spec, config, "real")["train"] for config in (STORED, PROJECTED))
    assert likeness(stored, projected) > 0.995
    note.write_text(note.read_text().replace("bag8_elevation_90", "elsewhere"))
    (item,) = prepare_chests(tmp_path / "in", spec).refused
    assert item.reason.startswith("view_angles names elsewhere; its X-rays are bag8_azimuth_90")
    note.write_text(note.read_text() + 'mirrored_views = ["other"]\n')
    assert "view_angles states no angle of other" in prepare_chests(tmp_path / "in", spec).refused[0].reason


@pytest.mark.parametrize("damage", ["cut", "older"])
def test_damaged_or_older_ones_are_prepared_again(tmp_path: Path, damage: str) -> None:
    write_x2ct(tmp_path / "in")
    prepare_chests(tmp_path / "in", SPEC)
    path = views_path("chest", "case0")
    with np.load(path) as stored:
        views = dict(stored)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:400])
    else:
        provenance = json.loads(str(views.pop("provenance")))
        del provenance["angles"]
        np.savez(path, provenance=np.array(json.dumps(provenance)), **views)
    with pytest.raises(BenchError, match="prepare"):
        loaded(STORED)
    assert [record.case for record in prepare_chests(tmp_path / "in", SPEC).prepared] == ["case0"]
    assert len(loaded(STORED)["train"]) == 1


def test_an_odd_picture_is_refused(tmp_path: Path) -> None:
    write_x2ct(tmp_path / "in", xray1=np.zeros((8, 9), np.uint8), xray2=np.zeros((8, 8), np.uint8))
    write_note(tmp_path / "in" / "scans.toml", axes=("D", "H", "W"))
    prepare_chests(tmp_path / "in", SPEC)
    with pytest.raises(BenchError, match=r"the X-ray xray1 of case case0 is \(8, 9\), no square picture"):
        loaded(STORED)


def test_the_setting_is_one_of_a_run_and_changes_no_other_configuration() -> None:
    spec, method = get_dataset("lidc"), get_method("mean")
    config, _ = resolve(method, spec, "tiny", ["data.views=stored"])
    plain, _ = resolve(method, spec, "tiny")
    assert config.data.views == "stored"
    assert config.sha256() != plain.sha256()
    before = {"size": 24, "image_size": 48, "angles": (270.0, 0.0), "phantoms": (240, 24, 48)}
    assert plain.data.model_dump() == before
    assert digest_of(plain.data.model_dump(mode="json")) == digest_of(before)
    with pytest.raises(UsageError, match=r"data\.views"):
        resolve(method, spec, "tiny", ["data.views=own"])
