"""A motion out of a request: an upload as multipart form, or the place of a folder as JSON.

The body is read here and not by the framework, which would read it before it is known whether the
caller may publish anything.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from motion_ray.errors import RequestError
from motion_ray.serving.http.ports import Services
from motion_ray.serving.http.problems import Problem
from motion_ray.serving.registration import LONGEST_SOURCE, register
from motion_ray.serving.uploads import FILES, check_file_names, publish_upload
from motion_ray.store import NAME, DeltaRecord
from motion_ray.threads import apart

MULTIPART = "multipart/form-data"
JSON = "application/json"
MOST_PARTS = 8  # of a form; a motion has one field and three files


class Registration(BaseModel):
    """A motion that lies where the server can read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=rf"^{NAME}$", description="name in the store", examples=["dabbing"])
    source: str = Field(
        min_length=1,
        max_length=LONGEST_SOURCE,
        description="folder of a delta, below a place that the operator has allowed",
        examples=["s3://bucket/motions/dabbing"],
    )


#: For the OpenAPI document.
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": ["id", "files"],
                "properties": {
                    "id": {"type": "string", "pattern": f"^{NAME}$", "description": "its name"},
                    "files": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": f"three files, named {', '.join(FILES)}",
                    },
                },
            },
            "example": {"id": "dabbing", "files": [f"(content of {file})" for file in FILES]},
        },
        JSON: {"schema": Registration.model_json_schema()},
    },
}


async def take(request: Request, services: Services) -> DeltaRecord:
    """Publish what a request holds.

    Raises:
        MotionRayError: it is refused; see :func:`motion_ray.serving.uploads.publish_upload` and
            :func:`motion_ray.serving.registration.register`.
        RequestValidationError: the JSON is none, or has a wrong field.
        Problem: the body is neither form nor JSON.
    """
    kind = media_type(request.headers.get("content-type", ""))
    if kind == MULTIPART:
        async with request.form(max_files=MOST_PARTS, max_fields=MOST_PARTS) as form:
            name, files = _parts(form)

            def publish_files() -> DeltaRecord:
                return publish_upload(services.deltas, files, name, base=services.layout)

            # Checking computes: in a thread that ends (motion_ray.threads).
            return await run_in_threadpool(apart, publish_files)
    if kind == JSON:
        wanted = _registration(await request.body())

        def publish() -> DeltaRecord:
            return register(
                services.deltas,
                wanted.source,
                wanted.id,
                allowed=services.sources,
                base=services.layout,
            )

        return await run_in_threadpool(apart, publish)
    message = f"send the files as {MULTIPART}, or the place of a folder as {JSON}"
    raise Problem(422, "unsupported_media_type", message, param="Content-Type")


def _registration(body: bytes) -> Registration:
    try:
        return Registration.model_validate_json(body)
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_context=False, include_input=False)
        placed = [{**each, "loc": ("body", *each["loc"])} for each in errors]
        raise RequestValidationError(placed) from fault


def media_type(header: str) -> str:
    """The media type without its parameters."""
    return header.partition(";")[0].strip().lower()


def _parts(form: FormData) -> tuple[str, dict[str, BinaryIO]]:
    """Name and files of a form. File names only choose among three; none becomes a path."""
    name: str | None = None
    files: dict[str, BinaryIO] = {}
    for field, value in form.multi_items():
        if isinstance(value, UploadFile):
            file = value.filename or ""
            if file in files:
                raise RequestError("files", f"{file[:80]!r} comes twice", "send each file once")
            files[file] = value.file
        elif field == "id" and name is None:
            name = value
        else:
            raise RequestError("form", f"has a field {field[:80]!r} too many", "send one id")
    check_file_names(files)
    if name is None:
        raise RequestError("id", "is missing", "for example dabbing")
    return name, files
