"""Foresight: where hand, named thing, fingertips, wrist and the hand's foot on the table will be a little later.

Several futures may be likely, so it makes some guesses, each a whole one: all places, how surely each is
known, and how likely the guess is. What the arm feels (its height, turn and opening, where a station tells)
says what few pixels show badly: whether the fingers hold something, and how high they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from soar.data.proprioception import PROPRIOCEPTION, proprioception
from soar.nn.layers import local_softargmax
from soar.subgoals.compact.observation_encoder import (
    FOURIER_FREQUENCIES,
    HAND,
    PLACES,
    THING,
    CompactSubgoalConfig,
    ObservationEncoder,
    fourier_features,
    place_features,
)

PREDICTED = [HAND, THING, 3, 4, 5, 6]
"""Of a corpus's points: hand, named thing, both fingertips, wrist, and the table's point below the hand."""
AHEAD = len(PREDICTED)
GUESSES = 12
_APART = ((0, 1), (0, AHEAD + 1), (1, AHEAD + 1), (5, 1), (5, AHEAD + 1), (2, 3), (1, AHEAD))
"""Pairs of places whose distance matters: of the AHEAD read in the image, and then the PLACES looked at."""
_REACH = 0.3
"""What counts as one in the numbers that move places."""
NEAR = 0.1
"""Guesses that differ by less are much the same, of half an image."""
SUREST = 0.01
"""Least spread of a guess, of half an image."""


class KeypointPredictions(NamedTuple):
    """Futures that seem possible, and what is read in the present."""

    log_p: Float[Tensor, "b k"]
    places: Float[Tensor, "b k f 2"]
    """x and y in [-1, 1] of the AHEAD places."""
    spread: Float[Tensor, "b k f 2"]
    """Mean absolute error that each coordinate is expected to have."""
    now: Float[Tensor, "b f 2"]
    """The same places in the image itself."""
    gaze: Float[Tensor, "b g p"]

    def alike(self) -> Float[Tensor, "b k k"]:
        """From 0 to 1, how near one guess's hand is to another's."""
        hands = self.places[:, :, 0].float()
        return (-torch.cdist(hands, hands) / NEAR).exp()

    def agreed(self) -> Float[Tensor, "b k"]:
        """How likely each guess is together with those that are like it."""
        return (self.alike() @ self.log_p.exp().float()[..., None]).squeeze(-1)

    def around(self, k: Int64[Tensor, " b"]) -> Float[Tensor, "b f 2"]:
        """One guess for each, averaged with those that are like it."""
        each = torch.arange(len(k), device=k.device)
        weights = self.alike()[each, k] * self.log_p.exp().float()
        weights = weights / weights.sum(1, keepdim=True)
        return (self.places.float() * weights[..., None, None]).sum(1)

    def surprise(self, places: Float[Tensor, "b f 2"]) -> Float[Tensor, " b"]:
        """Negative log-likelihood of what came, for each number of it; NaN says nothing.

        The guesses' errors are Laplace's, independent of each other.
        """
        known = ~places.isnan()
        away = (self.places.float() - places.nan_to_num()[:, None]).abs()
        each = -away / self.spread.float() - (2 * self.spread.float()).log()
        whole = (each * known[:, None]).sum((-1, -2))
        return -(self.log_p.float() + whole).logsumexp(-1) / known[0].numel()


class KeypointPredictor(nn.Module):
    """Observation, instruction and what the arm feels to guesses of where everything will be."""

    def __init__(self, config: CompactSubgoalConfig) -> None:
        super().__init__()
        c, d, v = config.width, config.wide, config.vector
        self.eyes = ObservationEncoder(config, config.sight)
        self.felt = nn.Linear(len(PROPRIOCEPTION) * 8 + 1, v)
        hidden = 2 * v
        self.join = nn.Linear(2 * v + PLACES * (c + 2) + d, hidden)
        self.read = nn.Linear(hidden, 2 * AHEAD)
        self.place = nn.Linear((PLACES + AHEAD + len(_APART)) * 2 * FOURIER_FREQUENCIES, hidden)
        self.think = nn.ModuleList(_ResidualMLP(hidden) for _ in range(3))
        self.guess = nn.Linear(hidden, GUESSES * (1 + 4 * AHEAD))
        self.pull = nn.Linear(hidden, GUESSES * AHEAD * (PLACES + 1))
        nn.init.zeros_(self.pull.weight)
        nn.init.zeros_(self.pull.bias)

    def forward(
        self,
        observation: Float[Tensor, "b 3 s s"],
        words: Float[Tensor, "b l e"],
        ahead: Float[Tensor, " b"],
        pointed: Float[Tensor, "b 2 2"] | None = None,
        states: Float[Tensor, "b 7"] | None = None,
    ) -> KeypointPredictions:
        """What may come.

        Args:
            observation, words, ahead, pointed: see `ObservationEncoder.forward`.
            states: the arm's, as `types.State`; NaN, or None for all, where it isn't known.
        """
        sight = self.eyes(observation, words, ahead, pointed)
        n, gaze, silu = len(observation), sight.gaze[:, :PLACES], nn.functional.silu
        maps = gaze.exp()
        found = local_softargmax(gaze.argmax(-1), gaze.float())
        where = torch.cat([sight.where[:, :HAND].float(), found[:, HAND:]], 1)
        if states is None:
            states = observation.new_full((n, 7), math.nan)
        feeling = self.felt(_feel(states).to(sight.vector))
        glimpses = maps @ sight.fine.flatten(2).transpose(1, 2).to(maps)
        parts = (
            sight.vector,
            feeling,
            glimpses.flatten(1),
            where.flatten(1),
            sight.coarse.mean((2, 3)),
        )
        x = self.join(torch.cat([p.to(sight.vector) for p in parts], 1))
        start = where[:, [HAND, THING, *[HAND] * (AHEAD - 2)]]
        now = start + _REACH * self.read(silu(x)).float().reshape(n, AHEAD, 2)
        x = x + self.place(_geometry(now.detach(), where).to(x))
        for thought in self.think:
            x = thought(x)
        weight, moves, spread = (
            self.guess(silu(x)).float().split([GUESSES, *[2 * GUESSES * AHEAD] * 2], 1)
        )
        shape = (n, GUESSES, AHEAD, 2)
        start = now.detach()
        goals = torch.cat([where, start[:, :1]], 1).detach()
        pull = self.pull(silu(x)).float().reshape(n, GUESSES, AHEAD, PLACES + 1)
        pulled = torch.einsum("nkfa,nfac->nkfc", pull, goals[:, None] - start[:, :, None])
        return KeypointPredictions(
            weight.log_softmax(-1),
            start[:, None] + pulled + _REACH * moves.reshape(shape),
            SUREST + 0.1 * nn.functional.softplus(spread.reshape(shape)),
            now,
            sight.gaze,
        )


class _ResidualMLP(nn.Module):
    """A residual layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Float[Tensor, "b w"]) -> Float[Tensor, "b w"]:
        """Same shape; at first the same values."""
        out: Tensor = x + self.outer(nn.functional.silu(self.inner(self.norm(x))))
        return out


def _geometry(now: Float[Tensor, "b f 2"], where: Float[Tensor, "b p 2"]) -> Float[Tensor, "b n"]:
    """Places, and how far apart some of them are, as waves."""
    places = torch.cat([now, where], 1)
    one, other = zip(*_APART, strict=True)
    return place_features(torch.cat([places, places[:, one] - places[:, other]], 1))


def _feel(states: Float[Tensor, "b 7"]) -> Float[Tensor, "b k"]:
    """What the arm feels, each number as waves; and whether it is known."""
    numbers = proprioception(states)
    known = ~numbers.isnan().any(1, keepdim=True)
    said = (
        fourier_features(numbers.nan_to_num().flatten() / 4 + 0.5, 8).reshape(len(numbers), -1)
        * known
    )
    return torch.cat([said, known.to(said)], 1)
