"""A blocking call in a thread of its own, so that its caller keeps signals and display."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Background:
    """Runs a call beside its caller.

    Args:
        call: starts at once.
        name: of the thread.

    Attributes:
        failure: what the call raised, once it is over.
    """

    def __init__(self, call: Callable[[], Any], name: str) -> None:
        self.failure: Exception | None = None
        self._call, self._result = call, None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait this long, or until it ends."""
        self._thread.join(seconds)

    def result(self) -> Any:
        """What the call returned; ask once :attr:`over` is true.

        Raises:
            Exception: what the call raised.
        """
        if self.failure is not None:
            raise self.failure
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._call()
        except Exception as error:  # carried to the caller's thread
            self.failure = error
