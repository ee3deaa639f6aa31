"""GCBC and LCBC: shapes, serving, checkpoints, and that they learn."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from soar import checkpoint
from soar.data.frame_cache import Frames
from soar.data.mixture import Source
from soar.data.transforms import Batch, image_transforms
from soar.errors import CheckpointError, ConfigError
from soar.interfaces import Learner, Policy
from soar.nn.heatmaps import attention_loss, grid_cells
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.encoders import CompactEncoder, EncoderConfig, ResNet, build_encoder
from soar.policies.lcbc import LCBCConfig
from soar.policies.loading import build_policy, lcbc_from_gcbc, load_policy
from soar.training.policy import PolicyTrainConfig, compact, debug, paper, train_policy, with_fit
from soar.types import EpisodeSummary, Observation, Provenance, Verdict
from soar.utils.files import read_lines

RNG = np.random.default_rng(0)
SIZE = 32


def reaching(episodes: int = 12, length: int = 15) -> Frames:
    """A white square moves by the action; the instruction names its direction."""
    images, actions, starts = [], [], [0]
    summaries = []
    rng = np.random.default_rng(0)
    for i in range(episodes):
        turn = rng.integers(4)
        step = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)][turn])
        place = np.array([16, 16]) - 8 * step
        for t in range(length + 1):
            image = np.full((SIZE, SIZE, 3), 60, np.uint8)
            r, c = place
            image[max(0, r - 3) : r + 3, max(0, c - 3) : c + 3] = 220
            images.append(image)
            action = np.zeros(7, np.float32)
            action[:2] = 0.01 * step
            action[6] = turn % 2
            actions.append(action if t < length else np.zeros(7, np.float32))
            place = place + step
        starts.append(len(images))
        direction = ("right", "left", "down", "up")[turn]
        summaries.append(
            EpisodeSummary(
                str(i),
                f"go {direction}",
                length,
                Verdict("success"),
                Provenance("s", "bridge", "a", i, 0.0),
            )
        )
    return Frames(
        np.stack(images),
        np.zeros((len(images), 7), np.float32),
        np.stack(actions),
        np.array(starts),
        tuple(summaries),
    )


def observation(image: np.ndarray | None = None) -> Observation:
    if image is None:
        image = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Observation(image, np.zeros(7, np.float32), 0.0)


@lru_cache
def untrained(kind: str) -> BehaviorCloning:
    policy, _ = train_policy(with_fit(debug(kind), steps=1), [Source("a", reaching(2), 1)], None)
    return policy


def fresh(kind: str = "gcbc") -> BehaviorCloning:
    untrained(kind).reset()
    return untrained(kind)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("kind", "count", "dim"),
    [("resnet18", 11_176_512, 512), ("resnet34", 21_284_672, 512), ("resnet50", 23_508_032, 2048)],
)
def test_a_resnet_has_the_known_number_of_parameters(kind: str, count: int, dim: int) -> None:
    with torch.device("meta"):
        encoder = ResNet(kind, channels=3)
    assert parameters(encoder) == count
    assert encoder.dim == dim


def test_the_papers_preset_has_the_papers_numbers() -> None:
    recipe = paper("gcbc")
    with torch.device("meta"):
        policy = build_policy(recipe.policy, ())
        images = torch.zeros(2, 256, 256, 3)
        means = policy({"image": images, "goal": images})
    stacked = 3 * 64 * 7 * 7
    head = 512 * 256 + 256 + 2 * (256 * 256 + 256) + 256 * 7 + 7
    assert means.shape == (2, 7)
    assert parameters(policy) == 21_284_672 + stacked + head
    fit = recipe.fit
    assert (fit.steps, fit.batch_size, fit.learning_rate, fit.warmup_steps) == (
        500_000,
        256,
        3e-4,
        2000,
    )
    assert (fit.betas, fit.weight_decay, fit.clip_norm) == ((0.9, 0.98), 1e-3, 1.0)
    assert (recipe.goals.high, recipe.autonomous_goals.high) == (24, 12)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["resnet18", "compact"])
def test_film_starts_as_the_identity_and_then_conditions(kind: str) -> None:
    config = EncoderConfig(kind, widths=(8, 16), depths=(1, 1), dim=32)  # type: ignore[arg-type]
    encoder = build_encoder(config, 3, SIZE, context_dim=5)
    images, context = torch.rand(2, 3, SIZE, SIZE), torch.randn(2, 5)
    with torch.no_grad():
        before = encoder(images, context).features
        assert torch.allclose(before, encoder(images, torch.zeros(2, 5)).features)
        for name, p in encoder.named_parameters():
            if "film" in name:
                p.add_(0.1)
        assert not torch.allclose(encoder(images, context).features, before)


def test_compact_features_depend_on_position() -> None:
    torch.manual_seed(0)
    encoder = CompactEncoder(
        EncoderConfig("compact", widths=(8, 16), depths=(1, 1), dim=32), 3, SIZE
    )
    left, right = torch.zeros(2, 1, 3, SIZE, SIZE)
    left[..., 8:16, 0:8] = right[..., 8:16, 24:32] = 1
    with torch.no_grad():
        seen = encoder(torch.cat([left, right])).features
    assert (seen[0] - seen[1]).norm() > 0.1 * seen[0].norm()


def test_supervised_attention_finds_its_target() -> None:
    """A white square on black: the first attention map locates it to within half a cell."""
    config = EncoderConfig(
        "compact", widths=(16, 16), depths=(1, 1), dim=16, attention_points=2, detail=8
    )
    torch.manual_seed(0)
    encoder = CompactEncoder(config, 3, SIZE)
    optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
    corners = torch.randint(0, SIZE - 4, (200, 2))
    images, points = torch.zeros(200, 3, SIZE, SIZE), (corners + 2) * 2 / SIZE - 1
    for image, (x, y) in zip(images, corners.tolist(), strict=True):
        image[:, y : y + 4, x : x + 4] = 1
    for _ in range(60):
        optimizer.zero_grad()
        seen = encoder(images[:160])
        attention_loss(seen.attention[:, :1], points[:160, None]).backward()
        optimizer.step()
    with torch.no_grad():
        seen = encoder(images[160:])
    assert seen.features.shape == (40, encoder.dim)
    place = seen.attention[:, 0].exp() @ grid_cells(SIZE // 4)
    assert (place - points[160:]).abs().mean() < 0.5 * 2 / (SIZE // 4)


@pytest.mark.parametrize("kind", ["gcbc", "lcbc"])
def test_a_policy_is_a_policy_and_a_learner(kind: str) -> None:
    policy = fresh(kind)
    assert isinstance(policy, Policy)
    assert isinstance(policy, Learner)


@pytest.mark.parametrize("kind", ["gcbc", "lcbc"])
def test_a_robot_gets_the_same_action_alone_and_in_a_batch(kind: str) -> None:
    policy = fresh(kind)
    observations = [observation() for _ in range(3)]
    goals = np.stack([observation().image for _ in range(3)])
    words = ["go left", "go right", "go up"]
    given = goals if kind == "gcbc" else words
    together = policy.act(observations, given, RNG)
    assert together.shape == (3, 7)
    assert together.dtype == np.float32
    for i, o in enumerate(observations):
        policy.reset()
        alone = policy.act([o], given[i : i + 1], RNG)
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)


@pytest.mark.parametrize("index", range(7))
def test_a_compact_policy_takes_height_angles_and_opening_as_input_but_no_position(
    index: int,
) -> None:
    policy, o = fresh(), observation()
    state = o.state.copy()
    state[index] += 0.1
    goal = o.image[None]
    same = np.array_equal(
        policy.act([o], goal, RNG)[:, :6], policy.act([replace(o, state=state)], goal, RNG)[:, :6]
    )
    assert same == (index in (0, 1))


def test_the_papers_policy_takes_images_alone() -> None:
    policy = paper().policy
    assert policy.proprioception_dim == policy.encoder.attention_points == policy.pose_weight == 0


def test_attention_that_the_encoder_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 3"):
        build_policy(replace(debug().policy, encoder=EncoderConfig("resnet18")), ())


def test_goals_may_have_another_size_than_observations() -> None:
    policy = fresh()
    goal = np.zeros((1, 40, 40, 3), np.uint8)
    assert np.isfinite(policy.act([observation()], goal, RNG)).all()


def test_noise_scales_the_fixed_standard_deviation() -> None:
    policy = fresh()
    n = 2000
    observations = [observation()] * n
    goals = np.repeat(observations[0].image[None], n, 0)
    mean = policy.act(observations[:1], goals[:1], RNG)[0]
    noisy = policy.act(observations, goals, np.random.default_rng(0), noise=0.5)
    std = np.array(policy.transforms[-1].std)  # type: ignore[attr-defined]
    np.testing.assert_allclose(noisy[:, :2].std(0), 0.5 * std[:2], rtol=0.1)
    np.testing.assert_allclose(noisy[:, :2].mean(0), mean[:2], atol=0.1 * std[:2].max())
    again = policy.act(observations, goals, np.random.default_rng(0), noise=0.5)
    np.testing.assert_array_equal(noisy[:, :6], again[:, :6])


def test_the_gripper_has_hysteresis_for_each_slot_until_reset() -> None:
    policy = fresh()

    def latched(*commands: float) -> np.ndarray:
        found = policy._latch(np.array(commands, np.float32)[:, None, None])[:, 0, 0]
        executed = np.zeros((len(commands), 7), np.float32)
        executed[:, 6] = found
        policy.commit(executed)
        return found

    for commands, open_ in [((0.9, 0.1), (1, 0)), ((0.52, 0.55), (1, 0)), ((0.45, 0.65), (0, 1))]:
        np.testing.assert_array_equal(latched(*commands), open_)
    policy.reset()
    np.testing.assert_array_equal(latched(0.55, 0.45), (1, 0))


@pytest.mark.parametrize("kind", ["gcbc", "lcbc"])
def test_a_checkpoint_alone_serves_the_same_actions(tmp_path: Path, kind: str) -> None:
    policy, _ = train_policy(debug(kind), [Source("a", reaching(), 1)], tmp_path)
    served = load_policy(tmp_path, "cpu")
    o = observation()
    given = o.image[None] if kind == "gcbc" else ["go left"]
    np.testing.assert_array_equal(served.act([o], given, RNG), policy.act([o], given, RNG))
    assert served.name == kind
    assert served.checkpoint_id == checkpoint.load(tmp_path).id
    provenance = checkpoint.load(tmp_path).provenance
    assert provenance["step"] == 6
    assert provenance["mixture"]["a"]["share"] == 1.0


def test_a_resumed_policy_run_has_the_losses_of_an_uninterrupted_one(tmp_path: Path) -> None:
    sources = [Source("pre", reaching(), 3), Source("own", reaching(3), 1, sum_steps=2)]

    def losses(folder: Path) -> list[float]:
        return [r["loss"] for r in read_lines(folder / "log.jsonl")]

    train_policy(debug(), sources, tmp_path / "whole")
    stopped = debug()
    for steps in (2, 6):  # the cosine must be the same, so the first run is cut, not shortened
        _run_until(stopped, sources, tmp_path / "parts", steps)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert "share/own" in read_lines(tmp_path / "whole" / "log.jsonl")[0]


def _run_until(recipe: PolicyTrainConfig, sources: list[Source], folder: Path, step: int) -> None:
    class StopError(Exception):
        pass

    calls = 0
    loss = BehaviorCloning.loss

    def counting(
        self: BehaviorCloning, batch: Batch, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        nonlocal calls
        calls += 1
        if calls > step:
            raise StopError
        return loss(self, batch, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BehaviorCloning, "loss", counting)
        try:
            train_policy(recipe, sources, folder)
        except StopError:
            assert step < recipe.fit.steps


def test_every_transform_trains_in_bf16_too() -> None:
    """On a CPU with bf16, means had another precision than the tensors that they met."""
    recipe = replace(debug(), image_transforms=compact().image_transforms)
    policy, result = train_policy(
        with_fit(recipe, steps=1, precision="bf16"), [Source("a", reaching(), 1.0)], None
    )
    assert np.isfinite(result.loss)
    assert {p.dtype for p in policy.parameters()} == {torch.float32}


def test_compiling_concerns_the_encoder_and_leaves_the_weights_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    monkeypatch.setattr("soar.training.policy.which", lambda name: name)
    policy, _ = train_policy(replace(debug(), compile=True), [Source("a", reaching(), 1)], None)
    assert compiled == [policy.encoder]
    plain, _ = train_policy(debug(), [Source("a", reaching(), 1)], None)
    assert list(plain.state_dict()) == list(policy.state_dict())


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soar.training.policy.which", lambda name: None)
    with pytest.raises(ConfigError, match="a C\\+\\+ compiler, which isn't installed; valid: --no"):
        train_policy(
            with_fit(replace(debug(), compile=True), device="cpu"),
            [Source("a", reaching(), 1)],
            None,
        )


def test_improvement_starts_from_a_checkpoint_and_keeps_its_statistics(tmp_path: Path) -> None:
    first, _ = train_policy(debug(), [Source("a", reaching(), 1)], tmp_path / "first")
    start = checkpoint.load(tmp_path / "first")
    source = Source("own", reaching(4), 1, sum_steps=2)
    second, _ = train_policy(debug(), [source], tmp_path / "second", start=start)
    assert second.transforms == first.transforms
    assert checkpoint.load(tmp_path / "second").provenance["started_from"] == start.id


def test_training_further_takes_the_new_augmentation_and_the_old_resolution() -> None:
    source = Source("a", reaching(), 1)
    first, _ = train_policy(debug(), [source], None)
    start = first.checkpoint({})
    recipe = replace(debug(), image_transforms=compact().image_transforms)
    second, _ = train_policy(recipe, [source], None, start=start)
    assert image_transforms(second.transforms) == recipe.image_transforms
    other = replace(debug(), policy=replace(debug().policy, resolution=48))
    with pytest.raises(ConfigError, match=r"48 px, .* takes 32 px"):
        train_policy(other, [source], None, start=start)


def test_an_lcbc_policy_starts_as_the_gcbc_policy_without_a_goal(tmp_path: Path) -> None:
    source = Source("a", reaching(), 1)
    reaches, _ = train_policy(debug(), [source], None)
    reaches.get_parameter("encoder.stem.0.weight").data[:, 3:6] = 0
    words = debug("lcbc").policy
    assert isinstance(words, LCBCConfig)
    follows = lcbc_from_gcbc(reaches.checkpoint({}), words, reaches.transforms).eval()
    seen = [Observation(i, np.full(7, 0.1, np.float32), 0.0) for i in reaching(1).images[:2]]
    rng = np.random.default_rng(0)
    goals = reaching(1).images[2:4]
    assert np.allclose(follows.act(seen, ["left", "right"], rng), reaches.act(seen, goals, rng))
    after, _ = train_policy(debug("lcbc"), [source], None, start=reaches.checkpoint({}))
    assert after.name == "lcbc"
    with pytest.raises(CheckpointError, match="valid to start lcbc from: gcbc"):
        lcbc_from_gcbc(follows.checkpoint({}), words, reaches.transforms)
    with pytest.raises(ConfigError, match="trains gcbc, but the checkpoint to start from is lcbc"):
        train_policy(debug(), [source], None, start=after.checkpoint({}))


@pytest.mark.parametrize("kind", ["gcbc", "lcbc"])
def test_a_policy_learns_to_reach_its_goal(kind: str) -> None:
    cache = reaching(24)
    recipe = with_fit(debug(kind), steps=150, batch_size=32, learning_rate=3e-3, warmup_steps=10)
    recipe = replace(recipe, image_transforms=())
    policy, _ = train_policy(recipe, [Source("a", cache, 1)], None)
    for i in range(4):
        first = int(cache.starts[i])
        given = (
            cache.images[first + 12][None] if kind == "gcbc" else [cache.episodes[i].instruction]
        )
        policy.reset()
        action = policy.act([observation(cache.images[first + 4])], given, RNG)[0]
        np.testing.assert_allclose(action[:2], cache.actions[first, :2], atol=0.004)
        assert action[6] == cache.actions[first, 6]


def test_goals_of_the_wrong_kind_or_number_are_refused() -> None:
    gcbc, lcbc = fresh("gcbc"), fresh("lcbc")
    o = observation()
    with pytest.raises(ConfigError, match="takes goal images, not instructions"):
        gcbc.act([o], ["go left"], RNG)
    with pytest.raises(ConfigError, match="takes instructions, not goal images"):
        lcbc.act([o], o.image[None], RNG)
    with pytest.raises(ConfigError, match="2 goals for 1 observations"):
        lcbc.act([o], ["go left", "go right"], RNG)


def test_checkpoints_of_other_models_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.Checkpoint("vlm", {}, {}))
    with pytest.raises(CheckpointError, match="'vlm' checkpoint is no policy; valid: gcbc, lcbc"):
        load_policy(tmp_path)
    checkpoint.save(tmp_path, checkpoint.Checkpoint("gcbc", {}, {"depth": 3}))
    with pytest.raises(CheckpointError, match="this version can't build the model"):
        load_policy(tmp_path)


def test_encoder_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="a multiple of 8"):
        CompactEncoder(EncoderConfig("compact", widths=(8, 16), depths=(1, 1)), 3, 30)
    with pytest.raises(ConfigError, match="no policy 'dqn'"):
        debug("dqn")
    build_policy(debug().policy, ())
