"""The folder of one customization run: who it belongs to, its metrics, and where everything lies.

``run.json`` (config and identity), ``inputs.json`` (base and clips, by hash, and the arithmetic),
``metrics.jsonl``, ``checkpoints/``, ``validation/step-000100/*.mp4``, ``samples/``, ``cache/``,
``store/``, ``report.html``, ``result.json`` once finished.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from reprlib import Repr
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from motion_ray.config import CustomizationConfig, parse_config
from motion_ray.customization.checkpoint import CheckpointFolder
from motion_ray.errors import ConfigError, RunFolderError
from motion_ray.files import faults_explained, remove_directory, write_text_atomic
from motion_ray.locks import only_process
from motion_ray.metrics import MetricsLog
from motion_ray.precision import WORDS, resolved_name
from motion_ray.types import RunFinished, StepDone, Validated

ARITHMETIC = "arithmetic"  # among what is noted
_RESULT = TypeAdapter(RunFinished)
SHORT = Repr()  # settings in a message
SHORT.maxlist, SHORT.maxstring, SHORT.maxother = 2, 100, 100


class RunFolder:
    """Paths and small files of a run.

    Args:
        root: the ``--out`` folder; created by :meth:`claim`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoints = root / "checkpoints"
        self.metrics = root / "metrics.jsonl"
        self.samples = root / "samples"
        self.cache = root / "cache"
        self.report = root / "report.html"
        self.result = root / "result.json"
        self.generated = root / "regularization"  # if it is made, not given
        self._inputs = root / "inputs.json"
        self._run = root / "run.json"

    def validation(self, step: int) -> Path:
        """Where the videos of a validation lie."""
        return self.root / "validation" / f"step-{step:06d}"

    def check(self, config: CustomizationConfig) -> None:
        """Refuse a folder that belongs to something else, without touching it.

        Raises:
            RunFolderError: a run of another config has begun there, it holds files and is no run,
                or it cannot be written to.
        """
        check_place(self.root, "--out")
        if self._run.exists():
            try:
                started = json.loads(self._run.read_text())
                identity = started["identity"]
            except (ValueError, KeyError, TypeError):
                raise RunFolderError(
                    self._run, "is damaged", "choose another --out folder"
                ) from None
            if identity != config.identity() and self._begun():
                raise RunFolderError(
                    self.root,
                    f"belongs to another run ({_difference(started, config)})",
                    "choose another --out folder, or repeat the first command to resume it",
                )
        elif self.root.exists() and any(not _ours(entry) for entry in self.root.iterdir()):
            raise RunFolderError(
                self.root, "holds files but no run", "choose a new or empty --out folder"
            )

    def adopt(self, config: CustomizationConfig) -> None:
        """Let a run that differs only in where its clips and models lay be the run of this config.

        Whoever knows that the content is the same calls this: a folder was moved, or a path was
        relative to another directory. :meth:`tie` holds the content against what was noted. Of
        another run, :meth:`check` says what differs.

        Args:
            config: of the run, with its paths of today.
        """
        if not self._run.is_file():
            return
        try:
            started = parse_config(json.loads(self._run.read_text())["config"])
        except (ValueError, KeyError, TypeError, ConfigError):
            return
        if started != config and _without_places(started) == _without_places(config):
            write_text_atomic(self._run, _described(config))

    def make(self) -> None:
        """Create the folder, if need be.

        Raises:
            RunFolderError: that cannot be done.
        """
        with faults_explained(self.root, RunFolderError):
            self.root.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def claim(self, config: CustomizationConfig) -> Iterator[None]:
        """Create the folder if need be and keep other processes out while the context lives.

        Raises:
            RunFolderError: see :meth:`check`; another process runs in it; or, also later in the
                context, its disk is full, broken or read-only.
        """
        self.check(config)
        kept = "what was saved before is untouched"
        with contextlib.ExitStack() as stack:
            stack.enter_context(faults_explained(self.root, RunFolderError, kept))
            self.make()
            stack.enter_context(only_process(self.root, "--out"))
            self.check(config)  # another process may have been here just before
            text = _described(config)
            if not self._run.exists() or self._run.read_text() != text:
                if not self._is(config) and self.checkpoints.exists():
                    remove_directory(self.checkpoints)  # of step 0, of the run that was refused
                write_text_atomic(self._run, text)
            yield

    def _begun(self) -> bool:
        """Whether there is something here that another config cannot use.

        Of a run that was refused before its first step, for what only the loaded model could tell,
        there is not: entries of the cache are named by what made them, the rest is written anew.
        Where somebody else scores, such a run has a checkpoint of step 0 when the verdict comes.
        """
        anew = {self._run, self._inputs, self.cache, self.metrics, self.validation(0).parent}
        if not self._has_learned():
            anew.add(self.checkpoints)
        return any(each not in anew and not _ours(each) for each in self.root.iterdir())

    def _has_learned(self) -> bool:
        """Whether there is a checkpoint after step 0."""
        return any(CheckpointFolder(self.checkpoints).steps())

    def _is(self, config: CustomizationConfig) -> bool:
        """Whether the folder is of a run of this config."""
        if not self._run.exists():
            return False
        return json.loads(self._run.read_text())["identity"] == config.identity()

    def tie(self, inputs: Mapping[str, Sequence[str]], *, anew: bool) -> None:
        """Note what the run is made from; later, hold it against that.

        Args:
            inputs: what it is, e.g. "motion clips", to its parts in order, each as a name and a
                hash.
            anew: nothing has been made of them yet.

        Raises:
            RunFolderError: clips, captions or the base model changed since the run began.
        """
        noted = self._noted()
        now = {what: list(parts) for what, parts in inputs.items()}
        for what, parts in now.items():
            before = parts if anew else noted.get(what, parts)
            pairs = itertools.zip_longest(before, parts, fillvalue="")
            changed = next((was or new for was, new in pairs if was != new), None)
            if changed is not None:
                raise RunFolderError(
                    self.root,
                    f"its {what} changed since it began, {changed.rpartition(' ')[0]} first",
                    "put back what was there, or choose another --out folder",
                )
        write_text_atomic(self._inputs, json.dumps({**noted, **now}, indent=1))

    def settle(self, config: CustomizationConfig, device: torch.device) -> CustomizationConfig:
        """The config with the arithmetic of this run in place of ``auto``, which is noted.

        What ``auto`` means is decided where a run begins: one that goes on on another machine
        would else turn from bfloat16 into float32 in mid-course.

        Args:
            config: of the run.
            device: where it computes now.
        """
        if config.engine.arithmetic != "auto":
            return config
        noted = self._noted()
        words = noted.get(ARITHMETIC) if self._has_learned() else None
        [word] = words or [WORDS[resolved_name("auto", device)]]
        write_text_atomic(self._inputs, json.dumps({**noted, ARITHMETIC: [word]}, indent=1))
        engine = config.engine.model_copy(update={"precision": word})
        return config.model_copy(update={"engine": engine})

    def _noted(self) -> dict[str, list[str]]:
        """What the run is made from, as it was noted so far."""
        return json.loads(self._inputs.read_text()) if self._inputs.exists() else {}

    def log(self, event: StepDone | Validated) -> None:
        """Append one line to ``metrics.jsonl``."""
        kind = "step" if isinstance(event, StepDone) else "validation"
        # Weights that were scored are removed once their score is on record.
        lasting = isinstance(event, Validated)
        MetricsLog(self.metrics).append({"event": kind, **asdict(event)}, lasting=lasting)

    def rewind(self, step: int) -> None:
        """Drop metrics after ``step``: a resumed run writes them again, without gap or repeat."""
        MetricsLog(self.metrics).rewind(step)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines of ``metrics.jsonl``; a last line cut by a kill is left out."""
        return MetricsLog(self.metrics).read()

    def finished(self) -> RunFinished | None:
        """The result of a run that is already over; null if it is not.

        Raises:
            RunFolderError: ``result.json`` is damaged.
        """
        if not self.result.exists():
            return None
        try:
            return _RESULT.validate_json(self.result.read_bytes())
        except ValidationError:
            fix = "remove it and repeat the command, which makes the result again"
            raise RunFolderError(self.result, "is damaged", fix) from None

    def finish(self, result: RunFinished) -> None:
        """Record the result; from here on the run is over."""
        write_text_atomic(self.result, json.dumps(asdict(result), indent=2))


def check_place(folder: Path, option: str) -> None:
    """Refuse a folder that is none, or where nothing can be written, without touching it.

    Args:
        folder: need not exist.
        option: what names it on the command line, for the message.

    Raises:
        RunFolderError: see above.
    """
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir():
        rule = "is a file" if nearest == folder else f"lies below a file, {nearest}"
        raise RunFolderError(folder, f"{rule}; {option} names a folder", "choose another one")
    if not os.access(nearest, os.W_OK | os.X_OK):
        rule = f"cannot be written: nothing can be made in {nearest}"
        raise RunFolderError(folder, rule, f"check its permissions, or choose another {option}")


def _without_places(config: CustomizationConfig) -> dict[str, Any]:
    """All settings but where clips and models lie."""
    values = config.model_dump(mode="json")
    values["motion"] = values["base"] = ""
    if config.regularization.folder is not None:
        values["regularization"]["folder"] = ""
    if config.validation.floor is not None:
        values["validation"]["floor"]["clip_model"] = ""
    return values


def _described(config: CustomizationConfig) -> str:
    """Text of ``run.json``."""
    content = {"identity": config.identity(), "config": config.model_dump(mode="json")}
    return json.dumps(content, indent=2)


def _ours(entry: Path) -> bool:
    """Files that exist before ``run.json`` does: the lock, and temporary files of a writer that was
    killed.
    """
    return entry.name.startswith(".")


def _difference(run: dict[str, Any], config: CustomizationConfig) -> str:
    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            found |= (
                flat(value, f"{prefix}{key}.")
                if isinstance(value, dict)
                else {f"{prefix}{key}": value}
            )
        return found

    old, new = flat(run.get("config", {})), flat(config.model_dump(mode="json"))
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    first = changed[0] if changed else "config"
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    was, now = (SHORT.repr(each.get(first)) for each in (old, new))
    return f"{first} was {was}, now {now}{more}"
