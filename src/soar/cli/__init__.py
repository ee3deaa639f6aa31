"""`soar`: the command line, one typed function for each command.

A command's docstring is its help and its parameters are its options (`soar.cli.options`). Its module is imported only
when it runs.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import NamedTuple

from soar import __version__
from soar.cli.renamed import check_renamed
from soar.errors import ConfigError, SoarError
from soar.utils.files import os_problem
from soar.utils.signals import Stopped, stoppable
from soar.utils.terminal import log_to_terminal


class Entry(NamedTuple):
    """A command of the table below."""

    target: str
    """The function, as module:name in `soar.cli`."""
    summary: str
    runs: bool = False
    """Whether it takes `--config` and `--print-config`."""
    kept: str = ""
    """What an interruption leaves, for the message."""


_RUN = "what is finished is kept, and the same command continues"
_TRAINING = "the last saved state is kept, and the same command continues from it"
_AGAIN = "nothing is half written; the same command begins again"


COMMANDS = {
    "demo": Entry("demo:demo", "Watch simulated robots practice, and a policy learn from it, in minutes", runs=True,
        kept=_RUN),
    "doctor": Entry("doctor:doctor", "Check robots, models, store and disk before a run"),
    "collect": Entry("collect:collect", "Let robots propose, try, judge and store, for days", runs=True,
        kept="stored episodes are kept, and the same command continues"),
    "record": Entry("record:record", "Record demonstrations by a person or a script",
        kept="demonstrations that were kept are stored"),
    "judge": Entry("judge:judge", "Judge stored episodes whose verdict is unknown", runs=True,
        kept="the verdicts so far are stored, and the same command continues"),
    "watch": Entry("watch:watch", "Show and steer stations in the browser, label episodes"),
    "status": Entry("status:status", "Show every station and the success of each task"),
    "pause": Entry("status:pause", "Pause stations after their running episode"),
    "resume": Entry("status:resume", "Resume paused or released stations"),
    "release": Entry("status:release", "Release stations from an emergency stop"),
    "stop": Entry("status:stop", "Stop stations after their running episode, or their arms at once"),
    "attend": Entry("status:attend", "Send the operator's heartbeat"),
    "fleet up": Entry("fleet:up", "Run the stations of a fleet file, here or on a Ray cluster",
        kept="stored episodes are kept, and the same command continues"),
    "fleet status": Entry("fleet:status", "Show a fleet's stations, tasks and engine"),
    "fleet drain": Entry("fleet:drain", "End a fleet after its running episodes"),
    "fleet launch": Entry("fleet:launch", "Train in several processes, here or on a Ray cluster", kept=_TRAINING),
    "fleet down": Entry("fleet:down", "End a fleet at once"),
    "robot host": Entry("robot:host", "Serve a robot to a station on another machine"),
    "improve": Entry("improve:improve", "Rounds of collect, learn, evaluate, promote", runs=True, kept=_RUN),
    "train": Entry("train:train", "Train a policy on the episodes of a store", runs=True, kept=_TRAINING),
    "train critic": Entry("critic:critic", "Train a critic on successes and failures", runs=True, kept=_TRAINING),
    "evaluate": Entry("evaluate:evaluate", "Measure success rates of a policy", runs=True,
        kept="finished trials are kept, and the same command continues"),
    "evaluate sequences": Entry("evaluate:sequences", "Count how many tasks in a row a policy does", runs=True,
        kept="finished sequences are kept, and the same command continues"),
    "compare": Entry("evaluate:compare", "Compare two evaluations start by start", kept=_AGAIN),
    "convert susie": Entry("convert:susie", "SuSIE's released weights as a subgoal generator", kept=_AGAIN),
    "convert gcbc": Entry("convert:gcbc", "A released goal-conditioned policy as a checkpoint", kept=_AGAIN),
    "convert lcbc": Entry("convert:lcbc", "A released language-conditioned policy as a checkpoint", kept=_AGAIN),
    "convert dgcbc": Entry("convert:dgcbc", "A released diffusion policy as a checkpoint", kept=_AGAIN),
    "convert vgps": Entry("convert:vgps", "V-GPS's released critic as a checkpoint", kept=_AGAIN),
    "serve policy": Entry("serve:policy", "Serve a policy to clients of openpi, vla-eval, OpenVLA"),
    "serve subgoals": Entry("serve:subgoals", "Serve a subgoal generator over HTTP"),
    "serve vlm": Entry("serve:vlm", "Serve a VLM as an OpenAI-style endpoint"),
    "report": Entry("report:report", "Write a run's report as one HTML page", kept=_AGAIN),
    "report film": Entry("report:film", "Film two collections side by side", kept=_AGAIN),
    "reproduce table5": Entry("reproduce:table5", "A store's successes by scene, beside the paper's"),
    "reproduce table6": Entry("reproduce:table6", "A store beside the known data sets"),
    "reproduce table1": Entry("reproduce:table1", "Images or instructions, with more own data", runs=True, kept=_RUN),
    "reproduce table2": Entry("reproduce:table2", "RoboFuME and DIAL from the same episodes", runs=True, kept=_RUN),
    "reproduce appendix-d": Entry("reproduce:appendix_d", "The detector's errors, and collection by LCBC",
        runs=True, kept=_RUN),
    "reproduce appendix-g": Entry("reproduce:appendix_g", "Which module fails, and what each costs", runs=True,
        kept=_RUN),
    "reproduce proposals": Entry("reproduce:proposals", "Meaningful tasks and useful data, or not", runs=True,
        kept=_RUN),
    "reproduce steering": Entry("reproduce:steering", "One critic, several policies (V-GPS)", runs=True, kept=_RUN),
    "reproduce new-skills": Entry("reproduce:new_skills", "A new skill from ten demonstrations", runs=True, kept=_RUN),
    "reproduce methods": Entry("reproduce:methods", "Methods of improvement side by side", runs=True, kept=_RUN),
    "reproduce figure5": Entry("reproduce:figure5", "The paper's main result, in simulation", runs=True, kept=_RUN),
    "plugins": Entry("plugins:plugins", "List components that installed packages register"),
    "data ls": Entry("data:ls", "List episodes"),
    "data show": Entry("data:show", "Show everything about one episode"),
    "data stats": Entry("data:stats", "Count attempts and successes per task"),
    "data verify": Entry("data:verify", "Check every row, file and frame", kept="nothing was changed"),
    "data sweep": Entry("data:sweep", "Remove leftovers, repair rows, drop old versions",
        kept="the same command continues"),
    "data video": Entry("data:video", "Write one episode as mp4, with its subgoals", kept=_AGAIN),
    "data view": Entry("view:view", "Write one episode for the viewer Rerun", kept=_AGAIN),
    "data follow": Entry("view:follow", "Show a running station in the viewer Rerun"),
    "data import": Entry("exchange:import_data", "Store a data set: LeRobot, RLDS, SOAR's logs, Bridge"),
    "data export": Entry("exchange:export_data", "Write a data set: LeRobot, RLDS"),
    "data merge": Entry("curate:merge", "Copy the episodes of several stores into one"),
    "data split": Entry("curate:split", "Copy a store into a training part and a held-out part"),
    "data filter": Entry("curate:filter_data", "Copy episodes by verdict, task, time or judge"),
    "data quality": Entry("curate:quality", "Measure idle share, action entropy and duplicates"),
    "data card": Entry("curate:card", "Write a data card"),
    "hub push": Entry("hub:push", "Publish a checkpoint or data set on the Hugging Face Hub",
        kept="the Hub has the old content"),
    "hub pull": Entry("hub:pull", "Download a checkpoint or data set from the Hub", kept="the same command continues"),
    "vlm ask": Entry("vlm:ask", "Ask yes/no questions about an image"),
    "vlm label": Entry("vlm:label", "Label episodes as success or failure", runs=True,
        kept="the labels so far are saved, and the same command continues"),
    "vlm calibrate": Entry("vlm:calibrate", "Compare verdicts with truth, choose a threshold", runs=True, kept=_AGAIN),
    "vlm evaluate": Entry("vlm:evaluate", "Evaluate a VLM on simulated scenes", runs=True, kept=_AGAIN),
    "tasks questions": Entry("tasks:questions", "Show the question that decides each task"),
    "subgoals train": Entry("subgoals:train", "Train or fine-tune a subgoal generator", runs=True, kept=_TRAINING),
    "subgoals finetune": Entry("finetune:finetune", "Fine-tune a subgoal generator on the robots' episodes",
        runs=True, kept=_TRAINING),
    "subgoals sheet": Entry("subgoals:sheet", "Draw generated chains beside the expert's frames", kept=_AGAIN),
    "subgoals evaluate": Entry("subgoals:evaluate", "Measure whether chains fulfill instructions", runs=True,
        kept=_AGAIN),
    "sim sheet": Entry("sim:sheet", "Draw scenes as one contact sheet", kept=_AGAIN),
    "sim video": Entry("sim:video", "Film the scripted expert at a task", kept=_AGAIN),
    "sim demos": Entry("sim:demos", "Fill a store with scripted demonstrations", runs=True,
        kept="stored demonstrations are kept, and the same command continues"),
    "sim judge": Entry("sim:judge", "Copy a simulated store with true verdicts",
        kept="the episodes so far are kept, and the same command continues"),
    "pretrain gcbc": Entry("pretrain:gcbc", "Make the packaged goal-conditioned policy", runs=True, kept=_RUN),
    "pretrain lcbc": Entry("pretrain:lcbc", "Make the packaged language-conditioned policy", runs=True, kept=_RUN),
    "pretrain vlm": Entry("pretrain:vlm", "Make the packaged VLM", runs=True, kept=_RUN),
    "pretrain subgoals": Entry("pretrain:subgoals", "Make the packaged subgoal generator", runs=True, kept=_RUN),
    "pretrain keypoints": Entry("pretrain:keypoints",
        "Train the packaged subgoal generator's keypoint predictor further", runs=True, kept=_RUN),
    "pretrain average": Entry("average:average", "Average the weights of several trainings of a model"),
    "pretrain all": Entry("pretrain_all:pretrain_all", "Make all packaged models within some hours", kept=_RUN),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exit with 2 and one line after a user's mistake, with 128 + n and one line after signal n."""
    args = list(sys.argv[1:] if argv is None else argv)
    os.environ["PYTHONSAFEPATH"] = "1"  # child processes don't import from the current folder
    log_to_terminal()
    entry, _ = _find(args)
    interrupted = "soar: interrupted" + (f"; {entry.kept}" if entry and entry.kept else "")
    try:
        with stoppable(interrupted, for_good=argv is None):
            _guarded(args)
    except Stopped as stopped:
        print(interrupted, file=sys.stderr)
        sys.exit(stopped.exit_code)


