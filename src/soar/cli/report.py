"""`soar report`: one page that tells what a run did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def report(
    run: Annotated[Path, tyro.conf.Positional], out: Path | None = None, show: bool = False
) -> None:
    """Write a run's report as one HTML page that needs no other file and no network.

    It can be made at any time, also while the run goes on.

    Example: `soar report runs/scene-1 --show`

    Args:
        run: a folder made by `soar improve` or `soar demo`.
        out: the page; RUN/report.html when left out.
        show: open it in the browser.
    """
    import webbrowser

    import rich

    from soar.improvement.run import Run
    from soar.report.page import write_report

    page = write_report(Run(run), out)
    rich.print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
    if show:
        webbrowser.open(page.resolve().as_uri())
