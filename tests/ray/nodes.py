"""A cluster of several nodes on this machine, in a process of its own, that can lose one.

``python -m tests.ray.nodes`` starts it and obeys lines on standard input; :class:`Nodes` is the
test's end. A process of its own, because Ray keeps one cluster's address and token in a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tests.ray.running import REPO

STORE_BYTES = 100 * 2**20
#: Workers import what is in this repository, as docs/serving.md says. Of a proxy of Serve that is
#: not up within three times 5 s the controller would have no more.
WORKERS = {"PYTHONPATH": str(REPO), "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}


class Nodes:
    """A head without cores, for drivers alone, and nodes with one core each.

    Args:
        count: nodes, the head included.
        folder: for the token.
    """

    def __init__(self, count: int, folder: Path) -> None:
        from motion_ray.cluster.session import write_token

        token = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(write_token(folder / "token")),
        }
        with (folder / "nodes.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.ray.nodes", str(count)],
                cwd=REPO,
                env={**os.environ, **token, **WORKERS},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        #: For a job that is to run there.
        self.environment: dict[str, str | None] = {
            **token,
            "RAY_ADDRESS": self._answer()["address"],
        }

    def lose(self) -> str:
        """Kill the newest node that is not the head, as a power cut would; returns its id."""
        return self._ask("lose")["node"]

    def add(self) -> None:
        """Bring a new node."""
        self._ask("add")

    def free_after(self, seconds: float) -> float:
        """Seconds until everything that the living nodes have is free.

        Raises:
            AssertionError: it took longer than this.
        """
        started = time.monotonic()
        while (state := self._ask("state"))["available"] != state["total"]:
            assert time.monotonic() - started < seconds, state
            time.sleep(0.5)
        return time.monotonic() - started

    def close(self) -> None:
        """End the cluster and everything on it."""
        with self._process:  # closes its pipes, which ends it, and waits
            pass

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the cluster's process has ended; see nodes.log"
        return json.loads(line)


def serve(count: int) -> None:
    """Keep a cluster until standard input ends."""
    answers = _own_output()
    import ray
    from ray.cluster_utils import Cluster

    common = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    head = {"num_cpus": 0, "resources": {"driver": 1}, **common}
    with _unannounced():
        cluster = Cluster(initialize_head=True, head_node_args=head)
    workers = [cluster.add_node(num_cpus=1, **common) for _ in range(count - 1)]
    ray.init(address=cluster.address, log_to_driver=False)
    _tell(answers, {"address": cluster.address})
    for line in sys.stdin:
        match line.strip():
            case "lose":
                victim = workers.pop()
                cluster.remove_node(victim, allow_graceful=False)
                _tell(answers, {"node": victim.node_id})
            case "add":
                workers.append(cluster.add_node(num_cpus=1, **common))
                _tell(answers, {})
            case "state":
                state = {
                    "total": _units(ray.cluster_resources()),
                    "available": _units(ray.available_resources()),
                }
                _tell(answers, state)
    ray.shutdown()
    cluster.shutdown()


@contextlib.contextmanager
def _unannounced() -> Iterator[None]:
    """Put back what Ray notes of this machine's cluster: ours may be killed, and its address would
    stay there for every later ``ray.init()`` and ``serve run`` to wait for.
    """
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    before = note.read_bytes() if note.exists() else None
    yield
    if before is None:
        note.unlink(missing_ok=True)
    else:
        note.write_bytes(before)


def _units(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: resources.get(name, 0.0) for name in ("CPU", "driver")}


def _own_output() -> IO[str]:
    """Standard output for answers alone; what anybody prints from now on goes to standard error.

    A thread of Ray prints what it hears of its cluster, with no regard for the line that it is on.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _tell(answers: IO[str], answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
