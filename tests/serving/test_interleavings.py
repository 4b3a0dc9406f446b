"""A real network serving several motions in every order: each video is exactly its motion's."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable

import pytest

from motion_ray.backbones.unet3d import UNet3DBackbone, load_backbone
from motion_ray.config import ClipConfig, SamplingConfig
from motion_ray.customization.delta import MotionDelta
from motion_ray.errors import Cancelled
from motion_ray.generation import VideoGenerator
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.engine import MotionEngine
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.requests import (
    GenerationSpec,
    ServingProfile,
    VideoRequest,
    resolve,
)
from motion_ray.serving.scheduler import Cancelling, Scheduler, Ticket
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.worker import StopCheck, Worker
from motion_ray.store import DeltaStore
from motion_ray.types import GeneratedVideo
from tests.deltas import changed, header, low_rank

PROFILE = ServingProfile(base="tiny", frames=2, width=16, height=16, steps=1, guidance=1)
CHOICES: dict[str, list[dict[str, object]]] = {
    "base": [],
    "arms": [{"id": "arms"}],
    "hat": [{"id": "hat"}],
    "thin": [{"id": "thin"}],
    "half": [{"id": "arms", "weight": 0.5}],
    "both": [{"id": "arms", "weight": 0.7}, {"id": "hat", "weight": 0.4}],
}


def fingerprint(video: GeneratedVideo) -> str:
    return hashlib.sha256(video.frames.numpy().tobytes()).hexdigest()


@pytest.fixture(scope="module")
def backbone(tiny_bases) -> UNet3DBackbone:
    return load_backbone(str(tiny_bases["epsilon"]), "cpu")


@pytest.fixture(scope="module")
def store(backbone, tmp_path_factory) -> DeltaStore:
    store = DeltaStore(tmp_path_factory.mktemp("motions"))
    store.publish(MotionDelta(header(backbone), changed(backbone, 1)), "arms")
    store.publish(MotionDelta(header(backbone, name="hat"), changed(backbone, 2)), "hat")
    thin = header(backbone, name="thin", parametrization="lora")
    store.publish(MotionDelta(thin, low_rank(backbone, 3)), "thin")
    return store


@pytest.fixture(scope="module")
def catalog(backbone, store) -> MotionCatalog:
    return MotionCatalog(store, backbone.fingerprint)


def spec_of(catalog: MotionCatalog, choice: str, seed: int = 0) -> GenerationSpec:
    request = VideoRequest.model_validate(
        {"prompt": "a robot doing the pll", "motions": CHOICES[choice], "seed": seed}
    )
    return resolve(request, PROFILE, catalog)


def engine_for(backbone, store, catalog, motions: float) -> tuple[MotionEngine, MotionPool]:
    size = store.load("arms").nbytes + 5000
    config = PoolConfig(device_bytes=int(motions * size), host_bytes=2 * size)
    pool = MotionPool(StoreSource(store), backbone, config)
    return MotionEngine(backbone, pool, catalog, precision="fp32"), pool


@pytest.fixture(scope="module")
def expected(backbone, store, catalog) -> dict[str, str]:
    """Hash of the video of every choice, made alone and, for single motions, without a pool."""
    found: dict[str, str] = {}
    sampling = SamplingConfig(steps=1, guidance=1, fps=8)
    clips = ClipConfig(frames=2, height=16, width=16)
    generator = VideoGenerator(backbone, sampling, clips, "fp32")
    prompts = ["a robot doing the pll"]
    [video] = generator.generate(prompts, [0])
    found["base"] = fingerprint(video)
    for name in ("arms", "hat", "thin"):
        with store.load(name).applied(backbone):
            [video] = generator.generate(prompts, [0])
        found[name] = fingerprint(video)
    for choice in ("half", "both"):
        engine, pool = engine_for(backbone, store, catalog, 10)
        spec = spec_of(catalog, choice)
        found[choice] = fingerprint(engine.generate(spec, engine.mix(spec)).video)
        pool.close()
    assert len(set(found.values())) == len(CHOICES)
    return found


class Generating:
    """Duties of a worker: generate, and remember the hash of every video."""

    def __init__(self, engine: MotionEngine, specs: dict[str, GenerationSpec]) -> None:
        self.engine, self.specs = engine, specs
        self.mixes: dict[str, Mix] = {job: engine.mix(spec) for job, spec in specs.items()}
        self.hashes: dict[str, str] = {}
        self.done = threading.Semaphore(0)

    def run(self, ticket: Ticket, stop: StopCheck) -> None:
        spec, mix = self.specs[ticket.id], self.mixes[ticket.id]
        try:
            made = self.engine.generate(spec, mix, cancelled=lambda: stop() is not None)
            self.hashes[ticket.id] = fingerprint(made.video)
        except Cancelled:
            self.hashes[ticket.id] = "cancelled"
        finally:
            self.done.release()

    def drop(self, ticket: Ticket) -> None:
        raise AssertionError("there are no deadlines here")

    def coming(self, ticket: Ticket, *, next_up: bool) -> None:
        self.engine.prefetch(self.mixes[ticket.id], "device" if next_up else "host")


def at_once(*acts: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def interleave(
    engine: MotionEngine, pool: MotionPool, catalog: MotionCatalog, chance: random.Random
) -> tuple[dict[str, str], dict[str, str]]:
    """Two clients send three jobs while motions are loaded ahead and unloaded.

    Returns:
        What each job was to show, and the hash of what it made.
    """
    wanted = {job: chance.choice(list(CHOICES)) for job in ("x0", "x1", "y0")}
    duties = Generating(engine, {job: spec_of(catalog, c) for job, c in wanted.items()})
    worker = Worker(Scheduler(10, chance.choice((0.0, 1000.0))), duties)
    removed: list[str] = []
    cancelled = chance.choice([None, None, None, "x0", "y0"])

    def client(name: str) -> None:
        for job in (job for job in wanted if job.startswith(name)):
            worker.submit(Ticket(job, duties.mixes[job].key, name))
            if job == cancelled and worker.cancel(job) is Cancelling.REMOVED:
                removed.append(job)
            pool.unload(catalog.resolve(chance.choice(("arms", "hat", "thin"))))

    at_once(lambda: client("x"), lambda: client("y"))
    for _ in wanted.keys() - removed:
        assert duties.done.acquire(timeout=200)
    worker.close(200)
    assert duties.hashes.keys() == wanted.keys() - removed
    return wanted, duties.hashes


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_in_100_interleavings_no_motion_mixes_with_another(backbone, store, catalog, expected):
    before = {name: each.clone() for name, each in backbone.denoiser.named_parameters()}
    made = 0
    for seed in range(100):
        chance = random.Random(seed)
        if seed % 25 == 0:
            engine, pool = engine_for(backbone, store, catalog, (1.2, 2.2, 3.5, 10)[seed // 25])
        wanted, hashes = interleave(engine, pool, catalog, chance)
        for job, choice in wanted.items():
            if hashes.get(job, "cancelled") != "cancelled":
                assert hashes[job] == expected[choice], f"round {seed}: {job} is not {choice}"
                made += 1
    assert made > 240
    assert all((before[n] == each).all() for n, each in backbone.denoiser.named_parameters())


def test_a_generation_tells_how_long_and_from_where(backbone, store, catalog, expected):
    engine, pool = engine_for(backbone, store, catalog, 10)
    spec = spec_of(catalog, "both").model_copy(update={"steps": 2})
    steps: list[tuple[int, int]] = []
    first = engine.generate(spec, engine.mix(spec), on_step=lambda *step: steps.append(step))
    again = engine.generate(spec, engine.mix(spec))
    assert fingerprint(first.video) == fingerprint(again.video) != expected["both"]
    assert steps == [(1, 2), (2, 2)]
    assert set(first.timings) == {"load", "denoise", "decode"}
    assert all(seconds > 0 for seconds in first.timings.values())
    found = {motion.record.name: (motion.weight, motion.found) for motion in first.motions}
    assert found == {"arms": (0.7, "disk"), "hat": (0.4, "disk")}
    assert {motion.found for motion in again.motions} == {"device"}, "the sum is ready"
    pool.close()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # diffusers with NumPy 2
def test_a_video_is_made_as_its_spec_says(backbone, store, catalog):
    _, pool = engine_for(backbone, store, catalog, 10)
    engine = MotionEngine(backbone, pool, catalog, scheduler="dpmsolver++", precision="fp32")
    spec = GenerationSpec(
        prompt="a hat",
        negative_prompt="a robot",
        width=24,
        height=16,
        frames=3,
        fps=5,
        steps=2,
        guidance=3.5,
        seed=11,
    )
    sampling = SamplingConfig(
        scheduler="dpmsolver++", steps=2, guidance=3.5, negative_prompt="a robot", fps=5
    )
    clips = ClipConfig(frames=3, height=16, width=24)
    generator = VideoGenerator(backbone, sampling, clips, "fp32", batch_size=1)
    assert engine._generator(spec) == generator
    video = engine.generate(spec, engine.mix(spec)).video
    [alone] = generator.generate(["a hat"], [11])
    assert (video.prompt, video.seed, video.fps) == ("a hat", 11, 5)
    assert fingerprint(video) == fingerprint(alone)
    pool.close()


def test_a_cancelled_generation_gives_everything_back(backbone, store, catalog, expected):
    engine, pool = engine_for(backbone, store, catalog, 10)
    spec = spec_of(catalog, "arms").model_copy(update={"steps": 2})
    asked: list[int] = []

    def after_one_step() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Cancelled, match="after 1 of 2"):
        engine.generate(spec, engine.mix(spec), cancelled=after_one_step)
    assert pool.statistics().device.held == 0
    spec = spec_of(catalog, "base")
    assert fingerprint(engine.generate(spec, engine.mix(spec)).video) == expected["base"]
    pool.close()
