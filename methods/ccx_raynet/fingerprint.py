"""Golden numbers of the author's CCX-rayNet code, computed with the classes that the presets train.

Entries are named as in golden.json; the sizes in their names may be any, as in single_dft_a_96/ruleB_instance_stats.
Not computed: what is no part of this method (spatial transformer, channel attention, fusion by maximum) and metrics,
which belong to the harness's protocols. Of `multi_published` what comes before its spatial transformer is computed; of
`single_sft_published`, whose forward pass raises, the parameters.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.fingerprint import Computed, count, fill, golden_value, list_recorded

from ..x2ctgan import fingerprint_networks as networks
from ..x2ctgan.alignment import FRONTAL, LATERAL, to_standard
from ..x2ctgan.card import Statistics, TrainingConfig
from ..x2ctgan.fingerprint import loss_values
from ..x2ctgan.fingerprint_networks import DIGITS, WEIGHTS, summary
from ..x2ctgan.generator import BiplanarGenerator, Branch, SingleViewGenerator
from .card import CcxGeneratorConfig, CcxRayNetConfig
from .generator import AdaptiveFusion, ConditionedEncoder, GatedLink, ScaleShift, build

GOLDEN = Path(__file__).with_name("golden.json")
LEFT_OUT = frozenset({"input", "inputs", "note", "rayNet_total", "rayGAN_G_total"})
VARIANTS: dict[str, dict[str, Any]] = {
    "dac": {"dft": False, "aff": False},
    "dft_a": {"dft": True, "aff": False},
    "dft_b_pool": {"dft": True, "aff": False, "condition": "pooled"},
    "sft_published": {"dft": True, "aff": False, "condition": "pooled"},
    "dac_average": {"dft": False, "aff": False},
    "published": {"dft": False, "aff": False},
    "dac_aff": {"dft": False, "aff": True},
    "dac_aff_dropin_half": {"dft": False, "aff": True},
    "recommended": {"dft": True, "aff": True},
}
OFFICIAL = {  # the single-view networks by their names in the author's factory
    "singleview_network_denseUNet_transposed": "dac",
    "single_sft_a": "dft_a",
    "single_sft_b_pool": "dft_b_pool",
    "single_sft_published": "sft_published",
}
MASK_SEEDS = (5, 6)  # of the two views under rule B
BETWEEN = frozenset(  # layers of a single view that were recorded
    {
        *("CondNet_2d", "encoder_layer", "linker_layer0", "linker_layer4", "base_link"),
        *("decoder_layer4", "decoder_layer0", "decoder_layer-1"),
    }
)


def tolerance(entry: str, key: str) -> float | None:
    """Largest allowed deviation, as `bench.fingerprint.compare` measures it: over the largest element.

    With the statistics of the sample, means may be off by 2e-4 of themselves, deviations and norms by 2e-3, elements by
    0.05, or 0.1 where fusion saturates: that is what another number of threads does to the author's code.
    """
    above, _, name = f"{entry}/{key}".rpartition("/")
    values = golden_value(GOLDEN, above)
    relative = {"mean": DIGITS, "std": DIGITS, "l2": DIGITS}
    if "instance_stats" in entry:
        relative = {"mean": 2e-4, "std": 2e-3, "l2": 2e-3}
    if not isinstance(values, dict) or "max" not in values:
        return DIGITS
    scale = max(abs(values["min"]), abs(values["max"]))
    if name in relative:
        return relative[name] * abs(values[name]) / scale
    fused = VARIANTS.get(re.sub(r"^multi_|_\d+$", "", entry.partition("/")[0]), {}).get("aff", False)
    return (0.1 if fused else 0.05) / scale if "instance_stats" in entry else DIGITS


def generator_of(
    views: str, variant: str, size: str, statistics: Statistics = "sample"
) -> SingleViewGenerator | BiplanarGenerator:
    """A variant of the published generator for inputs of this size. Raises UsageError for a size it cannot take."""
    config = CcxGeneratorConfig(**VARIANTS[variant], statistics=statistics)
    networks.check_size(config, size)
    generator = build(config, int(size), (FRONTAL, LATERAL) if views == "multi" else (FRONTAL,))
    if variant == "dac_aff_dropin_half" and isinstance(generator, BiplanarGenerator):
        generator.fusion = HalvedFusion()
    return generator


class HalvedFusion(AdaptiveFusion):
    """Fusion in place of the published plain sum, whose halving stays."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return super().forward(first, second) / 2


