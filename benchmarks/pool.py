"""What serving many motions from one base model costs: swaps, hit rates and memory, side by side.

    python -m benchmarks.pool

Everything is measured in one run on one machine, so the ratios mean something where the seconds do
not. Three parts: (a) what changing the motion costs, as a share of one generation on the embedded
base; (b) hit rates of the pool's eviction, of least-recently-used and of the best fixed choice, on
the same requests; (c) a store of many small motions served in a fixed budget: the right motion
every time, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from benchmarks.served import Served, generate
from motion_ray.backbones.unet3d import UNet3DBackbone
from motion_ray.customization.delta import DeltaHeader, MotionDelta
from motion_ray.customization.swap import DeltaTarget
from motion_ray.recipes.paper import PAPER_GROUPS
from motion_ray.serving.mix import Mix
from motion_ray.serving.pool import MotionPool, PoolConfig
from motion_ray.serving.sources import StoreSource
from motion_ray.serving.tier import OVERHEAD, Tier
from motion_ray.store import DeltaRecord, DeltaStore

MB = 1e6


def header(base: str, name: str, step: int) -> DeltaHeader:
    return DeltaHeader(
        base_fingerprint=base,
        base="benchmark",
        recipe="benchmark",
        name=name,
        token="pll",
        template="a person doing the <token>",
        step=step,
    )


def single(record: DeltaRecord) -> Mix:
    return Mix.of([(record, 1.0)])


# --- (a) the cost of a change ---------------------------------------------------------------------


def paper_delta(backbone: UNet3DBackbone, number: int) -> MotionDelta:
    """New values, in float16 as a trainer publishes them, for what the paper trains."""
    generator = torch.Generator().manual_seed(number)
    tensors = {
        name: (each.cpu() + 0.01 * torch.randn(each.shape, generator=generator)).to(torch.float16)
        for name, each in backbone.denoiser.named_parameters()
        if backbone.group_of(name) in PAPER_GROUPS
    }
    return MotionDelta(header(backbone.fingerprint, f"m{number}", number), tensors)


def seconds(repeats: int, act: Iterator[float]) -> float:
    """The median of so many measurements."""
    return statistics.median(itertools.islice(act, repeats))


def swaps(pool: MotionPool, records: Sequence[DeltaRecord]) -> Iterator[float]:
    """Lease, exchange and exchange back, with another motion every time; all are ready."""
    for record in itertools.cycle(records):
        started = time.perf_counter()
        with pool.lease(single(record)) as lease, lease.applied():
            pass
        yield time.perf_counter() - started


def loads(pool: MotionPool, records: Sequence[DeltaRecord], *, from_disk: bool) -> Iterator[float]:
    """Leases of motions that are in host memory, or nowhere yet."""
    for record in itertools.cycle(records):
        pool.unload(record)
        if not from_disk:
            pool.pin(record, "host")
        started = time.perf_counter()
        pool.lease(single(record)).release()
        yield time.perf_counter() - started


def generations(backbone: UNet3DBackbone, served: Served) -> Iterator[float]:
    """Videos of the untouched base."""
    for seed in itertools.count():
        started = time.perf_counter()
        generate(backbone, served.spec(None, seed=seed))
        yield time.perf_counter() - started


def cost_of_a_change(folder: Path, repeats: int, served: Served) -> None:
    backbone = served.open()
    store = DeltaStore(folder)
    records = [
        store.resolve(store.publish(paper_delta(backbone, number), f"m{number}"))
        for number in (1, 2)
    ]
    pool = MotionPool(StoreSource(store), backbone)
    one = seconds(repeats, generations(backbone, served))
    device, steps = backbone.device.type, served.spec(None).steps
    print(f"(a) one generation on the base {served.base} ({device}, {steps} steps)")
    print(f"    {one * 1e3:10.1f} ms   a delta: {records[0].nbytes / MB:.1f} MB in float16")
    for what, found in (
        ("change between motions that are ready", seconds(50, swaps(pool, records))),
        ("load from host memory", seconds(9, loads(pool, records, from_disk=False))),
        ("load from disk, checked", seconds(9, loads(pool, records, from_disk=True))),
    ):
        print(f"    {found * 1e3:10.2f} ms   {100 * found / one:6.2f} %   {what}")
    pool.close()


# --- (b) who leaves -------------------------------------------------------------------------------


def zipf(motions: int, requests: int, seed: int = 0) -> list[int]:
    """Requests for motions 0, 1, ..; the k-th is wanted in proportion to 1 / k."""
    weights = 1.0 / torch.arange(1, motions + 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(weights, requests, replacement=True, generator=generator).tolist()


def through_tier(
    requests: Sequence[int], sizes: list[int], cost: list[float], budget: int
) -> float:
    """Seconds of loading under the pool's eviction."""
    tier: Tier[int] = Tier("benchmark", budget)
    spent = 0.0
    for motion in requests:
        if tier.hold(f"{motion}") is None:
            tier.reserve(f"{motion}", sizes[motion] - OVERHEAD)
            tier.fill(f"{motion}", motion, cost[motion])
            spent += cost[motion]
        tier.release(f"{motion}")
    return spent


