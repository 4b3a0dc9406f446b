"""What was measured on each video, one line of JSON a video, kept so that a killed run goes on.

Every table of a report is computed from these rows and from nothing else, so it can be computed
again without generating anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motion_ray.data.puppets.world import PuppetScene
from motion_ray.errors import RunFolderError
from motion_ray.evaluation.recognition import Seen
from motion_ray.evaluation.scene_prompts import ScenePrompt
from motion_ray.files import write_text_atomic


@dataclass(frozen=True)
class VideoRow:
    """One video: what was asked for and what was recognised.

    Attributes:
        part: which set it belongs to, for example ``"generated"`` or ``"real"``.
        index: within its part.
        prompt: with scene, text and seed.
        seen: by the evaluators.
    """

    part: str
    index: int
    prompt: ScenePrompt
    seen: Seen

    def to_dict(self) -> dict[str, Any]:
        """For one line of JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoRow:
        """Undo :meth:`to_dict`.

        Raises:
            KeyError, TypeError, DataError: the values are of something else.
        """
        said = values["prompt"]
        prompt = ScenePrompt(PuppetScene(**said["scene"]), said["text"], said["seed"])
        return cls(values["part"], values["index"], prompt, Seen(**values["seen"]))


class RowFile:
    """Rows on disk: the first line says what they were measured with.

    Args:
        path: the file, or None to keep the rows in memory only.
        identity: everything that the rows depend on besides their prompts: models, settings.

    Raises:
        RunFolderError: the file holds rows that were measured with something else, or other data.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = path, dict(identity)
        self._rows: dict[tuple[str, int], VideoRow] = {}
        if path is not None and path.is_file():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            identity = lines[0]["measured_with"]
            rows = [VideoRow.from_dict(values) for values in lines[1:]]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RunFolderError(
                str(path), f"does not hold rows of videos: {error}", "name another folder"
            ) from None
        if identity != json.loads(json.dumps(self._identity)):
            differing = [k for k in self._identity if identity.get(k) != self._identity[k]]
            raise RunFolderError(
                str(path),
                f"was measured with other models or settings ({', '.join(differing) or 'more'})",
                "name another folder",
            )
        self._rows = {(row.part, row.index): row for row in rows}

    def has(self, part: str, index: int, prompt: ScenePrompt) -> bool:
        """Whether this very prompt was measured already."""
        row = self._rows.get((part, index))
        return row is not None and row.prompt == prompt

    def add(self, rows: Iterable[VideoRow]) -> None:
        """Keep rows, durably if there is a file.

        Raises:
            RunFolderError: the disk is full, broken or read-only.
        """
        self._rows |= {(row.part, row.index): row for row in rows}
        if self._path is not None:
            values = [
                {"measured_with": self._identity},
                *(r.to_dict() for r in self._rows.values()),
            ]
            text = "".join(json.dumps(value, allow_nan=False) + "\n" for value in values)
            write_text_atomic(self._path, text, RunFolderError)

    def of(self, part: str, count: int) -> list[VideoRow]:
        """The first ``count`` rows of a part, in order.

        Raises:
            KeyError: one is missing.
        """
        return [self._rows[part, index] for index in range(count)]
