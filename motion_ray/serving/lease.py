"""What a generation holds while it runs with a mix of motions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from motion_ray.customization.swap import DeltaTarget, TokenRow, alone_on, exchanged
from motion_ray.serving.mix import Mix
from motion_ray.store import DeltaRecord

Place = Literal["device", "host", "disk"]
"""Where a motion was found: ready, in host memory, or still to be read."""


@dataclass(frozen=True)
class LeasedMotion:
    """One motion of a lease.

    Attributes:
        record: the exact version.
        weight: as asked.
        found: where what was needed of it was, when the lease was asked for.
    """

    record: DeltaRecord
    weight: float
    found: Place


class MotionLease:
    """Values that stay where they are until the lease is given back; a context manager.

    Attributes:
        mix: which motions.
        motions: the same with where each was found.
        seconds: that getting the lease took.
        values: parameter name to value.

    ``parameters`` are the denoiser's, by name. What :meth:`applied` spends on the exchange and back
    is told to ``tell``, in seconds.
    """

    def __init__(
        self,
        backbone: DeltaTarget,
        mix: Mix,
        motions: tuple[LeasedMotion, ...],
        values: Mapping[str, Tensor],
        rows: tuple[TokenRow, ...],
        seconds: float,
        *,
        parameters: Mapping[str, nn.Parameter],
        give_back: Callable[[], None],
        tell: Callable[[float], None],
    ) -> None:
        self.mix, self.motions, self.seconds, self.values = mix, motions, seconds, values
        self._backbone, self._rows, self._give_back = backbone, rows, give_back
        self._parameters, self._tell, self._open = parameters, tell, True

    def __enter__(self) -> MotionLease:
        return self

    def __exit__(self, *fault: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lease back; a second time does nothing."""
        if self._open:
            self._open, self.values = False, {}
            self._give_back()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The base model with these motions; on leaving, the base as it was, bit for bit.

        Raises:
            DeltaError: something is applied to the base already.
            BaseModelError: the base's tokenizer does not know a trained token.
            RuntimeError: the lease was given back.
        """
        if not self._open:
            raise RuntimeError("this lease was given back")
        label = self.mix.label
        with alone_on(self._backbone.denoiser, label, label):
            started, within = time.perf_counter(), 0.0
            try:
                with exchanged(self._backbone, self.values, self._rows, label, self._parameters):
                    inside = time.perf_counter()
                    try:
                        yield
                    finally:
                        within = time.perf_counter() - inside
            finally:
                value = next(iter(self.values.values()), None)  # they are all on one device
                if value is not None and value.is_cuda:
                    # A cancelled generation leaves work behind that reads what nobody holds soon.
                    torch.cuda.current_stream(value.device).synchronize()
                if self.mix.parts:  # the base alone is no exchange
                    self._tell(time.perf_counter() - started - within)
