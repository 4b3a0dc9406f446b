"""A file of measurements, one JSON object a line, that a resumed run continues where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motion_ray.files import write_text_atomic


class MetricsLog:
    """``metrics.jsonl``: one process writes, any number may read.

    Args:
        path: the file; made by the first :meth:`append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, values: Mapping[str, Any], *, lasting: bool = False) -> None:
        """Write one line.

        Args:
            values: of the line.
            lasting: it is on the disk when this returns, for what is done because it is there.
        """
        with self.path.open("a") as stream:
            stream.write(json.dumps(dict(values)) + "\n")
            if lasting:
                stream.flush()
                os.fsync(stream.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All complete lines; a last line cut by a kill is left out."""
        if not self.path.exists():
            return []
        lines = []
        for line in self.path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def rewind(self, step: int) -> None:
        """Drop what was measured after ``step``; every line has to have a ``step``."""
        lines = [line for line in self.read() if line["step"] <= step]
        write_text_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))
