"""What is known of a run: its record, run.json; the name that follows from it; and its line in the results."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.dataset import Split, format_views
from bench.plugins.config import RunConfig
from bench.system.csv_files import escape_cell
from bench.system.files import digest_of
from bench.system.text import Line

Status = Literal["running", "stopped", "failed", "fitted", "predicted", "done"]
Origin = Literal["builtin", "plugin", "pretrained", "external", "published"]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seed = Count  # as PyTorch takes it
Seconds = Annotated[float, Field(ge=0)]
PHASES = ("fit", "fit_cpu", "predict", "score")
ROUNDED = {"tf32": "computed in TF32", "bf16": "computed in bfloat16"}  # what tables say of precisions but float32


class StageRecord(BaseModel):
    """A stage that was trained."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    sha256: Line  # of its weights
    after: Line  # of the weights of the stages before it
    steps: Count
    seconds: float | None = None  # None of weights that came in a file
    cpu_seconds: float | None = None  # of the first process, all its threads together
    parts: int = 1  # in which each batch was taken at the end


class DataRecord(BaseModel):
    """The data a run was made of."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    source: Literal["real", "phantom"]  # of the test cases
    fingerprint: Line
    trained_on: Literal["real", "phantom"] | None = None  # source of the training cases, of a run that takes two
    remark: Line | None = None  # how the two differ
    counts: dict[str, int] = {}
    grey_scale: float | None = None
    voxel_mm: float | None = None
    window: tuple[float, float] | None = None  # HU


class ProtocolRecord(BaseModel):
    """The protocol a run was begun under, whose rows alone hold its times."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    id: Line
    sha256: Line


class RunRecord(BaseModel):
    """The content of run.json. What a phase has not yet said is None or empty."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    run_id: Line
    status: Status
    seed: Seed
    split: Split
    config: RunConfig
    config_sha256: Line
    data: DataRecord
    protocol: ProtocolRecord
    parameters: Count
    provenance: dict[str, Any]
    started: Line
    origin: Origin = "builtin"
    plugin_sha256: Line | None = None
    pretrained_sha256: Line | None = None
    pretrained_of: Line | None = None
    remark: Line | None = None  # of the method, on what its numbers depend on
    error: Line | None = None
    stages: dict[str, StageRecord] = {}
    seconds: dict[Line, Seconds] = {}  # by phase
    infer_seconds: dict[Line, Seconds] = {}  # of a case, by part of the method
    peak_memory_mib: float | None = None
    scored: dict[str, str] = {}  # protocol → its hash
    scored_by: dict[Line, Line] = {}  # protocol → version of the code that scored it
    predictions_sha256: Line | None = None  # of their manifest
    samples: Annotated[int, Field(ge=1, lt=2**31)] = 1  # of a case, of which predictions_sha256 is of the first …
    samples_sha256: Line | None = None  # … and this of the others; None without
    beside_sha256: Line | None = None  # of what else they hold: see bench.runs.manifest
    draws: bool | None = None  # whether the method says that its samples differ
    finished: Line | None = None

    @property
    def expected_run_id(self) -> str:
        """The name that follows from what the record says."""
        sources = (self.plugin_sha256, self.pretrained_sha256)
        return run_name(self.config, self.seed, self.split, self.data.fingerprint, *sources)

    @property
    def line(self) -> "RunLine":
        """The run's line in the results."""
        low, high = self.data.window or (None, None)
        packages = self.provenance.get("packages")
        same = ("run_id", "status", "origin", "split", "seed", "config_sha256", "parameters")
        texts = ("finished", "predictions_sha256", "pretrained_of", "pretrained_sha256")
        known: dict[str, Any] = {name: getattr(self, name) for name in same}
        known |= {name: getattr(self, name) or "" for name in texts}
        known |= {f"seconds_{phase}": round(s, 1) for phase, s in self.seconds.items() if phase in PHASES}
        return RunLine(
            **known,
            method=self.config.method,
            dataset=self.config.dataset,
            source=self.data.source,
            trained_on=self.data.trained_on or "",
            data_remark=self.data.remark or "",
            preset=self.config.preset,
            views=format_views(self.config.data.angles),
            size=self.config.data.size,
            voxel_mm=self.data.voxel_mm,
            window_low=low,
            window_high=high,
            data_fingerprint=self.data.fingerprint,
            code_version=str(self.provenance.get("code_version", "")),
            steps=sum(stage.steps for stage in self.stages.values()),
            peak_memory_mib=None if self.peak_memory_mib is None else round(self.peak_memory_mib),
            device=str(self.provenance.get("device", "")),
            torch=str(packages.get("torch", "")) if isinstance(packages, dict) else "",
            remark=escape_cell("; ".join(s for s in (self.remark, ROUNDED.get(self.config.fit.precision)) if s)),
            precision=self.config.fit.precision,
        )


class RunLine(BaseModel):
    """What the results say of a run beside its scores: text is empty and a number None where it is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    run_id: Line
    status: Status = "done"
    method: Line
    origin: Origin = "builtin"
    dataset: Line
    source: Literal["real", "phantom", ""] = ""  # of the test cases
    split: Line = "test"
    preset: Line
    seed: Seed | None = None
    views: Line = ""  # gantry angles in degrees, joined by +
    size: Count | None = None  # voxels a side
    voxel_mm: float | None = None
    window_low: float | None = None  # HU
    window_high: float | None = None
    data_fingerprint: Line = ""
    config_sha256: Line = ""
    code_version: Line = ""  # that made the run
    parameters: Count | None = None
    steps: Count | None = None
    seconds_fit: float | None = None
    seconds_predict: float | None = None
    seconds_score: float | None = None
    peak_memory_mib: float | None = None
    device: Line = ""
    torch: Line = ""
    finished: Line = ""
    predictions_sha256: Line = ""
    pretrained_of: Line = ""
    pretrained_sha256: Line = ""
    resampled: Line = ""
    remark: Line = ""
    error: Line = ""
    precision: Line = ""  # fp32, tf32 or bf16, of training and prediction
    seconds_fit_cpu: float | None = None  # of the processors, which other work on the machine hardly changes
    trained_on: Literal["real", "phantom", ""] = ""  # source of the training cases; left empty, that of the test cases
    data_remark: Line = ""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        return {**values, "trained_on": values.get("trained_on") or values.get("source", "")}


def run_name(
    config: RunConfig, seed: int, split: str, fingerprint: str, code: str | None = None, weights: str | None = None
) -> str:
    """Return method-dataset-preset-s<seed>-<hash8 of everything else the numbers depend on>.

    `code` is the SHA-256 of a plug-in's file: an edited plug-in is another run. So is one that was not trained but
    given weights of a file, which has the SHA-256 `weights`.
    """
    facts = {"config": config.sha256(), "split": split, "data": fingerprint, "code": code, "weights": weights}
    digest = digest_of({name: fact for name, fact in facts.items() if fact is not None})
    return f"{config.method}-{config.dataset}-{config.preset}-s{seed}-{digest[:8]}"
