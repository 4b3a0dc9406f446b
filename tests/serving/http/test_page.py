"""The page: it needs nothing from elsewhere, and a browser is told that it may have nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from motion_ray.serving.http.page import page
from motion_ray.serving.http.schemas import Motion, Video

TEXT = page().body.decode()
SCRIPT = TEXT.partition("<script>")[2].partition("</script>")[0]


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, str]] = []
        self.feed(TEXT)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style") and data.strip():
            self.inline.append((self.found[-1][0], data))


@pytest.fixture(scope="module")
def elements() -> Elements:
    return Elements()


def policy(client: TestClient) -> dict[str, str]:
    header = client.get("/").headers["Content-Security-Policy"]
    return dict(rule.strip().partition(" ")[::2] for rule in header.split(";"))


def test_the_page_is_served_and_kept_by_its_tag(client):
    answer = client.get("/")
    assert answer.status_code == 200 and answer.content == page().body
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    again = client.get("/", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304 and again.content == b""
    assert again.headers["Content-Security-Policy"] == answer.headers["Content-Security-Policy"]


def test_only_the_inline_script_and_style_may_run(client, elements):
    rules = policy(client)
    digests = {
        tag: f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for tag, text in elements.inline
    }
    assert [tag for tag, _ in elements.inline] == ["style", "script"]
    assert rules["script-src"] == digests["script"] and rules["style-src"] == digests["style"]
    assert rules["default-src"] == rules["form-action"] == rules["base-uri"] == "'none'"
    assert rules["frame-ancestors"] == "'none'" and rules["connect-src"] == "'self'"
    assert "unsafe" not in str(rules) and "*" not in str(rules) and "http" not in str(rules)


def test_nothing_is_loaded_from_elsewhere(elements):
    for tag, attributes in elements.found:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], "handlers are not inline"
        assert "style" not in attributes, "the policy would drop it"
    assert not re.search(r"https?:|//[a-z]|@import|url\(", TEXT)


def test_the_key_is_kept_nowhere_and_no_text_becomes_markup():
    for store in ("localStorage", "sessionStorage", "indexedDB", "cookie", "caches", "history"):
        assert store not in SCRIPT
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert sink not in SCRIPT


def test_the_script_uses_elements_that_are_there_and_each_has_a_name(elements):
    ids = [attributes["id"] for _, attributes in elements.found if attributes.get("id")]
    used = set(re.findall(r'\$\("([a-z]+)"\)', SCRIPT))
    assert used <= set(ids) and len(ids) == len(set(ids)) and len(used) > 15
    text = TEXT.partition("<form")[2].partition("</form>")[0]
    for field in re.findall(r"<(?:input|select|textarea) id=\"([a-z]+)\"", text):
        assert re.search(rf'<label(?:(?!</label>).)*id="{field}"', text, re.S), field


def test_the_script_reads_fields_that_the_api_has():
    assert set(re.findall(r"\bvideo\.([a-z_]+)", SCRIPT)) <= Video.model_fields.keys()
    assert set(re.findall(r"\bmotion\.([a-z_]+)", SCRIPT)) <= Motion.model_fields.keys()
    assert {"id", "motions", "seed", "size"} <= set(re.findall(r"\bvideo\.([a-z_]+)", SCRIPT))


def test_every_address_that_the_script_asks_is_one_of_the_servers(client):
    known = {
        re.sub(r"\{[a-z]+\}", "X", path) for path in client.get("/openapi.json").json()["paths"]
    }
    asked = {
        re.sub(r"\$\{[^}]+\}", "X", path.partition("?")[0])
        for path in re.findall(r"[\"`](/(?:v1|health)/[^\"`]*)[\"`]", SCRIPT)
    }
    assert len(asked) >= 5 and asked <= known
