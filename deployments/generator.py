"""A generator: one base model on one device, in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import os

from ray import serve
from ray.serve.handle import DeploymentHandle

from motion_ray.cluster.environment import prepare_worker_environment
from motion_ray.cluster.serving import CLOSE_S, ServingSettings
from motion_ray.cluster.serving_metrics import ReplicaMetrics
from motion_ray.cluster.serving_scaling import JOBS, WAITING
from motion_ray.serving.line import Line
from motion_ray.serving.logs import log_json
from motion_ray.serving.orders import Orders, Report
from motion_ray.serving.studio import Studio
from motion_ray.threads import apart_from_loop

log = logging.getLogger(__name__)

LEAVE_S = 2.0  # to tell the router, which finds out by itself otherwise


class Generator:
    """Loads the model, makes a first video, then reports to the router and follows its orders.

    Serve counts it as started after the first video.

    Args:
        settings: of the deployment.
        router: name of the router's deployment in this application.
    """

    async def __init__(self, settings: ServingSettings, router: str) -> None:
        log_json("motion_ray", "deployments")  # Ray sets up its own loggers only
        prepare_worker_environment(settings.studio.device, os.environ)
        context = serve.get_replica_context()
        self._name, self._application = context.replica_id.unique_id, context.app_name
        self._router_name, self._router = router, None
        self._metrics = ReplicaMetrics(self._name)
        self._line: Line | None = None
        self._running: asyncio.Task[None] | None = None
        self._studio = await apart_from_loop(lambda: self._open(settings))
        self._line = Line(self._studio.station, self._exchange)
        self._running = asyncio.create_task(self._line.run())

    def _open(self, settings: ServingSettings) -> Studio:
        studio = Studio.open(
            self._name,
            settings.site,
            settings.server.retention_s,
            settings.studio,
            ended=self._ended,
            watch=self._metrics,
        )
        studio.warm_up()
        return studio

    def _ended(self) -> None:
        if self._line is not None:
            self._line.changed()

    async def _exchange(self, report: Report) -> Orders:
        if report.pool is not None:
            self._metrics.pool(report.pool)
        return await self._handle().exchange.remote(report)

    def _handle(self) -> DeploymentHandle:
        if self._router is None:  # it may come up after its generators
            self._router = serve.get_deployment_handle(self._router_name, self._application)
        return self._router

    def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises."""
        if self._running is None or self._running.done():
            raise RuntimeError("the line to the router has ended")
        if self._studio.station.sick:
            message = "several jobs in a row met mistakes that are not their own"
            raise RuntimeError(f"{message}, or the thread that runs them has ended")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve: what :class:`motion_ray.cluster.serving_scaling.ByJobs` goes by."""
        waiting = 0 if self._line is None else self._line.waiting
        return {JOBS: len(self._studio.station.jobs()), WAITING: waiting}

    async def __del__(self) -> None:
        """Called by Serve before the process ends, if it ends in peace."""
        if self._running is None:
            return  # it never started
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await asyncio.to_thread(self._studio.close, CLOSE_S)
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._leave()
        except Exception as fault:  # the router may be on its way out as well
            log.info("left without a word: %s", type(fault).__name__)

    async def _leave(self) -> None:
        await self._handle().leave.remote(self._name)
