"""The autoencoders' and the quantiser's part of the fingerprint."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.fingerprint import Weights, chirp, count, fill, ramp, rule, statistics

from .autoencoder import Attention, ChannelNorm, ResidualBlock, VectorQuantisedAutoencoder, VectorQuantiser
from .card import FOR_VIEWS, AutoencoderConfig, AutoencoderStageConfig
from .published import autoencoder_layout

WEIGHTS: dict[str, Weights] = {"rule": rule, "chirp": chirp}
DTYPES = {"f32": torch.float32, "f64": torch.float64, "float32": torch.float32, "float64": torch.float64}
LARGEST_LOG_SIGMA = 48**3  # positions; the released head has 256 channels of them

VOLUME = AutoencoderStageConfig().autoencoder
VIEW = FOR_VIEWS.autoencoder
BAG_2022 = {"channels": 32, "multipliers": (1, 2, 4, 8), "attention_sizes": (), "encoder_block": "full"}
VARIANTS = {
    "ae3d": {
        "chest_default": VOLUME,
        "chest_plain_resblock_encoder": AutoencoderConfig(encoder_block="full"),
        "bag256_K4096_chest_arch_attn_list_unchanged[8]": AutoencoderConfig(size=256, codes=4096),
        "bag256_K4096_chest_arch_attn[16]": AutoencoderConfig(size=256, codes=4096, attention_sizes=(16,)),
        "bag_history_2022_img128_nf32_1248_resblock_K1024_noattn": AutoencoderConfig(**BAG_2022),
        "bag_history_2022_but_K4096": AutoencoderConfig(codes=4096, **BAG_2022),
    },
    "ae2d": {
        "bag_history_2022_img128_nf64_1234_K4096": VIEW.model_copy(
            update={"size": 128, "channels": 64, "multipliers": (1, 2, 3, 4), "codes": 4096}
        ),
        "default_but_K4096": VIEW.model_copy(update={"codes": 4096}),
    },
}


def released(config: AutoencoderConfig) -> AutoencoderConfig:
    """The same network with the parts that the released one allocates in vain."""
    return config.model_copy(update={"log_sigma": "released", "unused_shortcuts": True})


def official_layout(model: VectorQuantisedAutoencoder) -> Iterator[tuple[str, Tensor]]:
    """Parameters as the official network holds them, whose scales of norms are all called `weight`."""
    for name, tensor in autoencoder_layout(model).items():
        yield name.replace("gamma", "weight"), tensor


def parameters(config: AutoencoderConfig, attention: bool = False) -> dict[str, int]:
    """Parameter counts of the released layout, and of the network that trains."""
    with torch.device("meta"):  # counted, never computed with
        model = VectorQuantisedAutoencoder(released(config))
        trained = VectorQuantisedAutoencoder(config.model_copy(update={"log_sigma": "none"}))
    counts = {"total": count(model), "encoder": count(model.encoder), "quantiser": count(model.quantiser)}
    counts["generator_incl_logsigma"] = counts["total"] - counts["encoder"] - counts["quantiser"]
    counts["logsigma_head"] = count(model.log_sigma_head)
    counts["used_in_plain_forward"] = count(trained)
    if attention:
        for key, part in (("attn_blocks_enc", model.encoder), ("attn_blocks_dec", model.decoder)):
            counts[key] = sum(isinstance(layer, Attention) for layer in part)
    return counts


def run(network: str, size: str, dtype: str, weights: str | None) -> dict[str, Any]:
    """Everything that an autoencoder makes of the fixed input of this size."""
    config = released({"ae3d": VOLUME, "ae2d": VIEW}[network])
    if int(size) < config.reduction:
        raise UsageError(f"{network}/run{size}: an input of fewer than {config.reduction} a side has no codes")
    model = VectorQuantisedAutoencoder(config).to(DTYPES[dtype]).eval()
    fill(official_layout(model), WEIGHTS[weights or "rule"])
    image = ramp((1, 1, *(int(size),) * config.dimensions), DTYPES[dtype])
    latents, encoder_trace = trace(model.encoder, image)
    quantised = model.quantiser(latents)
    features, decoder_trace = trace(model.decoder, quantised.vectors)
    output = model.image_of(features)
    result = {
        "dtype": str(DTYPES[dtype]),
        "input": list(image.shape),
        "fill": weights or "rule",
        "encoder_out": statistics(latents),
        "encoder_trace": encoder_trace,
        "quantiser_on_encoder_out": quantiser_values(model.quantiser, latents),
        "decoder_trace": [*decoder_trace, trace_row(model.output, output)],
        "full_autoencoder_out": statistics(output),
        "full_codebook_loss": quantised.loss.item(),
        "decoder_on_ramp_latent": statistics(model.decode(ramp(tuple(latents.shape), latents.dtype))),
    }
    if output.shape == image.shape and image.numel() <= LARGEST_LOG_SIGMA:
        result["logsigma_path_as_published"] = compute_released_likelihood(model, image, features)
        if config.dimensions == 3:
            result["logsigma_path_repaired_1ch"] = compute_repaired_likelihood(image, features, weights or "rule")
    fill([("codebook", model.quantiser.codebook)], chirp)
    values = quantiser_values(model.quantiser, latents)
    decoded = statistics(model.decode(model.quantiser(latents).vectors))
    result["same_with_chirp_codebook"] = {**values, "decoded": decoded}
    return result


def trace(layers: nn.Sequential, x: Tensor) -> tuple[Tensor, list[list[Any]]]:
    """The output of layers one after the other, and a row for each."""
    rows = []
    for layer in layers:
        x = layer(x)
        rows.append(trace_row(layer, x))
    return x, rows


def trace_row(layer: nn.Module, output: Tensor) -> list[Any]:
    """The layer's official name, the output's shape without batch, its mean and its standard deviation."""
    name = type(layer).__name__
    if isinstance(layer, ResidualBlock):
        name = "DepthwiseResBlock" if isinstance(layer.body[0], ChannelNorm) else "ResBlock"
    elif isinstance(layer, Attention):
        name = "AttnBlock"
    values = statistics(output)
    return [name, values["shape"][1:], values["mean"], values["std"]]


def quantiser_values(quantiser: VectorQuantiser, latents: Tensor) -> dict[str, Any]:
    """Codes, loss and distances of latents (B, D, *latent)."""
    quantised = quantiser(latents)
    rows = latents.detach().movedim(1, -1).flatten(0, -2)
    codebook = quantiser.codebook.detach()
    distances = rows.square().sum(1, keepdim=True) + codebook.square().sum(1) - 2 * rows @ codebook.T
    nearest, second = distances.topk(2, largest=False).values.unbind(1)
    codes = quantised.codes.flatten()
    return {
        "indices_first16": codes[:16].tolist(),
        "indices_sum": codes.sum().item(),
        "n_positions": codes.numel(),
        "n_unique": codes.unique().numel(),
        "codebook_loss": quantised.loss.item(),
        "perplexity": quantised.perplexity.item(),
        "mean_distance": distances.mean().item(),
        "min_margin_2nd_minus_1st_sqdist": (second - nearest).min().item(),
        "z_q": statistics(quantised.vectors),
    }


def gaussian_nats(image: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """−log density of each element, broadcast as the released code does."""
    return (image - mean) ** 2 / (2 * log_sigma.exp() ** 2) + log_sigma + 0.5 * math.log(2 * math.pi)


def compute_released_likelihood(model: VectorQuantisedAutoencoder, image: Tensor, features: Tensor) -> dict[str, Any]:
    """The released head and the number it would print, too large by its number of channels."""
    mean, log_sigma = model.image_of(features), model.log_sigma(features)
    nats = gaussian_nats(image, mean, log_sigma)
    bits = (nats.mean(0).sum() / (math.log(2) * image[0].numel())).item()
    volume = image.ndim == 5
    return {
        "mu": statistics(mean),
        "logsigma": statistics(log_sigma),
        "nll_tensor_shape": list(nats.shape),
        "nll_printed_units_bits_per_dim_x256" if volume else "nll_printed": bits,
        "nll_raw_shape": list(nats.sum((1, 2, 3)).shape),
    }


def compute_repaired_likelihood(image: Tensor, features: Tensor, weights: str) -> dict[str, Any]:
    """The head of one channel that trains here."""
    model = VectorQuantisedAutoencoder(VOLUME.model_copy(update={"log_sigma": "repaired"})).to(features.dtype)
    fill(official_layout(model), WEIGHTS[weights])
    log_sigma = model.log_sigma(features)
    nats = gaussian_nats(image, model.image_of(features), log_sigma)
    return {
        "logsigma": statistics(log_sigma),
        "nll_nats_per_voxel": nats.mean().item(),
        "nll_bits_per_dim": nats.mean().item() / math.log(2),
        "nll_raw_nats": nats.sum().item(),
    }


def quantiser_on_ramp(step: str) -> dict[str, Any]:
    """The quantiser on sin(step·k)/16, with the rule's codebook as recorded: rounded to float32."""
    quantiser = VectorQuantiser(1024, 256)
    fill([("codebook", quantiser.codebook)], rule)
    return quantiser_gradients(quantiser.double(), ramp((1, 256, 4, 4, 4), torch.float64, float(step)) / 16)


