"""A run that failed still has its row: `error` with the reason, until the same request succeeds."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.data.cases import load_dataset
from bench.data.sources import choose_source
from bench.dataset import DataConfig, DatasetCard, format_views
from bench.errors import BenchError
from bench.metrics import Space
from bench.pipeline.plan import RunRequest
from bench.plugins.config import merge, parse_overrides, validate, variant_changes
from bench.plugins.registry import get_dataset, get_method
from bench.runs.record import Origin, RunLine
from bench.scoring.protocols import get_protocol
from bench.scoring.rows import Score
from bench.scoring.store import drop_run, put_run
from bench.system.csv_files import escape_cell
from bench.system.files import digest_of
from bench.system.provenance import code_version
from bench.system.text import describe_error

SHOWN: tuple[tuple[Space, str], ...] = (("3d", "all"), ("mip", "mean"), ("drr", "heldout"))  # of a method's PSNR
CHOICES = ("protocol", "source", "split", "from_pretrained")  # that make another request, and its id does not show


def record_failure(request: RunRequest, error: BaseException) -> None:
    """Enter a run that failed in the results: its line and, where its data can be loaded, an error for its scores."""
    reason, card = describe_error(error), _card(request)
    method, origin = _name_and_origin(request.method)
    line = RunLine(
        run_id=_failure_id(request),
        status="failed",
        method=method,
        origin=origin,
        dataset=_label(request.dataset),
        split=request.split,
        preset=request.preset,
        seed=request.seed,
        error=escape_cell(reason),
    )
    if card is None:
        put_run(request.results_dir, line, [])
        return
    low, high = card.window
    known = {"dataset": card.name, "source": card.source, "size": card.size, "window_low": low, "window_high": high}
    known |= {"trained_on": card.trained_on or card.source}
    known |= {"data_fingerprint": card.fingerprint, "views": format_views(card.angles)}
    protocol = get_protocol(request.protocol)
    made = {"protocol": protocol.id, "protocol_hash": protocol.sha256(), "code_version": code_version()}
    said = {"value": None, "n": 0, "status": "error", "note": f"error: {reason}"}
    mean = {"metric": "psnr", "level": "set", "stat": "mean"}
    scores = [Score.model_validate({"space": space, "axis": axis, **made, **mean, **said}) for space, axis in SHOWN]
    put_run(request.results_dir, line.model_copy(update=known), scores)


def forget_failure(request: RunRequest) -> None:
    """Remove an earlier failure of the same request from the results."""
    drop_run(request.results_dir, _failure_id(request))


def _failure_id(request: RunRequest) -> str:
    """method-dataset-preset-s<seed>-failed, with a hash of all else that was asked for and is not the default."""
    usual = RunRequest(request.method, request.dataset)
    asked: dict[str, Any] = {name: getattr(request, name) for name in CHOICES}
    asked = {name: value for name, value in asked.items() if value != getattr(usual, name)}
    named = {"method": request.method, "dataset": request.dataset}
    asked |= {kind: name for kind, name in named.items() if _label(name) != name}  # files of one name are many
    if request.overrides:  # in the order of their keys; of those with one key the last counts, so theirs is kept
        asked["overrides"] = sorted(request.overrides, key=lambda override: override.partition("=")[0].strip())
    plain = f"{_label(request.method)}-{_label(request.dataset)}-{request.preset}-s{request.seed}-failed"
    return f"{plain}.{digest_of(asked)[:8]}" if asked else plain


def _name_and_origin(method: str) -> tuple[str, Origin]:
    """Those of the runs that succeed, or of a class that cannot be read its file's name."""
    try:
        plugin = get_method(method)
    except BenchError:  # what comes with the harness can be imported
        return _label(method), "plugin"
    return plugin.card.name, "builtin" if plugin.builtin else "plugin"


def _label(reference: str) -> str:
    """A name for what may not even be importable: `mine` of path/to/mine.py:Mine."""
    path = reference.partition(":")[0] if ".py" in reference else reference
    return re.sub(r"[^A-Za-z0-9._+-]", "_", Path(path).name.removesuffix(".py"))[:64]


def _card(request: RunRequest) -> DatasetCard | None:
    """The card of the data that were asked for; None where they cannot be loaded either."""
    try:
        spec = get_dataset(request.dataset)
        changes = parse_overrides(request.overrides)
        with suppress(BenchError):  # where the method is what failed, its variant cannot matter
            changes = merge(variant_changes(get_method(request.method), request.preset), changes)
        data = merge(spec.presets[request.preset].model_dump(), changes.get("data", {}))
        chosen, _ = choose_source(spec, request.source)
        return load_dataset(spec, validate(DataConfig, data, "data."), chosen)["test"].card
    except Exception:  # the failure at hand is reported, not this one
        return None
