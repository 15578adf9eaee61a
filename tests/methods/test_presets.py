"""All presets of a method share one code path: they change sizes, widths, rates and steps, and nothing else."""

from collections.abc import Iterator

import pytest

from bench.plugins.config import method_settings
from bench.plugins.registry import get_method

X2CT = {"side", "stem", "layers", "growth", "bottleneck", "bridge", "links", "dropout", "channels", "stages"}
X2CT |= {"learning_rate", "discriminator_rate", "steps", "batch_size", "checkpoint_every"}
CCX = X2CT | {"widths", "validate_every"}
CODEDIFF = {"channels", "multipliers", "blocks", "codes", "code_width", "attention_sizes", "decoded_side", "stages"}
CODEDIFF |= {"learning_rate", "discriminator_start", "codebook_start", "quantiser_weight", "steps", "batch_size"}
CODEDIFF |= {"average_every", "average_decay", "validate_every", "keep", "checkpoint_every", "gradient_clip"}
CODEDIFF |= {"width", "heads", "layers", "dropout", "warm_up", "weight_decay", "bound_steps"}
CODEDIFF |= {"value_scale", "position_spread", "shuffle_views", "temperature"}
LIFT = {"features", "widths", "value_scale", "learning_rate", "warm_up", "steps", "batch_size"}
LIFT |= {"checkpoint_every", "checkpoint_activations"}


def leaves(table: dict, path: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        yield from leaves(value, f"{path}{key}.") if isinstance(value, dict) else [(f"{path}{key}", value)]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("codediff", CODEDIFF), ("x2ctgan", X2CT), ("ccx_raynet", CCX), ("ccx_raygan", CCX), ("lift_unet", LIFT)],
)
def test_presets_change_sizes_only(name: str, sizes: set[str]) -> None:
    plugin = get_method(name)
    published = dict(leaves(plugin.config().model_dump()))
    for dataset in ("lidc", "baggage"):
        for preset in ("smoke", "tiny", "small", "paper"):
            for key, value in leaves(method_settings(plugin, preset, dataset).model_dump()):
                classless = key == "mask.kind" and (value == "otsu") == (dataset == "baggage")
                same = value == published.get(key) or key.rpartition(".")[2] in sizes or classless
                assert same, f"{preset}.{dataset}: {key} = {value}"
