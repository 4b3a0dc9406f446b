"""Part (e) of benchmarks/serve.py: the whole server over calling the generator directly."""

from __future__ import annotations

import json
import re
import socket
import statistics
import time
import urllib.request
from pathlib import Path

import torch
from ray import serve

from benchmarks.served import Served, generate
from deployments.app import build
from motion_ray.cluster.serving import ServeArguments
from motion_ray.cluster.session import open_cluster
from motion_ray.serving.requests import GenerationSpec
from motion_ray.serving.studio import write_file

READY_S = 300.0


def overhead(folder: Path, repeats: int, served: Served, threads: int) -> None:
    """The same videos by turns: a function call that writes a file, and POST /v1/videos/sync."""
    torch.set_num_threads(threads)
    backbone, spec = served.open(), served.spec(None)
    direct: list[float] = []
    asked: list[float] = []
    outside: list[float] = []
    with open_cluster(None, cpus=threads):
        address = start(folder, served, threads)
        generate(backbone, spec)
        post(address, spec)
        for _ in range(repeats):
            started = time.perf_counter()
            write_file(folder / "direct.mp4", generate(backbone, spec))
            direct.append(time.perf_counter() - started)
            whole, generating = post(address, spec)
            asked.append(whole)
            outside.append(whole / generating)
        serve.shutdown()
    call, request = statistics.median(direct), statistics.median(asked)
    print(f"(e) one video at a time, {spec.steps} steps, {repeats} each by turns")
    print(f"    direct {call:.3f} s, over HTTP {request:.3f} s")
    print(f"    ratio  {request / call:.3f}, {1000 * (request - call):.1f} ms more")
    print(f"    to what the generator itself took  {statistics.median(outside):.3f}")


def start(folder: Path, served: Served, threads: int) -> str:
    """Start the server on this machine; its address, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    arguments = ServeArguments(
        base=served.base,
        store=str(folder / "store"),
        state=folder / "state",
        threads=threads,
        device="gpu" if torch.cuda.is_available() else "cpu",
    )
    serve.run(build(arguments), name="benchmark")
    address = f"http://127.0.0.1:{port}"
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{address}/health/ready", timeout=10):
                return address
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"the server was not ready within {READY_S:.0f} seconds")


def post(address: str, spec: GenerationSpec) -> tuple[float, float]:
    """Seconds until the whole video is here, and those of them that went into denoising and
    decoding it.
    """
    body = {
        "prompt": spec.prompt,
        "motions": [],
        "num_inference_steps": spec.steps,
        "seed": spec.seed,
    }
    request = urllib.request.Request(
        f"{address}/v1/videos/sync",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=READY_S) as answer:
        answer.read()
        timings = answer.headers["Server-Timing"]  # such as: denoise;dur=812.5, decode;dur=90.1
    seconds = time.perf_counter() - started
    generating = re.findall(r"(?:denoise|decode);dur=([0-9.]+)", timings)
    return seconds, sum(map(float, generating)) / 1000