def encoder_modules(branch: Branch) -> dict[str, nn.Module]:
    """The parts of a conditioned encoder by their names in the author's code; its blocks are counted in `counts`."""
    encoder = branch.encoder
    assert isinstance(encoder, ConditionedEncoder)
    named: dict[str, nn.Module] = {"CondNet_2d": encoder.condition, "encoder_layer": encoder.stem}
    for i, (stage, transforms) in enumerate(zip(encoder.stages, encoder.transforms, strict=True)):
        named[f"encoder_layer_part1{i}"] = stage.down
        named[f"encoder_layer_part2{i}"] = nn.ModuleList([stage.layers, transforms])
        named[f"encoder_layer_part3{i}"] = stage.transition
    return {name: module for name, module in named.items() if count(module)}


def branch_parts(branch: Branch) -> dict[str, nn.Module]:
    """The parts of a branch by their names in the author's code."""
    modules = networks.branch_modules(branch)
    if not isinstance(branch.encoder, ConditionedEncoder):
        return modules
    rest = {name: module for name, module in modules.items() if not name.startswith("encoder_layer")}
    return encoder_modules(branch) | rest


@lru_cache(maxsize=1)
def _weightless(views: str, variant: str, size: str) -> SingleViewGenerator | BiplanarGenerator:
    with torch.device("meta"):  # counted, never computed with
        return generator_of(views, variant, size)


def counts(views: str, variant: str, size: str, key: str) -> Any:
    """Parameters of a generator: their number, that of each part, or the table of their shapes."""
    return networks.count_by_part(_weightless(views, variant, size), key, branch_parts)


def inputs(views: int, size: int, rule: str, masked: bool) -> list[Tensor]:
    """Views (1, 1, size, size), or with their class masks (1, 2, size, size)."""
    plain = [networks.fixed_input(f"view{i + 1}", rule, (1, 1, size, size), torch.float32) for i in range(views)]
    if not masked:
        return plain
    return [torch.cat([view, class_mask(i, rule, size)], dim=1) for i, view in enumerate(plain)]


def class_mask(view: int, rule: str, size: int) -> Tensor:
    """The mask (1, 1, size, size) of a view, 0 or 1: where a slow wave is positive, or at random."""
    if rule == "B":
        chosen = np.random.default_rng(MASK_SEEDS[view]).random((1, 1, size, size)) > 0.5
    else:
        chosen = (np.sin, np.cos)[view](0.003 * np.arange(size**2)).reshape(1, 1, size, size) > 0
    return torch.from_numpy(chosen).float()


def run(views: str, variant: str, size: str, rule: str, mode: str) -> dict[str, Any]:
    """Return what a generator makes of the fixed inputs; of a single view also what is between its layers."""
    model = generator_of(views, variant, size, "running" if mode == "running" else "sample").eval()
    fill(model.named_parameters(), WEIGHTS[rule])
    given = inputs(len(model.orders), int(size), rule, VARIANTS[variant]["dft"])
    if isinstance(model, BiplanarGenerator):
        return networks.outputs(model, given)
    modules = {name: module for name, module in branch_parts(model.branch).items() if name in BETWEEN}
    with networks.summaries(modules) as between:
        return {**networks.outputs(model, given), "intermediates": between}


@lru_cache(maxsize=1)
def _run_published(size: str, rule: str, mode: str) -> dict[str, Any]:
    values = run("multi", "published", size, rule, mode)
    return {**values, "intermediates/decoder_layer": values["out_fused"]}


def published(size: str, rule: str, mode: str, key: str) -> dict[str, Any]:
    """Return what the published biplanar generator makes before its spatial transformer."""
    return _run_published(size, rule, mode)[key]


