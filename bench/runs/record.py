"""What run.json says of a run: the name that follows from it, and its line in runs.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.dataset import views_text
from bench.plugins.config import RunConfig
from bench.runs.predictions import read_manifest
from bench.system.files import digest_of


def full_name(
    config: RunConfig, seed: int, split: str, fingerprint: str, code: str | None = None, weights: str | None = None
) -> str:
    """method-dataset-preset-s<seed>-<hash8 of everything else the numbers depend on>.

    `code` is the SHA-256 of a plug-in's file: an edited plug-in is another run. So is one that was not trained but
    given pretrained weights, whose file has the SHA-256 `weights`.
    """
    facts = {"config": config.sha256(), "split": split, "data": fingerprint, "code": code, "weights": weights}
    digest = digest_of({name: fact for name, fact in facts.items() if fact is not None})
    return f"{config.method}-{config.dataset}-{config.preset}-s{seed}-{digest[:8]}"


def name_of_record(record: Mapping[str, Any]) -> str:
    """The name a run with this run.json must have. Raises KeyError and pydantic's ValidationError for a damaged one."""
    config = RunConfig.model_validate(record["config"])
    sources = (record.get("plugin_sha256"), record.get("pretrained_sha256"))
    return full_name(config, record["seed"], record["split"], record["data"]["fingerprint"], *sources)


def predictions_sha256(files: Mapping[str, str]) -> str:
    """One hash of a set of predictions, from the SHA-256 of the file of each case."""
    return digest_of(dict(files))


def folder_sha256(folder: Path) -> str:
    """The same of a folder of ours, from its manifest."""
    return predictions_sha256({case: entry.sha256 for case, entry in read_manifest(folder).items()})


def run_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """The run's line in runs.csv; None where run.json does not say."""
    config, data, seconds = record["config"], record["data"], record["seconds"]
    low, high = data.get("window", (None, None))
    return {
        "run_id": record["run_id"],
        "status": record["status"],
        "method": config["method"],
        "origin": record.get("origin", "builtin"),
        "dataset": config["dataset"],
        "source": data["source"],
        "split": record["split"],
        "preset": config["preset"],
        "seed": record["seed"],
        "views": views_text(config["data"]["angles"]),
        "protocol": "+".join(sorted(record["scored"])),
        "size": config["data"]["size"],
        "voxel_mm": data.get("voxel_mm"),
        "window_low": low,
        "window_high": high,
        "data_fingerprint": data["fingerprint"],
        "config_sha256": record["config_sha256"],
        "code_version": record["provenance"]["code_version"],
        "parameters": record["parameters"],
        "steps": sum(stage["steps"] for stage in record.get("stages", {}).values()),
        **{f"seconds_{phase}": f"{seconds[phase]:.1f}" for phase in ("fit", "predict", "score") if phase in seconds},
        "peak_memory_mib": f"{record['peak_memory_mib']:.0f}" if "peak_memory_mib" in record else None,
        "device": record["provenance"]["device"],
        "torch": record["provenance"]["packages"]["torch"],
        "predictions_sha256": record.get("predictions_sha256"),
        "finished": record.get("finished"),
        **{name: record[name] for name in ("pretrained_sha256", "pretrained_of", "remark") if record.get(name)},
    }
