"""The folders datasets/ and methods/ must not shadow packages of those names, and bench must not name a plug-in."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INTERFACES = {
    f"bench.{name}"
    for name in (
        "card",
        "cases",
        "dataset",
        "distributed",
        "errors",
        "fingerprint",
        "likelihood",
        "method",
        "projector",
    )
}


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


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


def test_plugins_import_only_interface_modules_of_bench() -> None:
    for folder in ("methods", "datasets"):
        for file in (ROOT / folder).rglob("*.py"):
            foreign = {name for name in imported_modules(file) if name.split(".")[0] == "bench"} - INTERFACES
            assert not foreign, f"{file.relative_to(ROOT)} imports {foreign}"


def test_bench_imports_no_plugin_by_name() -> None:
    for file in (ROOT / "bench").rglob("*.py"):
        named = {n for n in imported_modules(file) if n.startswith(("bench.methods.", "bench.datasets."))}
        assert not named, f"{file.relative_to(ROOT)} imports {named}"
