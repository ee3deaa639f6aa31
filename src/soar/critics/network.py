"""A critic's network: image encoder, Q functions and V.

The encoder runs once for each state. A layer's linear map of [hidden, features, action] is stored as one matrix for
each part, so that K actions of a state share the features' product and only touch the small layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from soar.contract.contract import WIDOWX, Contract
from soar.critics.config import CriticConfig
from soar.data.image_ops import to_planes
from soar.data.proprioception import PROPRIOCEPTION, proprioception
from soar.data.transforms import Batch
from soar.nn.bridge_resnet import BridgeResNet
from soar.nn.layers import FiLM
from soar.nn.text import KnownSentences

_GROUPS = 4
_FILM_STAGES = 2
"""Last convolutions that an instruction modulates."""


class SpatialEmbeddings(nn.Module):
    """Learned weightings of a feature map's cells, several for each channel, in place of pooling (PTR)."""

    def __init__(self, channels: int, side: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, side * side, count) / side)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n ck"]:
        """Return e_{c,k} = sum_hw W_{hw,c,k} F_{hw,c}."""
        embedded: Tensor = torch.einsum("ncs,csk->nck", maps.flatten(2), self.weight)
        return embedded.flatten(1)


class ConvolutionEncoder(nn.Module):
    """Features of an image, and a goal image or an instruction: convolutions, spatial embeddings, a bottleneck."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        channels = [6 if config.condition == "goal" else 3, *config.widths]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, 2, 1) for i, o in itertools.pairwise(channels)
        )
        if config.patch == 4:
            self.convs[0] = nn.Conv2d(channels[0], channels[1], 4, 4)
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, o) for o in config.widths)
        text = config.condition == "text"
        self.words = nn.Linear(config.word_dim, config.context_dim) if text else None
        last = config.widths[-_FILM_STAGES:] if text else ()
        self.films = nn.ModuleList(FiLM(config.context_dim, width) for width in last)
        side = config.resolution // config.cell
        self.embeddings = SpatialEmbeddings(config.widths[-1], side, config.embeddings)
        self.image = _bottleneck(config.widths[-1] * config.embeddings, config.feature_dim)
        self.dim = config.feature_dim

    def features(
        self, images: Float[Tensor, "n c h w"], words: Float[Tensor, "n k"] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return the features of images in [0, 1]. `words`: embeddings of the instructions."""
        x = 2 * images - 1
        context = None if self.words is None else torch.relu(self.words(words))
        first_film = len(self.convs) - len(self.films)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = torch.relu(norm(conv(x)))
            if context is not None and i >= first_film:
                x = self.films[i - first_film](x, context)
        found: Tensor = self.image(self.embeddings(x))
        return found


class StateEncoder(nn.Module):
    """Features of image, goal or task, and the arm's state."""

    RENAMED: ClassVar = {
        name: f"vision.{name}"
        for name in ("convs", "norms", "words", "films", "embeddings", "image")
    }

    def __init__(self, config: CriticConfig, contract: Contract) -> None:
        super().__init__()
        self.condition = config.condition
        text = config.condition == "text"
        channels = 6 if config.condition == "goal" else 3
        self.vision: ConvolutionEncoder | BridgeResNet = (
            ConvolutionEncoder(config)
            if config.encoder == "convolutions"
            else BridgeResNet(
                channels, config.widths, config.depths, bottleneck=config.bottleneck, coordinates=config.coordinates,
                activation="swish" if config.activation == "silu" else "relu", context_dim=config.word_dim * text,
            )
        )  # fmt: skip
        self._usual = contract.state == WIDOWX.state
        measured = len(PROPRIOCEPTION) if self._usual else contract.state.dim
        self.state = _bottleneck(measured, config.state_dim) if config.state_dim else None
        self.tasks = len(config.tasks) if config.condition == "task" else 0
        self.dim = self.vision.dim + config.state_dim + self.tasks

    def forward(self, batch: Batch) -> Float[Tensor, "n d"]:
        """Return features of a transformed batch.

        Args:
            batch: "image" (n, r, r, 3) in [0, 1], "state" (n, s), and, by the condition, "goal" (n, r, r, 3), "words"
                (n, w) or "task" (n,) int64. Unknown states count as typical ones.
        """
        names = ("image", "goal") if self.condition == "goal" else ("image",)
        x = torch.cat([to_planes(batch[k]) for k in names], 1)
        parts = [self.vision.features(x, batch.get("words"))]
        if self.state is not None:
            state = batch["state"]
            measured = proprioception(state) if self._usual else state
            parts.append(self.state(measured.nan_to_num(0.0)))
        if self.tasks:
            parts.append(nn.functional.one_hot(batch["task"], self.tasks).to(x.dtype))
        return torch.cat(parts, 1)


