"""`soar vlm`: ask a VLM, label episodes, calibrate the threshold, evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import rich
import tyro
from annotated_types import Ge, Le
from jaxtyping import Bool, Float32, Float64
from rich.table import Table

from soar.cli.options import FLAT
from soar.errors import ConfigError
from soar.evaluation.results import FIRST_SEED
from soar.registry import COMPACT
from soar.types import SUCCESS_THRESHOLD, EpisodeSummary, Outcome, Query, Verdict
from soar.utils.files import write_json
from soar.utils.progress import literal, print_table, printable
from soar.utils.statistics import Confusion

if TYPE_CHECKING:
    from soar.data.store.lance import LanceStore

Share = Annotated[float, Ge(0), Le(1)]
Which = Annotated[Query, FLAT]
Model = Annotated[
    str,
    tyro.conf.arg(
        help='"compact"; a checkpoint\'s folder; local:FOLDER_OR_HUB_ID; chat:, systemone: or '
        "decisions:MODEL@URL, with #VARIABLE where an environment variable holds the key. Options follow a ?: "
        "chat:MODEL@URL?decoder=chat:MODEL@URL, local:FOLDER?least_mass=0.3."
    ),
]
PAPER = "the paper's detector: accuracy .79, precision .63, recall 1.0"
"""Reference printed below every table."""
_PLOTS = (".png", ".svg", ".pdf")
"""Endings of files that a plot can be written to."""
_ORIGINS = {
    "probability": "verdicts of a model's probability",
    "word": "verdicts of a word in a model's reply, without a probability",
    "vote": "verdicts of several replies' votes",
    "unstated": "verdicts of an unstated origin",
}


def ask(
    image: Annotated[Path, tyro.conf.Positional],
    questions: Annotated[tuple[str, ...], tyro.conf.Positional],
    vlm: Model = COMPACT,
) -> None:
    """Ask yes/no questions about an image.

    Example: `soar vlm ask table.png "Is the lemon on the blue plate?" "Is there a lemon present?"`.

    Args:
        image: PNG or JPEG.
        questions: one or more, in English for the compact VLM.
        vlm: model to ask.
    """
    from soar.registry import load_vlm
    from soar.tasks.questions import parse_question
    from soar.utils.media import read_image

    if not questions:
        raise ConfigError('no question is given; valid: one or more, such as "Is the drawer open?"')
    asked = [parse_question(text) for text in questions]
    [answers] = load_vlm(vlm).answer([read_image(image)], [asked])
    table = _table("question", "P(yes)", "from a", "raw reply", "decoded")
    for a in answers:
        p_yes = "unknown" if a.p_yes is None else f"{a.p_yes:.3f}"
        table.add_row(
            literal(a.question.text), p_yes, a.source or "", literal(a.raw), literal(a.decoded)
        )
    print_table(table)


def label(
    store: Path,
    labels: Path,
    which: Which,
    apply: bool = False,
    size: Annotated[int, Ge(2), Le(1000)] = 48,
) -> None:
    """Label episodes as success or failure: in the terminal, or from a CSV file.

    Shows the first and last frame of each episode that the file doesn't contain yet. y: success, n:
    failure, u: unsure, s: skip, b: back to the previous one, q: quit. Every label is saved at once.
    `soar watch` does the same in a browser, with the whole film.
    With --apply, the file's labels become the store's verdicts, judged by "person".

    Examples:
        soar vlm label --store runs/a/store --labels labels.csv
        soar vlm label --store runs/a/store --labels labels.csv --apply

    Args:
        store: the store's folder.
        labels: CSV file with the columns id, instruction, success (yes, no or unsure).
        which: filter of the episodes.
        apply: write the file's labels into the store instead of asking.
        size: width of each image in characters.
    """
    from soar.data.store.lance import open_store
    from soar.vlm.labels import read_labels

    opened = open_store(store, read_only=not apply)
    episodes = {e.id: e for e in opened.query(which)}
    known = read_labels(labels)
    if not apply:
        _label_by_hand(opened, episodes, labels, known, size)
        return
    chosen = {i: success for i, success in known.items() if i in episodes and success is not None}
    for id, success in chosen.items():
        outcome: Outcome = "success" if success else "failure"
        opened.set_verdict(id, Verdict(outcome, float(success), judge="person"))
    print(
        f"{len(chosen)} verdicts written to {store}; {len(known) - len(chosen)} labels unsure or of other episodes"
    )


def calibrate(
    store: Path,
    which: Which,
    labels: Path | None = None,
    vlm: Model = "",
    detector: str = "",
    precision: Share | None = None,
    recall: Share | None = None,
    out: Path = Path("calibration.png"),
) -> None:
    """Compare verdicts with the truth, and choose a threshold with a required precision or recall.

    Prints accuracy, precision and recall with 95 % intervals at 0.5 and at the chosen threshold, the
    area under the ROC curve and the calibration error; plots the ROC curve and the reliability. Verdicts
    from a model's probability, a word of its reply, and several replies' votes are calibrated separately. The
    truth is a person's labels (--labels, from `soar vlm label`), else the simulator's ground truth.

    Example: `soar vlm calibrate --store runs/a/store --recall 0.95`.

    Args:
        store: the store's folder.
        which: filter of the episodes.
        labels: a person's CSV file.
        vlm: model that judges the first and last frames again; without it or a detector, stored probabilities count.
        detector: success detector that judges again, "vlm" or "python:package.module:function".
        precision: least precision of the threshold.
        recall: least recall of the threshold; with neither, it has the highest F1.
        out: file of the plot; where verdicts have several origins, each has its own, named after it.
    """
    from soar.data.store.lance import open_store
    from soar.vlm.calibration import by_source

    if out.suffix not in _PLOTS:
        raise ConfigError(f"--out {out}: no file of a plot; valid endings: {', '.join(_PLOTS)}")

    opened = open_store(store, read_only=True)
    episodes, truth = _known_outcomes(opened, which, labels)
    verdicts = _verdicts(opened, episodes, vlm, detector)
    groups = by_source(verdicts)
    if not groups:
        raise ConfigError(f"no verdict of a model on {len(episodes)} labeled episodes of {store}")
    problems = {}
    for source, indices in groups.items():
        p = np.array([_p_success(verdicts[i]) for i in indices])
        path = out.with_stem(f"{out.stem}-{source}") if len(groups) > 1 else out
        try:
            _calibrate(source, p, truth[indices], precision, recall, path)
        except ConfigError as error:
            problems[source] = f"{_ORIGINS[source]}: {error}"
    if len(problems) == len(groups):
        raise ConfigError("; ".join(problems.values()))
    print("\n".join(problems.values()), end="\n" if problems else "")
    rich.print(f"[dim]{PAPER}[/dim]")
    if left_out := len(verdicts) - sum(map(len, groups.values())):
        print(f"{left_out} verdicts of persons, or without an answer, are left out")


def _known_outcomes(
    store: LanceStore, which: Query, labels: Path | None
) -> tuple[list[EpisodeSummary], Bool[np.ndarray, "n"]]:
    """Return the episodes with a person's label (without labels, a known truth), and whether each succeeded.

    Raises:
        ConfigError: there is none.
    """
    from soar.vlm.labels import read_labels

    known = read_labels(labels) if labels else {}
    if labels and not known:
        raise ConfigError(f"{labels} has no labels; make some: `soar vlm label`, `soar watch`")
    labeled = [(e, known.get(e.id) if labels else e.provenance.truth) for e in store.query(which)]
    episodes = [e for e, success in labeled if success is not None]
    if not episodes:
        raise ConfigError(
            f"no episode of {store.path} has a label or a true outcome; label some: `soar vlm label`"
        )
    return episodes, np.array([success for _, success in labeled if success is not None])


def _calibrate(
    source: str,
    p: Float64[np.ndarray, "n"],
    truth: Bool[np.ndarray, "n"],
    precision: float | None,
    recall: float | None,
    out: Path,
) -> None:
    """Print and plot the calibration of verdicts of one origin. Raises ConfigError: it can't be made."""
    from soar.vlm.calibration import choose_threshold, confusion, reliability, roc_curve
    from soar.vlm.calibration_plot import plot_calibration

    curve, bins = roc_curve(p, truth), reliability(p, truth)
    threshold = choose_threshold(curve, precision=precision, recall=recall)
    table = _table("threshold", "accuracy", "precision", "recall", "unknown")
    for value in (SUCCESS_THRESHOLD, threshold):
        table.add_row(f"{value:.3f}", *_rates(confusion(p, truth, value)))
    rich.print(f"\n{_ORIGINS[source]}:")
    print_table(table)
    rich.print(
        f"area under ROC {curve.area:.3f}, calibration error {bins.error:.3f}, {len(p)} episodes"
    )
    plot_calibration(curve, bins, threshold, out)
    print(out)


