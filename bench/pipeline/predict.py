"""Reconstruct the cases of a split: one NIfTI and, where the method has one, one line of likelihood a case."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from bench.cases import Views
from bench.distributed import from_main
from bench.errors import BenchError
from bench.method import Method
from bench.pipeline.fit import Run
from bench.plugins.guard import check_likelihood, check_tensor
from bench.runs.manifest import LIKELIHOOD, MANIFEST, find_intact
from bench.runs.predictions import ENCODED_TRUTH, write_prediction
from bench.scoring.bits import CaseLikelihood, per_case, read_likelihoods, write_likelihoods
from bench.system.seeding import derive_seed

CASES_AT_ONCE = 8  # fixed, so that a resumed run computes every case in the same company


def predict(method: Method, run: Run, angles: Sequence[float]) -> int:
    """Reconstruct every case of the run's split that has no intact prediction yet; return how many were made.

    `angles` are those at which the method's own X-ray images are wanted, where it can render any.
    The processes of a distributed run share the groups of cases. Raises BenchError, naming method and case, for an
    output that is no tensor of finite numbers of the right shape.
    """
    cases, target, accelerator = run.test, run.folder.predictions(run.split), run.accelerator
    likely = "likelihood" in method.card.capabilities
    groups = [range(i, min(i + CASES_AT_ONCE, len(cases))) for i in range(0, len(cases), CASES_AT_ONCE)]
    present, known = set(find_intact(target)), read_likelihoods(target / LIKELIHOOD)
    if _encodes_truth(method):
        present &= set(find_intact(target / ENCODED_TRUTH))
    missing = from_main(  # before any process makes one: all must divide the same list
        [
            group
            for group in groups
            if any(cases.names[i] not in present or (likely and cases.names[i] not in known) for i in group)
        ]
    )
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    with run.progress.task(f"reconstruct {cases.split}", len(mine)) as task:
        for done, group in enumerate(mine, start=1):
            made = _predict_group(method, run, group, angles)
            if made:
                _keep_likelihoods(target, made)
            task.advance(done)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and not (target / MANIFEST).exists():
        raise BenchError(f"{target} holds no predictions: the split {cases.split} is empty")
    return sum(len(group) for group in mine)


def _keep_likelihoods(target: Path, made: Sequence[CaseLikelihood]) -> None:
    with FileLock(target / ".lock"):
        known = read_likelihoods(target / LIKELIHOOD) | {entry.case: entry for entry in made}
        write_likelihoods(target / LIKELIHOOD, list(known.values()))


@torch.inference_mode()
def _predict_group(method: Method, run: Run, group: Sequence[int], angles: Sequence[float]) -> list[CaseLikelihood]:
    """Write the predictions of some cases; return their likelihoods, none of a method without."""
    cases, target, device = run.test, run.folder.predictions(run.split), run.accelerator.device
    names = [cases.names[i] for i in group]
    views = cases.views(group).to(device)
    seeds = [derive_seed(run.seed, "sample", name) for name in names]
    began = time.perf_counter()
    if method.card.kind == "ceiling":  # shows the best a method could do, so it sees the truth
        made = method.reconstruct_truth(cases.volumes(group).to(device))
    else:
        made = method.reconstruct(views, seeds=seeds)
    shape, said = cases.hounsfield.shape[1:], f"{method.card.name} returned"
    volumes = check_tensor(made, names, shape, said)
    seconds = (time.perf_counter() - began) / len(names)
    images = _render(method, cases.views(group).to(device), angles, names, seeds)
    for index, (name, volume) in enumerate(zip(names, volumes, strict=True)):
        own = None if images is None else images[index].numpy()
        write_prediction(target, name, volume.numpy(), cases, seconds=seconds, seed=run.seed, renders=own)
    if _encodes_truth(method):
        encoded = method.reconstruct_truth(cases.volumes(group).to(device))
        for name, volume in zip(names, check_tensor(encoded, names, shape, f"{said} of the truth"), strict=True):
            write_prediction(target / ENCODED_TRUTH, name, volume.numpy(), cases, seconds=0.0, seed=None)
    if "likelihood" not in method.card.capabilities:
        return []
    volumes, views = cases.volumes(group).to(device), cases.views(group).to(device)
    bound = method.log_likelihood(volumes, views, seeds=[derive_seed(run.seed, "bound", name) for name in names])
    return per_case(names, check_likelihood(bound, names, f"{method.card.name} says it has a likelihood and returned"))


def _encodes_truth(method: Method) -> bool:
    """Return whether a method's encoding of the truth is kept: released evaluations took it for the truth."""
    return "oracle" in method.card.capabilities and method.card.kind == "method"


def _render(
    method: Method, views: Views, angles: Sequence[float], names: Sequence[str], seeds: Sequence[int]
) -> Tensor | None:
    """The method's own images (B, A, h, w) on the CPU, or None. Raises BenchError for what is no such tensor."""
    images = method.renders(views, angles, seeds=seeds) if angles and method.card.kind != "ceiling" else None
    if images is None:
        return None
    shape = (len(angles), *views.images.shape[2:])
    return check_tensor(images, names, shape, f"{method.card.name} rendered")
