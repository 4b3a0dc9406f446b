"""What the API answers with, for JSON and for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from motion_ray.serving.api_errors import ErrorEnvelope
from motion_ray.serving.http.error_examples import examples
from motion_ray.serving.pool import Level

VideoStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]

EXAMPLE_REQUEST = {
    "prompt": "a red robot doing the pll in the forest",
    "motions": [{"id": "dabbing", "weight": 1.0}],
    "seconds": "1",
    "size": "64x64",
    "seed": 7,
}
_VIDEO_ID = "video_0f8e2c8f5d1b4c63a6f7a3c1d2e4b596"
_DIGEST = "9f2c" * 16


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class VideoMotion(_Answer):
    """A motion of a video, in the version that was decided when the job was accepted."""

    id: str
    version: int
    weight: float


class VideoFault(_Answer):
    """Why a video failed."""

    code: str = Field(description="for programs, e.g. deadline_exceeded")
    message: str


class Video(_Answer):
    """A job and, once it is completed, its video. Times are whole unix seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _VIDEO_ID,
                    "object": "video",
                    "model": "puppet",
                    "status": "in_progress",
                    "progress": 40,
                    "cancelling": False,
                    "queue_position": None,
                    "created_at": 1_790_000_000,
                    "started_at": 1_790_000_001,
                    "completed_at": None,
                    "expires_at": None,
                    "prompt": "a red robot doing the pll in the forest",
                    "size": "64x64",
                    "seconds": "1",
                    "num_frames": 8,
                    "fps": 8,
                    "num_inference_steps": 15,
                    "guidance_scale": 3.0,
                    "seed": 7,
                    "motions": [{"id": "dabbing", "version": 1, "weight": 1.0}],
                    "timings": {},
                    "error": None,
                }
            ]
        }
    )

    id: str
    object: Literal["video"] = "video"
    model: str = Field(description="the base model")
    status: VideoStatus
    progress: int = Field(ge=0, le=100, description="percent of the denoising steps")
    cancelling: bool = Field(description="it runs and was told to stop")
    queue_position: int | None = Field(
        default=None, description="older jobs that wait, while this one does; not a promise"
    )
    created_at: int
    started_at: int | None = None
    completed_at: int | None = Field(default=None, description="when it ended, in whatever way")
    expires_at: int | None = Field(default=None, description="when job and video are removed")
    prompt: str
    size: str
    seconds: str
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    motions: tuple[VideoMotion, ...]
    timings: dict[str, float] = Field(
        description="seconds of queue, load, denoise, decode and encode, once it is completed"
    )
    error: VideoFault | None = None


class VideoList(_Answer):
    """A part of the caller's videos."""

    object: Literal["list"] = "list"
    data: tuple[Video, ...]
    first_id: str | None = None
    last_id: str | None = Field(default=None, description="for after, to get what follows")
    has_more: bool


class VideoDeleted(_Answer):
    """A job and its video are gone."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class MotionPlace(_Answer):
    """Where a version of a motion is."""

    version: int
    replica: str
    place: Level = Field(description="device: ready for exchange; host: in CPU memory")
    pinned: bool


class Motion(_Answer):
    """A motion: the newest version, which others there are, and what is in memory."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "dabbing",
                    "object": "motion",
                    "version": 2,
                    "versions": [1, 2],
                    "token": "pll",
                    "template": "a person doing the <token>",
                    "base": "puppet",
                    "served": True,
                    "sha256": _DIGEST,
                    "bytes": 20_114_432,
                    "recipe": "puppet",
                    "step": 400,
                    "residency": [
                        {"version": 2, "replica": "local-1", "place": "device", "pinned": False}
                    ],
                }
            ]
        }
    )

    id: str
    object: Literal["motion"] = "motion"
    version: int
    versions: tuple[int, ...]
    token: str = Field(description="the word in a prompt that asks for it")
    template: str = Field(description="how its training clips were captioned")
    base: str = Field(description="the model that it was made for")
    served: bool = Field(description="whether that is the model that is served here")
    sha256: str = Field(description="content id of the version")
    bytes: int = Field(description="of its tensors")
    recipe: str
    step: int = Field(description="of its training")
    residency: tuple[MotionPlace, ...]


class MotionList(_Answer):
    """Motions by name."""

    object: Literal["list"] = "list"
    data: tuple[Motion, ...]
    first_id: str | None = None
    last_id: str | None = Field(default=None, description="for after, to get what follows")
    has_more: bool


class MotionDeleted(_Answer):
    """Versions of a motion were withdrawn; their numbers are not given out again."""

    id: str
    object: Literal["motion.deleted"] = "motion.deleted"
    deleted: Literal[True] = True
    versions: tuple[int, ...]


class MotionUnloaded(_Answer):
    """What became of an order to unload."""

    id: str
    object: Literal["motion.unloaded"] = "motion.unloaded"
    version: int
    unloaded: bool = Field(description="false: a generation still holds it somewhere")


class Model(_Answer):
    """The base model, or a motion of it under the name that requests may give as model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="unix seconds since when it is served by this process")
    owned_by: str = "motion_ray"
    parent: str | None = Field(default=None, description="the base of a motion")


class ModelList(_Answer):
    """Everything that requests may name as model."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]


class Alive(_Answer):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(_Answer):
    """At least one replica takes work."""

    status: Literal["ready"] = "ready"
    replicas: int = Field(ge=1, description="that are ready")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for the OpenAPI document; those of all routes are added."""
    found = sorted({*statuses, 401, 403, 404, 408, 413, 422, 429, 500, 503})
    return {
        status: {
            "model": ErrorEnvelope,
            "description": _DESCRIPTIONS[status],
            "content": {"application/json": {"examples": examples(status)}},
        }
        for status in found
    }


_DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "No API key, or one that is unknown or revoked.",
    403: "The key lacks the scope, or the host or origin is not one of the server's.",
    404: "There is no such video, motion or version, or it is somebody else's.",
    405: "The address does not take that method.",
    408: "The body did not arrive in time.",
    409: "It contradicts the present state.",
    410: "It was there and has been removed.",
    413: "The body, or what it asks for, is larger than the limit.",
    416: "The range lies outside the video.",
    422: "A field is wrong; `param` names it.",
    429: "A queue or a quota is full; `Retry-After` says when to ask again.",
    500: "The server made a mistake, which it has logged.",
    503: "Not at the moment; `Retry-After` says when to ask again.",
    504: "It took longer than the server waits; the job goes on where the message says so.",
}
