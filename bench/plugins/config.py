"""The resolved configuration of a run: defaults, then the preset's TOML tables, then `--set key=value`."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError

from bench.card import Settings
from bench.dataset import DataConfig, DatasetSpec
from bench.errors import UsageError, unknown_name
from bench.method import Method
from bench.system.files import digest_of

VARIANT = "variant"  # table of a presets file whose tables are named variants of the method
EVERY_PRESET = "any"


class FitConfig(Settings):
    """How every stage of a run is trained, whatever the method."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on CUDA, fp32 elsewhere
    workers: int = 0  # data-loading processes; the data are memory-mapped, so 0 is usually fastest


# of methods and datasets, which name folders and rows; what holds .py would name a file that is run
PLAIN_NAME = re.compile(r"(?!.*\.py)[A-Za-z0-9][A-Za-z0-9._+-]*")


def _plain(name: str) -> str:
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"'{name}' is no name of a method or dataset")
    return name


class RunConfig(Settings):
    """Everything a run's numbers depend on, the data themselves and the seed apart."""

    method: Annotated[str, AfterValidator(_plain)]
    dataset: Annotated[str, AfterValidator(_plain)]
    preset: str
    data: DataConfig
    fit: FitConfig
    options: dict[str, Any]  # the method's own configuration, resolved and complete

    def sha256(self) -> str:
        """Hash of the canonical form."""
        return digest_of(self.model_dump(mode="json"))


def resolve(
    method: type[Method], spec: DatasetSpec, preset: str, overrides: Sequence[str] = ()
) -> tuple[RunConfig, Settings]:
    """The run's configuration and the method's validated part of it.

    Keys of `overrides` start with `data.` or `fit.`; all others belong to the method.
    Raises UsageError, with the nearest valid names, for an unknown preset or key or a bad value.
    """
    if preset not in spec.presets:
        raise unknown_name("preset", preset, list(spec.presets))
    changes = merged(variant_changes(method, preset), parse_overrides(overrides))
    data, fit = changes.pop("data", {}), changes.pop("fit", {})
    for name, table, model in (("data", data, DataConfig), ("fit", fit, FitConfig)):
        if not isinstance(table, dict):
            raise UsageError(
                f"'{name}' is no setting; known: {', '.join(f'{name}.{key}' for key in model.model_fields)}"
            )
    data = merged(spec.presets[preset].model_dump(), data)
    settings = method_settings(method, preset, spec.name, changes)
    config = RunConfig(
        method=method.card.name,
        dataset=spec.name,
        preset=preset,
        data=validated(DataConfig, data, "data."),
        fit=validated(FitConfig, fit, "fit."),
        options=settings.model_dump(mode="json"),
    )
    return config, settings


def method_settings(method: type[Method], preset: str, dataset: str, changes: dict[str, Any] | None = None) -> Settings:
    """The method's validated configuration: its defaults, the preset, the variant, then `changes`."""
    options = merged(method.Config().model_dump(), preset_options(method.presets, preset, dataset))
    own = {key: value for key, value in variant_changes(method, preset).items() if key not in ("data", "fit")}
    return validated(method.Config, merged(merged(options, own), changes or {}), "")


def variant_changes(method: type[Method], preset: str) -> dict[str, Any]:
    """What a variant changes of a preset, keyed as overrides are; nothing of a plain method."""
    return merged(method.variant.get(EVERY_PRESET, {}), method.variant.get(preset, {}))


def variant_tables(file: Path | None) -> dict[str, dict[str, Any]]:
    """The variants of a presets file by name; of each `what` it is, and its changes by preset."""
    return _tables(file).get(VARIANT, {}) if file is not None else {}


def preset_options(file: Path | None, preset: str, dataset: str) -> dict[str, Any]:
    """The method's options in a preset: table [preset.any], then [preset.<dataset>] over it; none without a file."""
    if file is None:
        return {}
    tables = {name: table for name, table in _tables(file).items() if name != VARIANT}
    if preset not in tables:
        raise unknown_name("preset", preset, list(tables))
    chosen = tables[preset]
    return merged(chosen.get("any", {}), chosen.get(dataset, {}))


def _tables(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"presets {file} cannot be read: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict) or not all(isinstance(inner, dict) for inner in table.values()):
            raise UsageError(f"presets {file}: '{name}' is no table of tables; write [{name}.any] above its settings")
    return tables


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Nested values of `a.b=1` strings; each is one line of TOML, a bare word is taken as a string."""
    result: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set takes key=value, not '{override}'")
        try:
            parsed = tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            try:
                parsed = tomllib.loads(f'{key} = "{value}"')
            except tomllib.TOMLDecodeError as error:
                raise UsageError(f"--set {override}: {error}") from error
        except RecursionError as error:
            raise UsageError(f"--set {key}: its value is nested too deeply") from error
        result = merged(result, parsed)
    return result


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid on top, table by table."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def validated(model: type[Any], values: dict[str, Any], prefix: str) -> Any:
    """`model` filled with `values`. Raises UsageError that names the key, the reason and the nearest valid keys."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        key = prefix + ".".join(where)
        if first["type"] == "extra_forbidden":
            known = _keys_beside(model, where)
            near = get_close_matches(where[-1], known, n=3, cutoff=0.4) or known
            paths = (prefix + ".".join([*where[:-1], name]) for name in near)
            raise UsageError(f"unknown setting '{key}'; nearest: {', '.join(paths)}") from error
        raise UsageError(f"setting '{key}': {first['msg']} (got {first.get('input')!r})") from error


def _keys_beside(model: type[Any], where: list[str]) -> list[str]:
    for part in where[:-1]:
        field = model.model_fields.get(part)
        if field is None or not hasattr(field.annotation, "model_fields"):
            break
        model = field.annotation
    return list(model.model_fields)
