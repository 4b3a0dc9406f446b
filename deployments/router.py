"""The router: the HTTP API, the job store, and the replicas' orders, in one process."""

from __future__ import annotations

import asyncio
import logging

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.request_id import OneRequestId
from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.cluster.serving import ServingSettings, bound_host
from motion_ray.cluster.serving_metrics import RouterMetrics
from motion_ray.serving.dispatcher import Dispatcher, Pace
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import check_exposure
from motion_ray.serving.http.ports import ReplicaState, Services
from motion_ray.serving.keys import ApiKeys
from motion_ray.serving.logs import log_json
from motion_ray.serving.orders import Orders, Report
from motion_ray.serving.pins import PinFile
from motion_ray.serving.registration import AllowedSources
from motion_ray.serving.site import open_site
from motion_ray.serving.uploads import BaseLayout

log = logging.getLogger(__name__)

METRICS_S = 2.0  # between two looks


@serve.ingress()
class Router:
    """There is one of it. Killed, it is started again and goes on from the job store.

    Args:
        settings: of the deployment.
        generators: the deployment that reports here; it is not called. Serve deploys what the
            ingress holds a handle of.

    Raises:
        ConfigError: others could reach a server that lets everybody in.
    """

    def __init__(self, settings: ServingSettings, generators: DeploymentHandle) -> None:
        log_json("motion_ray", "deployments")  # Ray sets up its own loggers only
        host = bound_host()
        check_exposure(host, settings.server.keys)
        self._config = settings.server.model_copy(update={"host": host})
        self._generators = generators
        sketch, _ = sketch_backbone(settings.site.base)  # the router needs names and shapes only
        self._layout = BaseLayout.of(sketch)
        self._site = open_site(settings.site, settings.server.retention_s, sketch)
        lease_s = settings.studio.replica.lease_s
        self._dispatcher = Dispatcher(
            self._site.jobs,
            self._site.results,
            PinFile(self._site.state / "pins.json"),
            Pace(silent_s=max(3.0, lease_s / 3), tidy_s=min(3.0, lease_s / 4)),
        )
        self._metrics = RouterMetrics()
        self._counting = asyncio.create_task(self._count())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once, for what it serves over HTTP."""
        keys = self._config.keys
        services = Services(
            profile=self._site.profile,
            jobs=self._site.jobs,
            results=self._site.results,
            deltas=self._site.deltas,
            catalog=self._site.catalog,
            layout=self._layout,
            backend=self._dispatcher,
            keys=None if keys is None else ApiKeys.load(keys),
            sources=AllowedSources.of(self._config.sources),
            watch=self._metrics,
        )
        app = create_app(self._config, services)
        app.add_middleware(OneRequestId)
        return app

    async def exchange(self, report: Report) -> Orders:
        """Called by generators: see :class:`motion_ray.serving.dispatcher.Dispatcher`."""
        return await self._dispatcher.exchange(report)

    async def leave(self, replica: str) -> None:
        """Called by a generator that ends in peace."""
        await self._dispatcher.leave(replica)

    def check_health(self) -> None:
        """Called by Serve, which replaces a router that raises."""
        self._dispatcher.check()

    async def _count(self) -> None:
        before: set[str] = set()
        while True:
            try:
                here = await self._dispatcher.replicas()
                names = {replica.name for replica in here}
                # A gauge keeps its last value: what has left is counted once more, as idle.
                left = [ReplicaState(name, ready=False) for name in sorted(before - names)]
                self._metrics.look([*here, *left], self._dispatcher.waiting)
                before = names
            except Exception:  # a task's exception would be lost, and all later counts with it
                log.exception("the replicas could not be counted")
            await asyncio.sleep(METRICS_S)
