"""`soar report`: one HTML page about a run or a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def report(
    folder: Annotated[Path, tyro.conf.Positional], out: Path | None = None, show: bool = False
) -> None:
    """Write a report as one HTML page that needs no other file and no network.

    The page of a run shows success before and after, what each round did, and where every number comes from. The
    page of an episode store shows its attempts, verdicts, proposals and faults. Both can be made while the robots
    are still collecting.

    Examples:
        soar report runs/scene-1 --show
        soar report runs/lab/store

    Args:
        folder: folder of a run (of `soar improve` or `soar demo`) or of an episode store.
        out: file to write; FOLDER/report.html if left out.
        show: open the page in the browser.
    """
    import webbrowser

    import rich

    from soar.report.page import write_report
    from soar.utils.progress import literal

    page = write_report(folder, out)
    rich.print(f"{literal(page)} ({page.stat().st_size / 1e6:.1f} MB)")
    if show:
        webbrowser.open(page.resolve().as_uri())
