"""Sampling: the published loop beside ours at fewer and fewer steps, and whether what is drawn stays as good.

Quality needs a trained run. Judged are, case by case, the PSNR of the decoded sample, the bound of −log p of the
drawn codes under the model itself, and whether coverage counts the case. A number of steps counts as equal where the
interval of each paired difference holds 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from prdc.prdc import compute_nearest_neighbour_distances, compute_pairwise_distance

from bench.cases import Cases
from bench.method import Method
from bench.metrics.distortion import psnr
from bench.metrics.stats import paired_differences
from bench.performance.hooks import Sampler, sampler
from bench.performance.rows import Row
from bench.performance.timing import Bench
from bench.scoring.fidelity import calling_prdc, encode
from bench.scoring.protocols import DEFAULT, get_protocol
from bench.system.seeding import derived_seed

TOGETHER = 8  # cases drawn at once by ours
NEAREST = 5  # neighbours of coverage, as in the default protocol


@dataclass(frozen=True)
class Drawn:
    """What was drawn for some cases."""

    judged: np.ndarray  # (n, 2): PSNR in dB, bound in nats a code
    features: np.ndarray  # (encoders, n, features) of the volumes


def sampling_rows(
    name: str, method: Method, cases: Cases, run: str, bench: Bench, steps: Sequence[int] = ()
) -> Iterator[Row]:
    """A row for each number of steps, by default all and the powers of two below; seconds a case.

    Quality is judged where `run` names the trained run; both ways are timed on the first cases only. Raises UsageError
    for more steps than there are codes.
    """
    tool = sampler(method)
    if tool is None:
        return
    groups = [range(first, min(first + TOGETHER, len(cases))) for first in range(0, len(cases), TOGETHER)]
    first = groups[0]
    seeds = _seeds(cases, first)
    counts = steps or [tool.steps, *(2**power for power in reversed(range(16)) if 2**power < tool.steps)]
    with torch.inference_mode():
        context = tool.context(cases.views(first).to(bench.device))
        truth = [] if not run else [cases.volumes([index])[0] for index in range(len(cases))]
        published = _drawn(tool, cases, groups, None, bench) if run else None
        real = _features(truth, cases) if run else np.empty(0)
        for count in counts:
            found: dict[str, Any] = {}
            if published is not None:
                found["equal"], found["note"] = compared(published, _drawn(tool, cases, groups, count, bench), real)
            yield bench.measure(
                f"sampling/{name}/{count}",
                lambda count=count: tool.draw(context, seeds, count),  # type: ignore[misc]
                lambda: tool.published(context, seeds),
                per=len(first),
                size=f"{run or 'untrained'}, {tool.steps} codes, {len(first)} cases at once",
                **found,
            )


def compared(published: Drawn, ours: Drawn, real: np.ndarray) -> tuple[bool, str]:
    """Whether ours are as good as those of the published loop, and the paired differences in words.

    `real` are features of the true volumes.
    """
    labels = [("PSNR", " dB"), ("bound", " nats a code")]
    before, after = published.judged, ours.judged
    if len(real[0]) >= NEAREST + 2:
        labels.append(("coverage", ""))
        before, after = (np.column_stack([drawn.judged, covered(real, drawn.features)]) for drawn in (published, ours))
    found = paired_differences(after, before).means
    equal, words = True, []
    for column, (label, unit) in enumerate(labels):
        low, high = found.low[column], found.high[column]
        same = low <= 0 <= high
        equal &= bool(same)
        words.append(
            f"{label} {found.mean[column]:+.3f}{unit} [{low:+.3f}, {high:+.3f}] {'equal' if same else 'not equal'}"
        )
    return equal, "; ".join([*words, f"{len(ours.judged)} cases"])


def _drawn(tool: Sampler, cases: Cases, groups: Sequence[range], steps: int | None, bench: Bench) -> Drawn:
    volumes: list[torch.Tensor] = []
    judged: list[list[float]] = []
    for group in groups:
        context, seeds = tool.context(cases.views(group).to(bench.device)), _seeds(cases, group)
        codes = tool.published(context, seeds) if steps is None else tool.draw(context, seeds, steps)
        made = tool.decode(codes).float().cpu()
        nats = (tool.nats(codes, context, seeds) / codes.shape[1]).cpu().numpy()
        truth = cases.volumes(group).numpy()
        judged += [[psnr(t, m, data_range=1.0) or np.nan, n] for t, m, n in zip(truth, made.numpy(), nats, strict=True)]
        volumes += list(made)
    return Drawn(np.array(judged), _features(volumes, cases))


def _features(volumes: Sequence[torch.Tensor], cases: Cases) -> np.ndarray:
    """(encoders, cases, features) under the default protocol."""
    settings = get_protocol(DEFAULT).fidelity
    assert settings is not None
    return encode(volumes, cases.card.size, settings, torch.device("cpu"))["3d"]


def covered(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """For each case (n,) the share of encoders by which something made is nearer to it than its k-th neighbour.

    `real` and `made` are (encoders, n, features); the mean over cases is the coverage of Naeem et al. (ICML 2020).
    """
    with calling_prdc():
        shares = [
            compute_pairwise_distance(r, m).min(1) < compute_nearest_neighbour_distances(r, NEAREST)
            for r, m in zip(real, made, strict=True)
        ]
    return np.mean(shares, axis=0)


def _seeds(cases: Cases, group: Sequence[int]) -> list[int]:
    return [derived_seed("performance", cases.names[index]) for index in group]
