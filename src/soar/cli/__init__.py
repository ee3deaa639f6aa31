"""`soar`: the only room that knows there is a command line.

Each command is a typed function in one of this folder's modules; its docstring is its help. The table
below names them all, and a module is imported only when one of its commands runs.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Sequence

import rich
import rich.table
import tyro

from soar import __version__
from soar.errors import SoarError

COMMANDS: dict[str, tuple[str, str]] = {
    # command: (module:function, one line)
    "demo": ("soar.cli.demo:demo", "Robots practise by themselves, while you watch"),
    "sim sheet": ("soar.cli.sim:sheet", "All scenes as one picture"),
    "sim video": ("soar.cli.sim:video", "The scripted expert doing a task, as mp4"),
    "sim demos": ("soar.cli.sim:demos", "Fill a store with scripted demonstrations"),
    "doctor": ("soar.cli.doctor:doctor", "Check everything before a run, and say what to do"),
    "collect": ("soar.cli.collect:collect", "Robots propose, try, judge and store, for days"),
    "judge": ("soar.cli.collect:judge", "Judge stored episodes whose verdict is unknown"),
    "status": ("soar.cli.collect:status", "What every station does, and how tasks fare"),
    "pause": ("soar.cli.collect:pause", "Pause stations after their running episode"),
    "resume": ("soar.cli.collect:resume", "Let paused stations go on"),
    "stop": ("soar.cli.collect:stop", "End stations after their running episode"),
    "improve": ("soar.cli.improve:improve", "Rounds of collect, learn, evaluate, promote"),
    "reproduce figure5": ("soar.cli.reproduce:figure5", "The paper's main result, in simulation"),
    "train": ("soar.cli.train:train", "Train a policy on the episodes of a store"),
    "evaluate": ("soar.cli.evaluate:evaluate", "Success rates of a policy, with intervals"),
    "compare": ("soar.cli.evaluate:compare", "Two evaluations, start by start"),
    "report": ("soar.cli.report:report", "A run as one HTML page"),
    "pretrain gcbc": ("soar.cli.pretrain:gcbc", "Make the packaged goal-conditioned policy"),
    "pretrain lcbc": ("soar.cli.pretrain:lcbc", "Make the packaged language-conditioned policy"),
    "pretrain vlm": ("soar.cli.pretrain:vlm", "Make the packaged eyes"),
    "pretrain subgoals": ("soar.cli.pretrain:subgoals", "Make the packaged imagination"),
    "vlm ask": ("soar.cli.vlm:ask", "Yes/no questions about an image"),
    "vlm label": ("soar.cli.vlm:label", "Say of episodes whether they succeeded"),
    "vlm calibrate": ("soar.cli.vlm:calibrate", "Verdicts against truth, and a threshold"),
    "vlm evaluate": ("soar.cli.vlm:evaluate", "Measure a model on simulated scenes"),
    "tasks questions": (
        "soar.cli.tasks:questions",
        "The question that tells whether a task is done",
    ),
    "subgoals train": ("soar.cli.subgoals:train", "Train or fine-tune a subgoal generator"),
    "subgoals practise": (
        "soar.cli.practise:practise",
        "Teach an imagination from robots' own episodes",
    ),
    "subgoals sheet": ("soar.cli.subgoals:sheet", "Imagined chains beside what an expert does"),
    "subgoals evaluate": (
        "soar.cli.subgoals:evaluate",
        "Do imagined chains fulfil the instruction?",
    ),
    "data ls": ("soar.cli.data:ls", "List episodes"),
    "data show": ("soar.cli.data:show", "Everything about one episode"),
    "data stats": ("soar.cli.data:stats", "Attempts and successes per task"),
    "data verify": ("soar.cli.data:verify", "Check every frame and row, name what is wrong"),
    "data sweep": ("soar.cli.data:sweep", "Remove what killed writers left, mend, tidy"),
    "data video": ("soar.cli.data:video", "One episode as mp4, with its subgoals"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exits 2 with one line for a user's mistake, 130 on Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(args)
    except SoarError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("soar: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_line() -> str:
    """This command, as a person would type it again."""
    return shlex.join(["soar", *sys.argv[1:]])


def _run(args: list[str]) -> None:
    if args[:1] in (["--version"], ["-V"]):
        print(f"soar {__version__}")
        return
    command = next((c for n in (2, 1) if (c := " ".join(args[:n])) in COMMANDS), None)
    if command is None:
        _list_commands(args)
        return
    target, _ = COMMANDS[command]
    module, function = target.split(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # for robots and models of your own, as with `python -m soar`
    tyro.cli(
        getattr(importlib.import_module(module), function),
        prog=f"soar {command}",
        args=args[len(command.split()) :],
    )


def _list_commands(args: list[str]) -> None:
    """Help for `soar`, for a group such as `soar sim`, or an error for a word that is no command."""
    words = [a for a in args if a not in ("-h", "--help")]
    group = words[0] if words else ""
    rows = {c: line for c, (_, line) in COMMANDS.items() if not group or c.split()[0] == group}
    if not rows or len(words) > 1:
        names = rows or {c.split()[0]: "" for c in COMMANDS}
        _fail(f"no command '{' '.join(words[:2])}'; there is: {', '.join(names)}")
    table = rich.table.Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, line in rows.items():
        table.add_row(f"[bold cyan]soar {name}", line)
    rich.print(
        "Robots that propose their own tasks, try them, judge themselves, and come back better.\n"
    )
    rich.print(table)
    rich.print("\nEvery command explains itself: [bold]soar COMMAND --help")


def _fail(message: str) -> None:
    print(f"soar: {message}", file=sys.stderr)
    sys.exit(2)
