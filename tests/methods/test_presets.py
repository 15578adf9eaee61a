"""All presets of a method share one code path: they change sizes, widths, rates and steps, and nothing else."""

from collections.abc import Iterator
from itertools import product

import pytest

from bench.plugins.config import method_settings
from bench.plugins.registry import get_method

SIZES = {  # names of settings that a preset may change
    *("side", "stem", "layers", "growth", "bottleneck", "bridge", "links", "channels", "stages", "multipliers"),
    *("blocks", "codes", "code_width", "attention_sizes", "decoded_side", "width", "widths", "heads", "features"),
    *("value_scale", "steps", "batch_size", "learning_rate", "discriminator_rate", "warm_up", "weight_decay", "keep"),
    *("dropout", "discriminator_start", "codebook_start", "quantiser_weight", "average_every", "average_decay"),
    *("gradient_clip", "validate_every", "checkpoint_every", "checkpoint_activations", "bound_steps"),
    *("position_spread", "shuffle_views", "temperature"),
}


def leaves(table: dict, path: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        yield from leaves(value, f"{path}{key}.") if isinstance(value, dict) else [(f"{path}{key}", value)]


@pytest.mark.parametrize("name", ["codediff", "x2ctgan", "ccx_raynet", "ccx_raygan", "lift_unet"])
def test_presets_change_sizes_only(name: str) -> None:
    plugin = get_method(name)
    published = dict(leaves(plugin.config().model_dump()))
    for dataset, preset in product(("lidc", "baggage"), ("smoke", "tiny", "small", "paper")):
        for key, value in leaves(method_settings(plugin, preset, dataset).model_dump()):
            classless = key == "mask.kind" and (value == "otsu") == (dataset == "baggage")
            same = value == published.get(key) or key.rpartition(".")[2] in SIZES or classless
            assert same, f"{preset}.{dataset}: {key} = {value}"
