"""Success rates with intervals, on starts that every checkpoint shares.

    team, setting = sim_protocol("gcbc", scenes, trials=50)     the paper's protocol in simulation
    evaluation = evaluate(team, setting, folder)                resumable; trials.jsonl, videos/
    comparison = compare(before, after)                         paired by start

See `results` for what counts as success, `runner` for how trials are shared out.
"""

from soar.evaluate.bench import Judgement, RealBench, SimBench, sim_bench
from soar.evaluate.expert_subgoals import ExpertFrames, ExpertSubgoals
from soar.evaluate.protocol import sim_protocol, station_protocol, subgoal_source
from soar.evaluate.results import (
    Comparison,
    Evaluation,
    Setting,
    Trial,
    compare,
    open_evaluation,
)
from soar.evaluate.runner import FIRST_SEED, Team, evaluate

__all__ = [
    "FIRST_SEED",
    "Comparison",
    "Evaluation",
    "ExpertFrames",
    "ExpertSubgoals",
    "Judgement",
    "RealBench",
    "Setting",
    "SimBench",
    "Team",
    "Trial",
    "compare",
    "evaluate",
    "open_evaluation",
    "sim_bench",
    "sim_protocol",
    "station_protocol",
    "subgoal_source",
]
