"""Find methods and datasets by name: built-in folders, installed entry points, or `path/to/file.py[:NAME]`.

methods/NAME/card.py defines `METHODS`, a tuple of MethodPlugin; datasets/NAME/__init__.py defines `DATASET`, a
DatasetSpec. An entry point of `bench.methods` is a MethodPlugin or a Method class, one of `bench.datasets` a
DatasetSpec. Nothing here imports PyTorch, unless a file or an entry point does that itself.
"""

import hashlib
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
from typing import Any, Literal, TypeVar

import cloudpickle
from pydantic import TypeAdapter, ValidationError

from bench.card import MethodCard, MethodPlugin, Settings
from bench.dataset import DatasetSpec
from bench.errors import PluginError, UsageError, unknown_name
from bench.plugins.config import PLAIN_NAME, variant_tables
from bench.system.foreign import Foreign
from bench.system.text import describe_error, plain_line

VARIANT_NAME = re.compile(r"(.+)\+([A-Za-z0-9_-]+)")  # METHOD+NAME
DATASET_PARTS = ("phantom", "assign_splits", "series", "doubts", "remarks", "factors", "labels")  # functions of its own
Found = TypeVar("Found")


def get_method(name: str) -> MethodPlugin:
    """Return the method called `name`, or the one at `path/to/file.py:Class` (default: the file's first Method).

    `+NAME` after either takes a variant of it. Raises UsageError when there is none, PluginError when it cannot be
    imported or lacks a part.
    """
    parts = VARIANT_NAME.fullmatch(name)
    plain = parts[1] if parts else name
    if ".py" in plain:
        value, code = _load_from_file(plain, "method", "Method", _is_method)
        plugin = replace(_describe_method(value, name), code_sha256=code)
        namesake = discover_methods()[0].get(plugin.card.name)
        if namesake is not None and namesake.builtin:
            raise PluginError(f"'{name}' calls itself '{plugin.card.name}', as a method of the harness does; rename it")
    else:
        plugin = _look_up("method", plain, discover_methods())
    if parts is None:
        return plugin
    variants = variants_of(plugin)
    wanted = f"{plugin.card.name}+{parts[2]}"
    if wanted not in variants:
        known = ", ".join(variants) or "none"
        raise UsageError(f"{plugin.card.name} has no variant '{parts[2]}'; it has {known}")
    return variants[wanted]


def variants_of(plugin: MethodPlugin) -> dict[str, MethodPlugin]:
    """Return the named variants in a method's presets file: METHOD+NAME → the method with other settings."""
    made = {}
    for name, table in variant_tables(plugin.presets).items():
        what = table.get("what")
        if not isinstance(what, str) or not all(isinstance(v, dict) for k, v in table.items() if k != "what"):
            presets = plugin.presets
            raise PluginError(f"{presets}: [variant.{name}] needs `what`, a text, and tables of settings by preset")
        card = replace(plugin.card, name=f"{plugin.card.name}+{name}", title=f"{plugin.card.title}, {what}")
        changes = {preset: value for preset, value in table.items() if preset != "what"}
        made[card.name] = replace(plugin, card=card, variant=changes)
    return made


def get_dataset(name: str) -> DatasetSpec:
    """Return the dataset called `name`, or the one at `path/to/file.py:NAME` (default: the file's first DatasetSpec).

    Raises UsageError when there is none, PluginError when it cannot be imported.
    """
    if ".py" in name:
        return _describe_dataset(_load_from_file(name, "dataset", "DatasetSpec", _is_dataset)[0], name)
    return _look_up("dataset", name, discover_datasets())


def find_installed_dataset(name: str) -> DatasetSpec | None:
    """Return the dataset of a name that stands in a results file; None if unknown, or of a file: its code would run."""
    return discover_datasets()[0].get(name)


def discover_methods() -> tuple[dict[str, MethodPlugin], dict[str, str]]:
    """Return all methods by name, and of cards and entry points that are left out the reason."""
    return _discover("method", ".card", "METHODS", _describe_method)


def discover_datasets() -> tuple[dict[str, DatasetSpec], dict[str, str]]:
    """Return all datasets by name, and of modules and entry points that are left out the reason."""
    return _discover("dataset", "", "DATASET", _describe_dataset)


def method_card(name: str) -> MethodCard | None:
    """Return the card of a known method; None for an outside one."""
    methods, _ = discover_methods()
    parts = VARIANT_NAME.fullmatch(name)
    if parts and parts[1] in methods:
        methods |= variants_of(methods[parts[1]])
    return methods[name].card if name in methods else None


def method_module(name: str, submodule: str) -> ModuleType | None:
    """Return the module `submodule` beside the class of method `name`, None where its folder has none."""
    plugin = get_method(name)
    package = plugin.module if plugin.file.name == "__init__.py" else plugin.module.rpartition(".")[0]
    full = f"{package}.{submodule}"
    if not package or not importlib.util.find_spec(full):
        return None
    module: ModuleType = Foreign(f"{full} cannot be imported:", importlib.import_module)(full)
    return module


def _look_up(kind: str, name: str, discovered: tuple[dict[str, Found], dict[str, str]]) -> Found:
    found, broken = discovered
    if name in found:
        return found[name]
    if name in broken:
        raise PluginError(f"{kind} '{name}' cannot be imported: {broken[name]}")
    raise unknown_name(kind, name, sorted(found))


