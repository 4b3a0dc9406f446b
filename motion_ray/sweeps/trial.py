"""A trial: one motion with one choice of settings.

Apart from what makes trials (:mod:`motion_ray.sweeps.trials`), which needs the libraries that read
clips and models: the processes that keep the record of a sweep start in a fraction of that time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motion_ray.config import CustomizationConfig, parse_config


@dataclass(frozen=True)
class Trial:
    """One customization of a sweep.

    Attributes:
        identity: sha256 over the config and the content behind it.
        motion: name of the motion, as its delta will be registered.
        settings: what the sweep varies, dotted name to value, ``seed`` included.
        config: everything that decides the result.
    """

    identity: str
    motion: str
    settings: Mapping[str, Any]
    config: CustomizationConfig

    @property
    def short(self) -> str:
        """The beginning of the identity: for folders, tables and logs."""
        return self.identity[:12]

    @property
    def label(self) -> str:
        """The settings in one line, e.g. ``optimizer.lr=0.001 seed=0``."""
        return " ".join(f"{name}={_shown(value)}" for name, value in self.settings.items())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "identity": self.identity,
            "motion": self.motion,
            "settings": dict(self.settings),
            "config": self.config.model_dump(mode="json"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """What :meth:`as_dict` gave.

        Raises:
            KeyError: something is missing.
            ConfigError: the config is of another version of this library.
        """
        config = parse_config(values["config"])
        return cls(values["identity"], values["motion"], values["settings"], config)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
