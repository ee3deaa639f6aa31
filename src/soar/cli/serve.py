"""`soar serve`: models of this machine for other programs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from soar.cli.options import FLAT
from soar.errors import ConfigError
from soar.serving.server import ServerConfig

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


def policy(
    server: Annotated[ServerConfig, FLAT],
    policy: str = "gcbc",
    subgoals: str = "compact",
    steps_per_subgoal: Annotated[int, Ge(1)] | None = None,
) -> None:
    """Serve a policy and its subgoal generator as one policy that follows instructions. Ctrl-C stops.

    Clients of openpi, RoboArena and starVLA connect to ws://HOST:PORT, those of vla-eval to ws://HOST:PORT/vla-eval,
    those of OpenVLA and AutoEval post to http://HOST:PORT/act. Requests of all clients share batches. A request with
    observation/goal, an image, needs no subgoal; one with soar/seed repeats its random numbers.

    Examples:
        soar serve policy
        soar serve policy --policy lcbc --subgoals none --port 8001
        soar evaluate --checkpoint openpi:ws://127.0.0.1:8000 --subgoals none --trials 10
        SOAR_KEY=... soar serve policy --host 0.0.0.0 --key SOAR_KEY

    Args:
        server: address, key, batches and seed.
        policy: policy, as `soar evaluate` names it; a run's folder for the one that it promoted last.
        subgoals: subgoal generator; "none" for a policy that follows instructions, or clients that bring goals.
        steps_per_subgoal: actions for each subgoal; by default 10 with compact generators, else 20 as in the paper.
    """
    from soar.policies.identity import check_goals
    from soar.promotion import promoted_models
    from soar.registry import load_policy, load_subgoals, subgoals_spec
    from soar.serving.follower import Follower
    from soar.serving.http_routes import act_routes
    from soar.serving.openpi_routes import openpi_routes
    from soar.serving.policy_service import PolicyService
    from soar.serving.vla_eval_routes import vla_eval_routes

    name = _served(promoted_models(subgoals)[1])
    spec = subgoals_spec(name)
    if spec.kind != "none":  # without a generator, clients may bring goals
        check_goals(policy, subgoals)
    generator = None if spec.kind == "none" else load_subgoals(name)
    steps = steps_per_subgoal or spec.steps_per_subgoal
    follower = Follower(load_policy(promoted_models(policy)[0]), generator, steps, server.seed)
    follower.warm_up()
    service = PolicyService(follower, server.wait_s)
    routes = [*openpi_routes(service), *vla_eval_routes(service), *act_routes(service)]
    shown = f"{follower.policy.name}, subgoals {getattr(generator, 'name', 'none')}"
    _serve(server, routes, shown, "ws://{}, ws://{}/vla-eval, http://{}/act")


def subgoals(server: Annotated[ServerConfig, FLAT], subgoals: str = "compact") -> None:
    """Serve a subgoal generator: `POST /susie {"image": ..., "text": ..., "seed": ...}`, like AutoEval's. Ctrl-C stops.

    Images are json-numpy arrays, nested lists, or PNG or JPEG files; the reply has the form of the request's image.

    Example: `soar serve subgoals --subgoals susie:FOLDER --port 8001`.

    Args:
        server: address, key, batches and seed.
        subgoals: subgoal generator, as `soar collect` names it.
    """
    from soar.promotion import promoted_models
    from soar.registry import load_subgoals
    from soar.serving.http_routes import susie_routes

    if subgoals == "none":
        raise ConfigError("there is nothing to serve; valid: compact, a folder, susie:FOLDER ...")
    generator = load_subgoals(_served(promoted_models(subgoals)[1]))
    routes = susie_routes(generator, server.wait_s, server.seed)
    _serve(server, routes, generator.name, "http://{}/susie")


def vlm(server: Annotated[ServerConfig, FLAT], vlm: str = "compact") -> None:
    """Serve a VLM for yes/no questions, like OpenAI's chat completions and transformers' systemone. Ctrl-C stops.

    A request holds one image as a data URL and one question, or several as numbered lines. The reply is yes or no,
    with log-probabilities where they are asked for.

    Examples:
        soar serve vlm --port 8002
        soar vlm ask table.png "Is the lemon on the plate?" --vlm systemone:compact@http://127.0.0.1:8002/v1

    Args:
        server: address, key, batches and seed.
        vlm: vision-language model, as `soar vlm ask` names it.
    """
    from soar.registry import load_vlm
    from soar.serving.vlm_routes import vlm_routes

    model = load_vlm(vlm)
    _serve(server, vlm_routes(model, server.wait_s), model.name, "http://{}/v1")


def _served(subgoals: str) -> str:
    """Return the name of a subgoal generator. Raises ConfigError: it is the expert, which needs the simulator."""
    from soar.registry import subgoals_spec

    if subgoals_spec(subgoals).kind == "expert":
        raise ConfigError(
            "the expert's frames can't be served; valid: compact, a folder, susie:FOLDER ..."
        )
    return subgoals


def _serve(config: ServerConfig, routes: Sequence[BaseRoute], what: str, addresses: str) -> None:
    """Serve until Ctrl-C. `addresses`: shown, with the host and port in place of each {}."""
    from soar.serving.server import listen, make_app, serve
    from soar.utils.progress import printable

    app = make_app(routes, config.secret())
    with listen(config) as listening:
        host, port = listening.getsockname()[:2]
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"serving {printable(what)} at {addresses.replace('{}', at)}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve(app, listening)
    print("stopped")
