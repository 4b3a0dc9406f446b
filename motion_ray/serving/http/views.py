"""Jobs and records as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence

from motion_ray.serving.http.ports import ReplicaState
from motion_ray.serving.http.schemas import (
    Motion,
    MotionPlace,
    Video,
    VideoFault,
    VideoMotion,
    VideoStatus,
)
from motion_ray.serving.jobs import Job, JobState
from motion_ray.serving.requests import GenerationSpec
from motion_ray.store import DeltaRecord

STATUS: dict[JobState, VideoStatus] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "in_progress",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


def percent(done: int, total: int) -> int:
    """Of the denoising steps, rounded down: 100 means that all are done."""
    return 0 if total < 1 else min(100, 100 * done // total)


def video_of(job: Job, base: str, queue_position: int | None = None) -> Video:
    """A job as clients see it.

    Args:
        job: from the store.
        base: name of the base model.
        queue_position: if it waits.
    """
    spec = GenerationSpec.legible(job.request)
    failure = None if job.failure is None else VideoFault(**vars(job.failure))
    return Video(
        id=job.id,
        model=base,
        status=STATUS[job.state],
        progress=100 if job.state is JobState.SUCCEEDED else percent(job.done, job.total),
        cancelling=job.cancelling,
        queue_position=queue_position,
        created_at=int(job.created_at),
        started_at=_whole(job.started_at),
        completed_at=_whole(job.finished_at),
        expires_at=_whole(job.expires_at),
        prompt=spec.prompt,
        size=f"{spec.width}x{spec.height}",
        seconds=f"{spec.frames / spec.fps:.4g}",
        num_frames=spec.frames,
        fps=spec.fps,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        seed=spec.seed,
        motions=tuple(
            VideoMotion(id=each.id, version=each.version, weight=each.weight)
            for each in spec.motions
        ),
        timings=job.timings,
        error=failure,
    )


def motion_of(
    records: Sequence[DeltaRecord], fingerprint: str, replicas: Sequence[ReplicaState]
) -> Motion:
    """A motion as clients see it.

    Args:
        records: its versions, oldest first; at least one.
        fingerprint: of the served base.
        replicas: what is known of them.
    """
    newest = records[-1]
    places = [
        MotionPlace(
            version=record.version,
            replica=replica.name,
            place=replica.residency[record.sha256],
            pinned=record.sha256 in replica.pinned,
        )
        for record in records
        for replica in replicas
        if record.sha256 in replica.residency
    ]
    return Motion(
        id=newest.name,
        version=newest.version,
        versions=tuple(record.version for record in records),
        token=newest.token,
        template=newest.template,
        base=newest.base,
        served=newest.base_fingerprint == fingerprint,
        sha256=newest.sha256,
        bytes=newest.nbytes,
        recipe=newest.recipe,
        step=newest.step,
        residency=tuple(places),
    )


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
