"""`soar train critic`: value functions from the successes and failures of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from soar.cli.options import FLAT, OUT, PRESET, changed, default_of, saved_config
from soar.critics.config import CriticConfig
from soar.errors import ConfigError
from soar.training.critic import PRESETS, CriticTrainConfig
from soar.types import Query
from soar.utils.config import check_ranges

if TYPE_CHECKING:
    from soar.critics.learning.labels import CriticSource

Algorithm = Literal["iql", "calql", "ptr", "vgps", "vgps_iql", "robofume"]


@dataclass(frozen=True)
class OtherData:
    """A second store, such as the robots' own episodes beside demonstrations."""

    store: Path | None = None
    """The store's folder; without it there is none."""
    query: Query = field(default_factory=Query)
    """Filter of its episodes."""
    share: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Its share of the samples, within the successes and within the failures."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.store is None and (given := changed(self, "store")):
            raise ConfigError(f"--own.{given[0]} is for a second store; give --own.store")


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    preset = PRESETS[given["preset"]](given["algorithm"])
    if (start := given["start"]) is not None:
        from soar import checkpoint as checkpoints

        found = checkpoints.load(start, "critic").model_config(CriticConfig)
        preset = replace(preset, critic=found)
    return {"config": replace(preset, fit=replace(preset.fit, trackers=("tensorboard",)))}


@default_of(_defaults)
def critic(
    store: Path,
    out: Annotated[Path, OUT],
    which: Annotated[Query, FLAT],
    config: Annotated[CriticTrainConfig, FLAT],
    own: OtherData,
    algorithm: Annotated[Algorithm, PRESET] = "iql",
    preset: Annotated[Literal["compact", "debug"], PRESET] = "compact",
    start: Path | None = None,
    held_out: Annotated[float, Ge(0), Lt(1)] = 0.1,
) -> None:
    """Train a critic on the successes and failures of a store. The same command resumes.

    Rewards come from the verdicts that the store holds when a batch is drawn. Held-out episodes give the scores in
    OUT/scores.json and the page OUT/report.html: AUC of success, spread over actions, value along episodes.

    Examples, on one store, on demonstrations and own episodes, and with instructions in place of goal images:
        soar train critic --store collected --out runs/critic
        soar train critic --store demos --own.store collected --out runs/critic
        soar train critic --store collected --out runs/critic --algorithm vgps

    Args:
        store: the store's folder.
        out: folder of the checkpoint, log.jsonl, TensorBoard's curves, and the state for resuming.
        which: filter of the episodes.
        config: critic, data and optimization.
        own: a second store.
        algorithm: defaults of the critic's options: "iql", or those of Cal-QL, PTR, V-GPS (two kinds) or RoboFuME.
        preset: size: "compact" fits a CPU; "debug" runs in seconds.
        start: a critic's folder to begin from, whose configuration is then the default. Its architecture can't change.
        held_out: share of the last given store's episodes, evenly spread in time, that is held out for the scores.
    """
    from soar import checkpoint as checkpoints
    from soar.critics.diagnostics import value_episodes
    from soar.critics.learning.labels import held_out as split
    from soar.critics.learning.learner import KIND
    from soar.report.critic_page import write_critic_page
    from soar.training.critic import train_critic
    from soar.utils.hardware import is_main_process

    before = checkpoints.load(start, KIND) if start else None
    *others, last = _sources(config, store, which, own, out)
    rest, apart = split(last, held_out)
    validation = [apart] if apart and apart.has_labels(config.critic) else []
    with saved_config(critic, out):
        made, result = train_critic(
            config, [*others, rest], out, start=before, validation=validation
        )
    if is_main_process():
        print(
            f"critic {checkpoints.load(out).id} in {out}: step {result.step}, loss {result.loss:.4f}, "
            f"{result.samples_per_s:.0f} samples/s, {result.wait_share:.1%} of the time waiting for data"
        )
        if apart:
            scores = write_critic_page(out, made.name, apart, value_episodes(made, apart))
            print(
                f"{scores.successes} successes and {scores.failures} failures held out: AUC {scores.auc:.2f}, "
                f"spread over actions {scores.action_spread:.2f} of that over states; page: {out / 'report.html'}"
            )


def _sources(
    config: CriticTrainConfig, store: Path, which: Query, own: OtherData, out: Path
) -> Sequence[CriticSource]:
    from soar.data.store.lance import open_store
    from soar.training.critic import critic_source

    cache, second = out / "frames", 0.0 if own.store is None else own.share
    first = open_store(store, read_only=True)
    sources = [critic_source(first, "given", which, config.critic, cache, 1 - second)]
    if own.store is not None:
        other = open_store(own.store, read_only=True)
        sources.append(critic_source(other, "own", own.query, config.critic, cache, own.share))
    return sources
