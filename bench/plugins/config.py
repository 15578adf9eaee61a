"""The resolved configuration of a run: defaults, then the preset's TOML tables, then `--set key=value`."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from bench.card import MethodPlugin, Settings
from bench.dataset import DataConfig, DatasetSpec
from bench.errors import PluginError, UsageError, unknown_name
from bench.system.files import digest_of
from bench.system.foreign import Foreign

VARIANT = "variant"  # table of a presets file whose tables are named variants of the method
EVERY_PRESET = "any"


class FitConfig(Settings):
    """How every stage of a run is trained and its cases are reconstructed, whatever the method."""

    precision: Literal["fp32", "tf32", "bf16", "auto"] = "fp32"  # auto: of earlier runs, whose device decided
    # data-loading processes; the data are memory-mapped, so 0 is usually fastest
    workers: Annotated[int, Field(ge=0, le=1024)] = 0


# of methods and datasets, which name folders and rows; what holds .py would name a file that is run
PLAIN_NAME = re.compile(r"(?!.*\.py)[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
RUN_NAME = re.compile(r"(?!.*\.py)[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")  # names of both in one


def _check_plain(name: str) -> str:
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"'{name}' is no name of a method or dataset")
    return name


class RunConfig(Settings):
    """Everything a run's numbers depend on, the data themselves and the seed apart."""

    method: Annotated[str, AfterValidator(_check_plain)]
    dataset: Annotated[str, AfterValidator(_check_plain)]
    preset: str
    data: DataConfig
    fit: FitConfig
    options: dict[str, Any]  # the method's own configuration, resolved and complete

    def sha256(self) -> str:
        """Return the hash of the canonical form."""
        return digest_of(self.model_dump(mode="json"))


def resolve(
    plugin: MethodPlugin, spec: DatasetSpec, preset: str, overrides: Sequence[str] = ()
) -> tuple[RunConfig, Settings]:
    """Return the run's configuration and the method's part of it.

    Keys of `overrides` start with `data.` or `fit.`; all others belong to the method.
    Raises UsageError, with the nearest valid names, for an unknown preset or key or a bad value.
    """
    if preset not in spec.presets:
        raise unknown_name("preset", preset, list(spec.presets))
    changes = merge(variant_changes(plugin, preset), parse_overrides(overrides))
    data, fit = changes.pop("data", {}), changes.pop("fit", {})
    for name, table, model in (("data", data, DataConfig), ("fit", fit, FitConfig)):
        if not isinstance(table, dict):
            raise UsageError(
                f"'{name}' is no setting; known: {', '.join(f'{name}.{key}' for key in model.model_fields)}"
            )
    if fit.get("precision") == "auto":
        raise UsageError("fit.precision=auto made numbers depend on the device; choose fp32, tf32 or bf16")
    data = merge(spec.presets[preset].model_dump(), data)
    settings = method_settings(plugin, preset, spec.name, changes)
    config = RunConfig(
        method=plugin.card.name,
        dataset=spec.name,
        preset=preset,
        data=validate(DataConfig, data, "data."),
        fit=validate(FitConfig, fit, "fit."),
        options=Foreign(f"method '{plugin.card.name}': its settings raised", settings.model_dump)(mode="json"),
    )
    return config, settings


def method_settings(plugin: MethodPlugin, preset: str, dataset: str, changes: dict[str, Any] | None = None) -> Settings:
    """Return the method's settings: its defaults, and over them the preset, the variant, then `changes`.

    Raises UsageError as `resolve` does, PluginError for a setting without a default.
    """
    resolve_settings = Foreign(f"method '{plugin.card.name}': its settings raised", _resolve_settings)
    settings: Settings = resolve_settings(plugin, preset, dataset, changes or {})
    return settings


def _resolve_settings(plugin: MethodPlugin, preset: str, dataset: str, changes: dict[str, Any]) -> Settings:
    try:
        defaults = plugin.config().model_dump()
    except ValidationError as error:
        lacking = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PluginError(f"method '{plugin.card.name}': setting '{lacking}' needs a default") from error
    options = merge(defaults, preset_options(plugin.presets, preset, dataset))
    own = {key: value for key, value in variant_changes(plugin, preset).items() if key not in ("data", "fit")}
    return validate(plugin.config, merge(merge(options, own), changes), "")


def variant_changes(plugin: MethodPlugin, preset: str) -> dict[str, Any]:
    """Return what a variant changes of a preset, keyed as overrides are; nothing of a plain method."""
    return merge(plugin.variant.get(EVERY_PRESET, {}), plugin.variant.get(preset, {}))


def variant_tables(file: Path | None) -> dict[str, dict[str, Any]]:
    """Return the variants of a presets file by name; of each `what` it is, and its changes by preset."""
    return _read_tables(file).get(VARIANT, {}) if file is not None else {}


def preset_options(file: Path | None, preset: str, dataset: str) -> dict[str, Any]:
    """Return the options of a preset: table [preset.any], over it [preset.<dataset>]; none without a file."""
    if file is None:
        return {}
    tables = {name: table for name, table in _read_tables(file).items() if name != VARIANT}
    if preset not in tables:
        raise unknown_name("preset", preset, list(tables))
    chosen = tables[preset]
    return merge(chosen.get("any", {}), chosen.get(dataset, {}))


def _read_tables(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"presets {file} cannot be read: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict) or not all(isinstance(inner, dict) for inner in table.values()):
            raise UsageError(f"presets {file}: '{name}' is no table of tables; write [{name}.any] above its settings")
    return tables


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return nested values of `a.b=1` strings; each is one line of TOML, a bare word is taken as a string."""
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
        result = merge(result, parsed)
    return result


def parse_variations(varied: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of the values of `key=[first, second]` strings, as overrides; one without any."""
    return list(product(*(_parse_variation(text) for text in varied)))


def _parse_variation(text: str) -> list[str]:
    key, _, listed = text.partition("=")
    try:
        values = tomllib.loads(f"values = {listed}")["values"]
    except tomllib.TOMLDecodeError:
        values = None
    if not key.strip() or not isinstance(values, list) or not values:
        raise UsageError(f"--vary takes key=[first, second], with text in quotes, not '{text}'")
    return [f"{key.strip()}={json.dumps(value)}" for value in values]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` laid on top, table by table; both stay as they are."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both else value
    return result


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their dotted keys, as overrides name them."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def validate(model: type[Any], values: dict[str, Any], prefix: str) -> Any:
    """Return `model` filled with `values`. Raises UsageError that names the key, the reason, the nearest valid keys."""
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
        reason = first["msg"].removeprefix("Value error, ")
        given = first.get("input")  # the whole table where settings do not go together: the reason names them
        got = "" if isinstance(given, dict) else f" (got {given!r:.100})"
        raise UsageError(f"setting '{key}': {reason}{got}") from error


def _keys_beside(model: type[Any], where: list[str]) -> list[str]:
    for part in where[:-1]:
        field = model.model_fields.get(part)
        if field is None or not hasattr(field.annotation, "model_fields"):
            break
        model = field.annotation
    return list(model.model_fields)
