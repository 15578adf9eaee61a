"""Finds methods and datasets by name: built-in folders, installed entry points, or `path/to/file.py:NAME`.

A module of methods/ defines `METHODS`, a tuple of Method classes; a module of datasets/ defines `DATASET`.
A folder without `__init__.py` (methods/floors) is a group whose files are modules of that kind.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.dataset import DatasetSpec
from bench.errors import UsageError, unknown_name
from bench.method import Method, MethodCard


def get_method(name: str) -> type[Method]:
    """The method class called `name`, or the one at `path/to/file.py:Class`. Raises UsageError when there is none."""
    return _named("method", name, Method, discover_methods)


def get_dataset(name: str) -> DatasetSpec:
    """The dataset called `name`, or the one at `path/to/file.py:NAME`. Raises UsageError when there is none."""
    return _named("dataset", name, DatasetSpec, discover_datasets)


def discover_methods() -> tuple[dict[str, type[Method]], dict[str, str]]:
    """All methods by name, and the modules or entry points that failed to import with the reason."""
    found, broken = _discover("methods", "METHODS")
    classes = [cls for value in found.values() for cls in (value if isinstance(value, tuple) else (value,))]
    return {cls.card.name: cls for cls in classes}, broken


def discover_datasets() -> tuple[dict[str, DatasetSpec], dict[str, str]]:
    """All datasets by name, and the modules or entry points that failed to import with the reason."""
    found, broken = _discover("datasets", "DATASET")
    return {spec.name: spec for spec in found.values()}, broken


def method_card(name: str) -> MethodCard | None:
    """The card of a known method; None for an outside one."""
    methods, _ = discover_methods()
    return methods[name].card if name in methods else None


def method_module(name: str, submodule: str) -> ModuleType | None:
    """The module `submodule` beside the class of method `name`, None where its folder has none."""
    package = get_method(name).__module__
    if not hasattr(sys.modules[package], "__path__"):
        package = package.rpartition(".")[0]
    full = f"{package}.{submodule}"
    return importlib.import_module(full) if importlib.util.find_spec(full) else None


def _named(kind: str, name: str, expected: type, discover: Callable[[], tuple[dict[str, Any], dict[str, str]]]) -> Any:
    if ".py" in name:
        return _checked(_from_file(name, kind), expected, name)
    found, broken = discover()
    if name in found:
        return found[name]
    if name in broken:
        raise UsageError(f"{kind} '{name}' cannot be imported: {broken[name]}")
    raise unknown_name(kind, name, sorted(found))


def _discover(kind: str, attribute: str) -> tuple[dict[str, Any], dict[str, str]]:
    found: dict[str, Any] = {}
    broken: dict[str, str] = {}
    for module in _builtin_modules(kind):
        name = module.rpartition(".")[2]
        try:
            value = getattr(importlib.import_module(module), attribute, None)
        except Exception as error:  # a broken plug-in must not take the others down
            broken[name] = f"{type(error).__name__}: {error}"
            continue
        if value is not None:
            found[name] = value
    for entry in entry_points(group=f"bench.{kind}"):
        try:
            found[entry.name] = entry.load()
        except Exception as error:
            broken[entry.name] = f"{type(error).__name__}: {error}"
    return found, broken


def _builtin_modules(kind: str) -> list[str]:
    root = Path(importlib.import_module(f"bench.{kind}").__path__[0])
    modules = []
    for entry in sorted(root.iterdir()):
        if (entry / "__init__.py").exists():
            modules.append(f"bench.{kind}.{entry.name}")
        elif entry.is_dir():
            modules += [f"bench.{kind}.{entry.name}.{file.stem}" for file in sorted(entry.glob("*.py"))]
    return modules


def _from_file(reference: str, kind: str) -> Any:
    path, _, attribute = reference.partition(":")
    file = Path(path)
    if not attribute:
        raise UsageError(f"name what to load from {path}: {path}:NAME")
    if not file.is_file():
        raise UsageError(f"no file {path} for {kind} '{reference}'")
    name = f"bench_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise UsageError(f"{path} has no {attribute}")
    return getattr(module, attribute)


def _checked(value: Any, expected: type, reference: str) -> Any:
    fits = issubclass(value, expected) if isinstance(value, type) else isinstance(value, expected)
    if not fits:
        raise UsageError(f"{reference} is not a {expected.__name__}")
    return value
