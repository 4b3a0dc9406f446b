"""Work in a thread that ends with it.

OpenMP keeps a pool of threads for every thread that has computed, as long as that thread lives, and
once all pools together are more threads than there are cores, lets none of them wait actively
between two operators. A server that warms up in one thread and generates in another then takes
twice as long for every video.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """Do it in a thread of its own, and wait; what it raises is raised here."""
    with ThreadPoolExecutor(1, thread_name_prefix="apart") as thread:
        return thread.submit(work).result()


async def apart_from_loop(work: Callable[[], T]) -> T:
    """The same, while the event loop goes on."""
    with ThreadPoolExecutor(1, thread_name_prefix="apart") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
