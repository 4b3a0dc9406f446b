"""The server in one process: what it refuses to start with, and a video of the embedded model."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.config import ClipConfig
from motion_ray.data.video import probe, read_clip
from motion_ray.errors import JobStoreError
from motion_ray.serving.http.__main__ import LISTENING, arguments, main, settings_from
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.standalone import LocalSite, StandaloneConfig, open_services
from motion_ray.serving.site import SiteConfig, open_site
from tests.serving.http.calls import URL, error
from tests.waiting import until


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "there are no API keys"),
        (["--keys", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--allow-source", "http://example.org/x"], "is no plain address"),
        (["--base", "nowhere"], "nowhere"),
        (["--device", "tpu9"], "'tpu9' is the name of no device; for example cpu"),
        (
            ["--port", "99999"],
            "--port: Input should be less than or equal to 65535; got 99999, for",
        ),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read: no such file"),
        (["--config", "queue.yaml"], "server.queue: there is no such setting; known here: active"),
        (["--config", "ray.yaml"], "replicas: there is no such setting; known here: server, site"),
        (["--config", "open.yaml"], "there are no API keys"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.yaml").write_text("server: {queue: 1}")
    (tmp_path / "ray.yaml").write_text("replicas: 2")
    (tmp_path / "open.yaml").write_text("server: {host: 0.0.0.0}")
    assert main(["--port", "0", *arguments]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and message in told


def test_the_file_says_what_the_command_line_does_not(tmp_path):
    file = tmp_path / "serving.yaml"
    file.write_text("""
site: {base: a, store: b, limits: {steps: 50}}
studio: {pool: {device_bytes: 1000}, disk_bytes: 5}
server: {port: 1, queued: 7, retention_s: 60, allowed_origins: [https://studio.example]}
""")
    words = ["--config", str(file), "--motions", "c", "--port", "2"]
    found = settings_from(arguments().parse_args(words))
    assert (found.site.base, found.site.store, found.site.limits.steps) == ("a", "c", 50)
    assert (found.server.port, found.server.queued, found.server.retention_s) == (2, 7, 60)
    assert found.server.allowed_origins == ("https://studio.example",)
    assert (found.studio.pool.device_bytes, found.studio.disk_bytes) == (1000, 5)
    assert found.site.state == Path("serving")
    assert settings_from(arguments().parse_args([])) == StandaloneConfig()


def test_a_folder_of_jobs_belongs_to_one_base_model(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "base.txt").write_text("of another one")
    settings = StandaloneConfig(site=LocalSite(store=f"{tmp_path}/store", state=folder))
    with pytest.raises(JobStoreError, match="are of another base model; name another folder"):
        open_services(settings, "cpu")


def test_a_server_that_admits_no_job_starts(tmp_path):
    settings = StandaloneConfig(
        site=LocalSite(store=f"{tmp_path}/store", state=tmp_path / "state"),
        server=ServerConfig(queued=0),
    )
    assert open_services(settings, "cpu").profile is not None


def test_a_store_without_motions_is_told_of(tmp_path, caplog):
    """Whoever mistyped its place would look for them for long."""
    sketch, _ = sketch_backbone("puppet")
    site = SiteConfig(store=f"{tmp_path}/typo", state=tmp_path / "state")
    open_site(site, 100, sketch).jobs.close()
    assert f"{tmp_path}/typo: holds no motions yet" in caplog.text


def test_motions_of_a_distant_store_are_kept_on_this_machine(tmp_path):
    settings = StandaloneConfig(site=LocalSite(store="memory://motions", state=tmp_path / "state"))
    open_services(settings, "cpu")
    assert (tmp_path / "state" / "motions" / "0").is_dir()


@pytest.mark.slow
def test_a_video_of_the_embedded_model(tmp_path):
    settings = StandaloneConfig(site=LocalSite(store=f"{tmp_path}/store", state=tmp_path / "state"))
    body = {"prompt": "a red robot waving", "size": "32x32", "num_inference_steps": 2, "seed": 1}
    app = create_app(settings.server, open_services(settings, "cpu"))
    with TestClient(app, base_url=URL) as client:
        first, second = (client.post("/v1/videos/sync", json=body) for _ in range(2))
        assert client.get("/health/ready").status_code == 200
        unknown = client.post("/v1/videos", json=body | {"prompt": "a robot doing the pll"})
    assert first.status_code == second.status_code == 200
    clips = []
    for name, answer in (("first.mp4", first), ("second.mp4", second)):
        (tmp_path / name).write_bytes(answer.content)
        info = probe(tmp_path / name)
        assert (info.frames, info.width, info.height, info.fps) == (8, 32, 32, 8)
        clips.append(read_clip(tmp_path / name, ClipConfig(frames=8, height=32, width=32)).frames)
    # Kernels may round differently where a tensor lies elsewhere in memory: the same to the eye.
    assert (clips[0].float() - clips[1].float()).abs().mean() < 0.02 * clips[0].float().abs().max()
    assert error(unknown) == (422, "unknown_token", "prompt")


@pytest.mark.parametrize(
    ("header", "status"),
    [(b"x" * 2_000 + b"\r\n\r\n", b"200"), (b"x" * 40_000, b"400")],  # the second goes on
)
def test_headers_of_any_size_are_not_kept(header, status):
    """Over a socket: the application sees them only when they are whole."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(PlainTextResponse("here"), **LISTENING))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [stream]})
        thread.start()
        try:
            until(lambda: server.started)
            with socket.create_connection(stream.getsockname(), timeout=20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + header)
                assert client.recv(100).startswith(b"HTTP/1.1 " + status)
        finally:
            server.should_exit = True
            thread.join(20)
