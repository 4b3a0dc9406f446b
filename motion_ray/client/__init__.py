"""A client of a server of motion_ray: needs neither PyTorch nor Ray, and starts at once.

Command line: ``python -m motion_ray.client --help``. In Python: :class:`Client`.
"""

from motion_ray.client.client import Client
from motion_ray.client.faults import (
    AnswerError,
    ClientError,
    RefusedError,
    UnreachableError,
    VideoFailedError,
)
from motion_ray.client.transport import RetryPolicy
from motion_ray.client.values import Motion, MotionChoice, Video, VideoEvent, VideoOrder

__all__ = [
    "AnswerError",
    "Client",
    "ClientError",
    "Motion",
    "MotionChoice",
    "RefusedError",
    "RetryPolicy",
    "UnreachableError",
    "Video",
    "VideoEvent",
    "VideoFailedError",
    "VideoOrder",
]
