"""When steps of a GPU are waited for, and told, without one."""

from __future__ import annotations

from motion_ray.diffusion.sampler import SHORT_S, StepWatch


class Gpu:
    """Takes so long for each step, one after another, and is given the next when it is queued."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds, self.now = seconds, 0.0
        self.happened: list[str] = []
        self._queued, self._free = 0, 0.0

    def mark(self):
        number = self._queued
        self._queued += 1
        self.happened.append(f"queued {number}")
        end = self._free = max(self._free, self.now) + self.seconds[number]

        def wait() -> None:
            self.now = max(self.now, end)
            self.happened.append(f"waited {number}")

        return wait

    def run(self) -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []
        total = len(self.seconds)
        watch = StepWatch(total, lambda *step: told.append(step), self.mark, lambda: self.now)
        for _ in self.seconds:
            watch.queued()
        watch.finish()
        return told


def test_a_long_step_is_waited_for_before_the_next_is_queued() -> None:
    gpu = Gpu([2 * SHORT_S] * 3)
    assert gpu.run() == [(1, 3), (2, 3), (3, 3)]
    assert gpu.happened == [f"{what} {n}" for n in range(3) for what in ("queued", "waited")]


def test_of_short_steps_the_next_is_queued_first_and_all_are_told() -> None:
    gpu = Gpu([SHORT_S / 2] * 4)
    assert gpu.run() == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert gpu.happened[:6] == [
        *("queued 0", "waited 0"),  # nothing is known of them yet
        *("queued 1", "queued 2", "waited 1", "queued 3"),
    ]
    assert gpu.happened[-2:] == ["waited 2", "waited 3"]


def test_steps_that_become_long_are_waited_for_again() -> None:
    gpu = Gpu([SHORT_S / 2, SHORT_S / 2, 3 * SHORT_S, 3 * SHORT_S, 3 * SHORT_S])
    gpu.run()
    at = gpu.happened.index
    assert at("waited 2") < at("queued 4")
    assert gpu.happened[-2:] == ["queued 4", "waited 4"]


def test_nobody_has_to_listen() -> None:
    watch = StepWatch(1, None, lambda: lambda: None)
    watch.queued()
    watch.finish()
