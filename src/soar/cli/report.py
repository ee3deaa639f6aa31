"""`soar report`: one HTML page about a run or a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Gt

from soar.cli.options import FLAT
from soar.report.film import FilmConfig


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


def film(
    left: Annotated[Path, tyro.conf.Positional],
    right: Annotated[Path, tyro.conf.Positional],
    config: Annotated[FilmConfig, FLAT],
    out: Path = Path("film.mp4"),
    preview: Path | None = None,
    preview_mb: Annotated[float, Gt(0)] = 1.5,
) -> None:
    """Write the film of two collections side by side: accelerated, with subgoals in the corner and verdicts.

    Example, the language-conditioned policy beside the whole system:
        soar collect --store lcbc --scene dev1 --policy lcbc --subgoals none --episodes 8
        soar collect --store system --scene dev1 --episodes 8
        soar report film lcbc system --out film.mp4 --preview film.webp

    Args:
        left: folder of the episode store shown on the left.
        right: folder of the one on the right.
        config: what is shown.
        out: mp4 to write.
        preview: animated WebP to write as well, for a web page; none if left out.
        preview_mb: its largest size in MB.
    """
    from soar.report.film import film_frames, write_film, write_preview
    from soar.utils.progress import printable

    write_film(left, right, out, config)
    print(printable(f"{out}: {out.stat().st_size / 1e6:.1f} MB"))
    if preview is not None:
        count = write_preview(
            list(film_frames(left, right, config)), preview, int(1e6 * preview_mb)
        )
        print(printable(f"{preview}: {count / 1e6:.2f} MB"))
