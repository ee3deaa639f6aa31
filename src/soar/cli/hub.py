"""`soar hub`: folders of weights and data, to and from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from soar.errors import ConfigError
from soar.utils.progress import printable

if TYPE_CHECKING:
    from soar.exchange.hub.cards import Result

Repo = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ORG/NAME")]


def push(
    folder: Annotated[Path, tyro.conf.Positional],
    repo: Repo,
    license: str = "",
    results: tuple[Path, ...] = (),
    private: bool = False,
    message: str = "",
    dry_run: bool = False,
) -> None:
    """Publish a checkpoint, a store, or an exported data set on the Hugging Face Hub, in one commit.

    A URL such as s3://bucket/policies/kitchen instead of org/name publishes a checkpoint there, for stations to load.

    A card is written from what the folder says: meaning of the numbers, results, provenance. A README.md in the folder
    takes its place. Files of earlier commits that aren't among these are removed from the newest one. HF_TOKEN, or
    `hf auth login`, gives permission.

    Example: `soar hub push runs/lab/train/round-2 my-lab/gcbc --license mit --results runs/lab/evaluation`.

    Args:
        folder: a checkpoint's folder, a store, or a data set as LeRobot v3.0 or RLDS (`soar data export`).
        repo: where, as org/name, or for a checkpoint a URL of object storage.
        license: its license, as the Hub abbreviates it.
        results: folders of evaluations of this checkpoint, for its card.
        private: create it private.
        message: message of the commit.
        dry_run: print the card and the files, and publish nothing.
    """
    from soar import checkpoint as checkpoints
    from soar.exchange.hub.push import CARD, plan_upload, push_to_objects
    from soar.exchange.hub.push import push as publish
    from soar.utils.hub import HUB
    from soar.utils.objects import is_object_url

    repo = repo.removeprefix(HUB)
    if (folder / "run.json").exists():
        raise ConfigError(f"{folder} is a run; name what it trained: {_trained(folder)}")
    if is_object_url(repo) and (folder / "store.json").exists():
        raise ConfigError(f"{folder} is a store; copy it: soar data merge {folder} --out {repo}")
    if is_object_url(repo) and dry_run:
        print(f"checkpoint {checkpoints.load(folder).id} would become {repo}")
        return
    if is_object_url(repo):
        print(f"checkpoint {push_to_objects(folder, repo)} is {repo}")
        return
    id = checkpoints.load(folder).id if results and checkpoints.exists(folder) else ""
    upload = plan_upload(folder, repo, license, [r for path in results for r in _results(path, id)])
    size = f"{len(upload.files)} files, {upload.size / 1e6:.1f} MB"
    if dry_run:
        card = upload.files[CARD]
        text = card if isinstance(card, bytes) else card.read_bytes()
        print(printable(text.decode(errors="replace")))
        print(f"{upload.what} would become hub:{repo}: {size}")
        return
    commit, removed = publish(upload, repo, private, message)
    note = f", {removed} older files removed" if removed else ""
    print(f"{upload.what} is hub:{repo}@{commit}: {size}{note}")


def pull(
    repo: Repo,
    out: Path | None = None,
    allow: tuple[str, ...] = (),
) -> None:
    """Download a checkpoint or a data set from the Hugging Face Hub.

    It goes into the Hub's cache, where every option that takes hub:org/name finds it. Only files that hold data are
    downloaded, never programs or pickles, and nothing is executed. With HF_HUB_OFFLINE=1 only the cache is read.

    Example: `soar hub pull my-lab/gcbc@v1`.

    Args:
        repo: what, as org/name, org/name@revision or datasets/org/name.
        out: also copy it to this folder, which must not exist.
        allow: patterns of the wanted files, such as 'meta/*'; all by default.
    """
    import shutil

    from soar.utils.files import writing
    from soar.utils.hub import DATA_FILES, HUB, hub_folder, pinned_name

    if out is not None and out.exists():
        raise ConfigError(f"{out} exists; name a new folder with --out")
    name = HUB + repo.removeprefix(HUB)
    folder = hub_folder(name, allow or DATA_FILES)
    print(f"{_contents(folder)}: {pinned_name(folder)}")
    if out is None:
        print(f"in {folder}")
        return
    partial = out.with_name(out.name + ".partial")
    with writing(out):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder, partial)
        partial.rename(out)
    print(f"copied to {out}")


def _contents(folder: Path) -> str:
    """Say what a folder holds; a checkpoint is read, which checks it. Raises CheckpointError, StoreError."""
    from soar import checkpoint as checkpoints
    from soar.data.store.lance import open_store

    if checkpoints.exists(folder):
        checkpoint = checkpoints.load(folder)
        return f"{checkpoint.kind} checkpoint {checkpoint.id}"
    if (folder / "store.json").exists():
        if (folder / "episodes.lance").exists():
            return (
                f"store of {open_store(folder, read_only=True).index.open().count_rows()} episodes"
            )
        return "part of a store"
    count = sum(path.is_file() for path in folder.rglob("*"))
    return f"{count} files"


def _trained(run: Path) -> str:
    from soar.promotion import promoted_models

    return " or ".join(dict.fromkeys(promoted_models(str(run))))


def _results(folder: Path, checkpoint: str) -> list[Result]:
    """Return the success rates of an evaluation, by scene. Raises ConfigError: it is another checkpoint's."""
    from soar.evaluation.results import open_evaluation
    from soar.exchange.hub.cards import Result

    evaluation = open_evaluation(folder)
    if evaluation.setting.checkpoint != checkpoint:
        raise ConfigError(
            f"{folder} evaluates checkpoint {evaluation.setting.checkpoint}, not {checkpoint or 'this'}"
        )
    judged = [t.scene for t in evaluation.trials if t.outcome != "unknown"]
    return [
        Result(scene, interval, judged.count(scene))
        for scene, interval in evaluation.by_scene().items()
    ]