def _discover(
    kind: Literal["method", "dataset"], submodule: str, attribute: str, describe: Callable[[Any, str], Found]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return by name what folders (as `attribute`) and entry points offer, and of what is left out the reason.

    What comes with the harness has its name before any other.
    """
    found: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    root = Path(importlib.import_module(f"bench.{kind}s").__path__[0])
    for path in sorted(root.glob("*/__init__.py")):
        try:
            module = importlib.import_module(f"bench.{kind}s.{path.parent.name}{submodule}")
            for each in _list_offered(getattr(module, attribute)):
                found[_name_of(each)] = replace(each, builtin=True) if kind == "method" else each
        except (Exception, SystemExit) as error:  # a broken folder must not take the others down
            left_out[path.parent.name] = describe_error(error)
    for entry in _entry_points(f"bench.{kind}s", tuple(sys.path)):
        try:
            for each in _list_offered(Foreign("it cannot be imported:", entry.load)()):
                described = describe(each, entry.name)
                if _name_of(described) in found:
                    raise PluginError(f"'{entry.name}' calls itself '{_name_of(described)}', as another {kind} does")
                found[_name_of(described)] = described
        except PluginError as error:
            left_out[plain_line(entry.name)] = str(error)
    return found, left_out


def _list_offered(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _name_of(plugin: Any) -> str:
    return plugin.card.name if isinstance(plugin, MethodPlugin) else plugin.name


@cache
def _entry_points(group: str, _: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return what packages on one import path offer: looking through all of them takes a tenth of a second."""
    return tuple(entry_points(group=group))


def _load_from_file(reference: str, kind: str, expected: str, fits: Callable[[Any], bool]) -> tuple[Any, str]:
    """Return what a file defines and the SHA-256 of the file as it was run."""
    path, _, attribute = reference.partition(":")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"no file {path} for {kind} '{reference}'")
    if file.suffix != ".py":
        raise UsageError(f"{path} is not a Python file")
    module, code = _import_file(file)
    if not attribute:
        fitting = {name: value for name, value in vars(module).items() if fits(value)}
        own = [n for n, v in fitting.items() if not isinstance(v, type) or v.__module__ == module.__name__]
        if not own:
            raise UsageError(f"{path} defines no {expected}; name what to load: {path}:NAME")
        attribute = "DATASET" if "DATASET" in own else own[0]  # and no class that it imports
    if not hasattr(module, attribute):
        raise UsageError(f"{path} has no {attribute}")
    value = getattr(module, attribute)
    if not fits(value):
        raise UsageError(f"{reference} is not a {expected}")
    return value, code


def _import_file(file: Path) -> tuple[ModuleType, str]:
    """Return the module that a file makes, and the SHA-256 of the bytes that made it."""
    name = f"bench_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise UsageError(f"{file} is not a Python file")
    try:
        source = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        Foreign(f"{file} cannot be imported:", _run_module)(source, file, module)
    except BaseException:
        del sys.modules[name]
        raise
    cloudpickle.register_pickle_by_value(module)  # processes that prepare cases cannot import it by its name
    return module, hashlib.sha256(source).hexdigest()


def _run_module(source: bytes, file: Path, module: ModuleType) -> None:
    exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))  # noqa: S102  # the user named this file


def _is_method(value: Any) -> bool:
    from bench.method import Method  # it imports PyTorch, as every module does that defines a method's class

    return isinstance(value, type) and issubclass(value, Method)


def _is_dataset(value: Any) -> bool:
    return isinstance(value, DatasetSpec)


def _describe_method(value: Any, reference: str) -> MethodPlugin:
    """Return what is known of a Method class, or the MethodPlugin itself. Raises PluginError for what it lacks."""
    return Foreign(f"'{reference}' cannot be described:", _check_method)(value, reference)


def _check_method(value: Any, reference: str) -> MethodPlugin:
    if not isinstance(value, MethodPlugin):
        if not _is_method(value):
            raise PluginError(f"'{reference}' is no Method and no MethodPlugin")
        config = getattr(value, "Config", None)
        lacks = sorted(value.__abstractmethods__)
        lacks += [] if isinstance(getattr(value, "card", None), MethodCard) else ["card, a MethodCard"]
        lacks += [] if isinstance(config, type) and issubclass(config, Settings) else ["Config, a class of Settings"]
        if lacks:
            raise PluginError(f"method '{reference}' lacks {', '.join(lacks)}; see bench.method.Method")
        value = MethodPlugin(value.card, value.Config, value, value.presets)
    plugin = replace(value, card=_check_fields(MethodCard, value.card, reference), builtin=False)
    if not isinstance(plugin.module, str) or not (
        isinstance(plugin.config, type) and issubclass(plugin.config, Settings)
    ):
        raise PluginError(f"'{reference}' names no class of a method, or its config is no class of Settings")
    _check_name(plugin.card.name, reference)
    variants_of(plugin)  # refuses a presets file that cannot be read
    return plugin


def _describe_dataset(value: Any, reference: str) -> DatasetSpec:
    """Return a DatasetSpec whose functions are called under guard. Raises PluginError for anything else."""
    if not _is_dataset(value):
        raise PluginError(f"'{reference}' is no DatasetSpec")
    checked = _check_fields(DatasetSpec, value, reference)
    for name in (checked.name, *checked.presets):
        _check_name(name, reference)
    own = {name: getattr(value, name) for name in DATASET_PARTS if getattr(value, name) is not None}
    return replace(value, **{name: Foreign(f"{name} of {checked.name} raised", part) for name, part in own.items()})


def _check_fields(model: type[Found], value: Any, reference: str) -> Found:
    """Return a dataclass with all fields checked. Raises PluginError naming the first that does not fit."""
    try:
        return TypeAdapter(model).validate_python(dict(vars(value)))
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, first["loc"])) or model.__name__
        raise PluginError(f"'{reference}' has a wrong {place}: {first['msg']}") from error


def _check_name(name: str, reference: str) -> None:
    if not PLAIN_NAME.fullmatch(name):
        raise PluginError(
            f"'{reference}' calls itself '{plain_line(name, 99)}'; use letters, digits and . _ + -, at most 64 of them"
        )