def draw_uniform(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform in [0, 1), from a fresh generator."""
    return torch.from_numpy(np.random.default_rng(seed).random(shape)).float()


def run_gated_link(inputs: str, outputs: str, mode: str) -> dict[str, Any]:
    """A link with the gate of the Depth-Aware Connection."""
    link = GatedLink(int(inputs), int(outputs), "running" if mode == "eval" else "sample").eval()
    fill(link.named_parameters(), WEIGHTS["B"])
    return {"n_params": count(link), "out": summary(link(draw_uniform(11, (2, int(inputs), 6, 6))))}


def scale_shift(condition: str, channels: str) -> dict[str, Any]:
    """A layer that scales and shifts features by a condition."""
    layer = ScaleShift(int(condition), int(channels)).eval()
    fill(layer.named_parameters(), WEIGHTS["B"])
    out = layer(draw_uniform(14, (2, int(channels), 5, 5)), draw_uniform(15, (2, int(condition), 5, 5)))
    return {"n_params": count(layer), "out": summary(out)}


def fusion() -> dict[str, Any]:
    """Adaptive Feature Fusion of two volumes in the orders of their views."""
    layer = AdaptiveFusion().eval()
    fill(layer.named_parameters(), WEIGHTS["B"])
    first, second = draw_uniform(12, (2, 3, 4, 5, 6)), draw_uniform(13, (2, 3, 6, 5, 4))
    out = layer(to_standard(first, FRONTAL), to_standard(second, LATERAL))
    return {"n_params": count(layer), "out": summary(out)}


def total(network: str) -> int:
    """Parameters at 128 of a network of the author's code, by its name there."""
    if network == "CondNet_2d":
        generator = _weightless("single", "dft_a", "128")
        assert isinstance(generator, SingleViewGenerator)
        return count(encoder_modules(generator.branch)["CondNet_2d"])
    return counts("single", OFFICIAL[network], "128", "n_params")


def weigh_losses() -> dict[str, float]:
    """The losses of fixed volumes and logits, with the weights that the methods train with."""
    adversarial = {"adversarial_weight": TrainingConfig().adversarial_weight}
    values = loss_values(CcxRayNetConfig().training.model_copy(update=adversarial))
    total = values["recon_weighted_10"] + values["projection_weighted"]
    named = ("lsgan_real", "lsgan_fake", "recon_weighted_10", "projection_weighted")
    totals = {"rayNet_total_value": total, "rayGAN_G_total_value": total + values["G_adv_weighted_0p1"]}
    return {**{name: values[name] for name in named}, **totals}


_NETWORK = (
    r"(?:(?P<views>single|multi)_(?P<variant>(?<=single_)(?:dac|dft_a|dft_b_pool)"
    r"|(?<=multi_)(?:dac_average|dac_aff_dropin_half|dac_aff|recommended))_(?P<size>\d+))"
)
_RULE = r"rule(?P<rule>[AB])_(?P<mode>running|instance)_stats"
COMPUTED: Computed = [
    (rf"{_NETWORK}/(?P<key>n_params|sub_modules|view1_sub_modules|shapes)", counts),
    (rf"{_NETWORK}/{_RULE}", run),
    (r"(?P<views>single)_(?P<variant>sft_published)_(?P<size>\d+)/(?P<key>n_params|sub_modules|shapes)", counts),
    (rf"multi_published_(?P<size>\d+)/{_RULE}/(?P<key>out_view1|out_view2|intermediates/decoder_layer)", published),
    (r"units/DAC_linker_(?P<inputs>\d+)to(?P<outputs>\d+)_(?P<mode>eval|instance)", run_gated_link),
    (r"units/SFT_(?P<condition>\d+)_to_(?P<channels>\d+)", scale_shift),
    ("units/AFF_weighted", fusion),
    (f"n_params_128/(?P<network>CondNet_2d|{'|'.join(OFFICIAL)})", total),
    ("discriminators/n_params_2ch", lambda: networks.discriminator_counts("singleview", "128", "n_params")),
    ("discriminators/n_params_3ch", lambda: networks.discriminator_counts("multiview", "128", "n_params")),
    ("losses", weigh_losses),
]
SLOW = frozenset(entry for entry in list_recorded(GOLDEN, COMPUTED) if "_128/rule" in entry)
