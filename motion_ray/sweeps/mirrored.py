"""A run that goes on wherever it is started: its folder follows it through a mirror."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from motion_ray.locks import only_process
from motion_ray.sweeps.mirror import CHECKPOINTS, RunMirror
from motion_ray.types import Checkpointed, RunFinished, TrainEvent, Validated


def mirrored(
    run: Callable[[], Iterator[TrainEvent]], mirror: RunMirror, folder: Path
) -> Generator[TrainEvent, None, None]:
    """The events of a run whose folder is brought first and copied on the way.

    Whoever hears of a checkpoint, a validation or the result can rely on its copy.

    Args:
        run: begins the run, e.g. a call of :func:`motion_ray.customization.loop.customize`.
        mirror: of the attempt that this is.
        folder: of the run on this machine.

    Raises:
        MirrorError: the storage fails, or a later attempt has taken over.
        FolderBusyError: another process runs in the folder.
        MotionRayError: whatever the run raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_process(folder, "--work"):
        mirror.begin(folder)
    events = run()
    try:
        for event in events:
            match event:
                case Validated() | Checkpointed():
                    mirror.push(folder)
                case RunFinished():
                    mirror.push(folder, checkpoints=False)
                    mirror.show(folder)
                    # They fill a machine's own disk, trial after trial.
                    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
                    event = dataclasses.replace(event, report=f"{mirror.uri}/report.html")
                case _:
                    pass
            yield event
    finally:
        if isinstance(events, Generator):
            events.close()  # it lets go of the folder
