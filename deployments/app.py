"""The application: a router in front of generators.

serve run deployments.app:build
serve run deployments.app:build store=runs/my-motion/store replicas=2
serve deploy deployments/serve.yaml
"""

# No annotations from __future__ here: Serve looks at the class in build's, not at its name.

from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import LoggingConfig

from deployments.generator import Generator
from deployments.router import Router
from motion_ray.cluster.serving import (
    CLOSE_S,
    STOP_S,
    ServeArguments,
    ServingSettings,
    bound_host,
    check_here,
    generator_options,
    known_nodes,
    router_options,
    settings_from,
)
from motion_ray.cluster.serving_scaling import ByJobs
from motion_ray.serving.http.config import check_exposure

ROUTER, GENERATOR = "Router", "Generator"
#: In Serve's own files JSON too; and no line for every call: ours have more, and generators call
#: the router once a second.
LOGGING = LoggingConfig(encoding="JSON", enable_access_log=False)
REQUESTS = 10_000  # at once, events and waiting replicas included; the API has limits of its own


def build(arguments: ServeArguments) -> Application:
    """The application that Serve is to run.

    Args:
        arguments: all of them have defaults: the embedded model, and the motions of ``make demo``.

    Raises:
        ConfigError: a setting is wrong, or the cluster cannot run a generator.
        KeysError: the file of keys cannot be read.
        BaseModelError: the base model cannot be loaded.
    """
    nodes = known_nodes()
    settings = settings_from(arguments, nodes, Path.cwd())
    check_here(settings, nodes)
    # Here the answer is a short one; the router asks again, for Serve may be started after this.
    check_exposure(bound_host(), settings.server.keys)
    generator = serve.deployment(
        name=GENERATOR,
        ray_actor_options=generator_options(settings),
        logging_config=LOGGING,
        graceful_shutdown_timeout_s=CLOSE_S + STOP_S,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=5.0,
        **_number(settings),
    )(Generator)
    router = serve.deployment(
        name=ROUTER,
        num_replicas=1,
        ray_actor_options=router_options(settings),
        logging_config=LOGGING,
        max_ongoing_requests=REQUESTS,
        graceful_shutdown_timeout_s=STOP_S,
        health_check_period_s=5.0,
        max_constructor_retry_count=3,
    )(Router)
    return router.bind(settings, generator.bind(settings, ROUTER))


def _number(settings: ServingSettings) -> dict[str, Any]:
    """How many generators: always the same number, or by the jobs there are."""
    if settings.most_replicas is None:
        return {"num_replicas": settings.replicas}
    policy = AutoscalingPolicy(
        policy_function=ByJobs, policy_kwargs={"jobs_per_replica": settings.jobs_per_replica}
    )
    scaling = AutoscalingConfig(
        min_replicas=settings.replicas, max_replicas=settings.most_replicas, policy=policy
    )
    return {"autoscaling_config": scaling}