def command_line() -> str:
    """Return the running command as a line for the shell."""
    return shlex.join(["soar", *sys.argv[1:]])


def _guarded(args: list[str]) -> None:
    """Run one command; exit with 2 and one line after an error that a user can meet."""
    try:
        run_command(args)
    except SoarError as error:
        _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a folder in a file's place or the reverse, or too long a name
        place = f"{error.filename}: " if error.filename is not None else ""
        _fail(place + os_problem(error))
    except EOFError:
        _fail("the input has ended before an answer; run it in a terminal")


def run_command(args: list[str]) -> None:
    """Run one command, given as its words. Raises what it raises."""
    if args[:1] in (["--version"], ["-V"]):
        print(f"soar {__version__}")
        return
    check_renamed("", args)
    entry, command = _find(args)
    if entry is None:
        _list_commands(args)
        return
    from soar.cli.options import parse

    rest = args[len(command.split()) :]
    check_renamed(command, rest)
    module, name = entry.target.split(":")
    function = getattr(importlib.import_module(f"soar.cli.{module}"), name)
    values = parse(function, f"soar {command}", rest, configurable=entry.runs)
    if values is not None:
        function(**values)


def _find(args: list[str]) -> tuple[Entry | None, str]:
    """Return the command that the words begin with, and its name; None and "" without one."""
    command = next((c for n in (2, 1) if (c := " ".join(args[:n])) in COMMANDS), "")
    return COMMANDS.get(command), command


def _list_commands(args: list[str]) -> None:
    """Print help for `soar` or a group such as `soar sim`. Raises ConfigError: there is no such command."""
    import rich
    import rich.table

    words = [a for a in args if a not in ("-h", "--help")]
    group = words[0] if words else ""
    rows = {c: e.summary for c, e in COMMANDS.items() if not group or c.split()[0] == group}
    if not rows or len(words) > 1:
        names = rows or {c.split()[0]: "" for c in COMMANDS}
        raise ConfigError(f"no command '{' '.join(words[:2])}'; there is: {', '.join(names)}")
    table = rich.table.Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, line in rows.items():
        table.add_row(f"[bold cyan]soar {name}", line)
    rich.print("Instruction-following robots that improve on their own.\n")
    rich.print(table)
    rich.print("\nOptions and examples of a command: [bold]soar COMMAND --help")


def _fail(message: str) -> None:
    """Exit with 2 and one line, in which no word is longer than 200 characters."""
    from soar.utils.progress import printable

    line = re.sub(r"(\S{200})\S{40,}", r"\1...", " ".join(message.splitlines()))
    print(f"soar: {printable(line)}", file=sys.stderr)
    sys.exit(2)
