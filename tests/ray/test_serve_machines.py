"""The application on several machines: jobs in a database, generators wherever there is room."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from motion_ray.serving.key_file import KeyLimits, Scope, create_key
from motion_ray.serving.postgres_jobs import PostgresJobStore
from tests import waiting
from tests.postgres import Postgres, running
from tests.ray.nodes import Nodes
from tests.ray.running import PATIENCE, REPO

pytestmark = pytest.mark.timeout(900)
until = partial(waiting.until, seconds=PATIENCE, every=0.2)

DEPLOY = """
import sys
from ray import serve
from deployments.app import build
from motion_ray.cluster.serving import ServeArguments

port, config, root, jobs, keys = sys.argv[1:]
serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
arguments = ServeArguments(
    config=config, root=root, store="store", state="state", jobs=jobs, keys=keys,
    replicas=2, device="cpu", threads=1,
)
serve.run(build(arguments), name="motion_ray")
"""


class Server:
    """The application on two nodes with one core each, and a client with a key."""

    def __init__(self, folder: Path, nodes: Nodes, postgres: Postgres) -> None:
        self.nodes, self.postgres = nodes, postgres
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        keys = folder / "keys.json"
        self._key = create_key(keys, "tester", frozenset(Scope), KeyLimits())
        settings = folder / "serving.yaml"
        values = {
            "site": {"jobs_schema": "two_machines"},
            "studio": {"replica": {"lease_s": 3.0}},
        }
        settings.write_text(yaml.safe_dump(values))
        environ = {**os.environ, **nodes.environment, "PYTHONPATH": str(REPO)}
        words = [f"{self._port}", f"{settings}", f"{folder}", postgres.url, f"{keys}"]
        deployed = subprocess.run(
            [sys.executable, "-c", DEPLOY, *words],
            cwd=REPO,
            env={name: value for name, value in environ.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
        )
        assert deployed.returncode == 0, deployed.stderr[-5000:]
        owner = (folder / "state" / "id.txt").read_text()
        self.jobs = PostgresJobStore(postgres.url, "two_machines", owner)

    @contextlib.contextmanager
    def open(
        self, method: str, path: str, body: Any = None, key: str | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that is still to be read; with an empty key, who has none asks."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            head = {"Content-Type": "application/json"}
            if key != "":
                head["Authorization"] = f"Bearer {key or self._key}"
            connection.request(method, path, None if body is None else json.dumps(body), head)
            yield connection.getresponse()

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        with self.open(method, path, body) as answer:
            assert answer.status < 300, answer.read()
            return json.load(answer)

    def generate(self, prompt: str, **changes: Any) -> str:
        values = {"prompt": prompt, "size": "32x32", "num_frames": 2, "seed": 1, **changes}
        return self.call("POST", "/v1/videos", values)["id"]

    def ended(self, job: str) -> dict[str, Any]:
        """A job in its final state; the server may be away meanwhile."""
        found: dict[str, Any] = {}

        def over() -> bool:
            try:
                found.update(self.call("GET", f"/v1/videos/{job}"))
            except (OSError, AssertionError, http.client.HTTPException):
                return False
            return found["status"] in ("completed", "failed", "cancelled")

        until(over)
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A head without cores and two nodes."""
    folder = tmp_path_factory.mktemp("machines")
    with running() as postgres:
        nodes = Nodes(3, folder)
        try:
            server = Server(folder, nodes, postgres)
            yield server
            server.jobs.close()
        finally:
            nodes.close()


def test_a_key_is_asked_for(server: Server) -> None:
    with server.open("GET", "/v1/videos", key="mr_nobody") as answer:
        assert answer.status == 401
    with server.open("GET", "/health/ready", key="") as answer:
        assert answer.status == 200
    assert server.call("GET", "/v1/videos")["data"] == []


def test_progress_is_seen_while_it_is_made(server: Server) -> None:
    job = server.generate("a red robot", num_inference_steps=100)
    with server.open("GET", f"/v1/videos/{job}/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines: list[str] = []
        while "event: progress" not in lines:
            lines.append(stream.readline().decode().strip())
        assert server.call("GET", f"/v1/videos/{job}")["status"] == "in_progress"
        rest = stream.read().decode()
    assert "event: completed" in rest
    with server.open("GET", f"/v1/videos/{job}/content") as video:
        assert video.read()[4:8] == b"ftyp"


def test_a_database_that_is_away_for_a_while_loses_no_job(server: Server) -> None:
    """For longer than claims last: who runs a job gives it up, and somebody takes it again."""
    long = {"size": "64x64", "num_frames": 8, "num_inference_steps": 60}
    jobs = [server.generate(f"a pink crab, number {number}", **long) for number in range(3)]
    until(lambda: len([job for job in server.jobs.running() if job.done > 0]) == 2)
    server.postgres.crash()
    try:
        with server.open("GET", f"/v1/videos/{jobs[0]}") as answer:
            assert answer.status == 503, answer.read()
    finally:
        server.postgres.start()
    assert [server.ended(job)["status"] for job in jobs] == ["completed"] * 3
    attempts = sorted(server.jobs.get(job).attempt for job in jobs)
    assert attempts[-1] >= 2, "nobody's claim ran out meanwhile"


def test_a_machine_that_is_lost_loses_no_job(server: Server) -> None:
    """One job on each; the one of the machine that goes is done by the other."""
    long = {"size": "64x64", "num_frames": 8, "num_inference_steps": 100}
    jobs = [server.generate(f"a blue robot, number {number}", **long) for number in range(2)]

    def running() -> dict[str, str | None]:
        return {job.id: job.worker for job in server.jobs.running() if job.done > 0}

    until(lambda: len(running()) == 2)
    workers = running()
    assert len(set(workers.values())) == 2, "each machine has a generator"
    server.nodes.lose()
    assert [server.ended(job)["status"] for job in jobs] == ["completed"] * 2
    attempts = sorted(server.jobs.get(job).attempt for job in jobs)
    assert attempts[-1] == 2, attempts
    survivor = {server.jobs.get(job).worker for job in jobs}
    assert len(survivor) == 1 and survivor <= set(workers.values())
