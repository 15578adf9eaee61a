"""Reconstruct the cases of a split: one NIfTI and, where the method has one, one line of likelihood a case."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from filelock import FileLock

from bench.cases import take_first
from bench.distributed import from_main
from bench.errors import BenchError
from bench.method import Method
from bench.pipeline.fit import Run
from bench.plugins.guard import check_likelihood, check_tensor
from bench.runs.manifest import ENCODED_TRUTH, LIKELIHOOD, MANIFEST, find_intact
from bench.runs.predictions import sample_folder, write_prediction
from bench.scoring.bits import CaseLikelihood, per_case, read_likelihoods, write_likelihoods
from bench.system.seeding import derive_seed

CASES_AT_ONCE = 8  # fixed, so that a resumed run computes every case in the same company; fewer where memory is short


def predict(method: Method, run: Run, angles: Sequence[float], samples: int = 1, *, volumes_alone: bool = False) -> int:
    """Reconstruct every case of the run's split that has no intact prediction yet; return how many were made.

    `angles` are those at which the method's own X-ray images are wanted, where it can render any. Images, likelihood
    and encoded truth are of the first of several samples; with `volumes_alone` the latter two are not computed.
    The processes of a distributed run share the groups of cases. Raises BenchError, naming method and case, for an
    output that is no tensor of finite numbers of the right shape.
    """
    first = _predict_sample(method, run, angles, 0, volumes_alone)
    return first + sum(_predict_sample(method, run, (), index, True) for index in range(1, samples))


def sample_seeds(seed: int, names: Sequence[str], sample: int = 0) -> list[int]:
    """Return what decides all that is random about one sample of some cases, in a run of this seed."""
    own = ("sample",) if sample == 0 else ("sample", sample)
    return [derive_seed(seed, *own, name) for name in names]


def _predict_sample(method: Method, run: Run, angles: Sequence[float], sample: int, volumes_alone: bool) -> int:
    cases, accelerator = run.test, run.accelerator
    target = sample_folder(run.folder.predictions(run.split), sample)
    likely = "likelihood" in method.card.capabilities and not volumes_alone
    # released evaluations took a method's own encoding of the truth for the truth
    encodes = "oracle" in method.card.capabilities and method.card.kind == "method" and not volumes_alone
    present = set(find_intact(target))
    if encodes:
        present &= set(find_intact(target / ENCODED_TRUTH))
    if likely:
        present &= set(read_likelihoods(target / LIKELIHOOD))
    groups = [g for g in cases.groups(CASES_AT_ONCE) if not present.issuperset(cases.names[i] for i in g)]
    missing = from_main(groups)  # before any process makes one: all must divide the same list
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    what, at_once = f"reconstruct {cases.split}" + ("" if sample == 0 else f", sample {sample + 1}"), CASES_AT_ONCE
    predict_part = partial(_predict_group, method, run, angles, sample, encodes=encodes, likely=likely)
    with run.progress.task(what, len(mine)) as task:
        for done, group in enumerate(mine, start=1):
            made, at_once = _predict_parts(predict_part, group, at_once, run)
            if made:
                with FileLock(target / ".lock"):
                    entries = read_likelihoods(target / LIKELIHOOD) | {entry.case: entry for entry in made}
                    write_likelihoods(target / LIKELIHOOD, list(entries.values()))
            task.advance(done)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and not (target / MANIFEST).exists():
        raise BenchError(f"{target} holds no predictions: the split {cases.split} is empty")
    return sum(len(group) for group in mine)


def predict_validation(method: Method, run: Run, limit: int) -> int:
    """Reconstruct the first `limit` validation cases; return how many were made, none of a method that sees the truth
    or is made of the tested cases.

    They cost what as many test cases do, and show how a method errs on cases that nothing was trained on.
    """
    cases = take_first(run.cases["validation"], limit)
    if method.card.sees_truth or method.leaves_one_out or run.split == "validation" or not len(cases):
        return 0
    inner = replace(run, cases={**run.cases, "validation": cases}, split="validation")
    return predict(method, inner, (), volumes_alone=True)


def _predict_parts(
    predict_part: Callable[[Sequence[int]], list[CaseLikelihood]], group: Sequence[int], at_once: int, run: Run
) -> tuple[list[CaseLikelihood], int]:
    """Predict a group, so many cases at once and half of them whenever memory runs out; return how many went well.

    Raises BenchError when one case alone does not fit.
    """
    made: list[CaseLikelihood] = []
    left = list(group)
    while left:
        part = left[:at_once]
        try:
            with run.precision:
                made += predict_part(part)
            left = left[at_once:]
            continue
        except torch.OutOfMemoryError as error:
            reason = str(error).partition(". ")[0]
        # not in the handler: while the error lives, so does what filled the memory
        if len(part) == 1:
            raise BenchError(f"{run.test.names[part[0]]} alone does not fit into memory ({reason})")
        at_once = len(part) // 2
        if run.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        run.progress.say(f"out of memory with {len(part)} cases; going on with {at_once} at once")
    return made, at_once


@torch.inference_mode()
def _predict_group(
    method: Method, run: Run, angles: Sequence[float], sample: int, group: Sequence[int], *, encodes: bool, likely: bool
) -> list[CaseLikelihood]:
    """Write one sample of some cases; return their likelihoods where those are wanted.

    A method gets tensors of its own at each call: it may change them.
    """
    cases, device = run.test, run.accelerator.device
    target = sample_folder(run.folder.predictions(run.split), sample)
    names = [cases.names[i] for i in group]
    views = cases.views(group).to(device)
    seeds = sample_seeds(run.seed, names, sample)
    began = time.perf_counter()
    if method.card.sees_truth:
        made = method.reconstruct_truth(cases.volumes(group).to(device))
    else:
        made = method.reconstruct(views, seeds=seeds)
    shape, said = cases.hounsfield.shape[1:], f"{method.card.name} returned"
    volumes = check_tensor(made, names, shape, said)
    seconds = (time.perf_counter() - began) / len(names)
    images = None
    if angles and not method.card.sees_truth:
        images = method.renders(cases.views(group).to(device), angles, seeds=seeds)
    if images is not None:
        images = check_tensor(images, names, (len(angles), *views.images.shape[2:]), f"{method.card.name} rendered")
    for index, (name, volume) in enumerate(zip(names, volumes, strict=True)):
        own = None if images is None else images[index].numpy()
        write_prediction(target, name, volume.numpy(), cases, seconds=seconds, seed=run.seed, renders=own)
    if encodes:
        encoded = method.reconstruct_truth(cases.volumes(group).to(device))
        for name, volume in zip(names, check_tensor(encoded, names, shape, f"{said} of the truth"), strict=True):
            write_prediction(target / ENCODED_TRUTH, name, volume.numpy(), cases, seconds=0.0, seed=None)
    if not likely:
        return []
    volumes, views = cases.volumes(group).to(device), cases.views(group).to(device)
    bound = method.log_likelihood(volumes, views, seeds=[derive_seed(run.seed, "bound", name) for name in names])
    return per_case(names, check_likelihood(bound, names, f"{method.card.name} says it has a likelihood and returned"))
