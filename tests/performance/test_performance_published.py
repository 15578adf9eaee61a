"""The published way is our computation, only longer; and the count of memory is right where it is known."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.card import Loop
from bench.cases import Cases
from bench.errors import BenchError
from bench.method import Stage, Update
from bench.performance.hooks import growing, published_reconstruct, published_stages, sampler
from bench.performance.memory import Estimate, Saved, estimate
from bench.performance.steps import compare_losses, undropped
from bench.performance.subjects import Subject, prepared, random_subject, trained_stages
from bench.plugins.registry import discover_methods, get_dataset

CPU = torch.device("cpu")
METHODS = ["ccx_raygan", "ccx_raynet", "codediff", "mednerf", "x2ctgan"]


def subject(name: str) -> Subject:
    return random_subject(name, get_dataset("lidc"), "smoke")


def test_every_method_offers_its_published_step() -> None:
    methods = {name for name, plugin in discover_methods()[0].items() if plugin.card.kind == "method"}
    assert methods == set(METHODS)
    for name in METHODS:
        assert published_stages(subject(name).method), name


@pytest.mark.parametrize("name", METHODS)
def test_the_published_steps_have_our_losses_from_the_same_weights(name: str) -> None:
    known = subject(name)
    twins = published_stages(known.method)
    for stage in trained_stages(known.method):
        if stage.name not in twins:
            continue
        if name.startswith("ccx"):
            known.method.masks.networks.eval()  # type: ignore[attr-defined]
        before = {key: tensor.clone() for key, tensor in next(iter(stage.networks.values())).state_dict().items()}
        with prepared(known, stage, CPU) as batch:
            assert compare_losses(stage, twins[stage.name], batch) < 1e-3
        after = next(iter(stage.networks.values())).state_dict()
        assert any(not torch.equal(before[key], after[key]) for key in before)  # a step was taken


def test_a_published_step_that_is_another_one_is_refused() -> None:
    known = subject("codediff")
    (stage,) = (stage for stage in trained_stages(known.method) if stage.name == "transformer")
    twin = published_stages(known.method)["transformer"]
    with torch.no_grad():
        twin.networks["transformer"].head.weight.mul_(1.1)  # type: ignore[union-attr]
    with prepared(known, stage, CPU) as batch, pytest.raises(BenchError, match="transformer is not the same step"):
        compare_losses(stage, twin, batch)


def test_comparing_leaves_dropout_as_it_was() -> None:
    (stage,) = (stage for stage in trained_stages(subject("codediff").method) if stage.name == "transformer")
    layers = [m for m in stage.networks["transformer"].modules() if isinstance(m, nn.Dropout)]
    chances = [layer.p for layer in layers]
    with undropped(stage):
        assert {layer.p for layer in layers} == {0.0}
    assert [layer.p for layer in layers] == chances
    assert max(chances) > 0


@pytest.mark.parametrize("name", ["codediff", "x2ctgan", "ccx_raynet"])
def test_the_published_reconstruction_is_ours(name: str) -> None:
    known = subject(name)
    for stage in known.method.stages():
        for network in stage.networks.values():
            network.eval()
    published = published_reconstruct(known.method)
    assert published is not None
    views = known.cases["test"].views([0, 0])
    with torch.inference_mode():
        theirs, ours = published(views, [1, 2]), known.method.reconstruct(views, seeds=[1, 2])
    assert torch.allclose(theirs, ours, atol=1e-4)
    assert ours.std() > 0


def test_all_steps_of_ours_draw_what_the_published_loop_draws_with_fewer_passes() -> None:
    known = subject("codediff")
    tool = sampler(known.method)
    assert tool is not None
    transformer: nn.Module = known.method.transformer.eval()  # type: ignore[attr-defined]
    known.method.image_autoencoder.eval()  # type: ignore[attr-defined]
    tool.transformer.eval()  # type: ignore[attr-defined]
    passes = {"ours": 0, "published": 0}
    hooks = (("ours", transformer.head), ("published", tool.transformer.head))  # type: ignore[attr-defined]
    for label, head in hooks:
        head.register_forward_hook(lambda *_, label=label: passes.__setitem__(label, passes[label] + 1))  # type: ignore[misc]
    views = known.cases["test"].views([0, 0, 0])
    with torch.inference_mode():
        context = tool.context(views)
        assert torch.equal(tool.published(context, [1, 2, 3]), tool.draw(context, [1, 2, 3], tool.steps))
        few = tool.draw(context, [1, 2, 3], 4)
    assert passes["published"] == 3 * tool.steps
    assert passes["ours"] - 4 < 0.8 * tool.steps  # a step reveals nothing of a case with probability 1/e
    assert few.shape == (3, tool.steps)
    assert (few < transformer.mask_code).all()  # type: ignore[operator]


def test_work_that_grows_is_offered_for_axes_the_method_has() -> None:
    work = growing("codediff", "tokens", 32)
    assert work is not None
    assert work().shape == (1, 32, 256)
    assert growing("codediff", "volume side", 32) is None
    assert growing("x2ctgan", "tokens", 32) is None


def test_saved_activations_are_counted_once_each_and_let_go(make_data: Callable[..., dict[str, Cases]]) -> None:
    weight = torch.randn(5, 7, requires_grad=True)
    saved = Saved({weight.untyped_storage().data_ptr()})
    x = torch.randn(11, 7)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor):
        hidden = x @ weight.T  # keeps x
        loss = hidden.exp().square().sum()  # keeps exp(hidden), once though two operations need it
    assert saved.now == saved.most == 4 * (11 * 7 + 11 * 5)
    loss.backward()
    del hidden, loss
    assert saved.now == 0
    assert saved.most == 4 * (11 * 7 + 11 * 5)


class Chain(Stage):
    """n layers of one width on one case."""

    name = "chain"
    averaged = ("net",)

    def __init__(self, width: int, layers: int) -> None:
        self.loop = Loop(steps=1, average_decay=0.9)
        chain = [part for _ in range(layers) for part in (nn.Linear(width, width, bias=False), nn.Tanh())]
        self.networks = {"net": nn.Sequential(*chain)}

    def batches(self, split: str):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.SGD(self.networks["net"].parameters(), 0.1, momentum=0.9)}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        loss = self.networks["net"](batch).sum()
        update("net", loss)
        return {"loss": loss.detach()}


def test_the_estimate_of_a_chain_of_layers_is_worked_out_by_hand() -> None:
    width, layers, cases = 16, 5, 3
    found = estimate(copy.deepcopy(Chain(width, layers)), torch.randn(cases, width))
    weights = 4 * layers * width * width
    assert (found.weights, found.gradients, found.optimisers, found.average) == (weights,) * 4
    assert found.activations == 4 * cases * width * (layers + 1)  # the input, and every tanh's output


def test_what_fits_is_what_is_left_over_the_activations_of_a_case() -> None:
    found = Estimate(weights=10, gradients=10, optimisers=20, average=10, activations=7)
    assert found.total(3) == 50 + 21
    assert found.largest(71) == 3
    assert found.largest(70.9) == 2
    assert found.largest(10) == 0
