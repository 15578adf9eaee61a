"""Settings, presets and names that make no sense are answered with a usage error, never with a traceback."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bench.cli.options import parse_list, parse_numbers
from bench.plugins.config import parse_overrides, preset_options, resolve, variant_tables
from bench.plugins.registry import get_dataset, get_method

from ..helpers.fuzzing import damaged, damages, profile, refused_or_fine, tried

METHOD, DATASET = "codediff", "lidc"
KEYS = ("data", "fit", "data.size", "data.phantoms", "data.angles", "fit.workers", "transformer", "transformer.layers")
KEYS += ("vqvae2d.loop.steps", "vqvae3d.autoencoder.multipliers", "log_sigma", "fit.precision", "a", "a.b", "", "data.")
VALUES = ("0", "-1", "1e400", "nan", "inf", "true", "{}", "[]", "{a=1}", "[[1]]", "2020-01-01", "12:00:00", "'x'", '"')
VALUES += ("99999999999999999999999", "[8,2,7]", "0x", "1_0", "\n", "\x00", "= 1", "'''", "{a={b={}}}", "[" * 2000)

keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=12))
values = st.one_of(
    st.sampled_from(VALUES), st.text(max_size=20), st.floats(allow_subnormal=False).map(repr), st.integers().map(str)
)
overrides = st.lists(st.builds("{}={}".format, keys, values) | st.text(max_size=20), max_size=4)


@tried(60, 2500)
def test_any_override_is_taken_or_refused(examples: int) -> None:
    method, spec = get_method(METHOD), get_dataset(DATASET)

    @profile(examples)
    @given(overrides)
    def check(chosen: list[str]) -> None:
        refused_or_fine(lambda: parse_overrides(chosen))
        refused_or_fine(lambda: resolve(method, spec, "smoke", chosen))

    check()


@tried(40, 1200)
def test_any_presets_file_is_taken_or_refused(examples: int, tmp_path: Path) -> None:
    content = Path(str(get_method(METHOD).presets)).read_bytes()
    path = tmp_path / "presets.toml"
    hostile = st.sampled_from((b"smoke = 1", b"[smoke]\nany = 3", b"a = " + b"[" * 3000, b"\xff", b"variant = 1"))

    @profile(examples)
    @given(hostile | st.builds(damaged, st.just(content), damages()) | st.binary(max_size=40))
    def check(text: bytes) -> None:
        path.write_bytes(text)
        refused_or_fine(lambda: preset_options(path, "smoke", DATASET))
        refused_or_fine(lambda: variant_tables(path))

    check()


@tried(40, 800)
def test_any_name_or_list_of_seeds_is_known_or_refused(examples: int) -> None:
    @profile(examples)
    @given(st.text(max_size=30))
    def check(text: str) -> None:
        refused_or_fine(lambda: parse_list(text, "--method"))
        refused_or_fine(lambda: parse_numbers(text, "--seeds"))
        refused_or_fine(lambda: get_method(text).load())
        refused_or_fine(lambda: get_dataset(text))

    check()
