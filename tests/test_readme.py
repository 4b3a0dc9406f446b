"""The README and docs/*.md do what they say: code runs, commands exist, links lead somewhere.

A block that cannot run here is preceded by ``<!-- test: skip REASON -->``; only what needs a GPU or
a cluster may be skipped.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from motion_ray import DeltaStore, MotionDelta, ParameterGroup, load_backbone
from tests.deltas import header

REPO = Path(__file__).resolve().parents[1]
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- test: skip (?P<reason>.*?) -->\s*)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
ACCEPTED_REASONS = ("needs a GPU", "needs a cluster")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    skip: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match["language"] == language:
                line = text.count("\n", 0, match.start("text"))
                found.append(
                    Block(
                        str(page.relative_to(REPO)), line, language, match["text"], match["reason"]
                    )
                )
    return found


def commands(block: Block) -> list[str]:
    """Command lines of a block: continuations joined, comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [
        line.removeprefix("$ ").strip()
        for line in lines
        if line.strip() and not line.strip().startswith("#")
    ]


# --- Python ---------------------------------------------------------------------------------------


DEMO = "demo/run/store"  # what `make demo` leaves


def publish_changed_base(store: Path) -> None:
    """A store with a motion that nobody trained: the base's temporal attention, a little larger."""
    backbone = load_backbone(device="cpu")
    values = {
        name: 1.01 * value.detach()
        for name, value in backbone.denoiser.named_parameters()
        if backbone.group_of(name) is ParameterGroup.TEMPORAL_ATTENTION
    }
    DeltaStore(store).publish(MotionDelta(header(backbone, base="puppet"), values), "dabbing")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_block_runs(block: Block, tmp_path: Path) -> None:
    if block.skip is not None:
        pytest.skip(block.skip)
    if DEMO in block.text:
        publish_changed_base(tmp_path / DEMO)
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    ran = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, f"{block}\n{ran.stderr[-2000:]}"


# --- commands -------------------------------------------------------------------------------------


@functools.cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.M))


@functools.cache
def help_of(module: str) -> str:
    """What ``python -m module --help`` prints; it must exist and exit with 0."""
    ran = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, f"python -m {module} --help: {ran.stderr[-1500:]}"
    return ran.stdout


def check_command(line: str) -> None:
    """A make target, or a module of ours with its flags, must exist; other tools pass."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if words[:1] == ["export"] or not words:
        return
    if "&&" in words:
        here = words.index("&&")
        check_command(shlex.join(words[:here]))
        check_command(shlex.join(words[here + 1 :]))
        return
    if Path(words[0]).name == "make":
        targets = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
        assert targets and set(targets) <= make_targets(), f"{line}: no such make target"
        return
    module = _module_of(words)
    if module is not None and module.partition(".")[0] in (
        "motion_ray",
        "jobs",
        "deployments",
        "benchmarks",
    ):
        flags = {
            word.partition("=")[0] for word in words[words.index(module) :] if word.startswith("--")
        }
        known = set(re.findall(r"--[a-z][a-z-]*", help_of(module)))
        assert flags <= known, f"{line}: {sorted(flags - known)} not in --help"


def _module_of(words: list[str]) -> str | None:
    """The module behind ``python -m``, also at the end of ``ray job submit ... --``."""
    for here, word in enumerate(words[:-2]):
        if re.fullmatch(r"python[0-9.]*", Path(word).name) and words[here + 1] == "-m":
            return words[here + 2]
    return None


@pytest.mark.slow  # starts programs to see their --help
@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_commands_exist(block: Block) -> None:
    for line in commands(block):
        check_command(line)


@pytest.mark.parametrize(
    "line",
    [
        "make no-such-target",
        ".venv/bin/python -m jobs.no_such_job",
        "python -m jobs.customize --no-such-flag 1",
    ],
)
def test_the_check_notices_what_does_not_exist(line: str) -> None:
    with pytest.raises(AssertionError):
        check_command(line)


def test_only_what_needs_a_gpu_or_a_cluster_is_skipped() -> None:
    skipped = [
        block
        for language in ("python", "bash")
        for block in blocks(language)
        if block.skip is not None
    ]
    assert all(
        block.skip.startswith(ACCEPTED_REASONS) for block in skipped if block.skip is not None
    )


def test_every_block_names_its_language() -> None:
    assert not [str(block) for block in blocks("")]


# --- links ----------------------------------------------------------------------------------------


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return frozenset(
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
    )


@pytest.mark.parametrize(
    "page",
    [*PAGES, REPO / "motion_ray/assets/base/README.md"],
    ids=lambda p: str(p.relative_to(REPO)),
)
def test_links_and_images_exist(page: Path) -> None:
    broken = []
    for match in LINK.finditer(FENCE.sub("", page.read_text())):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(match["target"])
    assert not broken


ROW = re.compile(r"^\|.*\]\(\.\./(?P<file>[\w/]+\.py)\) \| (?P<symbols>.+) \|$", re.M)


def _defined(file: Path) -> set[str]:
    """Names a module defines, and ``Class.method``."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
            found |= {
                f"{node.name}.{child.name}"
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.FunctionDef)
            }
    return found


def test_the_paper_map_names_what_exists() -> None:
    rows = list(ROW.finditer((REPO / "docs/paper_map.md").read_text()))
    assert len(rows) >= 20
    missing = [
        f"{row['file']}: {symbol}"
        for row in rows
        for symbol in re.findall(r"`([\w.]+)`", row["symbols"])
        if symbol not in _defined(REPO / row["file"])
    ]
    assert not missing


def test_the_readme_names_the_two_commands_that_matter() -> None:
    found = {
        line for block in blocks("bash") if block.page == "README.md" for line in commands(block)
    }
    assert {"make demo", "make test"} <= found


# --- numbers --------------------------------------------------------------------------------------


def first_scores(page: Path, heading: str) -> dict[str, str]:
    """Method to its first score, with its interval, in the table under a heading."""
    section = page.read_text().partition(heading)[2].partition("\n#")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.partition("<br>")[0].strip() for cell in row] for row in rows]
    return {method: score for method, score in cells if re.match(r"[\d.]+ %", score)}


def test_the_headline_table_is_that_of_the_results() -> None:
    results = REPO / "docs/results/puppet/README.md"
    measured = first_scores(results, "## Table 1")
    assert "ours" in measured and len(measured) >= 4
    measured |= first_scores(results, "## Beyond the paper: DreamBooth at lower learning rates")
    shown = first_scores(REPO / "README.md", "## Does it hold?")
    assert {
        "ours" if "the paper" in name else name: each for name, each in shown.items()
    } == measured
