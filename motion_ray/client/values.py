"""What the API takes and gives, as values.

Fields that a newer server adds are ignored. Reading is by hand, and not by pydantic, because a
command line has to start at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from motion_ray.client.faults import AnswerError

FINAL = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True)
class MotionChoice:
    """A motion to use.

    Attributes:
        id: name in the server's store.
        version: null: the newest.
        weight: 0 is the base model, 1 the motion.
    """

    id: str
    version: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class VideoOrder:
    """What to generate. What is null, the server decides; its API names the fields alike.

    Attributes:
        prompt: what to show; a motion's token in it asks for the motion.
        motions: go before tokens in the prompt; empty: the base model alone.
        model: the base, or ``base:motion`` or ``base:motion@version``.
        negative_prompt: what not to show.
        size: ``WIDTHxHEIGHT`` in pixels.
        seconds: length.
        num_frames: instead of ``seconds``.
        fps: frames a second.
        num_inference_steps: denoising steps.
        guidance_scale: classifier-free guidance; 1 is off.
        seed: of the initial noise.
        deadline_s: seconds within which it must be finished.
        allow_missing_token: accept motions whose token the prompt does not hold.
    """

    prompt: str
    motions: tuple[MotionChoice, ...] | None = None
    model: str | None = None
    negative_prompt: str | None = None
    size: str | None = None
    seconds: float | None = None
    num_frames: int | None = None
    fps: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    deadline_s: float | None = None
    allow_missing_token: bool = False

    def body(self) -> dict[str, Any]:
        """As JSON, without what was left open."""
        given = {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }
        if self.motions is not None:
            given["motions"] = [dataclasses.asdict(each) for each in self.motions]
        return given


@dataclass(frozen=True)
class UsedMotion:
    """A motion of a video.

    Attributes:
        id: its name.
        version: that was decided when the job was accepted.
        weight: of it.
    """

    id: str
    version: int
    weight: float


@dataclass(frozen=True)
class Failure:
    """Why a video failed.

    Attributes:
        code: for programs.
        message: for people.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Video:
    """A job and, once it is completed, its video. Times are whole unix seconds.

    Attributes:
        id: of the job.
        status: queued, in_progress, completed, failed or cancelled.
        progress: percent of the denoising steps.
        prompt: what was asked for.
        size: ``WIDTHxHEIGHT`` in pixels.
        seed: of the noise, whoever chose it.
        created_at: accepted.
        num_frames: of the video.
        fps: frames a second.
        motions: that it uses.
        queue_position: older jobs that wait; null if it does not wait.
        completed_at: when it ended, in whatever way.
        expires_at: when the server removes it.
        timings: seconds by stage, once it is completed.
        error: if it failed.
        cancelling: it runs and was told to stop.
    """

    id: str
    status: str
    progress: int
    prompt: str
    size: str
    seed: int
    created_at: int
    num_frames: int
    fps: int
    motions: tuple[UsedMotion, ...] = ()
    queue_position: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    error: Failure | None = None
    cancelling: bool = False

    @property
    def final(self) -> bool:
        """Whether nothing about it changes any more."""
        return self.status in FINAL

    @classmethod
    def read(cls, data: object) -> Self:
        """From the API's JSON.

        Raises:
            AnswerError: it is no video.
        """
        found = _known(cls, data)
        motions = found.get("motions") or ()
        found["motions"] = tuple(UsedMotion(**_known(UsedMotion, each)) for each in motions)
        if found.get("error") is not None:
            found["error"] = Failure(**_known(Failure, found["error"]))
        return cls(**found)


@dataclass(frozen=True)
class VideoEvent:
    """Something that happened to a job.

    Attributes:
        id: grows; what was seen last can be named to get only what came later.
        kind: queued, in_progress, progress, requeued, cancelling, or a final one:
            completed, failed, cancelled.
        data: the rest, e.g. ``{"progress": 40}``.
    """

    id: int
    kind: str
    data: Mapping[str, Any]

    @property
    def final(self) -> bool:
        """Whether no other follows."""
        return self.kind in FINAL


@dataclass(frozen=True)
class Motion:
    """A motion of the server.

    Attributes:
        id: name in the store.
        version: the newest.
        versions: all of them.
        token: the word in a prompt that asks for it.
        template: how its clips were captioned, with the slot ``<token>``.
        base: the model that it was made for.
        served: whether that is the model that is served.
        sha256: content id of the newest version.
        bytes: of its tensors.
        step: of its training.
    """

    id: str
    version: int
    versions: tuple[int, ...]
    token: str
    template: str
    base: str
    served: bool
    sha256: str
    bytes: int
    step: int

    @classmethod
    def read(cls, data: object) -> Self:
        """From the API's JSON.

        Raises:
            AnswerError: it is no motion.
        """
        found = _known(cls, data)
        found["versions"] = tuple(found["versions"])
        return cls(**found)


def _known(kind: type, data: object) -> dict[str, Any]:
    """The fields of ``kind`` that are in an answer; those without a default have to be."""
    if not isinstance(data, Mapping):
        raise AnswerError(kind.__name__, f"is a JSON object, the server sent {data!r:.80}")
    for field in dataclasses.fields(kind):
        optional = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.name not in data and not optional:
            raise AnswerError(kind.__name__, f"has a field {field.name}, the server sent none")
    return {each.name: data[each.name] for each in dataclasses.fields(kind) if each.name in data}
