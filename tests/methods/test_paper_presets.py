"""The preset `paper` of every method is built at its size, and the cheapest runs from end to end with few steps."""

import pytest
import torch

from bench.method import Stage
from bench.performance.subjects import make_subject
from bench.plugins.registry import discover_methods, get_dataset

METHODS = discover_methods()[0]
LARGEST = 400e6  # parameters; all training states of so many in float32 fit a GPU of 12 GiB


@pytest.mark.parametrize("dataset", ["lidc", "baggage"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_published_size_of_every_method_is_built(name: str, dataset: str) -> None:
    spec = get_dataset(dataset)
    subject = make_subject(name, spec, "paper", torch.device("cpu"))
    assert subject.cases["test"].hounsfield.shape[1:] == (spec.full_grid,) * 3
    networks = [network for stage in subject.method.stages() for network in stage.networks.values()]
    count = sum(parameter.numel() for network in networks for parameter in network.parameters())
    assert count < LARGEST
    assert (count > 1e6) == any(isinstance(stage, Stage) for stage in subject.method.stages())
