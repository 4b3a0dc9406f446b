"""What a client may ask for, checked before any tensor is made.

:class:`VideoRequest` is the body of a request: the shape of the OpenAI videos API with the fields
that this server adds. :func:`resolve` fills in what was left out, holds it against the server's
limits (of the product as well: each factor may be modest and the product not) and gives a
:class:`GenerationSpec`, in which everything is decided: it is what a job stores, so that a job that
is run again after a crash makes the same video.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from motion_ray.errors import IncompatibleMotionError, RequestError, TooLargeError
from motion_ray.manifest import canonical_json
from motion_ray.serving.catalog import MotionCatalog
from motion_ray.serving.mix import Mix
from motion_ray.serving.prompt_motions import check_invoked
from motion_ray.store import NAME, DeltaRecord

LARGEST_SEED = 2**53 - 1  # every JSON reader keeps it exactly
MOST_WEIGHT = 2.0
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_MODEL = re.compile(
    rf"(?P<base>[^:]{{1,200}})(?::(?P<id>{NAME})(?:@(?P<version>[1-9][0-9]{{0,8}}))?)?"
)

Count = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MotionChoice(_Frozen):
    """One motion of a request."""

    id: str = Field(pattern=rf"^{NAME}$", description="name in the store, e.g. swinging-arms")
    version: Count | None = Field(default=None, description="null: the newest when it is accepted")
    weight: float = Field(
        default=1.0, ge=0, le=MOST_WEIGHT, description="0 is the base model, 1 the motion"
    )


class VideoRequest(_Frozen):
    """A request for one video. What is left out, the server decides."""

    prompt: str = Field(
        min_length=1, description="what to show; a motion's token in it asks for the motion"
    )
    model: str | None = Field(
        default=None, description="the served base, or base:motion or base:motion@version"
    )
    motions: tuple[MotionChoice, ...] | None = Field(
        default=None, description="wins over tokens in the prompt; an empty list is the base alone"
    )
    allow_missing_token: bool = Field(
        default=False, description="accept named motions whose token the prompt does not hold"
    )
    negative_prompt: str | None = Field(default=None, description="what not to show")
    size: str | None = Field(default=None, description="WIDTHxHEIGHT in pixels, e.g. 256x256")
    seconds: str | float | None = Field(
        default=None, description="length; the OpenAI API has a string here"
    )
    num_frames: Count | None = Field(default=None, description="instead of seconds")
    fps: Count | None = Field(default=None, description="playback rate")
    num_inference_steps: Count | None = Field(default=None, description="denoising steps")
    guidance_scale: float | None = Field(
        default=None, ge=1, le=50, description="classifier-free guidance; 1 is off"
    )
    seed: Annotated[StrictInt, Field(ge=0, le=LARGEST_SEED)] | None = Field(
        default=None, description="of the initial noise; null: drawn when the job is accepted"
    )
    deadline_s: float | None = Field(
        default=None, gt=0, le=7 * 86_400, description="seconds within which it must be finished"
    )

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        if value is not None and _CONTROL.search(value):
            raise ValueError("must not hold control characters")
        return value

    @field_validator("prompt")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError('says what to show, e.g. "a red robot doing the pll"')
        return value

    @field_validator("size")
    @classmethod
    def _pixels(cls, value: str | None) -> str | None:
        if value is not None and _SIZE.fullmatch(value) is None:
            raise ValueError("is WIDTHxHEIGHT in pixels, e.g. 256x256")
        return value

    @field_validator("model")
    @classmethod
    def _base_and_motion(cls, value: str | None) -> str | None:
        if value is not None and _MODEL.fullmatch(value) is None:
            raise ValueError("is a base model, base:motion or base:motion@version")
        return value

    @field_validator("seconds")
    @classmethod
    def _length(cls, value: str | float | None) -> float | None:
        try:
            seconds = None if value is None else float(value)
        except ValueError:
            raise ValueError('is a number of seconds, e.g. "2"') from None
        if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
            raise ValueError('is above 0, e.g. "2"')
        return seconds

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.seconds is not None and self.num_frames is not None:
            raise ValueError("give seconds or num_frames, not both")
        named = self.motions or ()
        if len({(choice.id, choice.version) for choice in named}) < len(named):
            raise ValueError("motions: each one is named once; use its weight")
        return self

    @property
    def fingerprint(self) -> str:
        """Sha256 over everything that was asked for; tells whether two requests are the same."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


