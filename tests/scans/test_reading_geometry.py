"""Geometry that a MetaImage, NRRD or NIfTI header does not state, or states twice, is never made up."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from bench.errors import BenchError
from bench.runs.volume_files import open_volume

from ..helpers.scan_files import write_note
from ..helpers.scans import affine_of, noisy, read_only, refusal

META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "-157.5 -157.5 -157.5", "ElementSpacing": "5 5 5",
    "DimSize": "64 64 64", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "64 64 64",
    "space directions": "(5,0,0) (0,5,0) (0,0,5)", "endian": "little", "encoding": "raw",
    "space origin": "(-157.5,-157.5,-157.5)",
}  # fmt: skip


def write_meta(path: Path, **changes: str | None) -> Path:
    fields = {**META, **changes}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # which ends the header
    lines = [f"{key} = {value}" for key, value in fields.items() if value is not None]
    path.write_bytes("\n".join(lines).encode() + b"\n" + noisy()[::-1].astype("<i2").tobytes())
    return path


def write_nrrd(path: Path, **changes: str | None) -> Path:
    fields = {**NRRD, **{key.replace("_", " "): value for key, value in changes.items()}}
    lines = [f"{key}: {value}" for key, value in fields.items() if value is not None]
    path.write_bytes("\n".join(["NRRD0004", *lines]).encode() + b"\n\n" + noisy()[::-1].astype("<i2").tobytes())
    return path


def scaled(millimetres: float) -> dict[str, str]:
    step, origin = 5 / millimetres, -157.5 / millimetres
    return {
        "space_directions": f"({step},0,0) (0,{step},0) (0,0,{step})",
        "space_origin": f"({origin},{origin},{origin})",
    }


STATED: dict[str, Callable[[Path], Path]] = {
    "mha": lambda f: write_meta(f / "a.mha"),
    "mha, local": lambda f: write_meta(f / "a.mha", ElementDataFile="local"),
    "mha, Local": lambda f: write_meta(f / "a.mha", ElementDataFile="Local"),
    "mha, by its older name": lambda f: write_meta(f / "a.mha", TransformMatrix=None, Rotation="1 0 0 0 1 0 0 0 1"),
    "nrrd": lambda f: write_nrrd(f / "a.nrrd"),
    "nrrd, mm": lambda f: write_nrrd(f / "a.nrrd", space_units='"mm" "mm" "mm"'),
    "nrrd, cm": lambda f: write_nrrd(f / "a.nrrd", **scaled(10), space_units='"cm" "cm" "cm"'),
    "nrrd, m": lambda f: write_nrrd(f / "a.nrrd", **scaled(1000), space_units='"m" "m" "m"'),
    "nrrd, um": lambda f: write_nrrd(f / "a.nrrd", **scaled(1e-3), space_units='"um" "um" "um"'),
    "nrrd, LPS": lambda f: write_nrrd(f / "a.nrrd", space="LPS"),
    "nrrd, RAS": lambda f: write_nrrd(
        f / "a.nrrd", space="RAS", space_directions="(-5,0,0) (0,-5,0) (0,0,5)", space_origin="(157.5,157.5,-157.5)"
    ),
}
UNSTATED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "mha, no spacing": (lambda f: write_meta(f / "a.mha", ElementSpacing=None), "no ElementSpacing"),
    "mha, no directions": (lambda f: write_meta(f / "a.mha", TransformMatrix=None), "no TransformMatrix"),
    "nrrd, right-handed": (lambda f: write_nrrd(f / "a.nrrd", space="3D-right-handed"), "no anatomical space"),
    "nrrd, scanner": (lambda f: write_nrrd(f / "a.nrrd", space="scanner-xyz"), "no anatomical space"),
    "nrrd, no directions": (lambda f: write_nrrd(f / "a.nrrd", space_directions=None), "no space directions"),
}


def test_what_is_stated_is_read_in_any_way_to_state_it(tmp_path: Path) -> None:
    for number, (name, write) in enumerate(STATED.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = write(folder)
        scan = read_only(folder)
        np.testing.assert_array_equal(scan.hounsfield, noisy(), err_msg=name)
        np.testing.assert_allclose(scan.spacing_mm, (5, 5, 5), err_msg=name)
        np.testing.assert_allclose(scan.centre_ras_mm, 0, atol=1e-3, err_msg=name)
        affine = np.abs(open_volume(path, np.eye(4)).affine)
        np.testing.assert_allclose(affine, np.abs(affine_of((64, 64, 64))), atol=1e-3, err_msg=name)


@pytest.mark.parametrize("name", UNSTATED)
def test_what_is_not_is_refused_until_a_side_file_states_it(tmp_path: Path, name: str) -> None:
    write, reason = UNSTATED[name]
    path = write(tmp_path)
    assert reason in refusal(tmp_path)
    with pytest.raises(BenchError, match=reason):
        open_volume(path, np.eye(4))
    write_note(tmp_path / "a.toml", spacing_mm=(5.0, 5.0, 5.0), axes=("-D", "H", "W"))
    scan = read_only(tmp_path)
    np.testing.assert_array_equal(scan.hounsfield, noisy())
    assert scan.spacing_mm == (5.0, 5.0, 5.0)
    assert open_volume(path, np.eye(4), placed=True).shape == (64, 64, 64)


@pytest.mark.parametrize("units", ['"mm" "mm" "cm"', '"inch" "inch" "inch"'])
def test_units_that_are_no_known_length_are_refused(tmp_path: Path, units: str) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", space_units=units)
    assert "space units" in refusal(tmp_path)
    with pytest.raises(BenchError, match="space units"):
        open_volume(path, np.eye(4))


def write_two_matrices(path: Path, first: np.ndarray, second: np.ndarray, codes: tuple[int, int] = (1, 2)) -> Path:
    image = nibabel.Nifti1Image(noisy().transpose(2, 1, 0), second)
    image.set_qform(first, codes[0])
    image.set_sform(second, codes[1])
    nibabel.save(image, path)
    return path


def test_a_nifti_whose_matrices_mirror_each_other_is_refused(tmp_path: Path) -> None:
    affine = affine_of((64, 64, 64))
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]) @ affine
    path = write_two_matrices(tmp_path / "a.nii", affine, mirrored)
    assert "mirrored against each other" in refusal(tmp_path)
    with pytest.raises(BenchError, match="mirrored against each other"):
        open_volume(path, np.eye(4))
    for codes, expected in (((1, 0), noisy()), ((0, 2), noisy()[:, :, ::-1])):
        write_two_matrices(path, affine, mirrored, codes)
        np.testing.assert_array_equal(read_only(tmp_path).hounsfield, expected)
    turned = affine @ np.diag([-1.0, -1.0, 1.0, 1.0])  # of the same hand: registered to a space of its own
    write_two_matrices(path, affine, turned)
    np.testing.assert_array_equal(read_only(tmp_path).hounsfield, noisy()[:, ::-1, ::-1])
