"""The first cases of a run as pictures; those of weights that come with a method before the other data are made."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from bench.cases import take_first
from bench.data.cases import load_few
from bench.errors import BenchError
from bench.metrics.distortion import psnr
from bench.pipeline.fit import Run, make_accelerator, place_networks
from bench.pipeline.plan import Plan, RunRequest, plan
from bench.pipeline.predict import sample_seeds
from bench.pipeline.pretrained import fill_pretrained
from bench.plugins.guard import build_method, check_tensor
from bench.plugins.shipped_weights import GREY_SCALE, Pretrained
from bench.system.foreign import keep_random_state, keep_settings
from bench.system.progress import Progress

PREVIEWED = 3  # cases of the test split


def draw_first(run: Run, title: str, volumes: Sequence[np.ndarray]) -> None:
    """Draw the first cases of the tested split and say their PSNR; `volumes` (D, H, W) in [0, 1] are what was made."""
    from bench.pictures.preview import preview_run  # brings Matplotlib, which takes a second

    cases, reached = run.test, []
    for index, (name, volume) in enumerate(zip(cases.names, volumes, strict=False)):
        heading = f"{title}, {cases.card.name} ({cases.card.source}), {run.folder.root.name}"
        preview_run(run.folder.previews / f"{name}.png", cases, index, volume, heading)
        value = psnr(cases.volumes([index])[0].numpy(), volume, data_range=1.0)
        reached.append("∞" if value is None else f"{value:.1f}")
    run.progress.say(f"first cases: PSNR {', '.join(reached)} dB; pictures in {run.folder.previews}")


@keep_random_state()
@keep_settings()
def show_first_cases(requests: Sequence[RunRequest], progress: Progress) -> None:
    """Reconstruct and draw the first phantoms of runs whose weights come with their method, and store nothing else.

    To see them no more phantoms are made than are drawn: the weights state the grey scale of their views. The runs make
    the same volumes again, in the same company of cases as ever. One that has pictures, takes other weights or fails is
    passed over; the run itself says why.
    """
    for request in requests:
        try:
            planned = plan(request)
            weights = planned.weights
            if not isinstance(weights, Pretrained) or planned.data.source != "phantom":
                continue
            if GREY_SCALE in weights.facts and not planned.folder.previews.exists():
                _show(planned, weights, progress)
        except (BenchError, torch.OutOfMemoryError):
            continue


def _show(planned: Plan, weights: Pretrained, progress: Progress) -> None:
    accelerator = make_accelerator(planned.request.device)
    spec, split, seed = planned.spec, planned.request.split, planned.request.seed
    with progress.task(f"prepare the first of {spec.name}", 1) as task:
        few = load_few(spec, planned.config.data, planned.data.source, split, PREVIEWED, task.counted)
    geometry = replace(few.card.geometry, grey_scale=float(weights.facts[GREY_SCALE]))
    cases = take_first(replace(few, card=replace(few.card, geometry=geometry)), PREVIEWED)
    run = Run({split: cases}, planned.folder, seed, accelerator, progress, planned.config.fit, split)
    method = build_method(planned.method, planned.settings, cases.card)
    fill_pretrained(weights, method.stages())
    place_networks(method, accelerator.device)
    with torch.inference_mode(), run.precision, progress.task(f"reconstruct with {method.card.title}", 1):
        views = cases.views(range(len(cases))).to(accelerator.device)
        made = method.reconstruct(views, seeds=sample_seeds(seed, cases.names))
    volumes = check_tensor(made, cases.names, cases.hounsfield.shape[1:], f"{method.card.name} returned")
    draw_first(run, method.card.title, [volume.numpy() for volume in volumes])
