"""Where the tensors of the released X2CT-GAN generator, `<epoch>_net_G.pth`, go, by their official names."""

import re

from torch import Tensor, nn

from .fingerprint_networks import branch_modules, main_modules
from .generator import BiplanarGenerator
from .method import X2CTGAN
from .parts import EncoderStage, Link

WINDOW = (-1024.0, 1476.0)  # HU
UNUSED = re.compile(r".+\.(running_mean|running_var|num_batches_tracked)")  # unless generator.statistics is "running"
DENSE_LAYER = ("norm1", "relu1", "conv1", "norm2", "relu2", "conv2")


def official_layout(method: X2CTGAN) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of the generator's file by name: the parts of our network that they fill."""
    generator = method.generator
    parts: dict[str, nn.Module] = {}
    single = not isinstance(generator, BiplanarGenerator)
    if isinstance(generator, BiplanarGenerator):
        for i, branch in enumerate(generator.branches, start=1):
            parts |= {f"view{i}Model.{name}": module for name, module in branch_modules(branch).items()}
        parts |= main_modules(generator)
    else:
        parts = branch_modules(generator.branch)
    layout = {}
    for part, module in parts.items():
        # in a generator of one view both halves of a level are one sequence
        after = int(single and part.replace("decoder_layer", "decoder_compress_layer") in parts.keys() - {part})
        official = part.replace("compress_", "") if single else part
        for own, tensor in module.state_dict().items():
            layout[f"{official}.{_rename(module, own, after)}"] = tensor
    return {"generator": layout}


def _rename(module: nn.Module, name: str, after: int) -> str:
    """Return the official name of a tensor inside a part, which begins after so many blocks of convolutions."""
    if isinstance(module, EncoderStage):
        name = re.sub(
            r"^layers\.(\d+)\.bottleneck\.(\d)", lambda m: f"3.conv_block.{m[1]}.{DENSE_LAYER[int(m[2])]}", name
        )
        name = re.sub(r"^transition\.(\d)", lambda m: f"{4 + int(m[1])}", name)
        return name.removeprefix("down.")
    if isinstance(module, Link):
        return re.sub(r"^deep\.", "0.conv_block.", re.sub(r"^flat\.", "0.compress_block.", name))
    assert isinstance(module, nn.Sequential)
    blocks = list(module) if isinstance(module[0], nn.Sequential) else [module]
    block, layer, rest = (name if blocks[0] is not module else f"0.{name}").split(".", 2)
    place = 3 * (int(block) + after)  # a block is a convolution, a norm and an activation
    up = isinstance(blocks[int(block)][0], nn.ConvTranspose3d)  # type: ignore[index]
    return f"{place}.block.block.{layer}.{rest}" if up else f"{place + int(layer)}.{rest}"
