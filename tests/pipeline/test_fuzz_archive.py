"""Archives that are damaged or made to do harm: imported whole, or refused with nothing left behind."""

import gzip
import shutil
import zipfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bench.pipeline.archive import import_run

from ..helpers.fuzzing import Damage, damaged, damages, profile, refused_or_fine, tried
from .test_archive import archive, indexed, members, packed, run

__all__ = ["archive", "run"]  # fixtures

NAMES = st.sampled_from(("../x", "/etc/x", "a/../../x", "run.json/x", "x.pt", "checkpoints/x.safetensors", "CON", ""))


def brought(file: Path, folder: Path) -> bool:
    """Import into empty folders: whether it was taken. A refusal leaves no file but the locks."""
    taken = refused_or_fine(lambda: import_run(file, folder / "runs", folder / "results"))
    left = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert taken == bool(left), left
    assert not list((folder / "runs").glob(".import-*"))
    outside = [path for path in folder.parent.iterdir() if path not in (folder, file)]
    assert not outside
    shutil.rmtree(folder)
    return taken


@tried(30, 700)
def test_a_damaged_archive_is_refused_or_whole(examples: int, archive: Path, tmp_path: Path) -> None:
    content, file = archive.read_bytes(), tmp_path / "run.bench.zip"
    shutil.copy(archive, file)
    assert brought(file, tmp_path / "in")

    @profile(examples)
    @given(damages(), st.booleans())
    def check(changes: list[Damage], at_the_end: bool) -> None:
        """At the end of a ZIP stands its list of members."""
        file.write_bytes(damaged(content[::-1], changes)[::-1] if at_the_end else damaged(content, changes))
        brought(file, tmp_path / "in")

    check()


@tried(40, 1200)
def test_an_archive_with_a_forged_member_is_refused_or_whole(examples: int, archive: Path, tmp_path: Path) -> None:
    files, file = members(archive), tmp_path / "run.bench.zip"

    @profile(examples)
    @given(st.sampled_from(sorted(files)), damages(), NAMES | st.text(max_size=12) | st.none())
    def check(name: str, changes: list[Damage], other: str | None) -> None:
        """One member is damaged, one may be added; the hashes of the index are those of the forged files."""
        content = files[name]
        forged = gzip.compress(damaged(gzip.decompress(content), changes)) if name.endswith("gz") else None
        changed = files | {name: damaged(content, changes) if forged is None else forged}
        if other is not None:
            changed[other] = b"x"
        packed(file, changed if name == "index.json" else indexed(changed))
        brought(file, tmp_path / "in")

    check()


@tried(20, 300)
def test_any_zip_of_any_names_is_refused(examples: int, tmp_path: Path) -> None:
    file = tmp_path / "run.bench.zip"

    @profile(examples)
    @given(st.dictionaries(NAMES | st.text(max_size=12), st.binary(max_size=40), max_size=4), st.sampled_from((0, 8)))
    def check(files: dict[str, bytes], compression: int) -> None:
        packed(file, files, zipfile.ZIP_DEFLATED if compression else zipfile.ZIP_STORED)
        assert not brought(file, tmp_path / "in")

    check()
