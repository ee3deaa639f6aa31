"""Relabeling with words (DIAL, Xiao et al. 2023): a contrastive model says which instruction an episode fulfilled.

Two projections are trained on demonstrations so that an episode's first and last frame match its instruction: of the
image features of a goal-conditioned policy's encoder, in place of CLIP's, and of the sentence encoder's embedding. Every own
episode, failures included, then gets the best instructions of a pool, and a language-conditioned policy imitates it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from soar.data.frame_cache import Frames, build_frames
from soar.data.mixture import Embed, Source
from soar.errors import ConfigError
from soar.improvement.methods.method import MethodName, OwnEpisodes
from soar.policies.behavior_cloning import BehaviorCloning
from soar.policies.loading import load_policy
from soar.registry import policy_spec
from soar.types import Outcome
from soar.utils.config import check_ranges

_BATCH = 64


@dataclass(frozen=True)
class DialConfig:
    """Relabeling of own episodes with words. Its defaults aren't published; they are our choice."""

    encoder: str = "gcbc"
    """Goal-conditioned policy whose encoder sees the first frame and, as its goal, the last one."""
    pool: tuple[str, ...] = ()
    """Candidate instructions; empty takes all of own episodes and demonstrations."""
    top: Annotated[int, Ge(1)] = 1
    """Instructions that an episode gets at most."""
    least_probability: Annotated[float, Ge(0), Le(1)] = 0.1
    """Least probability among the pool of an instruction that is given."""
    dim: Annotated[int, Ge(1)] = 64
    """Dimensions of the shared space."""
    steps: Annotated[int, Ge(1)] = 1000
    """Gradient steps of the projections."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Learning rate of the projections."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of weights and batches."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Labels(NamedTuple):
    """Instructions given to episodes."""

    episodes: Int64[np.ndarray, " m"]
    """Number of the episode of each label."""
    instructions: tuple[str, ...]


class Matcher(nn.Module):
    """Projections of pairs of frames and of sentences into one space."""

    def __init__(self, image_dim: int, word_dim: int, dim: int) -> None:
        super().__init__()
        self.image = nn.Linear(image_dim, dim)
        self.words = nn.Linear(word_dim, dim)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(
        self, images: Float[Tensor, "n d"], words: Float[Tensor, "m w"]
    ) -> Float[Tensor, "n m"]:
        """Return the scaled cosines of every pair."""
        a = nn.functional.normalize(self.image(images), dim=1)
        b = nn.functional.normalize(self.words(words), dim=1)
        scores: Tensor = self.log_scale.exp().clamp(max=100) * a @ b.T
        return scores


@dataclass(frozen=True)
class Dial:
    """DIAL's `LearningMethod` for language-conditioned policies."""

    config: DialConfig
    resolution: int
    """Height and width of the policy's images in pixels."""
    embed: Embed
    """Sentence encoder."""
    demonstrations: Source | None
    """Demonstrations with instructions, which the labels are learned from."""
    name: ClassVar[MethodName] = "dial"
    outcomes: ClassVar[tuple[Outcome, ...]] = ()

    def sources(self, own: OwnEpisodes, share: float) -> list[Source]:
        """See `LearningMethod.sources`. Raises ConfigError: there are no demonstrations, or no label is sure."""
        given = self.demonstrations
        if given is None:
            raise ConfigError(
                "--method dial learns its labels from demonstrations: --demonstrations STORE or a number"
            )
        store = own.open_store()
        if next(iter(store.query(own.query)), None) is None:
            raise ConfigError("there is no episode to label")
        frames = build_frames(store, own.query, self.resolution, own.run.frames)
        encoder = load_policy(policy_spec(self.config.encoder).folder, "cpu")
        known = [given.frames.episodes[i].instruction for i in given.chosen]
        pool = self.config.pool or tuple(
            sorted({*known, *(e.instruction for e in frames.episodes)})
        )
        matcher = train_matcher(
            pair_features(encoder, given.frames, given.chosen), known, self.embed, self.config
        )
        every = np.arange(len(frames.episodes))
        labels = label_episodes(
            matcher, pair_features(encoder, frames, every), pool, self.embed, self.config
        )
        if not len(labels.episodes):
            raise ConfigError("no instruction of the pool is probable enough for any episode")
        return _relabeled(frames, labels, share)


def pair_features(
    policy: BehaviorCloning, frames: Frames, episodes: Int64[np.ndarray, " k"]
) -> Float32[np.ndarray, "k d"]:
    """Return an encoder's features of the first and the last frame of some episodes."""
    starts, ends = frames.starts[episodes], frames.starts[episodes + 1] - 1
    found = []
    for at in range(0, len(episodes), _BATCH):
        first, last = starts[at : at + _BATCH], ends[at : at + _BATCH]
        found.append(policy.features(np.array(frames.images[first]), np.array(frames.images[last])))
    return np.concatenate(found)


def train_matcher(
    images: Float32[np.ndarray, "k d"],
    instructions: Sequence[str],
    embed: Embed,
    config: DialConfig,
) -> Matcher:
    """Train the projections by symmetric cross-entropy over the pairs of a batch (CLIP's loss).

    Pairs with the same instruction aren't negatives of one another.
    """
    torch.manual_seed(config.seed)
    unique = sorted(set(instructions))
    index = torch.tensor([unique.index(text) for text in instructions])
    words, pairs = torch.from_numpy(embed(unique)), torch.from_numpy(images)
    matcher = Matcher(pairs.shape[1], words.shape[1], config.dim)
    optimizer = torch.optim.AdamW(matcher.parameters(), config.learning_rate)
    for _ in range(config.steps):
        rows = torch.randint(len(pairs), (min(_BATCH, len(pairs)),))
        scores = matcher(pairs[rows], words[index[rows]])
        same = index[rows][:, None] == index[rows][None]
        scores = scores.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool), -torch.inf)
        target = torch.arange(len(rows))
        loss = nn.functional.cross_entropy(scores, target)
        loss = (loss + nn.functional.cross_entropy(scores.T, target)) / 2
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return matcher.eval()


@torch.inference_mode()
def label_episodes(
    matcher: Matcher,
    images: Float32[np.ndarray, "k d"],
    pool: Sequence[str],
    embed: Embed,
    config: DialConfig,
) -> Labels:
    """Return up to `top` instructions of the pool for each episode, the probable ones."""
    scores = matcher(torch.from_numpy(images), torch.from_numpy(embed(list(pool))))
    best = scores.softmax(1).topk(min(config.top, len(pool)), 1)
    sure = best.values >= config.least_probability
    episodes = torch.arange(len(images))[:, None].expand_as(sure)[sure].numpy()
    return Labels(episodes, tuple(pool[i] for i in best.indices[sure].tolist()))


def _relabeled(frames: Frames, labels: Labels, share: float) -> list[Source]:
    """Return sources of the episodes with their instructions, one for each rank of label."""
    rank = np.array([int(np.sum(labels.episodes[:i] == e)) for i, e in enumerate(labels.episodes)])
    sources = []
    for k in range(int(rank.max()) + 1):
        mine = np.flatnonzero(rank == k)
        episodes = list(frames.episodes)
        for i in mine:
            number = labels.episodes[i]
            episodes[number] = replace(episodes[number], instruction=labels.instructions[i])
        sources.append(
            Source(
                f"relabeled-{k + 1}",
                replace(frames, episodes=tuple(episodes)),
                share * len(mine) / len(rank),
                episodes=labels.episodes[mine],
            )
        )
    return sources
