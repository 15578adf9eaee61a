"""Finds methods and datasets by name: built-in folders, installed entry points, or `path/to/file.py[:NAME]`.

A module of methods/ defines `METHODS`, a tuple of Method classes; a module of datasets/ defines `DATASET`.
A folder without `__init__.py` (methods/floors) is a group whose files are modules of that kind.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from bench.card import MethodCard, Settings
from bench.dataset import DatasetSpec
from bench.errors import PluginError, UsageError, unknown_name
from bench.method import Method
from bench.plugins.config import PLAIN_NAME, variant_tables
from bench.system.files import sha256_of

VARIANT = re.compile(r"(.+)\+([A-Za-z0-9_-]+)")  # METHOD+NAME


def get_method(name: str) -> type[Method]:
    """The method class called `name`, or the one at `path/to/file.py:Class` (default: the file's first Method).

    `+NAME` after either takes a variant of it. Raises UsageError when there is none, PluginError when it cannot be
    imported or lacks a part.
    """
    parts = VARIANT.fullmatch(name)
    cls = _named("method", parts[1] if parts else name, Method, discover_methods)
    _check_method(cls, name)
    if parts is None:
        return cls
    variants = variants_of(cls)
    if f"{cls.card.name}+{parts[2]}" not in variants:
        known = f"; it has {', '.join(variants)}" if variants else "; it has none"
        raise UsageError(f"{cls.card.name} has no variant '{parts[2]}'{known}")
    return variants[f"{cls.card.name}+{parts[2]}"]


def variants_of(cls: type[Method]) -> dict[str, type[Method]]:
    """The named variants in a method's presets file, each a class with other settings: METHOD+NAME → class."""
    made = {}
    for name, table in variant_tables(cls.presets).items():
        what = table.get("what")
        if not isinstance(what, str) or not all(isinstance(v, dict) for k, v in table.items() if k != "what"):
            raise PluginError(f"{cls.presets}: [variant.{name}] needs `what`, a text, and tables of settings by preset")
        card = replace(cls.card, name=f"{cls.card.name}+{name}", title=f"{cls.card.title}, {what}")
        changes = {preset: value for preset, value in table.items() if preset != "what"}
        attributes = {"__module__": cls.__module__, "__doc__": cls.__doc__, "card": card, "variant": changes}
        made[card.name] = type(cls.__name__, (cls,), attributes)
    return made


def get_dataset(name: str) -> DatasetSpec:
    """The dataset called `name`, or the one at `path/to/file.py:NAME` (default: the file's first DatasetSpec).

    Raises UsageError when there is none, PluginError when it cannot be imported.
    """
    spec = _named("dataset", name, DatasetSpec, discover_datasets)
    _check_name(spec.name, name)
    return spec


def installed_dataset(name: str) -> DatasetSpec | None:
    """The dataset of a name that stands in a results file; None if unknown, or of a file: its code would run."""
    return discover_datasets()[0].get(name)


def is_builtin(cls: type[Method]) -> bool:
    """Whether a method comes with the harness."""
    return cls.__module__.startswith("bench.methods.")


def plugin_sha256(cls: type[Method]) -> str | None:
    """SHA-256 of the file that a plug-in's class stands in; None of a method that comes with the harness."""
    return None if is_builtin(cls) else sha256_of(Path(str(sys.modules[cls.__module__].__file__)))


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
    parts = VARIANT.fullmatch(name)
    if parts and parts[1] in methods:
        methods |= variants_of(methods[parts[1]])
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
        return _from_file(name, kind, expected)
    found, broken = discover()
    if name in found:
        return found[name]
    if name in broken:
        raise PluginError(f"{kind} '{name}' cannot be imported: {broken[name]}")
    raise unknown_name(kind, name, sorted(found))


def _discover(kind: str, attribute: str) -> tuple[dict[str, Any], dict[str, str]]:
    found: dict[str, Any] = {}
    broken: dict[str, str] = {}
    for module in _builtin_modules(kind):
        name = module.rpartition(".")[2]
        try:
            value = getattr(importlib.import_module(module), attribute, None)
        except (Exception, SystemExit) as error:  # a broken plug-in must not take the others down
            broken[name] = f"{type(error).__name__}: {error}"
            continue
        if value is not None:
            found[name] = value
    for entry in _installed(f"bench.{kind}", tuple(sys.path)):
        try:
            found[entry.name] = entry.load()
        except (Exception, SystemExit) as error:
            broken[entry.name] = f"{type(error).__name__}: {error}"
    return found, broken


@cache
def _installed(group: str, _: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points that packages on one import path offer: looking through all of them takes a tenth of a second."""
    return tuple(entry_points(group=group))


def _builtin_modules(kind: str) -> list[str]:
    root = Path(importlib.import_module(f"bench.{kind}").__path__[0])
    modules = []
    for entry in sorted(root.iterdir()):
        if (entry / "__init__.py").exists():
            modules.append(f"bench.{kind}.{entry.name}")
        elif entry.is_dir():
            modules += [f"bench.{kind}.{entry.name}.{file.stem}" for file in sorted(entry.glob("*.py"))]
    return modules


def _from_file(reference: str, kind: str, expected: type) -> Any:
    path, _, attribute = reference.partition(":")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"no file {path} for {kind} '{reference}'")
    if file.suffix != ".py":
        raise UsageError(f"{path} is not a Python file")
    module = _imported(file)
    if not attribute:
        own = [name for name, value in vars(module).items() if _fits(value, expected) and _is_of(value, module)]
        if not own:
            raise UsageError(f"{path} defines no {expected.__name__}; name what to load: {path}:NAME")
        attribute = "DATASET" if "DATASET" in own else own[0]  # and not one that it imports
    if not hasattr(module, attribute):
        raise UsageError(f"{path} has no {attribute}")
    value = getattr(module, attribute)
    if not _fits(value, expected):
        raise UsageError(f"{reference} is not a {expected.__name__}")
    return value


def _imported(file: Path) -> ModuleType:
    name = f"bench_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)  # processes that prepare cases cannot import it by its name
    return module


def _fits(value: Any, expected: type) -> bool:
    return issubclass(value, expected) if isinstance(value, type) else isinstance(value, expected)


def _is_of(value: Any, module: ModuleType) -> bool:
    """Whether a class was defined in `module`, not imported into it; of other values any will do."""
    return not isinstance(value, type) or value.__module__ == module.__name__


def _check_method(cls: type[Method], reference: str) -> None:
    """Raise PluginError, naming it, for what a method class lacks."""
    lacks = sorted(cls.__abstractmethods__)
    lacks += [] if isinstance(getattr(cls, "card", None), MethodCard) else ["card, a MethodCard"]
    lacks += [] if _fits(getattr(cls, "Config", None), Settings) else ["Config, a class of Settings"]
    if lacks:
        raise PluginError(f"method '{reference}' lacks {', '.join(lacks)}; see bench.method.Method")
    _check_name(cls.card.name, reference)


def _check_name(name: str, reference: str) -> None:
    if not PLAIN_NAME.fullmatch(name):
        raise PluginError(f"'{reference}' calls itself '{name}'; use letters, digits and . _ + - in the name")
