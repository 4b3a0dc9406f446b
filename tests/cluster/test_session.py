"""What is found on a machine before Ray is asked."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from motion_ray.cluster.session import forget_dead_cluster


def test_the_note_of_a_cluster_that_was_killed_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = tmp_path / "ray_current_cluster"
    forget_dead_cluster(tmp_path)  # there is none
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        note.write_text(f"127.0.0.1:{port}\n")
        forget_dead_cluster(tmp_path)
        assert note.exists()
    with caplog.at_level(logging.WARNING):
        forget_dead_cluster(tmp_path)
    assert not note.exists()
    assert f"127.0.0.1:{port}" in caplog.text
    note.write_text("nonsense")
    forget_dead_cluster(tmp_path)
    assert not note.exists()
