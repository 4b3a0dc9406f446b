"""What the pages of docs/ make in this folder stays out of commits, cluster copies and images."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[1]
#: A folder that a command of a page writes into; a name with a suffix is a single small file.
WRITTEN = re.compile(r"--(?:out|work|store) ([a-z][\w-]*)(?=[/\s])")


def at_the_root(lines: list[str]) -> set[str]:
    """Patterns of a list that are for the root folder alone; a slash at the end is of no matter."""
    return {line.strip("/") for line in lines if line.startswith("/")}


IGNORED = at_the_root((REPO / ".gitignore").read_text().splitlines())


def is_ignored(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in IGNORED)


def test_the_lists_for_git_docker_and_the_cluster_are_the_same() -> None:
    assert at_the_root((REPO / ".dockerignore").read_text().splitlines()) == IGNORED
    cluster = yaml.safe_load((REPO / "cluster.yaml").read_text())
    assert at_the_root(cluster["rsync_exclude"]) == IGNORED


def test_nothing_of_the_repository_is_left_out() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True
    )
    names = {path.split("/")[0] for path in listed.stdout.split("\0") if path}
    assert "motion_ray" in names
    assert not [name for name in sorted(names) if is_ignored(name)]


@pytest.mark.parametrize(
    "page", [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_what_a_page_has_written_is_left_out(page: Path) -> None:
    found = set(WRITTEN.findall(page.read_text()))
    assert not [name for name in sorted(found) if not is_ignored(name)]
