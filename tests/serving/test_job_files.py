"""The job store on disk: results and rows go together, and the file survives what files meet."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from motion_ray.errors import (
    JobExpiredError,
    JobNotFoundError,
    JobStoreError,
)
from motion_ray.serving.job_schema import MIGRATIONS
from motion_ray.serving.results import ResultFolder, sweep, tidy
from motion_ray.serving.sqlite_jobs import APPLICATION, SqliteDatabase, SqliteJobStore
from tests.disks import small_disk
from tests.serving.job_samples import FREE, NOON, clocked_store, create, new, started
from tests.waiting import Clock


@pytest.fixture
def store(tmp_path, clock) -> SqliteJobStore:
    return clocked_store(tmp_path, clock)


# --- expiry, rows and files together --------------------------------------------------------------


def test_rows_and_videos_go_together(store, clock, tmp_path):
    results = ResultFolder(tmp_path / "results", grace_s=50, clock=clock)
    job = started(store, create(store))
    result = results.keep(job.claim, lambda path: path.write_bytes(b"a video"))
    assert (result.nbytes, result.file) == (7, f"{job.id}.1.mp4")
    store.succeed(job.claim, result, {})
    clock.now += 99
    tidy(store, results)
    assert results.path(result.file).read_bytes() == b"a video"
    clock.now += 1
    tidy(store, results)
    assert not results.path(result.file).exists() and store.results() == set()
    with pytest.raises(JobExpiredError, match="was removed with its video"):
        store.get(job.id)
    assert store.events(job.id) == []
    clock.now += 1000
    store.expire()
    with pytest.raises(JobNotFoundError, match="there is no such job"):
        store.get(job.id)


def test_what_a_killed_worker_left_is_removed_after_a_while(store, tmp_path):
    clock = Clock(NOON)
    results = ResultFolder(tmp_path / "results", grace_s=50, clock=clock)
    job = started(store, create(store))
    result = results.keep(job.claim, lambda path: path.write_bytes(b"x"))
    path = results.path(result.file)
    (tmp_path / "results" / "notes.txt").write_text("not ours")
    os.utime(path, (clock.now, clock.now))
    clock.now += 50
    sweep(store, results)
    assert path.exists()
    clock.now += 1
    tidy(store, results)
    assert path.exists(), "the whole folder is not looked at so often"
    sweep(store, results)
    assert not path.exists() and (tmp_path / "results" / "notes.txt").exists()


@pytest.mark.parametrize("hours", [-2, 2])
def test_how_old_a_video_is_goes_by_the_clock_of_the_storage(store, tmp_path, monkeypatch, hours):
    """Another machine may write there, and its clock or ours be wrong."""
    results = ResultFolder(tmp_path / "results", grace_s=3600)
    old, new = (results.path(f"video_{number:032x}.1.mp4") for number in range(2))
    for path, age in ((old, 4000), (new, 3000)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    sweep(store, results)
    assert [entry.name for entry in (tmp_path / "results").iterdir()] == [new.name]


@pytest.mark.parametrize("name", ["../x.mp4", "video_0.1.mp4", "/etc/passwd", "", "video_\0.mp4"])
def test_a_result_cannot_leave_its_folder(tmp_path, name):
    with pytest.raises(JobStoreError, match="is not the name of a video"):
        ResultFolder(tmp_path).path(name)


# --- the file -------------------------------------------------------------------------------------


def test_another_process_sees_the_same(tmp_path):
    one, two = (SqliteJobStore(tmp_path / "jobs.sqlite") for _ in range(2))
    job = create(one)
    assert two.get(job.id) == job
    started(two, job)
    assert one.start(job.id, "x", 10) is None


def test_the_file_is_for_its_owner_only(store, tmp_path):
    create(store)
    for file in tmp_path.glob("jobs.sqlite*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_commits_are_durable_and_checked(store):
    with store._database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_many_processes_may_open_a_new_file_at_once(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: SqliteJobStore(tmp_path / "jobs.sqlite"), range(8)))
    assert [create(each) for each in stores]
    assert len(stores[0].page(limit=100).jobs) == 8


def test_jobs_of_the_first_version_are_kept(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with SqliteDatabase(path, MIGRATIONS[:1]).writing() as connection:
        connection.execute(
            "INSERT INTO jobs (id, client, state, request, fingerprint, created_at)"
            " VALUES ('video_1', '', 'queued', '{}', 'f', 1.0)"
        )
    store = SqliteJobStore(path)
    assert [(job.id, job.not_before) for job in store.queued(due=True)] == [("video_1", None)]
    assert store.start("video_1", "w", 10.0) is not None


def test_an_older_file_is_brought_up_to_date(tmp_path):
    path = tmp_path / "jobs.sqlite"
    job = create(SqliteJobStore(path))
    newer = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN colour TEXT; CREATE TABLE more (x) STRICT")
    with pytest.raises(JobStoreError, match="cannot be used"):
        SqliteDatabase(path, newer)  # STRICT needs types: nothing of the failed step stays
    newer = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN colour TEXT; CREATE TABLE more (x ANY)")
    for _ in range(2):
        database = SqliteDatabase(path, newer)
        with database.reading() as connection:
            assert connection.execute("SELECT id, colour FROM jobs").fetchone()[0] == job.id
            assert connection.execute("PRAGMA user_version").fetchone()[0] == len(newer)
    with pytest.raises(JobStoreError, match="has schema 3, this version of motion_ray knows 2"):
        SqliteJobStore(path)


def test_somebody_elses_file_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (x)")
    connection.close()
    with pytest.raises(JobStoreError, match="is no job store"):
        SqliteJobStore(path)
    (tmp_path / "text").write_text("no database at all, but long enough to be one" * 100)
    with pytest.raises(JobStoreError, match="cannot be used"):
        SqliteJobStore(tmp_path / "text")
    with pytest.raises(JobStoreError, match="cannot be opened: is a directory"):
        SqliteJobStore(tmp_path)
    assert APPLICATION < 2**31


def test_a_full_disk_is_an_error_and_loses_nothing():
    with small_disk(2) as disk:
        store = SqliteJobStore(disk / "jobs.sqlite")
        accepted = []
        with pytest.raises(JobStoreError, match=r"cannot be used: .*full"):
            while True:
                job = store.create(new(request={"prompt": "x" * 20_000}), FREE).job
                accepted.append(job.id)
        assert [job.id for job in store.queued()] == accepted and accepted
