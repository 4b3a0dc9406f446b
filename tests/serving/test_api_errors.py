"""Errors as clients see them: the right status and code, and nothing about our machine."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

from motion_ray import errors
from motion_ray.errors import (
    AmbiguousTokenError,
    BrokenRefError,
    DeltaError,
    IdempotencyError,
    JobExpiredError,
    JobNotFoundError,
    JobStoreError,
    KeysError,
    MotionRayError,
    OverloadedError,
    PoolBusyError,
    QuotaError,
    RequestError,
    StoreError,
    TokenError,
    TooLargeError,
    UnknownMotionError,
    UnknownTokenError,
)
from motion_ray.serving.api_errors import api_error, job_failure
from motion_ray.serving.requests import VideoRequest

SECRET = "/srv/secret/path"


@pytest.mark.parametrize(
    ("fault", "status", "code", "param", "message"),
    [
        (
            RequestError("size", "is odd", "e.g. 64x64"),
            422,
            "invalid_value",
            "size",
            "size: is odd",
        ),
        (TooLargeError("size", "is large"), 413, "too_large", "size", "size: is large"),
        (TokenError("prompt", "no token"), 422, "token_not_in_prompt", "prompt", "no token"),
        (UnknownTokenError("prompt", "zwx"), 422, "unknown_token", "prompt", "zwx"),
        (AmbiguousTokenError("motions", "two"), 422, "ambiguous_token", "motions", "two"),
        (UnknownMotionError(SECRET, "has no x"), 404, "motion_not_found", None, "store has no x"),
        (DeltaError(SECRET, "is damaged"), 422, "motion_broken", None, "the motion: is damaged"),
        (DeltaError("motion m@1", "is damaged"), 422, "motion_broken", None, "motion m@1: is dam"),
        (
            BrokenRefError(SECRET, "is damaged"),
            422,
            "motion_broken",
            None,
            "the motion: is damaged",
        ),
        (PoolBusyError("device tier", "full"), 503, "pool_busy", None, "device tier: full"),
        (QuotaError("your key", "too many", "", 60), 429, "quota_exceeded", None, "too many"),
        (OverloadedError("the queue", "is full", "", 5), 429, "queue_full", None, "is full"),
        (IdempotencyError("key 'k'", "was used"), 409, "idempotency_conflict", None, "was used"),
        (JobExpiredError("job x", "was removed"), 410, "video_expired", None, "was removed"),
        (JobNotFoundError("job x", "is not"), 404, "video_not_found", None, "is not"),
    ],
)
def test_every_error_has_its_answer(fault, status, code, param, message):
    answer = api_error(fault)
    error = answer.envelope.error
    assert (answer.status, error.code, error.param) == (status, code, param)
    assert message in error.message and SECRET not in error.message
    assert (answer.retry_after is not None) == (status in (429, 503))
    assert job_failure(fault).code == code


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (StoreError(SECRET, f"cannot be read at {SECRET}"), 503),
        (JobStoreError(SECRET, "cannot be used"), 503),
        (KeysError(SECRET, "cannot be read"), 503),
        (MotionRayError(SECRET, "of a new kind"), 500),
        (RuntimeError(f"somebody's library saw {SECRET}"), 500),
        (KeyError(SECRET), 500),
    ],
)
def test_what_is_ours_to_know_stays_in_the_log(fault, status, caplog):
    answer = api_error(fault)
    assert answer.status == status
    assert SECRET not in answer.envelope.model_dump_json()
    assert SECRET in caplog.text


def test_a_validation_error_names_the_field():
    with pytest.raises(ValidationError) as caught:
        VideoRequest.model_validate({"prompt": "x", "motions": [{"id": "../x"}]})
    error = api_error(caught.value).envelope.error
    assert (error.param, error.code, error.type) == (
        "motions.0.id",
        "invalid_value",
        "invalid_request_error",
    )
    with pytest.raises(ValidationError) as caught:
        VideoRequest.model_validate({"prompt": "x", "size": "odd" * 1000})
    error = api_error(caught.value).envelope.error
    assert error.message == "size: is WIDTHxHEIGHT in pixels, e.g. 256x256"
    with pytest.raises(ValidationError) as caught:
        VideoRequest.model_validate({"prompt": "x", "seconds": 1, "num_frames": 1})
    error = api_error(caught.value).envelope.error
    assert (error.param, error.message) == (None, "give seconds or num_frames, not both")


def test_every_kind_of_error_survives_a_process_border():
    """Ray pickles exceptions; here the constructor is called with what it would be called with."""
    members = inspect.getmembers(errors, inspect.isclass)
    kinds = [kind for _, kind in members if issubclass(kind, MotionRayError)]
    assert len(kinds) > 15
    for kind in kinds:
        fault = kind("where", "rule", "fix")
        again_kind, arguments = fault.__reduce__()
        assert again_kind is kind
        again = kind(*arguments)
        assert vars(again) == vars(fault) and str(again) == str(fault)
