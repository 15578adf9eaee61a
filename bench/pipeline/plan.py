"""What a request comes to, before anything is computed: every name and number of it, resolved in one place."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.card import MethodPlugin, Settings
from bench.data.sources import ChosenData, choose_data
from bench.dataset import TRANSFER, DatasetSpec, Split
from bench.errors import UsageError
from bench.plugins.config import RunConfig, resolve
from bench.plugins.published_weights import Published, find_published
from bench.plugins.registry import get_dataset, get_method
from bench.plugins.shipped_weights import Pretrained, find_pretrained
from bench.runs.folder import RunFolder
from bench.runs.record import run_name
from bench.scoring import DEFAULT
from bench.scoring.protocol import Protocol
from bench.scoring.protocols import PROTOCOLS, get_protocol

Phase = Literal["fit", "predict", "score"]
MOST_SAMPLES = 1000  # whose folders have names of three digits


@dataclass(frozen=True)
class RunRequest:
    """What a user asks for."""

    method: str
    dataset: str
    preset: str = "tiny"
    seed: int = 0
    overrides: tuple[str, ...] = ()
    protocol: str = DEFAULT
    source: str = "auto"
    only: Phase | None = None
    device: str = "auto"
    split: Split = "test"
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")
    from_pretrained: bool = False  # take the weights that come with the method in place of training
    published: tuple[Path, ...] = ()  # checkpoints of the official code, taken in place of training
    samples: int = 1  # of a case; of a method that draws nothing one is all there is


@dataclass(frozen=True)
class Plan:
    """A request with all that its names stand for."""

    request: RunRequest
    method: MethodPlugin
    spec: DatasetSpec
    config: RunConfig
    settings: Settings  # the method's own part of the configuration
    protocol: Protocol
    data: ChosenData
    weights: Pretrained | Published | None  # given to the method in place of training
    code_sha256: str | None  # of a plug-in's file

    @property
    def run_id(self) -> str:
        """The name that follows from configuration, data, seed, code and weights."""
        weights = None if self.weights is None else self.weights.sha256
        request = self.request
        return run_name(self.config, request.seed, request.split, self.data.fingerprint, self.code_sha256, weights)

    @property
    def trained(self) -> "Plan | None":
        """The run whose weights this one takes, of a method that is tested on other data than its own."""
        if self.data.trained is None or self.weights is not None:
            return None
        request = replace(self.request, source=self.data.trained.source, only=None)
        return replace(self, request=request, data=self.data.trained)

    @property
    def draws(self) -> bool:
        """Whether the method says that several samples of a case differ."""
        return "samples" in self.method.card.capabilities

    @property
    def samples(self) -> int:
        """How many samples of a case the run gets; those that it has stay."""
        record = self.folder.record()
        return max(self.request.samples if self.draws else 1, record.samples if record else 1)

    @property
    def folder(self) -> RunFolder:
        """Where the run lies, whether or not it is there."""
        return RunFolder(self.request.runs_dir / self.config.dataset / self.config.method / self.run_id)


def plan(request: RunRequest) -> Plan:
    """Resolve a request; nothing is computed or written.

    Raises UsageError for a name, setting or choice that does not exist, PluginError for a broken plug-in, BenchError
    for data that are asked for and missing.
    """
    method, spec = get_method(request.method), get_dataset(request.dataset)
    config, settings = resolve(method, spec, request.preset, request.overrides)
    protocol = get_protocol(request.protocol)
    if not 1 <= request.samples <= MOST_SAMPLES:
        raise UsageError(f"--samples takes 1 to {MOST_SAMPLES} samples of a case, not {request.samples}")
    if request.samples > 1 and protocol.samples is None:
        having = ", ".join(other.id for other in PROTOCOLS.values() if other.samples) or "none"
        raise UsageError(f"{protocol.id} scores one sample of a case; --samples is for protocols {having}")
    data = choose_data(spec, config.data, request.source)
    weights: Pretrained | Published | None = None
    if request.published:
        weights = find_published(method, request.method, request.published)
    elif request.from_pretrained and not method.card.deterministic:
        trained = data.trained or data
        weights = find_pretrained(method, config, trained.source, trained.fingerprint, request.seed)
    return Plan(request, method, spec, config, settings, protocol, data, weights, method.sha256)


def choose_request_source(source: str, test_on: str | None) -> str:
    """Return the source of a request that names where the test cases come from, or does not.

    Raises UsageError for a method that would be tested on what it was trained on.
    """
    if test_on is None:
        return source
    if test_on != "real" or source == "real":
        raise UsageError(
            "--test-on real tests on all prepared real scans what was trained on phantoms; leave out --source"
        )
    return TRANSFER


def name_source(source: str) -> list[str]:
    """Return the options that ask for the source of a request."""
    return ["--test-on", "real"] if source == TRANSFER else ["--source", source]
