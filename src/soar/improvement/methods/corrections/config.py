"""Constants of the scripted corrections. The defaults are those measured in docs/log.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le

from soar.errors import ConfigError
from soar.types import Skill
from soar.utils.config import check_ranges
from soar.utils.trajectories import MotionConfig


@dataclass(frozen=True)
class CorrectionsConfig:
    """Every constant of the scripted corrections.

    Lengths are in meters and angles in radians in the robot's base frame, gripper openings are shares of
    the full opening, and distances in an image are in units of half its side (coordinates in [-1, 1]).
    """

    # Projection of the arm into the image (`arm_projection`).
    projection_frames: Annotated[int, Ge(1)] = 2000
    """Largest number of frames that the projection is fitted to."""
    min_projection_frames: Annotated[int, Ge(1)] = 200
    """Smallest number of frames that the projection can be fitted to."""
    projection_iterations: Annotated[int, Ge(1)] = 20
    """Iterations of reweighted least squares."""
    projection_min_error: Annotated[float, Ge(0)] = 0.01
    """Image distance below which all residuals weigh the same."""
    projection_ridge: Annotated[float, Ge(0)] = 0.01
    """Ridge penalty of the fit."""
    projection_step_m: Annotated[float, Ge(0)] = 0.005
    """Finite-difference step for inverting the projection [m]."""

    # Grasps in recorded episodes (`grasp_intervals`, `attempts`).
    empty_opening: Annotated[float, Ge(0), Le(1)] = 0.06
    """Gripper opening below which the closed gripper holds nothing."""
    closing_steps: Annotated[int, Ge(0)] = 3
    """Control steps that the gripper takes to close."""
    min_grasp_steps: Annotated[int, Ge(0)] = 4
    """Shortest closing of the gripper that counts as a grasp, in control steps."""
    unmoved_radius: Annotated[float, Ge(0)] = 0.04
    """Image distance below which an object has not moved during an episode."""

    # Statistics of successful grasps and releases (`grasp_stats`).
    min_samples: Annotated[int, Ge(1)] = 3
    """Fewest grasps or releases from which a skill's own image offset is estimated."""
    reach_margin_m: Annotated[float, Ge(0)] = 0.03
    """Distance beyond the visited workspace that still counts as reachable [m]."""
    release_above_grasp_m: Annotated[float, Ge(0)] = 0.016
    """Height of a release above the highest grasp while too few releases are known [m]."""
    handle_motion: Mapping[Skill, float] = field(
        default_factory=lambda: {"open": 0.0, "close": 0.0, "fold": 0.25, "unfold": 0.25}
    )
    """Skills that grasp a part of an object, and the share of that part's motion that the object's own image
    position makes: a cabinet stays, the middle of a cloth moves a quarter as far as its hem."""

    # Estimated targets (`planner`).
    frame_stride: Annotated[int, Ge(1)] = 2
    """Stride of the frames of an episode that are read and labeled for the subgoal generator."""
    occlusion_radius: Annotated[float, Ge(0)] = 0.25
    """Image distance between fingertips and object beyond which the gripper does not hide the object."""
    same_object_radius: Annotated[float, Ge(0)] = 0.12
    """Image distance within which two readings are of the same object position."""
    handle_approach_height_m: Annotated[float, Ge(0)] = 0.1
    """Height at which the empty gripper passes above drawers and cloths [m]."""
    approach_margin_m: Annotated[float, Ge(0)] = 0.02
    """Distance between the carrying height and the lower height of the empty gripper [m]."""
    rest_tolerance_m: Annotated[float, Ge(0)] = 0.01
    """Height above the grasp up to which a released object is taken to lie where the gripper was [m]."""
    subgoal_grasp_height: Annotated[float, Ge(0), Le(1)] = 0.5
    """Quantile of the observed grasp heights that plans for the subgoal generator aim at."""
    policy_grasp_height: Annotated[float, Ge(0), Le(1)] = 0.2
    """Quantile of the observed grasp heights that plans for the policy aim at; low grasps hold better (docs/log.md)."""

    # Planned motion (`motion_plan`).
    motion: MotionConfig = field(default_factory=MotionConfig)
    """Speed limits; its noise is not used."""
    gripper_step: Annotated[float, Ge(0)] = 0.35
    """Change of the gripper opening in one control step."""
    gripper_steps: Annotated[int, Ge(0)] = 2
    """Control steps that the plan waits for the gripper to open or close."""
    open_gripper: Annotated[float, Ge(0), Le(1)] = 0.8
    """Gripper opening from which the gripper can reach for an object."""
    lift_m: Annotated[float, Ge(0)] = 0.04
    """Height by which an object is lifted before it is carried, and an empty gripper before it approaches [m]."""
    rise_tolerance_m: Annotated[float, Ge(0)] = 0.004
    """Accuracy of a vertical motion [m]."""
    max_rise_steps: Annotated[int, Ge(0)] = 8
    """Longest vertical motion, in control steps."""
    max_approach_steps: Annotated[int, Ge(0)] = 45
    """Longest approach to a pose, in control steps."""
    grasp_tolerance_m: Annotated[float, Ge(0)] = 0.008
    """Distance from the grasp at which the gripper closes [m]."""
    release_tolerance_m: Annotated[float, Ge(0)] = 0.012
    """Distance from the release position at which the gripper opens [m]."""
    turn_tolerance_rad: Annotated[float, Ge(0)] = 0.12
    """Difference in yaw at which a pose is reached [rad]."""
    retreat_height_m: Annotated[float, Ge(0)] = 0.13
    """Height to which the gripper rises after the release [m]."""
    hold_steps: Annotated[int, Ge(0)] = 6
    """Control steps that the gripper stays there."""

    # Labels for the policy (`labels`).
    goal_steps: tuple[int, int] = (6, 14)
    """Smallest and largest number of control steps from a frame to its goal image."""
    min_motion_m: Annotated[float, Ge(0)] = 0.012
    """Position change below which a frame is idle [m]; idle frames are thinned out."""
    min_motion_rad: Annotated[float, Ge(0)] = 0.1
    """Yaw change below which a frame is idle [rad]."""
    idle_share: Annotated[float, Ge(0), Le(1)] = 0.15
    """Share of the kept frames in which an empty gripper is closed, or waits after the release."""
    uncertain_radius_m: Annotated[float, Ge(0)] = 0.04
    """Distance to the estimated grasp within which a failed attempt is not labeled [m]."""
    max_rise_m: Annotated[float, Ge(0)] = 0.004
    """Largest upward motion of a labeled step with an open gripper [m]: whether to rise or descend beside an
    object depends on centimeters."""
    closing_copies: Annotated[int, Ge(1)] = 4
    """Copies of each of the two frames in which the gripper rightly closed: they are few and decisive."""
    max_grasp_error_m: Annotated[float, Ge(0)] = 0.012
    """Height above the estimated grasp from which a successful grasp is corrected downwards [m]."""
    render_batch: Annotated[int, Ge(1)] = 32
    """Goal images rendered at a time."""

    # Labels for the subgoal generator (`keypoint_labels`).
    delay_steps: Annotated[int, Ge(0)] = 1
    """Control steps that the arm lags behind its commands at the start of a motion."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not 1 <= self.goal_steps[0] <= self.goal_steps[1]:
            raise ConfigError(f"goal_steps is {self.goal_steps}; valid: at least 1 and in order")
