"""`soar reproduce`: the paper's results in simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from soar.cli.options import FLAT, OUT, saved_config
from soar.experiments.figure5 import TEN_SCENES
from soar.experiments.run_config import RunConfig


def table6(store: Path) -> None:
    """Show a store beside the known robot data sets, as in the paper's Table 6.

    The same as `soar data stats --table6`.

    Example: `soar reproduce table6 --store S`.

    Args:
        store: the store's folder.
    """
    from soar.cli.data import stats
    from soar.types import Query

    stats(store, Query(), table6=True)


def figure5(
    config: Annotated[RunConfig, FLAT] = TEN_SCENES,
    jobs: Annotated[int, Ge(1)] = 1,
    out: Annotated[Path, OUT] = Path("results/figure5"),
) -> None:
    """Reproduce Figure 5: success in each scene before and after improvement with that scene's own data.

    Each scene is a run of `soar improve`. The same command resumes, and draws what is finished.

    Examples: `soar reproduce figure5 --scenes 1 2 3`, on sixteen cores: `soar reproduce figure5 --jobs 8`.

    Args:
        config: configuration of each scene's run.
        jobs: scenes at a time, each in a process of its own.
        out: folder for runs, numbers, table and figure.
    """
    from soar.cli import command_line
    from soar.experiments.figure5 import reproduce_figure5
    from soar.utils.progress import announce

    with saved_config(figure5, out):
        figure = reproduce_figure5(out, config, jobs, announce, command_line())
    print((out / "figure5.md").read_text())
    print(f"figure: {figure}")
