"""`soar pretrain average`: the mean of several trainings' weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def average(
    checkpoints: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")
    ],
    out: Path,
) -> None:
    """Average the weights of checkpoints that began from the same weights; the mean is often better than any of them.

    Example: `soar pretrain average runs/first runs/second --out runs/mean`.

    Args:
        checkpoints: folders of two checkpoints or more of the same model.
        out: folder of the mean.
    """
    from soar.checkpoint import load, mean_of, save

    print(f"checkpoint {save(out, mean_of([load(folder) for folder in checkpoints]))} in {out}")
