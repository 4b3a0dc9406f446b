"""Pins in their file: none is lost, whoever writes at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from motion_ray.serving.pins import Pin, PinFile
from tests.serving.toy import record_of, toy_delta


def test_pins_that_are_put_at_once_are_all_kept(tmp_path: Path) -> None:
    file = PinFile(tmp_path / "pins.json")
    pins = [Pin(record=record_of(toy_delta(seed)), level="host", replicas=1) for seed in range(16)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(file.put, pins))
    assert {pin.record.sha256 for pin in PinFile(tmp_path / "pins.json").pins} == {
        pin.record.sha256 for pin in pins
    }
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(file.remove, [pin.record for pin in pins[:8]]))
    left = {pin.record.sha256 for pin in PinFile(tmp_path / "pins.json").pins}
    assert left == {pin.record.sha256 for pin in pins[8:]}