def through_lru(requests: Sequence[int], sizes: list[int], cost: list[float], budget: int) -> float:
    """Seconds of loading if the least recently used leaves."""
    here: OrderedDict[int, None] = OrderedDict()
    used, spent = 0, 0.0
    for motion in requests:
        if motion in here:
            here.move_to_end(motion)
            continue
        spent += cost[motion]
        while used + sizes[motion] > budget:
            used -= sizes[here.popitem(last=False)[0]]
        here[motion] = None
        used += sizes[motion]
    return spent


def fixed_choice(
    requests: Sequence[int], sizes: list[int], cost: list[float], budget: int
) -> float:
    """Seconds of loading if the motions that are best to have, known in advance, stay for ever."""
    wanted = torch.bincount(torch.tensor(requests), minlength=len(sizes)).tolist()
    ranked = sorted(range(len(sizes)), key=lambda m: wanted[m] * cost[m] / sizes[m], reverse=True)
    kept, used = set[int](), 0
    for motion in ranked:
        if used + sizes[motion] <= budget:
            kept.add(motion)
            used += sizes[motion]
    return sum(cost[motion] for motion in requests if motion not in kept)


def eviction(motions: int, requests: int) -> None:
    wanted = zipf(motions, requests)
    generator = torch.Generator().manual_seed(1)
    mixed = [100 if draw < 0.1 else 1 for draw in torch.rand(motions, generator=generator).tolist()]
    unit = 1_000_000
    print(f"(b) time saved by keeping motions, {requests} Zipf(1.0) requests for {motions} motions")
    print("              the pool     LRU    best fixed choice")
    for what, sizes, budget in (
        ("equal", [unit] * motions, unit * motions // 10),
        ("1 : 100", [unit * size for size in mixed], unit * sum(mixed) // 10),
    ):
        cost = [4 + size / unit for size in sizes]  # opening and checking take time as well
        everything = sum(cost[motion] for motion in wanted)
        saved = [
            100 * (1 - policy(wanted, sizes, cost, budget) / everything)
            for policy in (through_tier, through_lru, fixed_choice)
        ]
        print(f"    {what:>8}  " + "  ".join(f"{each:6.1f} %" for each in saved))


# --- (c) a thousand motions -----------------------------------------------------------------------


class SmallBase:
    """A base of one parameter of 64 kB: loading is real, generating is not."""

    fingerprint = "small-base"

    def __init__(self) -> None:
        self.denoiser: nn.Module = nn.ParameterDict(
            {"weight": nn.Parameter(torch.zeros(128, 128), requires_grad=False)}
        )

    def set_token_embedding(self, token: str, row: Tensor) -> Tensor:
        """These motions train no token."""
        raise NotImplementedError("these motions train no token")


def numbered(number: int) -> MotionDelta:
    """A motion whose values say which one it is."""
    return MotionDelta(
        header(SmallBase.fingerprint, f"m{number}", number),
        {"weight": torch.full((128, 128), float(number + 1))},
    )


def many_motions(folder: Path, motions: int, requests: int) -> None:
    store = DeltaStore(folder)
    records = [
        store.resolve(store.publish(numbered(number), f"m{number}")) for number in range(motions)
    ]
    base: DeltaTarget = SmallBase()
    size = records[0].nbytes + OVERHEAD
    config = PoolConfig(device_bytes=size * motions // 20, host_bytes=size * motions // 10)
    pool = MotionPool(StoreSource(store), base, config)
    weight = dict(base.denoiser.named_parameters())["weight"]
    process, wrong, memory = psutil.Process(), 0, list[int]()
    for count, motion in enumerate(zipf(motions, requests)):
        with pool.lease(single(records[motion])) as lease, lease.applied():
            wrong += float(weight[0, 0]) != motion + 1
        if count % (requests // 20) == 0:
            memory.append(process.memory_info().rss)
    wrong += float(weight[0, 0]) != 0
    found = pool.statistics()
    middle, end = memory[len(memory) // 2], memory[-1]
    asked = found.device.hits + found.device.misses
    print(f"(c) {motions} motions, {requests} Zipf(1.0) requests, budgets of 5 % and 10 % of them")
    print(f"    wrong motion: {wrong}")
    shares = (found.device.hits, found.host.hits, found.host.loads)
    ready, near, read = (100 * share / asked for share in shares)
    print(f"    ready {ready:.1f} %, from host memory {near:.1f} %, from disk {read:.1f} %")
    for name, tier in (("device", found.device), ("host", found.host)):
        print(f"    {name} tier: {tier.used / MB:.1f} of {tier.budget / MB:.1f} MB")
    print(f"    memory of the process at the end : in the middle  {end / middle:.3f}")
    pool.close()


def main() -> None:
    """Run all three parts."""
    parser = argparse.ArgumentParser(description="Costs of serving many motions.")
    parser.add_argument("--motions", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--generations", type=int, default=5, help="measured for part (a)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        cost_of_a_change(Path(folder) / "paper", args.generations, Served())
        eviction(args.motions, args.requests)
        many_motions(Path(folder) / "many", args.motions, args.requests)


if __name__ == "__main__":
    main()
