"""The transformer's and the diffusion's part of the fingerprint."""

from typing import Any

import torch
from torch import Tensor

from bench.fingerprint import chirp, count, fill, ramp, rule, statistics

from . import diffusion
from .fingerprint_autoencoder import DTYPES
from .transformer import CodeTransformer, TransformerConfig

PRIOR = TransformerConfig()
VARIANTS = {
    "chest_default": PRIOR,
    "bag_16cubed_K4096_n512_block4608": TransformerConfig(codes=4096, block_size=4608),
    "bag_history_2022_n256_h4_l8_block4608_K1024": TransformerConfig(width=256, block_size=4608),
    "bag_n256_K4096_block4608": TransformerConfig(width=256, codes=4096, block_size=4608),
    "history_2022_chest_n512_h8_l24": TransformerConfig(heads=8, layers=24),
}
ROLES = {  # phases of the chirp that tell apart weights of one shape
    "attention.key": 1.0,
    "attention.query": 2.0,
    "attention.value": 3.0,
    "attention.out": 4.0,
    "perceptron.0": 5.0,
    "perceptron.2": 6.0,
    "code_embedding": 7.0,
    "position": 8.0,
    "context_embedding": 9.0,
    "head": 10.0,
    "start": 11.0,
}
LOSSES = {  # T, K, times; a mask of its own
    "tiny": (8, 16, [2, 5, 8]),
    "T512": (512, 64, [100, 400]),
    "zero_mask_mlm_guard": (8, 16, [1]),
}


def released(config: TransformerConfig) -> TransformerConfig:
    """The same network with the start token that the released one allocates in vain."""
    return config.model_copy(update={"unused_start": True})


def role_phase(name: str) -> float:
    """The phase of a parameter: its role's, plus 20 for each layer from the first on."""
    layer, _, rest = name.removeprefix("blocks.").partition(".") if name.startswith("blocks.") else ("-1", "", name)
    return ROLES[rest.rpartition(".")[0] or rest] + 20 * (int(layer) + 1)


def build_unfilled(config: TransformerConfig) -> CodeTransformer:
    """The released transformer without memory for its parameters, to be counted."""
    with torch.device("meta"):
        return CodeTransformer(released(config))


def parameters() -> dict[str, int]:
    """Parameter counts of the released transformer."""
    model = build_unfilled(PRIOR)
    return {
        "total_trainable": count(model),
        "blocks": count(model.blocks),
        "per_block": count(model.blocks[0]),
        "tok_emb": count(model.code_embedding),
        "pos_emb": model.position.numel(),
        "start_tok_unused": model.start.numel(),
        "context_linear": count(model.context_embedding),
        "ln_f": count(model.norm),
        "head_no_bias": count(model.head),
    }


def build_filled(config: TransformerConfig, filling: str, dtype: torch.dtype) -> CodeTransformer:
    """The released transformer with its parameters set by rule, or by the chirp with a phase for each role."""
    model = CodeTransformer(released(config)).to(dtype).eval()
    if filling == "rule_fill":
        fill(model.named_parameters(), rule)
    else:
        fill(model.named_parameters(), chirp, role_phase)
    return model


def fixed_codes() -> Tensor:
    """(7k + 3) % 1024 at position k of 512, every third one masked."""
    position = torch.arange(512)
    return torch.where(position % 3 == 0, PRIOR.codes, (7 * position + 3) % 1024)[None]


def logits(filling: str, dtype: str, case: str) -> dict[str, Any]:
    """Logits of fixed codes with a fixed context, without one, or with its two views swapped."""
    context: Tensor | None = ramp((1, 512, 256), DTYPES[dtype])
    if case == "views_swapped":
        context = context.roll(256, dims=1)
    elif case == "without_context":
        context = None
    result = build_filled(PRIOR, filling, DTYPES[dtype])(fixed_codes(), context)
    return {
        **statistics(result),
        "argmax_first16": result.argmax(2)[0, :16].tolist(),
        "logsumexp_mean": result.logsumexp(2).mean().item(),
    }


def eight_heads() -> list[float]:
    """First logits with 8 heads instead of 4."""
    model = build_filled(PRIOR.model_copy(update={"heads": 8}), "chirp_role_phase_fill", torch.float64)
    return statistics(model(fixed_codes(), ramp((1, 512, 256), torch.float64)))["first8"]


def training_losses(case: str) -> dict[str, Any]:
    """The three objectives on fixed logits, masks and times."""
    tokens, classes, times = LOSSES[case]
    batch = len(times)
    position = torch.arange(batch * tokens).view(batch, tokens)
    hidden = (position % 3 == 0) | (position % 5 == 1)
    if case == "zero_mask_mlm_guard":
        hidden = torch.zeros_like(hidden)
    codes = (7 * position + 3) % classes
    outputs = 3 * ramp((batch, tokens, classes), torch.float64)
    result: dict[str, Any] = {"B": batch, "T": tokens, "K": classes, "t": times, "n_masked": hidden.sum(1).tolist()}
    result["sum_cross_entropy_nats_per_sample"] = diffusion.cross_entropy(outputs, codes, hidden).tolist()
    for objective in ("reweighted_elbo", "elbo", "mlm"):
        loss, bits = diffusion.training_loss(outputs, codes, hidden, torch.tensor(times), objective)
        result[objective] = {"loss": loss.item(), "vb_loss_bits_per_token": bits.item()}
    return result


def sampling(steps: int) -> dict[str, Any]:
    """The likeliest codes of a toy denoiser, revealed by fixed uniform numbers, and what it was shown at each step."""
    shown: list[dict[str, Any]] = []
    position, value = torch.arange(8.0).double()[:, None], torch.arange(16.0).double()

    def denoise(codes: Tensor) -> Tensor:
        shown.append(codes.tolist())
        case = torch.arange(len(codes))[:, None, None]
        return torch.sin(1.1 * (position + 1) * (value + 1) + 0.9 * codes.sum(1)[:, None, None] + case)

    def reveals(case: int) -> diffusion.Reveals:
        waves = (78.233 * (step + 1) for step in range(steps) for _ in range(2))  # the second is not looked at
        numbers = (torch.sin(12.9898 * (torch.arange(16).double() + 1) + wave).abs().view(2, 8)[case] for wave in waves)
        return diffusion.random_reveals(lambda: next(numbers), steps, every_step=True)

    both = [reveals(0), reveals(1)]
    final = diffusion.sample(denoise, 8, 16, both, torch.device("cpu"), temperature=1e-9)
    trace = [{"t": steps - step, "x_t_in": codes} for step, codes in enumerate(shown)]
    return {"steps": steps, "trace": trace, "final": final.tolist()}


_ROOT = "transformer_and_diffusion"
COMPUTED = [
    (f"{_ROOT}/params", parameters),
    (
        f"{_ROOT}/param_count_variants",
        lambda: {name: count(build_unfilled(config)) for name, config in VARIANTS.items()},
    ),
    (
        rf"{_ROOT}/(?P<filling>rule_fill|chirp_role_phase_fill)/(?P<dtype>float32|float64)/"
        r"(?P<case>with_context|without_context|views_swapped)",
        logits,
    ),
    (f"{_ROOT}/chirp_role_phase_fill/sensitivity_n_head_8_instead_of_4_first8", eight_heads),
    (rf"{_ROOT}/losses/(?P<case>{'|'.join(LOSSES)})", training_losses),
    (f"{_ROOT}/sampling_trace_max_probability/full_8_steps", lambda: sampling(8)),
    (f"{_ROOT}/sampling_trace_max_probability/short_3_steps", lambda: sampling(3)),
]