class EnsembleLayer(nn.Module):
    """Linear maps of hidden units, features and actions for each of e networks, with LayerNorm and activation."""

    def __init__(
        self,
        ensemble: int,
        width: int,
        *,
        hidden: int = 0,
        features: int = 0,
        actions: int = 0,
        layer_norm: bool = False,
        activation: str = "none",
    ) -> None:
        """Make the layer. `hidden`, `features`, `actions`: dimensions of the inputs; 0 where one isn't an input."""
        super().__init__()
        bound = 1 / math.sqrt(hidden + features + actions)

        def weight(dim: int) -> nn.Parameter | None:
            made = torch.empty(ensemble, dim, width).uniform_(-bound, bound)
            return nn.Parameter(made) if dim else None

        self.of_hidden, self.of_features = weight(hidden), weight(features)
        self.of_actions = weight(actions)
        self.bias = nn.Parameter(torch.empty(ensemble, 1, width).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.ones(ensemble, 1, width)) if layer_norm else None
        self.shift = nn.Parameter(torch.zeros(ensemble, 1, width)) if layer_norm else None
        self.activation = {"relu": torch.relu, "silu": nn.functional.silu}.get(activation)

    def forward(
        self,
        hidden: Float[Tensor, "e n k w"] | None,
        features: Float[Tensor, "n d"],
        actions: Float[Tensor, "n k a"],
    ) -> Float[Tensor, "e n k2 w2"]:
        """Return the activations for k actions of each of n states; k2 is 1 before the first layer with actions."""
        x: Tensor = self.bias[:, None]
        if self.of_features is not None:
            x = x + (features @ self.of_features)[:, :, None]
        if self.of_actions is not None:
            n, k = actions.shape[:2]
            x = x + (actions.flatten(0, 1) @ self.of_actions).view(-1, n, k, self.bias.shape[2])
        if self.of_hidden is not None and hidden is not None:
            n, k = hidden.shape[1:3]
            x = x + (hidden.flatten(1, 2) @ self.of_hidden).view(-1, n, k, self.bias.shape[2])
        if self.scale is not None and self.shift is not None:
            normalized = nn.functional.layer_norm(x, x.shape[-1:])
            x = torch.addcmul(self.shift[:, None], normalized, self.scale[:, None])
        return x if self.activation is None else self.activation(x)


class EnsembleMLP(nn.Module):
    """Several networks of the same shape from features, and actions if there are any, to scalars."""

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        *,
        ensemble: int = 1,
        inject: Literal["first", "action", "both"] = "first",
        layer_norm: bool = False,
        activation: Literal["relu", "silu"] = "relu",
        final_scale: float = 1e-2,
    ) -> None:
        """Make the networks; the arguments are as in `CriticConfig`."""
        super().__init__()
        settings: dict[str, Any] = {"layer_norm": layer_norm, "activation": activation}
        first: dict[str, Any] = {"features": feature_dim, "actions": action_dim}
        again: dict[str, Any] = {
            "features": feature_dim if inject == "both" else 0,
            "actions": action_dim if inject != "first" else 0,
        }
        layers = [EnsembleLayer(ensemble, hidden[0], **first, **settings)]
        for i, o in itertools.pairwise(hidden):
            layers.append(EnsembleLayer(ensemble, o, hidden=i, **again, **settings))
        last = EnsembleLayer(ensemble, 1, hidden=hidden[-1])
        assert last.of_hidden is not None
        with torch.no_grad():
            last.of_hidden.uniform_(-final_scale, final_scale)
            last.bias.zero_()
        self.layers = nn.ModuleList([*layers, last])

    def forward(
        self, features: Float[Tensor, "n d"], actions: Float[Tensor, "n k a"]
    ) -> Float[Tensor, "e n k"]:
        """Return the scalars of k actions of each state."""
        hidden: Tensor | None = None
        for layer in self.layers:
            hidden = layer(hidden, features, actions)
        assert hidden is not None
        return hidden[..., 0]


class CriticNetwork(nn.Module):
    """Encoder, Q functions, and V where the backup needs it."""

    def __init__(self, config: CriticConfig, contract: Contract) -> None:
        super().__init__()
        self.known = KnownSentences(config.sentences, config.word_dim) if config.sentences else None
        self.encoder = StateEncoder(config, contract)
        self.q_head = EnsembleMLP(
            self.encoder.dim,
            contract.action.dim,
            config.hidden,
            ensemble=config.ensemble,
            inject=config.inject,
            layer_norm=config.layer_norm,
            activation=config.activation,
            final_scale=config.final_scale,
        )
        self.v_head = (
            EnsembleMLP(
                self.encoder.dim,
                0,
                config.hidden,
                layer_norm=config.layer_norm,
                activation=config.activation,
                final_scale=config.final_scale,
            )
            if config.backup == "expectile"
            else None
        )

    def encode(self, batch: Batch) -> Float[Tensor, "n d"]:
        """Return the features of a transformed batch's states."""
        features: Tensor = self.encoder(batch)
        return features

    def q(
        self, features: Float[Tensor, "n d"], actions: Float[Tensor, "n k a"]
    ) -> Float[Tensor, "e n k"]:
        """Return the values of k actions in [-1, 1] of each state, by each Q function."""
        values: Tensor = self.q_head(features, actions)
        return values

    def v(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the states' values. The backup must be "expectile"."""
        assert self.v_head is not None
        values: Tensor = self.v_head(features, features.new_zeros(len(features), 1, 0))
        return values[0, :, 0]


def _bottleneck(dim_in: int, dim_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim_in, dim_out), nn.LayerNorm(dim_out), nn.Tanh())
