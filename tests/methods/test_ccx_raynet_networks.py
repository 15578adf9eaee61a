"""CCX-rayNet's blocks, generators and losses are those of the author's code, and the parts can be left out."""

from typing import Any

import pytest
import torch

from bench.errors import UsageError
from bench.fingerprint import compute_path
from bench.methods.ccx_raynet import fingerprint
from bench.methods.ccx_raynet.card import CcxGeneratorConfig, CcxRayGanConfig, CcxRayNetConfig
from bench.methods.ccx_raynet.generator import build
from bench.methods.ccx_raynet.method import CcxStage
from bench.methods.x2ctgan.alignment import FRONTAL, LATERAL
from bench.methods.x2ctgan.card import GeneratorConfig
from bench.methods.x2ctgan.generator import build_generator

SMALL: dict[str, Any] = {"stem": 4, "layers": (1, 6), "growth": 4, "bridge": 8, "links": (8, 8), "dropout": 0.0}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_entries_nobody_recorded_are_computed_with_the_keys_of_their_siblings() -> None:
    values = compute_path(fingerprint, "units/DAC_linker_8to24_instance")
    assert set(values) == {"n_params", "out"}
    assert values["n_params"] == 8 * 24 + 24 + 24 * 3 + 3 + 3 + 1 + 27 * 24 * 24 + 24
    assert compute_path(fingerprint, "single_dft_a_96/n_params") == 19770598 + (27 - 8) * 256 * 705
    with pytest.raises(UsageError, match="multiple of 32 and at least 64"):
        compute_path(fingerprint, "single_dac_80/n_params")
    with pytest.raises(UsageError, match="no entry"):
        compute_path(fingerprint, "single_recommended_64/n_params")  # one view has no fusion


def test_the_paper_preset_trains_what_is_compared() -> None:
    recommended = CcxGeneratorConfig(**fingerprint.VARIANTS["recommended"])
    assert CcxRayNetConfig().generator == recommended == CcxRayGanConfig().generator
    assert CcxRayNetConfig().training.adversarial_weight == 0
    assert CcxRayGanConfig().training.adversarial_weight == 0.1


@pytest.mark.parametrize("condition", ["shared", "pooled"])
def test_the_mask_reaches_the_volume(condition: str) -> None:
    torch.manual_seed(0)
    generator = build(CcxGeneratorConfig(**SMALL, condition=condition), 16, (FRONTAL,)).eval()
    view, mask = random(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    plain = generator([torch.cat([view, mask], 1)])
    mask[..., :8] = 1
    assert not torch.allclose(generator([torch.cat([view, mask], 1)]), plain, atol=1e-3)


def test_without_its_parts_the_generator_is_that_of_x2ct_gan() -> None:
    bare = build(CcxGeneratorConfig(**SMALL, dft=False, dac=False, aff=False), 16, (FRONTAL, LATERAL))
    original = build_generator(GeneratorConfig(**SMALL), 16, (FRONTAL, LATERAL))
    original.load_state_dict(bare.state_dict())
    views = [random(1, 1, 16, 16, seed=i) for i in (1, 2)]
    assert torch.equal(bare.eval()(views), original.eval()(views))


def test_the_rate_falls_after_fifty_epochs_and_never_reaches_zero() -> None:
    # the published rule: 1 − max(0, e − 50) / 51 in epoch e
    assert [CcxStage.rate_in_epoch(epoch) for epoch in (1, 50)] == [1.0, 1.0]
    assert CcxStage.rate_in_epoch(51) == pytest.approx(50 / 51)
    assert CcxStage.rate_in_epoch(100) == pytest.approx(1 / 51)
