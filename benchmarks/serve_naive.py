"""Part (c) of benchmarks/serve.py: throughput against servers that read from disk at every change.

Each server is a process of its own, as a server is, and generates in one thread of it. Ours writes
a video in another one, beside the next generation; the others write it before they go on.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import torch
from diffusers import TextToVideoSDPipeline
from torch import Tensor

from benchmarks.pool import zipf
from benchmarks.serve_motions import BLOCK, WARM, drive, pool_for, publish, serving
from benchmarks.served import Served, generate, progress
from motion_ray.backbones.unet3d import EMBEDDED, EMBEDDED_FOLDER, quiet_loading
from motion_ray.customization.delta import MotionDelta
from motion_ray.serving.studio import write_file
from motion_ray.store import DeltaStore
from motion_ray.threads import apart
from motion_ray.types import GeneratedVideo


class Server(Protocol):
    """Makes a video for each motion that is asked for, in order."""

    def serve(self, wanted: Sequence[str]) -> None:
        """Return once all videos are on disk."""
        ...


def naive(shelf: Path, motions: int, requests: int, served: Served, threads: int) -> None:
    """Videos a second, of servers that get the same requests in the same order, by turns. The
    motions are in the store ``shelf``.
    """
    records = publish(shelf, apart(served.open), motions)
    wanted = [records[number].reference for number in zipf(motions, requests)]
    with tempfile.TemporaryDirectory() as scratch:
        pools = {
            kind: ProcessPoolExecutor(
                1,
                multiprocessing.get_context("spawn"),
                initializer=_open,
                initargs=(kind, Path(scratch) / kind, shelf, motions, served, threads),
            )
            for kind in SERVERS
        }
        try:
            seconds = _by_turns(pools, wanted)
        finally:
            for pool in pools.values():
                pool.shutdown()
    print(f"(c) throughput, {motions} motions under Zipf(1.0), {requests} requests each")
    print(f"    {OURS:<44}  {requests / seconds[OURS]:.3f} a second")
    for kind, took in seconds.items():
        if kind != OURS:
            ratio = took / seconds[OURS]
            print(f"    {kind:<44}  {requests / took:.3f} a second; ours is {ratio:.2f} times that")


def _by_turns(pools: dict[str, ProcessPoolExecutor], wanted: Sequence[str]) -> dict[str, float]:
    opening = [pool.submit(_serve, [wanted[0]] * WARM) for pool in pools.values()]
    for each in opening:  # together: most of it is importing
        each.result()
    seconds = dict.fromkeys(pools, 0.0)
    for turn, start in enumerate(progress(range(0, len(wanted), BLOCK), "turns")):
        first = turn % len(pools)  # nobody always comes after the same one
        for kind, pool in [*pools.items()][first:] + [*pools.items()][:first]:
            began = time.perf_counter()
            pool.submit(_serve, wanted[start : start + BLOCK]).result()
            seconds[kind] += time.perf_counter() - began
    return seconds


# --- in a server's process ------------------------------------------------------------------------

_server: Server


def _open(kind: str, folder: Path, store: Path, motions: int, served: Served, threads: int) -> None:
    global _server
    torch.set_num_threads(threads)
    folder.mkdir(parents=True)
    _server = apart(lambda: SERVERS[kind](folder, DeltaStore(store), motions, served))


def _serve(wanted: Sequence[str]) -> None:
    _server.serve(wanted)


class Ours:
    """A replica with its pool and job store.

    Args:
        folder: for jobs and videos.
        store: of motions.
        motions: how many there are.
        served: what is asked.
    """

    def __init__(self, folder: Path, store: DeltaStore, motions: int, served: Served) -> None:
        backbone = served.open()
        self._store, self._served = store, served
        pool = pool_for(store, backbone, motions, store.resolve("m0").nbytes)
        self._open = ExitStack()  # to the end of the process
        self._serving = self._open.enter_context(serving(folder, backbone, store, pool))

    def serve(self, wanted: Sequence[str]) -> None:
        """See :class:`Server`; a client keeps a few jobs waiting."""
        specs = [self._served.spec(self._store.resolve(reference)) for reference in wanted]
        drive(self._serving, specs)


class FromDisk:
    """Takes one request after the other and reads what it needs when the motion changes.

    Args:
        folder: for the videos.
        store: of motions.
        served: what is asked.
        reload: read the base model as well.
    """

    def __init__(self, folder: Path, store: DeltaStore, served: Served, *, reload: bool) -> None:
        self._folder, self._store, self._served, self._reload = folder, store, served, reload
        self._backbone = served.open()
        self._reference = ""
        self._delta: MotionDelta | None = None

    def serve(self, wanted: Sequence[str]) -> None:
        """See :class:`Server`."""
        for reference in wanted:
            delta = self._read(reference)
            with delta.applied(self._backbone):
                spec = self._served.spec(self._store.resolve(reference))
                video = generate(self._backbone, spec)
            write_file(self._folder / "naive.mp4", video)

    def _read(self, reference: str) -> MotionDelta:
        if self._delta is None or self._reference != reference:
            self._delta, self._reference = self._store.load(reference), reference
            if self._reload:
                self._backbone = self._served.open()
        return self._delta


class Stock:
    """The pipeline of diffusers as it comes, made anew when the motion changes.

    Args:
        folder: for the videos.
        store: of motions.
        served: what is asked.
    """

    def __init__(self, folder: Path, store: DeltaStore, served: Served) -> None:
        self._folder, self._store, self._served = folder, store, served
        self._reference = ""

    def serve(self, wanted: Sequence[str]) -> None:
        """See :class:`Server`."""
        for reference in wanted:
            if reference != self._reference:
                self._make(reference)
            spec = self._served.spec(self._store.resolve(reference))
            drawn = self._pipeline(
                spec.prompt,
                num_frames=spec.frames,
                height=spec.height,
                width=spec.width,
                num_inference_steps=spec.steps,
                guidance_scale=spec.guidance,
                generator=torch.Generator().manual_seed(spec.seed),
                output_type="pt",
                return_dict=False,
            )[0]
            assert isinstance(drawn, Tensor)  # [1, f, 3, h, w] in 0..1
            pixels = (drawn[0].float().cpu() * 255).round().to(torch.uint8)
            video = GeneratedVideo(pixels, spec.fps, spec.prompt, spec.seed)
            write_file(self._folder / "naive.mp4", video)

    def _make(self, reference: str) -> None:
        gpu = torch.cuda.is_available()
        folder = EMBEDDED_FOLDER if self._served.base == EMBEDDED else self._served.base
        with quiet_loading():
            pipeline = TextToVideoSDPipeline.from_pretrained(
                folder, dtype=torch.float16 if gpu else torch.float32
            )
        pipeline.to("cuda" if gpu else "cpu")
        changed = self._store.load(reference).tensors
        pipeline.unet.load_state_dict(changed, strict=False)
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval()
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline, self._reference = pipeline, reference


OURS = "ours"
SERVERS: dict[str, Callable[[Path, DeltaStore, int, Served], Server]] = {
    OURS: Ours,
    "our generator, a delta read at every change": lambda folder, store, _, served: FromDisk(
        folder, store, served, reload=False
    ),
    "our generator, all reloaded at every change": lambda folder, store, _, served: FromDisk(
        folder, store, served, reload=True
    ),
    "diffusers' pipeline, made at every change": lambda folder, store, _, served: Stock(
        folder, store, served
    ),
}
