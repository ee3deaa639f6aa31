"""A policy made deeper computes the same until it is trained."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from tests.policies.test_policies import fresh, reaching

from soar.data.mixture import Source
from soar.errors import ConfigError
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.loading import with_deeper_encoder
from soar.training.policy import debug, train_policy, with_fit

DEEPER = (3, 2)


def images() -> torch.Tensor:
    return torch.rand(5, 6, 32, 32, generator=torch.Generator().manual_seed(0))


def same(a: BehaviorCloning, b: BehaviorCloning) -> bool:
    with torch.inference_mode():
        return all(
            torch.equal(x, y)
            for x, y in zip(a.encoder(images()), b.encoder(images()), strict=True)
            if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)
        )


def test_new_blocks_change_nothing_before_training_and_something_after_it() -> None:
    before = fresh()
    deeper = with_deeper_encoder(before, DEEPER).eval()
    assert deeper.config.encoder.depths == DEEPER
    assert len(list(deeper.parameters())) > len(list(before.parameters()))
    assert same(before, deeper)
    config = replace(with_fit(debug(), steps=3), deeper=True)
    encoder = replace(config.policy.encoder, depths=DEEPER)
    config = replace(config, policy=replace(config.policy, encoder=encoder))
    sources = [Source("a", reaching(2), 1)]
    trained, _ = train_policy(config, sources, None, start=before.checkpoint({}))
    assert trained.config.encoder.depths == DEEPER
    assert trained.state_dict()["encoder.stages.blocks.1.norms.1.weight"].any()
    assert not same(before, trained)


@pytest.mark.parametrize("depths", [(0, 1), (2,), (1, 1, 1)])
def test_a_policy_does_not_become_shallower(depths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=re.escape("valid for a policy with (1, 1): the same or")):
        with_deeper_encoder(fresh(), depths)


def test_words_condition_the_blocks_and_are_refused() -> None:
    with pytest.raises(ConfigError, match="lcbc with a compact encoder can't be made deeper"):
        with_deeper_encoder(fresh("lcbc"), DEEPER)