class ServingLimits(_Frozen):
    """Ceilings of a server. Those that count are of products: ``pixels`` is what memory a video
    takes, ``work`` what time.
    """

    prompt_chars: int = Field(default=1000, ge=1, description="of each prompt")
    motions: int = Field(default=4, ge=0, description="in one request")
    frames: int = Field(default=64, ge=1, le=256)
    side: int = Field(default=1024, ge=8, le=2048, description="pixels")
    steps: int = Field(default=100, ge=1, le=1000)
    fps: int = Field(default=60, ge=1)
    pixels: int = Field(
        default=24 * 576 * 1024, ge=1, description="frames x width x height, for the memory"
    )
    work: int = Field(
        default=24 * 320 * 576 * 50,
        ge=1,
        description="frames x width x height x steps, for the time",
    )


class ServingProfile(_Frozen):
    """The model that a server serves, what it does unasked, and its limits."""

    base: str = Field(description="name of the base model, as clients write it")
    frames: int = Field(ge=1)
    width: int = Field(ge=8, description="pixels")
    height: int = Field(ge=8, description="pixels")
    fps: int = Field(default=8, ge=1)
    steps: int = Field(ge=1)
    guidance: float = Field(ge=1, le=50)
    negative_prompt: str = ""
    multiple: int = Field(default=8, ge=1, description="pixels that width and height are made of")
    limits: ServingLimits = ServingLimits()


class SpecMotion(_Frozen):
    """A motion of a job: one version, by content."""

    id: str
    version: int
    sha256: str
    weight: float


#: What stands for fields that cannot be read.
_ILLEGIBLE: Mapping[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "width": 0,
    "height": 0,
    "frames": 0,
    "fps": 1,
    "steps": 0,
    "guidance": 1.0,
    "seed": 0,
}