def quantiser_order() -> dict[str, Any]:
    """The quantiser on disturbed code vectors: position p, in (b, h, w, d) order, is nearest to code (37p + 11) % K."""
    positions, shape = torch.arange(120), (2, 3, 4, 5)
    quantiser = VectorQuantiser(1024, 256).double()
    fill([("codebook", quantiser.codebook)], chirp)
    rows = quantiser.codebook[(37 * positions + 11) % 1024] + 0.02 * ramp((120, 256), torch.float64, 0.5)
    return quantiser_gradients(quantiser, rows.view(*shape, 256).movedim(-1, 1))


def quantiser_gradients(quantiser: VectorQuantiser, latents: Tensor) -> dict[str, Any]:
    """Values of a quantiser alone, with the gradients of its loss."""
    with torch.enable_grad():
        latents = latents.clone().requires_grad_()
        loss = quantiser(latents).loss
        by_latents, by_codebook = torch.autograd.grad(loss, [latents, quantiser.codebook])
    return {
        **quantiser_values(quantiser, latents),
        "grad_norm_wrt_z": by_latents.norm().item(),
        "grad_norm_wrt_codebook": by_codebook.norm().item(),
        "mean_sq_err": loss.item() / (1 + quantiser.beta),
    }


COMPUTED = [
    (r"(?P<network>ae3d|ae2d)/run(?P<size>\d+)_(?P<dtype>f32|f64)(_(?P<weights>chirp))?", run),
    (r"ae3d/params", lambda: parameters(VOLUME)),
    (r"ae2d/params", lambda: parameters(VIEW)),
    (
        r"(?P<network>ae3d|ae2d)/param_count_variants",
        lambda network: {
            name: parameters(config, attention=network == "ae3d") for name, config in VARIANTS[network].items()
        },
    ),
    (r"ae3d/quantiser_alone_ramp_step(?P<step>\d+(\.\d+)?)", quantiser_on_ramp),
    (r"ae3d/quantiser_order_and_beta_check", quantiser_order),
]