def evaluate(
    vlm: Model = COMPACT,
    scenes: tuple[str, ...] = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10"),
    images: Annotated[int, Ge(1)] = 60,
    seed: Annotated[int, Ge(0)] = FIRST_SEED,
    threshold: Share = SUCCESS_THRESHOLD,
    scattered: Share = 0.0,
    out: Path | None = None,
) -> None:
    """Evaluate a VLM on simulated scenes: success detection by task, and questions of every kind.

    The scripted expert acts in each scene, sometimes only halfway; the model answers questions about the
    images, and its answers are compared with the simulator's ground truth.

    Example: `soar vlm evaluate --scenes dev1 dev2 --images 100`.

    Args:
        vlm: model to evaluate.
        scenes: 1 to 10, dev1 to dev12, YAML files, broad-SEED.
        images: images per scene.
        seed: seed of what happens in the scenes.
        threshold: P from which an answer counts as yes, and a task as done.
        scattered: share of resets after which the objects are dropped anywhere, even on each other, as practice
            leaves them.
        out: JSON file to write the numbers to.
    """
    from soar.evaluation.vlm import confusion_by, judge_scenes
    from soar.registry import load_vlm
    from soar.sim.scenes.catalog import load_scene
    from soar.utils.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("images", total=images * len(scenes), note="")
        predictions, errors = judge_scenes(
            load_vlm(vlm),
            [load_scene(s) for s in scenes],
            images,
            seed,
            on_image=lambda: bar.advance(task),
            scattered=scattered,
        )
    tasks, questions = ([x for x in predictions if x.group == g] for g in ("task", "question"))
    tables = {
        "success detection by kind": confusion_by(lambda x: x.kind, tasks, threshold),
        "success detection by scene": confusion_by(lambda x: x.scene, tasks, threshold),
        "questions by kind": confusion_by(lambda x: x.kind, questions, threshold),
    }
    for title, rows in tables.items():
        print_table(_confusions(title, rows))
    places = _places(errors)
    if places:
        print("places of named objects: " + ", ".join(f"{k} {v:g}" for k, v in places.items()))
    rich.print(f"[dim]{PAPER}[/dim]")
    if out:
        _write_numbers(out, tables, places)


