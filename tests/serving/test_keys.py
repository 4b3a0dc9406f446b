"""API keys: who gets in, what the file holds, and that a change counts at once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading

import pytest
import yaml

from motion_ray.errors import KeysError
from motion_ray.serving.jobs import AdmissionLimits
from motion_ray.serving.key_file import LARGEST, create_key, read_keys, revoke_key
from motion_ray.serving.keys import ApiKeys, KeyLimits, Scope, main

GENERATE = frozenset({Scope.GENERATE})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "private" / "keys.json"


def create(path, name="alice", scopes=GENERATE, **limits) -> str:
    return create_key(path, name, scopes, KeyLimits(**limits))


def test_a_key_is_found_with_its_scopes_and_limits(path):
    secret = create(path, active=3, seconds_a_day=60.5)
    create(path, "operator", frozenset({Scope.ADMIN}))
    key = ApiKeys.load(path).find(secret)
    assert key is not None and key.name == "alice"
    assert key.allows(Scope.GENERATE) and not key.allows(Scope.ADMIN)
    assert key.limits == KeyLimits(active=3, seconds_a_day=60.5)


def test_anything_else_is_nobody(path):
    secret = create(path)
    keys = ApiKeys.load(path)
    swapped = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    digest = json.loads(path.read_text())["keys"][0]["sha256"]
    for wrong in ("", "alice", swapped, secret + "A", secret[1:], f"{secret}\n", digest, "\ud800"):
        assert keys.find(wrong) is None


def test_the_file_holds_no_key_and_is_for_its_owner_alone(path):
    secrets = [create(path, f"k{number}") for number in range(3)]
    text = path.read_text()
    assert not any(secret in text or secret[3:] in text for secret in secrets)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(set(secrets)) == 3 and all(len(secret) == 46 for secret in secrets)


def test_limits_of_a_key_go_before_the_servers(path):
    server = AdmissionLimits(queued=100, active=8, jobs_a_day=500, retry_after=7)
    assert KeyLimits().within(server) == server
    own = KeyLimits(active=0, jobs_a_day=900).within(server)
    assert own == AdmissionLimits(queued=100, active=0, jobs_a_day=900, retry_after=7)


def test_keys_made_and_revoked_count_at_once(path):
    first = create(path)
    keys = ApiKeys.load(path)
    second = create(path, "bob")
    assert keys.find(second) is not None
    revoke_key(path, "alice")
    assert keys.find(first) is None and keys.find(second) is not None


def test_the_file_may_be_written_by_hand(path):
    secret = create(path)
    keys = ApiKeys.load(path)
    content = json.loads(path.read_text())
    content["keys"][0]["limits"] = {"active": 1}
    path.write_text("# who may come in\n" + yaml.safe_dump(content))
    key = keys.find(secret)
    assert key is not None and key.limits.active == 1


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda path: path.write_text("{"), "is not a file of API keys"),
        (lambda path: path.write_text(""), "the file"),
        (lambda path: path.write_text("- a\n- b"), "the file"),
        (lambda path: path.write_text('{"keys": [{"name": "a"}]}'), "keys.0.sha256"),
        (lambda path: path.write_text('{"format": "motion_ray.keys/2"}'), "format"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not a file of API keys"),
        (lambda path: path.write_text("[" * 5000), "is not a file of API keys"),
        (lambda path: path.write_bytes(b" " * (LARGEST + 1)), "bytes"),
        (lambda path: path.chmod(0o666), "has mode 0666"),
        (lambda path: path.chmod(0o644), "has mode 0644"),
        (lambda path: path.unlink(), "cannot be read: no such file"),
    ],
)
def test_while_the_file_cannot_be_used_nobody_comes_in(path, spoil, rule):
    secret = create(path)
    keys = ApiKeys.load(path)
    spoil(path)
    for _ in range(2):
        with pytest.raises(KeysError, match=rule):
            keys.find(secret)
    with pytest.raises(KeysError):
        ApiKeys.load(path)


def test_a_group_may_read_the_file(path):
    secret = create(path)
    path.chmod(0o640)
    assert ApiKeys.load(path).find(secret) is not None


def test_a_name_is_given_once_even_after_it_was_revoked(path):
    create(path)
    for _ in range(2):
        with pytest.raises(KeysError, match="or there was one"):
            create(path)
        if read_keys(path)[0].keys[0].revoked_at is None:
            revoke_key(path, "alice")
    with pytest.raises(KeysError, match="revoked already"):
        revoke_key(path, "alice")


@pytest.mark.parametrize("name", ["", "Alice", "a b", "-a", "a" * 64, "a\n", "../a"])
def test_a_name_is_a_plain_word(path, name):
    with pytest.raises(KeysError, match="lower-case"):
        create(path, name)
    assert not path.exists()


def test_the_same_name_twice_in_a_file_is_refused(path):
    create(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"keys": content["keys"] * 2}))
    with pytest.raises(KeysError, match="twice"):
        ApiKeys.load(path)


def test_keys_made_at_once_are_all_there(path):
    secrets: list[str] = []

    def make(number: int) -> None:
        secrets.append(create(path, f"k{number}"))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = ApiKeys.load(path)
    found = [keys.find(secret) for secret in secrets]
    assert {key.name for key in found if key} == {f"k{number}" for number in range(12)}


def test_a_file_without_valid_keys_is_told(path, caplog):
    create(path)
    revoke_key(path, "alice")
    ApiKeys.load(path)
    assert "nobody can use the server" in caplog.text


def test_the_command_makes_lists_and_revokes(path, capsys):
    file = ["--file", f"{path}"]
    assert main(["create", "alice", *file, "--scope", "admin", "--jobs-a-day", "5"]) == 0
    secret = capsys.readouterr().out.strip()
    key = ApiKeys.load(path).find(secret)
    assert key is not None and key.scopes == {Scope.ADMIN} and key.limits.jobs_a_day == 5
    assert main(["revoke", "alice", *file]) == 0
    assert main(["list", *file]) == 0
    listed = capsys.readouterr().out
    assert "alice" in listed and "revoked" in listed and "jobs_a_day 5" in listed
    assert secret not in listed


def test_what_the_command_cannot_do_is_exit_code_2(path, capsys):
    assert main(["list", "--file", f"{path}"]) == 2
    assert main(["create", "alice", "--file", f"{path}", "--active", "-1"]) == 2
    assert "error: --active" in capsys.readouterr().err and not path.exists()


def test_making_keys_needs_no_torch():
    program = "import motion_ray.serving.keys, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))