class GenerationSpec(_Frozen):
    """Everything that decides a video."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    seed: int
    motions: tuple[SpecMotion, ...] = ()

    @classmethod
    def stored(cls, request: Mapping[str, Any]) -> Self:
        """What a job of the store is to become.

        Args:
            request: of a job, which another version of the server may have accepted.

        Raises:
            RequestError: this version cannot read it.
        """
        try:
            return cls.model_validate(request)
        except ValidationError as fault:
            first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "all of it"
            rule = f"cannot be read by this version of the server ({place}: {first['msg']})"
            raise RequestError("the stored request", rule, "ask for the video again") from fault

    @classmethod
    def legible(cls, request: Mapping[str, Any]) -> Self:
        """The same to be shown: what this version cannot read is left empty."""
        try:
            return cls.stored(request)
        except RequestError:
            kept = {}
            for name, value in request.items():
                with contextlib.suppress(RequestError):
                    cls.stored({**_ILLEGIBLE, name: value})
                    kept[name] = value
            return cls.stored({**_ILLEGIBLE, **kept})

    @property
    def pixels(self) -> int:
        """Frames x width x height."""
        return self.frames * self.width * self.height

    @property
    def work(self) -> int:
        """Frames x width x height x steps."""
        return self.pixels * self.steps

    def mix(self, catalog: MotionCatalog) -> Mix:
        """The motions, as a pool takes them.

        Raises:
            IncompatibleMotionError: a version is another one than when the job was accepted.
            UnknownMotionError: a version is gone.
            StoreError: the store cannot be read.
        """
        weighted: list[tuple[DeltaRecord, float]] = []
        for motion in self.motions:
            record = catalog.resolve(motion.id, motion.version)
            if record.sha256 != motion.sha256:
                rule = f"{record.reference} is another delta than when the job was accepted"
                raise IncompatibleMotionError("motions", rule, "generate it again")
            weighted.append((record, motion.weight))
        return Mix.of(weighted)


def resolve(
    request: VideoRequest,
    profile: ServingProfile,
    catalog: MotionCatalog,
    draw_seed: Callable[[], int] = lambda: secrets.randbelow(2**31),
) -> GenerationSpec:
    """Decide everything that a request leaves open.

    Args:
        request: what a client asks for.
        profile: of the server.
        catalog: the motions that there are.
        draw_seed: for requests without one.

    Raises:
        TooLargeError: it exceeds a limit.
        RequestError: a size that the model cannot make, another base model, tokens and motions
            that do not go together, a motion of another base model.
        UnknownMotionError: no such motion or version.
        StoreError: the store cannot be read.
    """
    width, height = profile.width, profile.height
    if request.size is not None:
        width, height = (int(side) for side in request.size.split("x"))
    fps = request.fps or profile.fps
    frames = request.num_frames or profile.frames
    if request.seconds is not None:
        frames = max(1, round(min(float(request.seconds), 1e6) * fps))
    spec = GenerationSpec(
        prompt=request.prompt,
        negative_prompt=(
            profile.negative_prompt if request.negative_prompt is None else request.negative_prompt
        ),
        width=width,
        height=height,
        frames=frames,
        fps=fps,
        steps=request.num_inference_steps or profile.steps,
        guidance=profile.guidance if request.guidance_scale is None else request.guidance_scale,
        seed=draw_seed() if request.seed is None else request.seed,
    )
    _check_limits(request, spec, profile)
    return spec.model_copy(update={"motions": _motions(request, profile, catalog)})


def _check_limits(request: VideoRequest, spec: GenerationSpec, profile: ServingProfile) -> None:
    limits = profile.limits
    length = "seconds" if request.seconds is not None else "num_frames"
    for field, value, most, unit in (
        ("prompt", len(spec.prompt), limits.prompt_chars, "characters"),
        ("negative_prompt", len(spec.negative_prompt), limits.prompt_chars, "characters"),
        ("size", max(spec.width, spec.height), limits.side, "pixels a side"),
        (length, spec.frames, limits.frames, "frames"),
        ("fps", spec.fps, limits.fps, "frames a second"),
        ("num_inference_steps", spec.steps, limits.steps, "steps"),
        ("motions", len(request.motions or ()), limits.motions, "motions"),
    ):
        if value > most:
            raise TooLargeError(
                field, f"asks for {value} {unit}, the limit is {most}", "ask for less"
            )
    for product, value, most in (
        ("frames x width x height", spec.pixels, limits.pixels),
        ("frames x width x height x steps", spec.work, limits.work),
    ):
        if value > most:
            rule = f"{product} is {value:,}, the limit is {most:,}"
            raise TooLargeError("size", rule, "make one of them smaller")
    if spec.width % profile.multiple or spec.height % profile.multiple:
        example = f"{profile.multiple * 8}x{profile.multiple * 8}"
        rule = f"sides are multiples of {profile.multiple} pixels"
        raise RequestError("size", rule, f"for example {example}")


def _motions(
    request: VideoRequest, profile: ServingProfile, catalog: MotionCatalog
) -> tuple[SpecMotion, ...]:
    choices = _named(request, profile)
    if choices is None:
        weighted = [(record, 1.0) for record in catalog.asked_for(request.prompt)]
        if len(weighted) > profile.limits.motions:
            rule = f"uses {len(weighted)} tokens of motions, the limit is {profile.limits.motions}"
            raise TooLargeError("prompt", rule, "use fewer")
    else:
        weighted = [(catalog.resolve(each.id, each.version), each.weight) for each in choices]
        if not request.allow_missing_token:
            check_invoked(request.prompt, [record for record, weight in weighted if weight])
    return tuple(
        SpecMotion(id=record.name, version=record.version, sha256=record.sha256, weight=weight)
        for record, weight in weighted
    )


def _named(request: VideoRequest, profile: ServingProfile) -> tuple[MotionChoice, ...] | None:
    """The motions that are named, in ``motions`` or in ``model``; null if none of them is given."""
    match = None if request.model is None else _MODEL.fullmatch(request.model)
    if match is None:
        return request.motions
    if match["base"] != profile.base:
        raise RequestError(
            "model", f"{match['base']!r} is not served here", f"use {profile.base!r}"
        )
    if match["id"] is None:
        return request.motions
    if request.motions is not None:
        raise RequestError("model", "names a motion, and so does motions", "use one of them")
    version = None if match["version"] is None else int(match["version"])
    return (MotionChoice(id=match["id"], version=version),)
