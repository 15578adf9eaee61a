"""Several samples of a case under a protocol: the mean of K, the best of K, and how often their interval holds the CT.

A regressor aims at the mean of what the views leave open, a sampler draws one of it, so the PSNR of one sample is below
that of a regressor even where the sampler knows more. What compares with a regressor is the mean of the samples.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.dataset import DatasetCard, to_hounsfield
from bench.metrics import BEST_OF_K, INTERVAL_COVERAGE, MEAN_OF_K, METRICS, SAMPLED, Space
from bench.metrics.ensembles import interval_shares, truth_ranks
from bench.scoring.anatomy import DECIMALS
from bench.scoring.cases import score_pair
from bench.scoring.protocol import CaseScore, Samples, SetScore
from bench.system.seeding import derive_seed

ALONE = "the method draws nothing: its one volume is the mean of any number of samples"
EQUAL = "all samples are equal"
ONE_SAMPLE = "one sample a case; `--samples K` takes several"


def score_samples(
    case: str, truth: np.ndarray, drawn: Sequence[np.ndarray], card: DatasetCard, settings: Samples
) -> list[CaseScore]:
    """Return the scores of the mean of K samples, the best sample in each score, and the share of voxels they enclose.

    `truth` and the K ≥ 2 samples are volumes (D, H, W) in [0, 1]. The best is chosen with the CT at hand, so it is no
    score that a method could reach. Shares are of all voxels and by class, by the CT's HU; samples that tie with the CT
    count by lot, the same at every call. Equal samples enclose nothing, which their note says.
    """
    count, volumes = len(drawn), np.stack(drawn)
    equal = all(np.array_equal(volumes[0], volume) for volume in volumes[1:])
    note = f"{EQUAL} ({count})" if equal else f"of {count} samples"
    single = [{s.metric: s for s in score_pair("3d", "all", truth, one, settings.scores)} for one in volumes]
    mean = volumes[0] if equal else volumes.mean(0)
    scores = [_of_k(s, MEAN_OF_K, note, count) for s in score_pair("3d", "all", truth, mean, settings.scores)]
    scores += [_of_k(_best([one[metric] for one in single]), BEST_OF_K, note, count) for metric in SAMPLED]
    return scores + list(_coverage(case, truth, volumes, card, settings, equal))


def score_alone(scores: Sequence[CaseScore]) -> list[CaseScore]:
    """Return the scores of a method that draws nothing as those of the mean of any number of samples."""
    mine = [s for s in scores if (s.space, s.axis) == ("3d", "all") and s.metric in SAMPLED]
    return [_of_k(score, MEAN_OF_K, ALONE, 1) for score in mine]


def no_sample_scores() -> list[SetScore]:
    """Return the scores of the mean of K samples where there is one sample a case: none, and why."""
    return [SetScore("3d", "all", metric + MEAN_OF_K, "mean", None, 0, note=ONE_SAMPLE) for metric in SAMPLED]


def _of_k(score: CaseScore, suffix: str, note: str, count: int) -> CaseScore:
    notes = "; ".join(part for part in (score.note, note) if part)
    return CaseScore(score.space, score.axis, score.metric + suffix, score.value, notes, count)


def _best(scores: Sequence[CaseScore]) -> CaseScore:
    """Return the best of the scores of one metric; undefined where it is undefined of any sample."""
    undefined = next((score for score in scores if score.value is None), None)
    if undefined is not None:
        return undefined
    choose = max if METRICS[scores[0].metric].direction == "up" else min
    return choose(scores, key=lambda score: score.value or 0.0)


def _coverage(
    case: str, truth: np.ndarray, volumes: np.ndarray, card: DatasetCard, settings: Samples, equal: bool
) -> Iterator[CaseScore]:
    """Yield the share of voxels between the lowest and the highest sample, of all and of each class."""
    count = len(volumes)
    ranks = truth_ranks(volumes, truth, np.random.default_rng(derive_seed("ties", case)))
    hounsfield = np.round(to_hounsfield(truth, card.window), DECIMALS)
    chosen = {INTERVAL_COVERAGE: np.ones_like(hounsfield, dtype=bool)}
    for band in settings.of(card.subject):
        chosen[f"{INTERVAL_COVERAGE}_{band.name}"] = (hounsfield >= band.low) & (hounsfield < band.high)
    for metric, voxels in chosen.items():
        space: Space = "3d" if metric == INTERVAL_COVERAGE else "tissue"
        if equal or not voxels.any():
            reason = f"{EQUAL} ({count})" if equal else "the truth has no such voxel"
            yield CaseScore(space, "all", metric, None, reason, count)
            continue
        stated, share = max(interval_shares(ranks[voxels], count).items())
        note = f"from the lowest to the highest of {count} samples, which holds {stated:.1%} of draws like them"
        yield CaseScore(space, "all", metric, share, note, count)
