"""Presets, overrides and what a user sees when one of them is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.card import MethodPlugin
from bench.errors import PluginError, UsageError
from bench.methods.x2ctgan import card
from bench.plugins.config import merge, parse_overrides, resolve, variant_tables
from bench.plugins.registry import get_dataset, get_method


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
    assert merge(base, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    assert base == {"a": {"b": 1, "c": 2}}


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


PRESETS = """
[tiny.any.generator]
growth = 4
[variant.narrow]
what = "narrower"
any.generator.growth = 2
any.data.angles = [0.0]
tiny.fit.workers = 1
tiny.generator.stem = 4
"""


@pytest.fixture
def method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MethodPlugin:
    """X2CT-GAN with one variant."""
    file = tmp_path / "presets.toml"
    file.write_text(PRESETS)
    monkeypatch.setattr(card, "METHODS", (replace(card.METHODS[0], presets=file),))
    return get_method("x2ctgan")


def test_a_variant_is_laid_over_the_preset_and_under_what_the_user_sets(method: MethodPlugin) -> None:
    narrow, spec = get_method("x2ctgan+narrow"), get_dataset("lidc")
    config, settings = resolve(narrow, spec, "tiny", ["generator.stem=6"])
    assert config.method == narrow.card.name == "x2ctgan+narrow"
    assert narrow.card.title == "X2CT-GAN, narrower"
    assert (settings.generator.growth, settings.generator.stem) == (2, 6)  # type: ignore[attr-defined]
    assert (config.data.angles, config.fit.workers) == ((0.0,), 1)
    plain, settings = resolve(method, spec, "tiny")
    assert (settings.generator.growth, settings.generator.stem) == (4, 64)  # type: ignore[attr-defined]
    assert (plain.method, plain.fit.workers) == ("x2ctgan", 0)
    assert plain.data == spec.presets["tiny"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x2ctgan+narow", r"no variant 'narow'; it has x2ctgan\+narrow$"),
        ("nearest+x", "nearest has no variant 'x'; it has none"),
    ],
)
def test_an_unknown_variant_is_refused_with_the_known_ones(method: MethodPlugin, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        get_method(name)


def test_a_variant_that_does_not_say_what_it_is_is_refused(method: MethodPlugin) -> None:
    assert method.presets is not None
    method.presets.write_text("[tiny]\n[variant.a]\nany.generator.growth = 2\n")
    assert set(variant_tables(method.presets)) == {"a"}
    with pytest.raises(PluginError, match=r"\[variant.a\] needs `what`"):
        get_method("x2ctgan+a")


def test_the_presets_that_are_offered_are_no_variants(method: MethodPlugin) -> None:
    with pytest.raises(UsageError, match=r"known: tiny$"):
        resolve(method, get_dataset("lidc"), "smoke")
