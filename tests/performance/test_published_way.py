"""The published way is our computation, only longer; and the count of memory is right where it is known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.card import Loop
from bench.errors import BenchError
from bench.method import Stage, Update
from bench.performance import comparisons, measuring
from bench.performance.comparisons import compare_losses, judge_samples, measure_loops, measure_steps
from bench.performance.estimate import Saved, count_memory
from bench.performance.measuring import Bench
from bench.performance.subjects import (
    Request,
    Subject,
    find_offer,
    list_methods,
    make_subject,
    prepare_stage,
    take_views,
)
from bench.plugins.registry import get_dataset

CPU = torch.device("cpu")
BENCH = Bench(CPU, 1, seconds=0.0)
METHODS = ["ccx_raygan", "ccx_raynet", "codediff", "mednerf", "x2ctgan"]
BASELINES = ["lift_unet"]  # published nowhere


def make_smoke(name: str) -> Subject:
    return make_subject(name, get_dataset("lidc"), "smoke", CPU)


def test_every_published_method_offers_its_published_step() -> None:
    assert list_methods() == sorted(METHODS + BASELINES)
    assert all(find_offer(name, "make_published_stages", None) is None for name in BASELINES)


@pytest.mark.parametrize("name", METHODS)
def test_the_published_steps_have_our_losses_from_the_same_weights(name: str) -> None:
    subject = make_smoke(name)
    twins = find_offer(name, "make_published_stages", None)(subject.method)
    assert twins
    for stage in (stage for stage in subject.stages if stage.name in twins):
        if name.startswith("ccx"):
            subject.method.masks.networks.eval()  # type: ignore[attr-defined]
        network = next(iter(stage.networks.values()))
        before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        chances = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
        with prepare_stage(subject, stage, CPU) as make_batch:
            assert compare_losses(stage, twins[stage.name], make_batch(stage.loop.batch_size)) < 1e-3
        moved = [not torch.equal(before[key], after) for key, after in network.state_dict().items()]
        assert any(moved)  # steps were taken
        assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == chances


def test_a_published_step_that_is_another_one_is_refused() -> None:
    subject = make_smoke("codediff")
    (stage,) = (stage for stage in subject.stages if stage.name == "transformer")
    twin = find_offer("codediff", "make_published_stages", None)(subject.method)["transformer"]
    with torch.no_grad():
        twin.networks["transformer"].head.weight.mul_(1.1)
    with prepare_stage(subject, stage, CPU) as make_batch, pytest.raises(BenchError, match="is not the same step"):
        compare_losses(stage, twin, make_batch(4))


def test_loops_and_steps_are_measured_and_cut_batches_do_not_replace_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "LOOP_STEPS", (2, 2))
    monkeypatch.setattr(measuring, "LEAST", 1)
    asked = {"methods": ("codediff",), "preset": "smoke", "stages": ("transformer",)}
    (loop,) = measure_loops(Request(**asked), BENCH)  # type: ignore[arg-type]
    (full,) = measure_steps(Request(**asked), BENCH)  # type: ignore[arg-type]
    (cut,) = measure_steps(Request(**asked, batch=2), BENCH)  # type: ignore[arg-type]
    assert (loop.item, loop.size) == ("loop/codediff/transformer", "smoke, 2 steps a repetition")
    assert (full.item, full.size) == ("step/codediff/transformer", "smoke, volumes of 16³, batch 4")
    assert (cut.item, cut.size) == (f"{full.item}, smoke, batch 2 of 4", "smoke, volumes of 16³, batch 2")
    assert all("losses of the first step differ by" in row.note for row in (full, cut))
    assert all((row.ours_s or 0) > 0 and (row.reference_s or 0) > 0 for row in (loop, full, cut))


@pytest.mark.trains
def test_all_steps_of_ours_draw_what_the_published_loop_draws_with_fewer_passes(seed: int) -> None:
    subject = make_smoke("codediff")
    tool = find_offer("codediff", "make_sampler", None)(subject.method)
    passes = {"ours": 0, "published": 0}
    for label, transformer in (("ours", subject.method.transformer), ("published", tool.transformer)):  # type: ignore[attr-defined]
        transformer.eval().head.register_forward_hook(
            lambda *_, label=label: passes.__setitem__(label, passes[label] + 1)  # type: ignore[misc]
        )
    views, seeds = take_views(subject.cases["test"], range(3), CPU)
    seeds = [one + seed for one in seeds]
    with torch.inference_mode():
        context = tool.context(views)
        assert torch.equal(tool.published(context, seeds), tool.draw(context, seeds, tool.steps))
        few = tool.draw(context, seeds, 4)
        taken = dict(passes)
        judged = [judge_samples(tool, subject.cases["test"], n, np.empty(0), BENCH) for n in (None, tool.steps)]
    assert judged[0].shape == (1, 2)
    assert np.isfinite(judged[0]).all()
    assert np.array_equal(*judged)
    assert taken["published"] == 3 * tool.steps
    assert taken["ours"] - 4 < 0.8 * tool.steps  # a step reveals nothing of a case with probability 1/e
    assert few.shape == (3, tool.steps)
    assert (few < subject.method.transformer.mask_code).all()  # type: ignore[attr-defined]


def test_saved_activations_are_counted_once_each_and_let_go() -> None:
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(11, 7)
    saved = Saved({weight.untyped_storage().data_ptr()})
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda kept: kept.tensor):
        hidden = x @ weight.T  # keeps x
        loss = hidden.exp().square().sum()  # keeps exp(hidden), once though two operations need it
    assert saved.now == saved.most == 4 * (11 * 7 + 11 * 5)
    loss.backward()
    del hidden, loss
    assert (saved.now, saved.most) == (0, 4 * (11 * 7 + 11 * 5))


class Chain(Stage):
    """Layers of one width."""

    name, averaged, loop = "chain", ("net",), Loop(steps=1, average_decay=0.9)

    def __init__(self, width: int, layers: int) -> None:
        parts = [part for _ in range(layers) for part in (nn.Linear(width, width, bias=False), nn.Tanh())]
        self.networks = {"net": nn.Sequential(*parts)}

    def batches(self, split: str):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.SGD(self.networks["net"].parameters(), 0.1, momentum=0.9)}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        loss = self.networks["net"](batch).sum()
        update("net", loss)
        return {"loss": loss.detach()}


def test_the_memory_of_a_chain_of_layers_is_worked_out_by_hand() -> None:
    width, layers, cases = 16, 5, 3
    memory = count_memory(Chain(width, layers), torch.randn(cases, width))
    weights = 4 * layers * width * width
    assert (memory.weights, memory.gradients, memory.optimisers, memory.average) == (weights,) * 4
    assert memory.activations == 4 * cases * width * (layers + 1)  # the input, and every tanh's output
