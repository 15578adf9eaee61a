"""Every test that is written is run: none is shadowed by a namesake, hidden in a file or misnamed."""

import ast
from collections import Counter
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.rglob("*.py"))
TESTS = [file for file in FILES if file.name.startswith("test_")]


def functions(file: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]


def decorated(function: ast.FunctionDef, name: str) -> bool:
    return any(name in ast.unparse(decorator) for decorator in function.decorator_list)


def unrun(source: str) -> list[str]:
    """Names of top-level functions that look like tests and that pytest does not run."""
    tree = ast.parse(source).body
    tests = [node for node in tree if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    repeated = [name for name, count in Counter(node.name for node in tests).items() if count > 1]
    misnamed = [
        node.name
        for node in tree
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("test_")
        and (node.name.startswith("test") or decorated(node, "parametrize"))
    ]
    return repeated + misnamed


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_every_test_of_a_file_is_run(file: Path) -> None:
    assert unrun(file.read_text()) == []
    assert any(function.name.startswith("test_") for function in functions(file))


def test_files_that_are_not_named_as_tests_hold_none() -> None:
    others = [file for file in FILES if file not in TESTS]
    assert [f.name for file in others for f in functions(file) if f.name.startswith("test")] == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def test_a(): pass\ndef test_a(): pass", ["test_a"]),
        ("def testing(): pass", ["testing"]),
        ("@pytest.mark.parametrize('x', [1])\ndef check(x): pass", ["check"]),
        ("def test_a(): pass\ndef helper(): pass", []),
    ],
)
def test_the_check_finds_what_pytest_would_pass_over(source: str, names: list[str]) -> None:
    assert unrun(source) == names
