"""The application on a real Ray Serve, driven over HTTP and killed in the middle."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from benchmarks.pool import paper_delta
from motion_ray.backbones.unet3d import load_backbone
from motion_ray.cluster.serving import ServeArguments
from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import ConfigError
from motion_ray.store import DeltaStore
from tests import waiting
from tests.ray.running import PATIENCE

pytestmark = pytest.mark.timeout(900)
until = partial(waiting.until, seconds=PATIENCE, every=0.1)

LEASE_S = 3.0
SMALL = {"size": "32x32", "num_frames": 2, "seed": 1}


@dataclass
class Api:
    """A client of the server."""

    address: str
    store: DeltaStore
    sent: int = field(default=0)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and body of an answer; an error is an answer."""
        request = urllib.request.Request(
            self.address + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        status, answer = self.call(method, path, body)
        assert status < 300, answer
        return json.loads(answer)

    def generate(self, **changes: Any) -> str:
        """Id of a new job."""
        self.sent += 1
        request = {"prompt": f"a red robot, number {self.sent}", **SMALL, **changes}
        return self.json("POST", "/v1/videos", request)["id"]

    def job(self, job: str) -> dict[str, Any]:
        return self.json("GET", f"/v1/videos/{job}")

    def ended(self, *jobs: str) -> list[dict[str, Any]]:
        """Jobs in their final states; the server may be away meanwhile."""
        final = {"completed", "failed", "cancelled"}

        def over() -> bool:
            try:
                return all(self.job(job)["status"] in final for job in jobs)
            except (OSError, AssertionError):
                return False

        until(over)
        return [self.job(job) for job in jobs]

    def events(self, job: str) -> list[dict[str, Any]]:
        """Everything that was told of a job that has ended."""
        _, answer = self.call("GET", f"/v1/videos/{job}/events")
        return [
            dict(line.partition(": ")[::2] for line in block.splitlines())
            for block in answer.decode().split("\n\n")
            if "event: " in block
        ]


def log_of(deployment: str) -> list[str]:
    """Lines on standard error."""
    from ray._private.worker import _global_node

    assert _global_node is not None
    logs = Path(_global_node.get_session_dir_path(), "logs")
    [file] = logs.glob(f"worker-*-{process(deployment).pid}.err")
    return file.read_text().splitlines()


def process(deployment: str) -> psutil.Process:
    """The process of a deployment of our application, in the cluster that this process started."""
    name = f"ServeReplica:motion_ray:{deployment}"
    found = [
        each
        for each in psutil.Process().children(recursive=True)
        if name in " ".join(each.cmdline()[:1])
    ]
    assert len(found) == 1, found
    return found[0]


def kill(deployment: str) -> None:
    """Kill -9, and wait until another process has taken its place."""
    old = process(deployment)
    old.send_signal(signal.SIGKILL)
    old.wait(30)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """One that nobody takes before Serve does, whose socket may share its port as this one may;
    only Serve's listens.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.fixture(scope="module")
def api(cluster: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One application for all tests here."""
    from ray import serve
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary

    from deployments.app import build

    folder = tmp_path_factory.mktemp("serve")
    settings = folder / "serving.yaml"
    settings.write_text(yaml.safe_dump({"studio": {"replica": {"lease_s": LEASE_S}}}))
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    words = {
        "config": str(settings),
        "root": str(folder),
        "store": "store",
        "state": "state",
        "threads": "1",
        "device": "cpu",
    }
    # What the command line does with its words.
    serve.run(call_user_app_builder_with_args_if_necessary(build, words), name="motion_ray")
    api = Api(f"http://127.0.0.1:{port}", DeltaStore(folder / "store"))
    until(lambda: api.call("GET", "/health/ready")[0] == 200)
    yield api
    serve.shutdown()


def test_a_motion_that_is_published_meanwhile_is_used_at_once(api: Api) -> None:
    status, answer = api.call(
        "POST", "/v1/videos", {"prompt": "a red robot doing the pll", **SMALL}
    )
    assert status == 422 and json.loads(answer)["error"]["code"] == "unknown_token"
    api.store.publish(paper_delta(load_backbone("puppet", "cpu"), 1), "published")
    job = api.generate(prompt="a red robot doing the pll", num_inference_steps=3)
    [found] = api.ended(job)
    assert found["status"] == "completed", found
    assert [motion["id"] for motion in found["motions"]] == ["published"]
    assert set(found["timings"]) == {"queue", "load", "denoise", "decode", "encode"}
    kinds = [event["event"] for event in api.events(job)]
    assert kinds[0] == "queued" and kinds[-1] == "completed" and "progress" in kinds
    status, video = api.call("GET", f"/v1/videos/{job}/content")
    assert status == 200 and video[4:8] == b"ftyp"
    whole = f"{api.address}/v1/videos/{job}/content"
    part = urllib.request.Request(whole, headers={"Range": "bytes=4-7"})
    with urllib.request.urlopen(part, timeout=60) as answer:
        assert (answer.status, answer.read()) == (206, b"ftyp")
    listed = [motion["id"] for motion in api.json("GET", "/v1/motions")["data"]]
    assert listed.count("published") == 1


def test_an_answer_has_one_request_id(api: Api) -> None:
    request = urllib.request.Request(f"{api.address}/v1/models", headers={"X-Request-Id": "abc"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers.get_all("X-Request-Id") == ["abc"]


def test_logs_are_lines_of_json_and_as_many_as_there_are_events(api: Api) -> None:
    """Beside a few of Ray's. Not one for every call that a generator makes."""
    job = api.generate()
    api.ended(job)
    router = log_of("Router")
    assert not [line for line in router if " exchange " in line]
    ours = [json.loads(line) for line in router if line.startswith("{")]
    assert any(line.get("job") == job and "request_id" in line for line in ours)
    others = [line for line in router if not line.startswith(("{", ":"))]
    assert len(others) < len(ours)


def test_a_running_job_is_cancelled_and_the_next_one_starts(api: Api) -> None:
    job, following = api.generate(num_inference_steps=100), api.generate(num_inference_steps=1)
    until(lambda: api.job(job)["progress"] > 0)
    api.json("POST", f"/v1/videos/{job}/cancel")
    [found, after] = api.ended(job, following)
    assert found["status"] == "cancelled" and found["progress"] < 100
    assert after["status"] == "completed"


@pytest.mark.parametrize("hint", ["", "X-Request-Disconnect-Disabled: ?1\r\n"])
def test_who_leaves_before_a_video_at_once_is_there_stops_the_work(api: Api, hint: str) -> None:
    """Also with a hint to Serve's proxy not to cancel: then the application finds out by itself."""
    host, port = api.address.removeprefix("http://").split(":")
    prompt = f"nobody waits{' here' if hint else ''}"
    body = json.dumps({"prompt": prompt, **SMALL, "num_inference_steps": 100})
    head = (
        f"POST /v1/videos/sync HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
    )

    def newest() -> list[dict[str, Any]]:
        return api.json("GET", "/v1/videos?limit=1")["data"]

    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}{hint}Content-Type: application/json\r\n\r\n{body}".encode())
        until(lambda: any(j["prompt"] == prompt and j["progress"] > 0 for j in newest()))
    [job] = newest()
    [found] = api.ended(job["id"])
    assert found["status"] == "cancelled" and found["progress"] < 100


def test_ray_exports_what_was_counted(api: Api) -> None:
    """An exporter is a little late."""
    import ray

    delta = paper_delta(load_backbone("puppet", "cpu"), 2)
    header = delta.header.model_copy(update={"token": "sks"})  # not that of another test's
    api.store.publish(MotionDelta(header, delta.tensors), "counted")
    job = api.generate(
        prompt="a red robot doing the sks", motions=[{"id": "counted"}], num_inference_steps=1
    )
    [found] = api.ended(job)
    assert found["status"] == "completed", found
    assert api.call("POST", "/v1/videos", {"prompt": "doing the ohwx", **SMALL})[0] == 422
    [node] = ray.nodes()
    exported = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def told(*needed: str) -> bool:
        try:
            with urllib.request.urlopen(exported, timeout=60) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return False
        return any(all(part in line for part in needed) for line in lines)

    for needed in (
        ("ray_motion_ray_jobs_total{", 'outcome="succeeded"'),
        ("ray_motion_ray_motion_jobs_total{", 'motion="counted"'),
        ("ray_motion_ray_stage_seconds_bucket{", 'stage="denoise"'),
        ("ray_motion_ray_pool_bytes{", 'tier="device"'),
        ("ray_motion_ray_pool_exchange_seconds_total{",),
        ("ray_motion_ray_ready_replicas", " 1.0"),
        ("ray_motion_ray_request_errors_total{", 'code="unknown_token"', 'status="422"'),
    ):
        until(lambda needed=needed: told(*needed))


def test_a_replica_that_is_killed_loses_no_job(api: Api) -> None:
    running, waiting = api.generate(num_inference_steps=20), api.generate(num_inference_steps=1)
    until(lambda: api.job(running)["progress"] > 0)
    kill("Generator")
    found = api.ended(running, waiting)
    assert [job["status"] for job in found] == ["completed"] * 2
    kinds = [event["event"] for event in api.events(running)]
    assert kinds.count("in_progress") == 2 and "requeued" in kinds


def test_a_router_that_is_killed_loses_no_job(api: Api) -> None:
    jobs = [api.generate(num_inference_steps=20) for _ in range(3)]
    until(lambda: api.job(jobs[0])["progress"] > 0)
    generator = process("Generator").pid
    kill("Router")
    assert [job["status"] for job in api.ended(*jobs)] == ["completed"] * 3
    assert process("Generator").pid == generator
    [again] = api.ended(api.generate(num_inference_steps=1))
    assert again["status"] == "completed"


def test_a_server_without_keys_is_for_this_machine_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import deployments.app
    from motion_ray.cluster import serving

    assert serving.bound_host() == "127.0.0.1"
    monkeypatch.setattr(deployments.app, "bound_host", lambda: "0.0.0.0")
    with pytest.raises(ConfigError, match="keys"):
        deployments.app.build(ServeArguments(state=tmp_path, device="cpu"))
