"""The server in one process: what it refuses to start with, and a video of the embedded model."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from motion_ray.config import ClipConfig
from motion_ray.data.video import probe, read_clip
from motion_ray.serving.http.__main__ import main
from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig
from motion_ray.serving.http.standalone import StandaloneConfig, open_services
from tests.serving.http.calls import URL, error


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
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--port", "0", *arguments]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ") and message in told


@pytest.mark.slow
def test_a_video_of_the_embedded_model(tmp_path):
    config = ServerConfig()
    alone = StandaloneConfig(motions=f"{tmp_path}/store", state=tmp_path / "state", device="cpu")
    body = {"prompt": "a red robot waving", "size": "32x32", "num_inference_steps": 2, "seed": 1}
    with TestClient(create_app(config, open_services(config, alone)), base_url=URL) as client:
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
