"""A real disk that is small enough to fill."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A filesystem in memory; the test is skipped where mounting one is not permitted."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small filesystem needs root")
    # Not below pytest's folder: what a killed test leaves mounted would stop its cleaning.
    with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            # Lazily: a failed test may still hold a file open.
            subprocess.run(["umount", "--lazy", folder], check=True)
