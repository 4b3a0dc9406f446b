"""The OpenAPI document: examples of bodies and of errors, which are what the server takes and says.

That the server keeps to its document is shown by test_fuzz.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from motion_ray.serving.api_errors import ErrorEnvelope
from motion_ray.serving.http.motions import LoadOrder, PinOrder, UnloadOrder

ORDERS = {"load": LoadOrder, "pin": PinOrder, "unload": UnloadOrder}


@pytest.fixture
def paths(client) -> dict[str, Any]:
    return client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("order", list(ORDERS))
def test_orders_about_motions_have_examples_that_work(client, paths, order):
    body = paths[f"/v1/motions/{{motion}}/{order}"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    assert len(examples) >= 2
    for example in examples.values():
        assert example["summary"] and ORDERS[order].model_validate(example["value"])
        value = {**example["value"]} | ({"version": 1} if "version" in example["value"] else {})
        assert client.post(f"/v1/motions/arms/{order}", json=value).status_code == 200


def test_every_error_has_examples(paths):
    seen: set[str] = set()
    for operation in [each for path in paths.values() for each in path.values()]:
        for status, answer in operation["responses"].items():
            if status < "400":
                continue
            content = answer["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorEnvelope"}
            for code, example in content["examples"].items():
                told = ErrorEnvelope.model_validate(example["value"]).error
                assert told.code == code and told.message
                seen.add(code)
    assert {"unknown_token", "queue_full", "quota_exceeded", "motion_in_use"} <= seen


def test_an_example_says_what_the_server_says(client, paths):
    answers = paths["/v1/videos"]["post"]["responses"]
    example = answers["422"]["content"]["application/json"]["examples"]["unknown_token"]["value"]
    found = client.post("/v1/videos", json={"prompt": "a robot doing the ohwx"}).json()
    assert found["error"].keys() == example["error"].keys()
    known = "pll (arms), sks (hat)"
    assert found["error"]["message"] == example["error"]["message"].replace("pll (dabbing)", known)
    assert found["error"]["param"] == example["error"]["param"] == "prompt"
