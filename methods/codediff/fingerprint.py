"""Golden numbers of the official CodeDiff3D code, computed with the classes that the presets train.

Entries are named as in golden.json; the sizes in their names may be any, as in ae3d/run48_f64_chirp.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.fingerprint import (
    Computed,
    count,
    fill,
    list_recorded,
    ramp,
    remove_parametrizations,
    settle_spectral_norms,
    statistics,
)

from . import fingerprint_autoencoder as autoencoder
from . import fingerprint_prior as prior
from . import losses
from .card import FOR_VIEWS, DiscriminatorConfig
from .discriminator import build_discriminator
from .fingerprint_autoencoder import DTYPES, WEIGHTS

GOLDEN = Path(__file__).with_name("golden.json")
LEFT_OUT = frozenset(
    {
        *("seconds", "config", "input", "mask_rule", "spectral_norm_note"),  # remarks on how it was recorded
        *("a", "b", "logits", "logits_real", "logits_fake", "x0", "uniforms", "role_phase_rule", "idx", "context"),
        *("Lt_history_at_t", "rand_calls"),  # state of an importance sampler that is switched off in the release
        *("mish_min_value", "mish_argmin", "expected_indices"),  # known beforehand
    }
)
DISCRIMINATORS = {
    "progressive3d": DiscriminatorConfig(),
    "progressive2d": FOR_VIEWS.discriminator.model_copy(update={"crops": "released"}),
    "patch3d_ndf32_layers3": DiscriminatorConfig(kind="patch", channels=32, stages=3),
    "patch2d_ndf64_layers3": DiscriminatorConfig(dimensions=2, kind="patch", channels=64, stages=3),
    "feature_extractor": DiscriminatorConfig(stages=3),  # the same network, a stage deeper
}
PATCH_SIDE = {3: 64, 2: 256}  # side of the input the patch discriminators were recorded with


def tolerance(entry: str, key: str) -> float | None:
    """Largest allowed deviation.

    Under the plain rule codes are nearly tied: in float32 they, and all that follows, are left to rounding, and the
    decoder's recorded numbers are themselves up to 3e-3 away from those of float64.
    """
    single = entry.endswith("float32") or "_f32" in entry or "/float32/" in entry
    if not single:
        return 1e-5 if "_trace" in key else 1e-6  # traces were recorded with 6 digits
    if key.endswith("min_margin_2nd_minus_1st_sqdist"):
        return None
    if "/run" not in entry or entry.endswith("chirp"):
        return 1e-3 if "_trace" in key else 1e-4
    if key.startswith("decoder_on_ramp_latent"):
        return 1e-2
    steady = re.match(r"encoder_(out|trace)|.*(codebook_loss|mean_distance|shape)|dtype|fill", key)
    return 1e-3 if steady else None


def recon_losses() -> dict[str, Any]:
    """The volume's reconstruction loss on fixed signals."""
    k = np.arange(4096)
    image = 0.5 + 0.5 * np.sin(0.01 * k)
    target = torch.from_numpy(np.clip(image + 0.3 * np.cos(0.37 * k), 0, 1))
    image = torch.from_numpy(image)
    smooth, both = losses.volume_loss(image, target, 0.0).item(), losses.volume_loss(image, target).item()
    return {
        "smooth_l1_beta_1_9": smooth,
        "l1": losses.view_loss(image, target).item(),
        "nll_loss_used_by_3d_generator(=smooth_l1+1.0*l1)": both,
    }


def mish_hinge() -> dict[str, Any]:
    """The discriminator's and the generator's loss on fixed logits."""
    k = torch.arange(50, dtype=torch.float64)
    real, fake = 2 * torch.sin(0.1 * k), -1 + torch.cos(0.2 * k)
    real_term, fake_term = losses.discriminator_terms(real, fake)
    return {
        "real": real_term.item(),
        "fake": fake_term.item(),
        "d_loss": losses.discriminator_loss(real, fake).item(),
        "g_loss": losses.generator_loss(fake).item(),
        "taming_relu_hinge_for_comparison": losses.discriminator_loss(real, fake, "relu").item(),
    }


def discriminator_parameters(network: str, part: str) -> int:
    """Number of parameters of a discriminator, or of a part of it."""
    model = build_discriminator(DISCRIMINATORS[network])
    if part in ("decoder_big", "decoder_part"):
        return count(model.decode_whole if part == "decoder_big" else model.decode_part)
    if part == "params_without_decoders":
        return count(model) - count(model.decode_whole) - count(model.decode_part)
    return count(model)


def build_filled(network: str, weights: str, dtype: str) -> nn.Module:
    """The discriminator with its parameters set by rule."""
    model = build_discriminator(DISCRIMINATORS[network]).to(DTYPES[dtype]).eval()
    fill(model.named_parameters(), WEIGHTS[weights])
    return model


def progressive(weights: str, network: str, norm: str, size: str, dtype: str) -> dict[str, Any]:
    """Logits of a progressive discriminator on the fixed input, and in 2-D what its decoders redraw."""
    config, model = DISCRIMINATORS[network], build_filled(network, weights, dtype)
    (settle_spectral_norms if norm == "exact" else remove_parametrizations)(model)
    images = ramp((1, 1, *(int(size),) * config.dimensions), DTYPES[dtype])
    if not config.decoders:
        logits = model(images)
        return statistics(logits if network == "feature_extractor" else logits.flatten())
    (logits, first), (_, last) = model.redraw(images, part=0), model.redraw(images, part=3)
    return {
        "logits": statistics(logits.flatten()),
        "decoder_big": statistics(first.whole),
        "decoder_part0": statistics(first.part),
        "decoder_part3": statistics(last.part),
    }


def patch(weights: str, network: str, dtype: str) -> dict[str, Any]:
    """Logits of a patch discriminator on the fixed input, as a map."""
    dimensions = DISCRIMINATORS[network].dimensions
    images = ramp((1, 1, *(PATCH_SIDE[dimensions],) * dimensions), DTYPES[dtype])
    return statistics(build_filled(network, weights, dtype).layers(images))


_DISCRIMINATOR = r"discriminators_and_feature_extractor/(?P<weights>rule|chirp)/(?P<network>{})"
_PROGRESSIVE = _DISCRIMINATOR.format("progressive3d|progressive2d|feature_extractor")
_PATCH = _DISCRIMINATOR.format("patch3d_ndf32_layers3|patch2d_ndf64_layers3")
_ANY = _DISCRIMINATOR.format("|".join(DISCRIMINATORS)).replace("?P<weights>", "?:")
_PARTS = "params|params_total|params_without_decoders|decoder_big|decoder_part"
COMPUTED: Computed = [
    *autoencoder.COMPUTED,
    *prior.COMPUTED,
    (rf"{_PROGRESSIVE}/sn_(?P<norm>exact|off)_(?P<size>\d+)_(?P<dtype>float32|float64)", progressive),
    (rf"{_PATCH}/(?P<dtype>float32|float64)", patch),
    (f"{_ANY}/(?P<part>{_PARTS})", discriminator_parameters),
    ("losses_metrics_normalisation_prdc/recon_losses", recon_losses),
    ("losses_metrics_normalisation_prdc/mish_hinge", mish_hinge),
]
SLOW = frozenset(
    entry for entry in list_recorded(GOLDEN, COMPUTED) if re.search(r"/run(128|256)_f32$|_(128|256)_float32$", entry)
)
