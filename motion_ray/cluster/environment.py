"""What a training worker's process needs before anything heavy is imported in it."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "gpu"]


def prepare_worker_environment(device: Device, environ: MutableMapping[str, str]) -> None:
    """Set the variables that decide how torch and DeepSpeed start, in the worker itself.

    A variable of the submitting shell does not reach a worker on an existing cluster, so nothing is
    taken from there. Call it before torch or deepspeed are imported.

    Args:
        device: what Ray gave the worker.
        environ: normally ``os.environ``.
    """
    # A cluster started as /path/bin/ray has no activated environment, and DeepSpeed looks for ninja
    # on PATH.
    programs = str(Path(sys.executable).parent)
    path = environ.get("PATH", os.defpath)
    if programs not in path.split(os.pathsep):
        environ["PATH"] = programs + os.pathsep + path
    if device == "cpu":
        environ["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed probes for one, and warns
    environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # its threads would fight torch's for the cores
