"""A first method of your own: a small network from the views to a coarse volume. Make it yours from here."""

import torch
from torch import nn

from bench.card import Loop, MethodCard, Settings
from bench.dataset import DatasetCard
from bench.method import Items, Method, Stage


class NewMethod(Method):
    # what it can give stands last; add "samples" where the seeds of a case decide what is reconstructed
    card = MethodCard("new_method", "NewMethod", "none yet", 2026, "", "", frozenset({"volume", "mip"}))

    class Config(Settings):  # every value can be set on the command line: --set width=128 --set loop.steps=2000
        side: int = 16  # pixels a side that the views are averaged to
        width: int = 64  # numbers between views and volume
        coarse: int = 24  # voxels a side before the volume is enlarged to the data's size
        loop: Loop = Loop(steps=300, batch_size=8)

    def __init__(self, config, data: DatasetCard):  # data: sizes, angles, window; see bench.dataset.DatasetCard
        coarse = min(config.coarse, data.size)
        encode = [nn.AdaptiveAvgPool2d(config.side), nn.Flatten(), nn.Linear(data.views * config.side**2, config.width)]
        decode = [nn.Linear(config.width, coarse**3), nn.Unflatten(1, (1, coarse, coarse, coarse))]
        self.network = nn.Sequential(*encode, nn.GELU(), *decode, nn.Upsample(data.size, mode="trilinear"))
        self.training = Training(self.network, config.loop)

    def stages(self):
        return [self.training]

    def reconstruct(self, views, *, seeds):  # views.images (B, V, h, w) in [0, 1] → volumes (B, D, H, W) in [0, 1]
        return self.network(views.images)[:, 0].clamp(0, 1)


class Training(Stage):
    name = "network"

    def __init__(self, network, loop):
        self.networks, self.loop = {"network": network}, loop

    def prepare(self, cases, cache, device):
        self.cases = cases

    def batches(self, split):  # items of (views (V, h, w), volume (D, H, W)); the harness draws the batches
        cases = self.cases[split]
        return Items(len(cases), lambda i: (cases.images([i])[0], cases.volumes([i])[0]), ahead=True)

    def optimizers(self):
        return {"adam": torch.optim.Adam(self.networks["network"].parameters(), lr=2e-3)}

    def rate(self, step):  # the learning rate falls to nothing
        return 1 - step / self.loop.steps

    def step(self, batch, update, step):
        views, volumes = batch
        loss = nn.functional.mse_loss(self.networks["network"](views)[:, 0], volumes)
        update("adam", loss)
        return {"loss": loss.detach()}
