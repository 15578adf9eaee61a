"""The folders datasets/ and methods/ must not shadow packages of those names."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_package_called_datasets_elsewhere_wins_over_the_folder(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("ORIGIN = 'elsewhere'\n")
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; sys.path.append({str(tmp_path)!r})\n"
        "import datasets, bench.datasets.lidc\n"
        "print(datasets.ORIGIN, bench.datasets.lidc.DATASET.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == ["elsewhere", "lidc"], done.stderr


def test_the_plugin_folders_have_no_package_file() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists()
    assert not (ROOT / "methods" / "__init__.py").exists()
