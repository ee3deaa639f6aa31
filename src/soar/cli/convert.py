"""`soar convert`: weights that the papers' authors released, in the formats of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from soar.errors import ConfigError, SoarError
from soar.utils.files import local_path
from soar.utils.hub import DATA_FILES, HUB, hub_folder

if TYPE_CHECKING:
    from soar.conversion.policies import Kind

Source = Annotated[str, tyro.conf.Positional]


def susie(source: Source, base: str, out: Path) -> None:
    """Write SuSIE's released U-Net, and the parts of Stable Diffusion that it needs, in diffusers format.

    The folder is a subgoal generator for every command, with SuSIE's sampler: 50 steps of DDIM, guidance 2.0
    for the image and 7.5 for the words.

    Example: `soar convert susie hub:kvablack/susie --base hub:runwayml/stable-diffusion-v1-5@flax --out released`,
    then `soar collect --subgoals released`.

    Args:
        source: folder with `unet/`, or that folder itself (Flax or Orbax); also hub:org/name.
        base: Stable Diffusion 1.5's folder, for Flax or for PyTorch; also hub:org/name@revision.
        out: folder to write.
    """
    from soar.conversion.susie import convert_susie

    _check_new(out)
    with _of_others(source, base):
        convert_susie(_folder(source), _folder(base), out)
    print(f"{out}: use it with --subgoals {out}")


def gcbc(source: Source, settings: Path, out: Path) -> None:
    """Write a goal-conditioned policy of bridge_data_v2 or SOAR as a checkpoint.

    Example: `soar convert gcbc gcbc_256/checkpoint_300000 --settings gcbc_256/config.json --out released/gcbc`, then
    `soar evaluate --checkpoint released/gcbc`.

    Args:
        source: Flax's checkpoint: a msgpack file or the folder of an Orbax checkpoint.
        settings: JSON of its training run, or SOAR's YAML of a robot (gc_bc.yaml), with the action statistics.
        out: folder to write.
    """
    _policy("gcbc", source, settings, out)


def dgcbc(source: Source, settings: Path, out: Path) -> None:
    """Write a diffusion policy of bridge_data_v2, SuSIE or SOAR (gc_ddpm_bc) as a checkpoint.

    Chunks are executed with temporal ensembling, as in SuSIE's evaluation.

    Example: `soar convert dgcbc checkpoint_300000 --settings config.json --out released/dgcbc`.

    Args:
        source: Flax's checkpoint: a msgpack file or the folder of an Orbax checkpoint.
        settings: JSON of its training run, or SOAR's YAML of a robot, with the action statistics.
        out: folder to write.
    """
    _policy("dgcbc", source, settings, out)


def lcbc(source: Source, settings: Path, vectors: Path, out: Path) -> None:
    """Write a language-conditioned policy of bridge_data_v2 or SOAR as a checkpoint.

    Its instructions are embedded by MUSE, which needs TensorFlow: make the embeddings elsewhere. They become part
    of the checkpoint, which refuses other instructions.

    Example: `soar convert lcbc lcbc/checkpoint_300000 --settings lcbc/config.json --vectors muse.json --out own`.

    Args:
        source: Flax's checkpoint: a msgpack file or the folder of an Orbax checkpoint.
        settings: JSON of its training run, or SOAR's YAML of a robot, with the action statistics.
        vectors: JSON object with 512 numbers for each instruction, or .npz with `sentences` and `vectors`.
        out: folder to write.
    """
    _policy("lcbc", source, settings, out, vectors)


def vgps(source: Source, settings: Path, vectors: Path, out: Path) -> None:
    """Write a critic of V-GPS (Cal-QL or IQL with instructions) as a checkpoint that steers policies.

    Its instructions are embedded by MUSE, as for lcbc: it values the instructions in the file and refuses others. Its
    actions are in Bridge's units, whatever other data it learned from.

    Example: `soar convert vgps checkpoint_500000 --settings pretrained_checkpoint.yaml --vectors muse.json --out
    released/vgps`, then `soar evaluate --checkpoint steered:gcbc,released/vgps`.

    Args:
        source: Flax's checkpoint: a msgpack file or the folder of an Orbax checkpoint.
        settings: JSON of its training run, or V-GPS's pretrained_checkpoint.yaml.
        vectors: JSON object with 512 numbers for each instruction, or .npz with `sentences` and `vectors`.
        out: folder to write.
    """
    from soar import checkpoint as checkpoints
    from soar.conversion.critics import convert_critic
    from soar.nn.sentences import read_sentences

    _check_new(out)
    with _of_others(source, settings):
        made = convert_critic(_folder(source), settings, read_sentences(vectors))
    print(
        f"checkpoint {checkpoints.save(out, made)} in {out}: use it with --policy steered:POLICY,{out}"
    )


def _policy(
    kind: Kind, source: str, settings: Path, out: Path, vectors: Path | None = None
) -> None:
    from soar import checkpoint as checkpoints
    from soar.conversion.policies import convert_policy
    from soar.nn.sentences import read_sentences

    _check_new(out)
    sentences = read_sentences(vectors) if vectors else None
    with _of_others(source, settings):
        made = convert_policy(kind, _folder(source), settings, sentences)
    print(f"checkpoint {checkpoints.save(out, made)} in {out}: use it with --policy {out}")


@contextmanager
def _of_others(*files: str | Path) -> Iterator[None]:
    """Refuse files that aren't laid out as released, in one line. Raises ConfigError."""
    try:
        yield
    except (
        LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError, OSError
    ) as error:  # fmt: skip
        if isinstance(error, SoarError):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        names = " and ".join(map(str, files))
        raise ConfigError(f"{names} aren't laid out as the authors' release ({what})") from error


def _check_new(out: Path) -> None:
    """Refuse a folder that holds something. Raises ConfigError."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists; name a new folder")


def _folder(source: str) -> Path:
    """Return a file or folder on this machine, or the copy of one on the Hub with its Flax weights."""
    if source.startswith(HUB):
        return hub_folder(source, (*DATA_FILES, "*.msgpack"))
    return local_path(source)
