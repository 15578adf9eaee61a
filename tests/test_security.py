"""What the source never does: run code that came with data, or hand text to a shell."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.cli import run_command
from bench.plugins.config import PLAIN_NAME, RunConfig
from bench.results.renderers import LATEX

from .helpers.table_rows import add

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for top in ("bench", "methods", "datasets") for path in (ROOT / top).rglob("*.py"))
FORBIDDEN = {"eval", "exec", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "joblib.load"}
FORBIDDEN |= {"cloudpickle.load", "cloudpickle.loads", "marshal.load", "marshal.loads", "yaml.load", "pd.read_pickle"}
FORBIDDEN |= {"pandas.read_pickle", "subprocess.getoutput", "subprocess.getstatusoutput", "shelve.open"}
FORBIDDEN |= {"extractall", "shutil.unpack_archive"}  # write where an archive says
MODULES = {"pickle", "dill", "shelve", "marshal", "xml"}
Finding = tuple[int, str]


def findings(tree: ast.AST) -> list[Finding]:
    """Line and name of every forbidden call, import or option in a source."""
    found: list[Finding] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [(node.lineno, name) for name in names if name.partition(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in FORBIDDEN or name.rpartition(".")[2] == "extractall":
            found.append((node.lineno, name))
        if options.get("shell", "False") != "False" or options.get("allow_pickle", "False") != "False":
            found.append((node.lineno, f"{name}, shell or allow_pickle"))
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append((node.lineno, "torch.load without weights_only"))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_runs_code_from_data_or_calls_a_shell(path: Path) -> None:
    assert findings(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)", "exec(text)", "os.system('ls')", "subprocess.run('ls', shell=True)", "import pickle",
        "from pickle import loads", "pickle.loads(b)", "torch.load(path)", "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)", "archive.extractall(folder)", "joblib.load(path)",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(line: str) -> None:
    assert findings(ast.parse(line))


def test_templates_escape_what_they_are_given_but_for_latex() -> None:
    """Jinja escapes nothing unless told to; only the template of LaTeX, which escapes on its own, may go without."""
    without = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Environment"):
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if options.get("autoescape") != "True":
                    without.append(path.name)
    assert without == ["renderers.py"]
    assert LATEX.environment.autoescape is False


def test_names_in_results_that_are_files_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\n")
    for dataset, method in (("evil.py", "mine"), ("./evil.py:DATASET", "evil.py"), ("lidc", "./evil.py:Method")):
        add(tmp_path / "results", method, dataset=dataset, variant=f"{len(dataset + method):08d}")
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
