"""Presets, overrides and what a user sees when one of them is wrong."""

import pytest

from bench.config import merged, parse_overrides, resolve
from bench.errors import UsageError
from bench.registry import get_dataset, get_method


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", {"a": {"b": 1}}),
        ("a=2e-4", {"a": 2e-4}),
        ("a=true", {"a": True}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a.kind=autoregressive", {"a": {"kind": "autoregressive"}}),
    ],
)
def test_an_override_is_one_line_of_toml_and_a_bare_word_is_a_string(text: str, expected: dict) -> None:
    assert parse_overrides([text]) == expected


def test_overrides_are_laid_over_tables_and_do_not_change_their_source() -> None:
    base = {"a": {"b": 1, "c": 2}}
    assert merged(base, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    assert base == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("preset", ["smoke", "tiny", "small", "paper"])
@pytest.mark.parametrize("dataset", ["lidc"])
def test_every_preset_of_codediff_resolves_and_builds_nothing_invalid(preset: str, dataset: str) -> None:
    config, settings = resolve(get_method("codediff"), get_dataset(dataset), preset)
    assert config.options == settings.model_dump(mode="json")


def test_the_hash_changes_with_any_setting_and_only_then() -> None:
    method, spec = get_method("codediff"), get_dataset("lidc")
    plain, _ = resolve(method, spec, "tiny")
    again, _ = resolve(method, spec, "tiny")
    changed, _ = resolve(method, spec, "tiny", ["transformer.layers=1"])
    assert plain.sha256() == again.sha256() != changed.sha256()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("transformer.layer=3", ("transformer.layer", "layers")),
        ("transformer.layers=none", ("transformer.layers", "valid integer")),
        ("data.sise=32", ("data.sise", "size")),
        ("fit.precision=fp8", ("fit.precision", "fp32")),
        ("transformer.layers", ("key=value",)),
    ],
)
def test_a_wrong_setting_is_named_with_the_nearest_valid_ones(override: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(get_method("codediff"), get_dataset("lidc"), "tiny", [override])
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "near"), [(lambda: get_method("codedif"), "codediff"), (lambda: get_dataset("lid"), "lidc")]
)
def test_an_unknown_name_is_answered_with_the_nearest_one(call, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        call()