def _label_by_hand(
    store: LanceStore,
    episodes: Mapping[str, EpisodeSummary],
    path: Path,
    known: Mapping[str, bool | None],
    size: int,
) -> None:
    from soar.utils.media import resize
    from soar.vlm.labels import to_blocks, update_label

    labels, order = dict(known), [id for id in episodes if id not in known]
    index = 0
    while index < len(order):
        episode = episodes[order[index]]
        frames = store.images(episode.id, [0, episode.length])
        both = np.concatenate([resize(f, size) for f in frames], axis=1)
        print(f"\n{to_blocks(both)}\n{index + 1} of {len(order)}: {printable(episode.instruction)}")
        match input("success? [y]es [n]o [u]nsure [s]kip [b]ack [q]uit: ").strip().lower()[:1]:
            case "y" | "n" | "u" as word:
                labels = update_label(path, episode, None if word == "u" else word == "y")
                index += 1
            case "s":
                index += 1
            case "b":
                index = max(0, index - 1)
            case "q":
                break
    print(f"{len(labels)} labels in {path}")


def _verdicts(
    store: LanceStore, episodes: Sequence[EpisodeSummary], vlm: str, detector: str
) -> list[Verdict]:
    """Verdict of each episode, as stored, or as a success detector judges now."""
    if not (vlm or detector):
        return [e.verdict for e in episodes]
    from soar.collection.judging import judge_stored
    from soar.registry import load_detector

    judge = load_detector(detector or "vlm", vlm=vlm or "compact")
    judged = {s.id: verdict for s, verdict in judge_stored(store, episodes, judge)}
    return [judged.get(e.id, Verdict("unknown")) for e in episodes]


def _p_success(verdict: Verdict) -> float:
    """P(success) of a verdict, NaN for unknown."""
    return np.nan if verdict.p_success is None else verdict.p_success


def _confusions(title: str, rows: Mapping[str, Confusion]) -> Table:
    """Table of rates with their intervals, and a total."""
    table = _table("", "asked", "accuracy", "precision", "recall", "unknown")
    table.title, table.title_justify = f"\n{title}", "left"
    for name, confusion in [*sorted(rows.items()), ("all", sum(rows.values(), Confusion()))]:
        table.add_row(literal(name), str(confusion.judged), *_rates(confusion))
    return table


def _rates(confusion: Confusion) -> list[str]:
    intervals = (confusion.accuracy, confusion.precision, confusion.recall)
    return [
        *(f"{i.value:.3f} ({i.low:.2f}-{i.high:.2f})" for i in intervals),
        str(confusion.unknown),
    ]


_FAR = 0.1
"""Error from which an object counts as not found [half an image]."""


def _places(errors: Float32[np.ndarray, " n"]) -> dict[str, float]:
    """Median error [half an image] and share of objects that aren't found; empty without objects."""
    if not len(errors):
        return {}
    far = float((errors > _FAR).mean())
    return {
        "median error": round(float(np.median(errors)), 4),
        f"share beyond {_FAR:g}": round(far, 4),
        "objects": len(errors),
    }


def _write_numbers(
    path: Path, tables: Mapping[str, Mapping[str, Confusion]], places: Mapping[str, float]
) -> None:
    def numbers(of: Confusion) -> dict[str, object]:
        rates = {k: getattr(of, k)._asdict() for k in ("accuracy", "precision", "recall")}
        return {**asdict(of), **rates}

    rows = {
        title: {
            n: numbers(c) for n, c in {**groups, "all": sum(groups.values(), Confusion())}.items()
        }
        for title, groups in tables.items()
    }
    write_json(path, {**rows, "places": places} if places else rows)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold", padding=(0, 1, 0, 0))
