"""Anything may come in: no request is answered with a 5xx, and every error has the envelope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from starlette.testclient import TestClient

from motion_ray.serving.http.app import create_app
from motion_ray.serving.http.config import ServerConfig
from tests.serving.http.calls import URL, error
from tests.serving.http.toy_server import ToyServer, toy_server

SETTINGS = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> ToyServer:
    config = ServerConfig(poll_s=0.01, sync_s=2, wait_s=1, delete_s=1, heartbeat_s=0.2)
    return toy_server(tmp_path_factory.mktemp("fuzz"), config)


@pytest.fixture(scope="module")
def client(server) -> Iterator[TestClient]:
    with TestClient(create_app(server.config, server.services), base_url=URL) as client:
        yield client


NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**53, 2**64, 10**400, 1e308, -0.0, 0.5]),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.text(max_size=50),
    st.sampled_from(
        ["", " ", "pll", "a robot doing the pll", "x" * 1001, "\x00", "../../etc/passwd", "1e999"]
    ),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MOTION = st.fixed_dictionaries(
    {"id": st.sampled_from(["arms", "hat", "nobody"]) | TEXTS},
    optional={"version": NUMBERS | st.none(), "weight": NUMBERS, "extra": ANYTHING},
)
NEAR = st.fixed_dictionaries(
    {"prompt": TEXTS},
    optional={
        "model": st.sampled_from(["toy", "toy:arms", "toy:arms@1", "toy:", ":"]) | ANYTHING,
        "motions": st.lists(MOTION, max_size=5) | ANYTHING,
        "allow_missing_token": st.booleans() | ANYTHING,
        "negative_prompt": TEXTS | ANYTHING,
        "size": st.sampled_from(["8x8", "64x64", "0x0", "99999x99999", "64X64"]) | ANYTHING,
        "seconds": NUMBERS | TEXTS,
        "num_frames": NUMBERS,
        "fps": NUMBERS,
        "num_inference_steps": st.integers(1, 5) | NUMBERS,
        "guidance_scale": NUMBERS,
        "seed": NUMBERS,
        "deadline_s": NUMBERS,
    },
)


def checked(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        error(answer)


@SETTINGS
@given(body=NEAR | ANYTHING)
def test_bodies(client, body):
    checked(client.post("/v1/videos", json=body))


@SETTINGS
@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "", "a/b+json"]))
def test_bytes(client, body, kind):
    checked(client.post("/v1/videos", content=body, headers={"Content-Type": kind}))


# Of a form that breaks off in a file, starlette leaves closing it to the garbage collector.
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.Spooled:ResourceWarning")
@SETTINGS
@given(body=st.binary(max_size=300), field=TEXTS)
def test_forms(client, body, field):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{field}"\r\n\r\n'
    for content in (body, head.encode("utf-8", "replace") + body, b"--b\r\n" + body + b"\r\n--b--"):
        checked(client.post("/v1/motions", content=content, headers=kind))


NAMES = [
    "../../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "%00",
    "arms%00.json",
    "%c0%ae%c0%ae%2f",
    "CON",
    "a" * 4000,
    "%2fetc%2fpasswd",
    "\uff0e\uff0e\uff0f",
    "arms%2f..%2fhat",
    "~root",
    "$(id)",
    "arms;rm",
    "%0d%0aSet-Cookie:x",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_store(client, name):
    for method, path in [
        ("GET", f"/v1/motions/{name}"),
        ("DELETE", f"/v1/motions/{name}"),
        ("POST", f"/v1/motions/{name}/load"),
        ("GET", f"/v1/videos/{name}"),
        ("GET", f"/v1/videos/{name}/content"),
        ("DELETE", f"/v1/videos/{name}"),
    ]:
        answer = client.request(method, path)
        assert 400 <= answer.status_code < 500, (method, path)
        assert "root:" not in answer.text and "Set-Cookie" not in answer.headers
    for body in (
        {"prompt": "x", "motions": [{"id": name}]},
        {"prompt": "x", "model": f"toy:{name}"},
    ):
        checked(client.post("/v1/videos", json=body))


# --- against the OpenAPI document -----------------------------------------------------------------


WITHOUT_PARAMETERS = {"GET /health/live", "GET /health/ready", "GET /v1/models"}
CHECKS: list[Any] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_the_server_keeps_to_its_document(client, subtests, mode):
    """Valid and invalid requests to every route: answers are as documented, and what is invalid is
    refused.
    """
    document = client.get("/openapi.json").json()
    for operation in [each for path in document["paths"].values() for each in path.values()]:
        operation.pop("security", None)  # this server has no keys; test_access.py is about them
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 18
    for operation in operations:
        with subtests.test(operation.label):
            _exercise(client, operation, mode)


def _exercise(client: TestClient, operation: Any, mode: schemathesis.GenerationMode) -> None:
    wrong = mode is schemathesis.GenerationMode.NEGATIVE
    if wrong and operation.label in WITHOUT_PARAMETERS:
        return  # cannot be called in a wrong way
    cases = operation.as_strategy(generation_mode=mode)

    @settings(SETTINGS, max_examples=20, phases=[Phase.generate])
    @given(case=cases)
    def call(case: schemathesis.Case) -> None:
        # What schemathesis would send by itself, passed on to the application in this process.
        wanted = requests.Request(**case.as_transport_kwargs(base_url=URL)).prepare()
        headers, body = dict(wanted.headers), wanted.body or b""
        answer = client.request(wanted.method, wanted.url, headers=headers, content=body)
        # A deadline that is too short for a job that somebody waits for is the client's affair.
        assert answer.status_code < 500 or answer.json()["error"]["code"] == "deadline_exceeded"
        case.validate_response(answer, checks=CHECKS)

    call()
