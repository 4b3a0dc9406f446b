"""Paths that mean the same in the driver, in a worker and on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motion_ray.backbones.unet3d import EMBEDDED
from motion_ray.config import CustomizationConfig
from motion_ray.errors import ConfigError

#: Part of every path below which Ray unpacks what `ray job submit --working-dir` sends; it deletes
#: it again.
TEMPORARY = "runtime_resources"


def lasting_path(text: str, option: str, here: Path) -> Path:
    """An absolute path for something that must outlive the job.

    Args:
        text: as given on the command line.
        option: its name, for messages.
        here: the current directory.

    Raises:
        ConfigError: it would lie where Ray deletes it, or is an address.
    """
    if "://" in text:
        raise ConfigError(
            f"{option} {text}",
            "is an address, and a folder is needed here",
            f"for example {option} /mnt/shared/my-motion; a sweep's --out may be an address",
        )
    path = Path(text).expanduser()
    if not path.is_absolute():
        if TEMPORARY in here.parts:
            raise ConfigError(
                f"{option} {text}",
                "a relative path in a submitted job lies in a folder that Ray deletes",
                f"give an absolute path that all machines see, e.g. {option} /mnt/shared/{path}",
            )
        path = here / path
    if TEMPORARY in path.parts:
        raise ConfigError(
            f"{option} {text}",
            "lies in a folder that Ray deletes",
            "choose one on storage that all machines see",
        )
    return path


def with_absolute_paths(config: CustomizationConfig, here: Path) -> CustomizationConfig:
    """The same run with absolute paths: a worker runs in another directory.

    Args:
        config: may hold relative paths.
        here: what they are relative to.
    """

    def absolute(text: str) -> str:
        return str(here / Path(text).expanduser())

    changes: dict[str, Any] = {"motion": absolute(config.motion)}
    if config.base != EMBEDDED:
        changes["base"] = absolute(config.base)
    if config.regularization.folder is not None:
        changes["regularization"] = {"folder": absolute(config.regularization.folder)}
    floor = config.validation.floor
    model = None if floor is None else floor.clip_model
    # An empty name is no name of the current folder; whoever looks for the model refuses it.
    # The embedded one keeps its name, whatever lies in the current folder.
    if model and model != EMBEDDED and (here / Path(model).expanduser()).is_dir():
        changes["validation"] = {"floor": {"clip_model": absolute(model)}}
    return config.replace(changes)
