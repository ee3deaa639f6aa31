"""The same names as `__init__.py` imports, for type checkers."""

from soar.collection.config import CollectionConfig as CollectionConfig
from soar.collection.fleet import CollectionJob as CollectionJob
from soar.collection.fleet import run_fleet as run_fleet
from soar.data.frame_cache import build_frames as build_frames
from soar.data.store.lance import open_store as open_store
from soar.errors import ConfigError as ConfigError
from soar.errors import ModelUnavailable as ModelUnavailable
from soar.errors import RobotFault as RobotFault
from soar.errors import SoarError as SoarError
from soar.errors import StoreError as StoreError
from soar.interfaces import EpisodeStore as EpisodeStore
from soar.interfaces import Policy as Policy
from soar.interfaces import Robot as Robot
from soar.interfaces import SubgoalGenerator as SubgoalGenerator
from soar.interfaces import SuccessDetector as SuccessDetector
from soar.interfaces import TaskProposer as TaskProposer
from soar.interfaces import VisionLanguageModel as VisionLanguageModel
from soar.registry import load_detector as load_detector
from soar.registry import load_policy as load_policy
from soar.registry import load_subgoals as load_subgoals
from soar.registry import load_vlm as load_vlm
from soar.rollout.loop import run_episodes as run_episodes
from soar.rollout.models import ModelsConfig as ModelsConfig
from soar.rollout.station import EpisodeConfig as EpisodeConfig
from soar.rollout.station import Station as Station
from soar.rollout.station_config import StationConfig as StationConfig
from soar.tasks.grammar import task_from_instruction as task_from_instruction
from soar.tasks.success_detector import to_verdict as to_verdict
from soar.types import Action as Action
from soar.types import Actions as Actions
from soar.types import Answer as Answer
from soar.types import EpisodeFrames as EpisodeFrames
from soar.types import Image as Image
from soar.types import Images as Images
from soar.types import Noise as Noise
from soar.types import Observation as Observation
from soar.types import Outcome as Outcome
from soar.types import Proposal as Proposal
from soar.types import Query as Query
from soar.types import Question as Question
from soar.types import Subgoal as Subgoal
from soar.types import Task as Task
from soar.types import Verdict as Verdict

__version__: str
__all__: list[str]
