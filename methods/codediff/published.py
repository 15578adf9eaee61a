"""Where the tensors of the released CodeDiff3D checkpoints go, by the names that the official code saves them under.

A stage is one file: `vqgan_ema_<step>.th` of the X-rays' and of the volumes' training, `absorbing_ema_<step>.th` of the
sampler's. The head of log-sigma was never trained there: it is fitted here.
"""

import re

from torch import Tensor

from .autoencoder import ChannelNorm, VectorQuantisedAutoencoder
from .method import CodeDiff

WINDOW = None  # the released code scales each volume to its own range
UNUSED = re.compile(  # what the released files hold beside: discriminators, an importance sampler, parts never run
    r"(disc|APA|AW|perceptual)\..+|ae\..+\.conv_out\.(weight|bias)|ae\.generator\.logsigma\..+|_denoise_fn\.start_tok"
    "|Lt_history|Lt_count|loss_history|embedding_weight"
)
AUTOENCODER = (
    (r"^encoder\.", "encoder.blocks."),
    (r"^decoder\.", "generator.blocks."),
    (r"^quantiser\.codebook$", "quantize.embedding.weight"),
    (r"^log_sigma_head\.", "generator.logsigma."),
    (r"\.body\.0\.", ".norm1."),
    (r"\.body\.2\.", ".conv1."),
    (r"\.body\.3\.", ".norm2."),
    (r"\.body\.5\.", ".conv2."),
    (r"\.shortcut\.", ".conv_out."),
    (r"\.convolution\.", ".conv."),
    (r"\.query_key_value\.", ".qkv."),
    (r"\.out\.", ".proj_out."),
)
TRANSFORMER = (
    (r"^code_embedding\.", "tok_emb."),
    (r"^context_embedding\.", "context_linear."),
    (r"^position$", "pos_emb"),
    (r"^start$", "start_tok"),
    (r"^norm\.", "ln_f."),
    (r"\.attention_norm\.", ".ln1."),
    (r"\.perceptron_norm\.", ".ln2."),
    (r"\.attention\.out\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.perceptron\.", ".mlp."),
)


def official_layout(method: CodeDiff) -> dict[str, dict[str, Tensor]]:
    """Return for each published stage the tensors of its file by name: the parts of our networks that they fill."""
    autoencoders = {"vqvae2d": method.image_autoencoder, "vqvae3d": method.volume_autoencoder}
    layout = {
        stage: {f"ae.{n}": t for n, t in autoencoder_layout(model).items() if not n.startswith("generator.logsigma.")}
        for stage, model in autoencoders.items()
    }
    prior = method.transformer.state_dict().items()
    return {**layout, "transformer": {f"_denoise_fn.{_rename(own, TRANSFORMER)}": tensor for own, tensor in prior}}


def autoencoder_layout(model: VectorQuantisedAutoencoder) -> dict[str, Tensor]:
    """Return the parameters as the official network holds them: 2-D attention has separate projections for q, k, v."""
    gammas = {f"{place}.weight" for place, module in model.named_modules() if isinstance(module, ChannelNorm)}
    rules = (*AUTOENCODER, (r"^output\.", f"generator.blocks.{len(model.decoder)}."))
    layout = {}
    for own, tensor in model.state_dict().items():
        name = _rename(own, rules)
        if own in gammas:
            name = f"{name.removesuffix('weight')}gamma"
        if model.config.dimensions == 2 and ".qkv." in name:
            layout |= {name.replace(".qkv.", f".{p}."): t for p, t in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            layout[name] = tensor
    return layout


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, official in rules:
        name = re.sub(pattern, official, name)
    return name
