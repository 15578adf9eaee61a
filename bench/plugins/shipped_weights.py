"""Weights that come with a method, so that a first result needs no training: one safetensors file a run.

They lie in the folder `pretrained` beside the method's module, in half precision where it holds their values, and say
of which configuration, data and seed they are. They are given to no other run. Half precision changed the PSNR of no
case of X2CT-GAN's and CCX-rayNet's tiny chest runs by more than 1e-3 dB, and neither density nor coverage of the first.
CodeDiff3D drew other codes in 7 of 48 cases: mean PSNR 19.04 in place of 19.02 dB.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bench.card import MethodPlugin
from bench.errors import BenchError, UsageError
from bench.plugins.config import RunConfig
from bench.system.files import sha256_of

FOLDER = "pretrained"
FACTS = ("run_id", "config_sha256", "data_fingerprint", "dataset", "source", "preset", "seed", "steps")
GREY_SCALE = "grey_scale"  # of the views they were trained with; files of before do not say it


@dataclass(frozen=True)
class Pretrained:
    """One file of weights and what it says of itself."""

    path: Path
    facts: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Of the file."""
        return sha256_of(self.path)

    @property
    def of(self) -> str:
        """The run that left them."""
        return self.facts["run_id"]


def folder_of(method: MethodPlugin) -> Path:
    """Return where the weights that come with a method lie."""
    return method.file.parent / FOLDER


def find_pretrained(method: MethodPlugin, config: RunConfig, source: str, fingerprint: str, seed: int) -> Pretrained:
    """The weights of this very configuration, data and seed.

    Raises UsageError, naming those there are, when none match, and BenchError for a damaged file.
    """
    folder = folder_of(method)
    if method.builtin and not folder.is_dir() and (folder.parents[2] / "results" / "builtin").is_dir():
        raise UsageError(
            f"a wheel holds no pretrained weights; copy methods/{folder.parent.name}/{FOLDER} of a clone of the "
            f"repository to {folder}, or train: leave --from-pretrained out"
        )
    known = [one for one in _find_shipped(folder) if one.facts["run_id"].startswith(f"{config.method}-")]
    wanted = {"config_sha256": config.sha256(), "data_fingerprint": fingerprint, "seed": str(seed)}
    for one in known:
        if wanted.items() <= one.facts.items():
            return one
    places = [
        f"{f['dataset']} ({f['source']}), preset {f['preset']}, seed {f['seed']}" for f in (one.facts for one in known)
    ]
    raise UsageError(
        f"{config.method} has no pretrained weights of these settings and data on {config.dataset} ({source}), preset "
        f"{config.preset}, seed {seed}; it has {'; '.join(places) or 'none at all'}. Without --from-pretrained it is "
        "trained"
    )


def _find_shipped(folder: Path) -> Iterator[Pretrained]:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "numpy") as file:
                facts = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise BenchError(f"{path} is damaged: {error}") from error
        if not facts.keys() >= set(FACTS):
            raise BenchError(
                f"{path} does not say what it was trained on; make it with `bench export RUN --pretrained`"
            )
        yield Pretrained(path, facts)
