"""The job store in a database: what differs from a file's. What does not is in test_jobs."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import OperationalError
from psycopg.pq import Conninfo
from pydantic import ValidationError

from motion_ray.backbones.sketch import sketch_backbone
from motion_ray.errors import JobDatabaseError, JobStoreError
from motion_ray.serving.job_schema import MIGRATIONS
from motion_ray.serving.postgres_jobs import (
    MOST_CONNECTIONS,
    RETRY_S,
    PostgresDatabase,
    PostgresJobStore,
)
from motion_ray.serving.site import SiteConfig, open_site
from motion_ray.serving.sql_jobs import SqlJobStore
from tests.postgres import Postgres
from tests.serving.job_samples import FREE, create, new, started


@pytest.fixture
def schema(postgres: Postgres) -> str:
    return postgres.schema()


def opened(postgres: Postgres, schema: str, owner: str = "here", **more) -> PostgresJobStore:
    return PostgresJobStore(postgres.url, schema, owner, **more)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "rule"),
    [
        ("mysql://db/jobs", "begins so: postgresql://"),
        ("db.internal", "begins so: postgresql://"),
        ("postgresql://me:secret@db/jobs", "no password stands in them"),
        ("postgresql://db/jobs?password=secret", "no password stands in them"),
        ("postgresql://db/jobs?sslmode=require&password=secret", "no password stands in them"),
        ("postgresql://db/jobs?pass%77ord=secret", "no password stands in them"),
        ("postgresql://db/jobs?sslkey=/k&sslpassword=secret", "no password stands in them"),
        ("postgresql://me:se?secret@db/jobs", "no password stands in them"),
        ("postgresql://me:se/secret@db/jobs", "no password stands in them"),
        ("postgresql://me:s@secret@db/jobs", "no password stands in them"),
        ("postgresql://me:secret%40db/jobs", "is not of the form"),
        ("postgresql://me:secret/jobs", "is not of the form"),
        ("postgresql://me%3Asecret@db/jobs", "no password stands in them"),
        ("postgresql://db/jobs? password=secret", "no password stands in them"),
        ("postgresql://db/jobs?password%3Dsecret", "no password stands in them"),
        ("postgresql://db/dbname=x%20password=secret", "no password stands in them"),
        ("postgresql://db/jobs?scram_client_key=secret", "is not of the form"),
        ("postgresql://db/jobs?oauth_client_secret=secret", "is not of the form"),
        ("postgresql://db/jobs?dbname=host=a%20pass=secret", "is not of the form"),
        ("postgresql://db/jobs? passfile=secret", "is not of the form"),
        ("postgresql://db/jobs?sslkeylogfile=/secret", "is not of the form"),
        ("postgresql://db/jobs?secret", "is not of the form"),
        ("postgresql://[me:secret/jobs", "is not of the form"),
        ("postgresql://db/jobs\nsecret", "is not of the form"),
        ("postgresql://db/jobs#secret", "is not of the form"),
        ("postgresql://db/jobs?user=me:secret", "is not of the form"),
        ("postgresql://db/jobs?host=me:secret@127.0.0.1", "no password stands in them"),
        ("postgresql://db/jobs?service=x:secret", "is not of the form"),
        ("postgresql://db/jobs?options=password%3Dsecret", "no password stands in them"),
        ("postgresql://se%zzcret@db/jobs", "is not of the form"),
        ("postgresql://db/jobs?application_name=se%00cret", "is not of the form"),
        ("postgresql://db/jobs?options=-c%20x=secret", "is not of the form"),
        ("postgresql://db/jobs?&", "is not of the form"),
        ("postgresql://db/jobs?passfile=system", "passfile is not absolute"),
        ("postgresql:/me:secret@db/jobs", "begins so: postgresql://"),
        ("host=db user=me password=secret", "begins so: postgresql://"),
        ("postgresql://db/jobs?passfile=secret/pgpass", "passfile is not absolute"),
        ("postgresql://db/jobs?sslrootcert=~/secret.crt", "sslrootcert is not absolute"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(jobs: str, rule: str) -> None:
    """And not repeated, wherever it is told."""
    with pytest.raises(ValidationError, match=rule) as caught:
        SiteConfig(jobs=jobs)
    [error] = caught.value.errors(include_input=False)
    assert "secret@" not in error["msg"] and "=secret" not in error["msg"]
    assert "secret" not in str(caught.value).replace("/srv/secrets", "")


@pytest.mark.parametrize(
    "jobs",
    [
        "postgresql://db/jobs",
        "postgres://me@[::1]:5432,db2:5433/jobs?passfile=/srv/pgpass&target_session_attrs=primary",
        "postgresql://me@db/jobs?sslmode=verify-full&sslrootcert=system",
        "postgresql://db:5432/jobs?user=me@REALM&application_name=a@b",
        "postgresql://me%40REALM@db/m%C3%BCll",
        "postgresql:///jobs?host=/var/run/postgresql&connect_timeout=3",
        "postgresql://%2Fvar%2Frun/my%20jobs?hostaddr=::1&options=-c%20jit%3Doff",
        "postgresql://",
    ],
)
def test_any_other_is_taken(jobs: str) -> None:
    """And read by libpq as it is by us, without anything that it would not show itself."""
    assert SiteConfig(jobs=jobs).jobs == jobs
    for option in Conninfo.parse(jobs.encode()):
        assert option.val is None or option.dispchar != b"*"


def test_no_setting_of_libpq_that_is_a_secret_is_taken() -> None:
    """Nor any that came with a newer version, unless somebody looked at it."""
    hidden = [o.keyword.decode() for o in Conninfo.get_defaults() if o.dispchar == b"*"]
    assert "password" in hidden
    for name in (*hidden, "scram_client_key", "dbname", "brand_new"):
        with pytest.raises(ValidationError):
            SiteConfig(jobs=f"postgresql://db/jobs?{name}=x")


@pytest.mark.parametrize("name", ["", "1st", "Motions", "pg_motions", "a;b", "a" * 64, 'a"b'])
def test_a_name_of_a_schema_needs_no_quotes(name: str) -> None:
    with pytest.raises(ValidationError, match="small letters, digits and _"):
        SiteConfig(jobs_schema=name)


# --- opening --------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_told_with_its_address() -> None:
    url = "postgresql://127.0.0.1:1/jobs?passfile=/srv/secret"
    with pytest.raises(JobDatabaseError, match=r"cannot be used: .*refused") as caught:
        PostgresJobStore(url, "motion_ray", "here")
    assert caught.value.where == "postgresql://127.0.0.1:1/jobs (schema motion_ray)"


def test_a_word_of_sql_may_be_a_schema(postgres, schema) -> None:
    store = opened(postgres, "user")
    assert store.get(create(store).id).state == "queued"
    store.close()


def test_a_server_that_cannot_be_written_to_is_not_one(postgres) -> None:
    """As a standby, which a name may lead to after another server took over."""
    url = postgres.database()
    name = url.partition("?")[0].rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on;")
    with pytest.raises(JobDatabaseError, match="read-only"):
        PostgresJobStore(url, "motion_ray", "here")


def test_many_may_open_a_new_schema_at_once(postgres, schema) -> None:
    with ThreadPoolExecutor(6) as threads:
        stores = list(threads.map(lambda _: opened(postgres, schema), range(6)))
    assert [create(each) for each in stores]
    assert len(stores[0].page(limit=100).jobs) == 6
    for store in stores:
        store.close()


def test_jobs_go_with_one_folder_of_videos(postgres, schema) -> None:
    opened(postgres, schema).close()
    with pytest.raises(JobStoreError, match="go with the videos of another folder"):
        opened(postgres, schema, "there")
    opened(postgres, schema).close()


def test_tables_of_others_are_left_alone(postgres, schema) -> None:
    postgres.sql(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.jobs (x int);")
    with pytest.raises(JobStoreError, match="the schema has tables of others"):
        opened(postgres, schema)


def test_older_tables_are_brought_up_to_date_and_newer_ones_refused(postgres, schema) -> None:
    older = PostgresDatabase(postgres.url, schema, "here", MIGRATIONS[:1])
    with older.writing() as connection:
        connection.execute(
            "INSERT INTO jobs (id, client, state, request, fingerprint, created_at)"
            " VALUES ('video_1', '', 'queued', '{}', 'f', 1.0)"
        )
    older.close()
    store = opened(postgres, schema)
    assert [(job.id, job.not_before) for job in store.queued(due=True)] == [("video_1", None)]
    store.close()
    newer = (*MIGRATIONS, "ALTER TABLE jobs ADD COLUMN colour TEXT; CREATE TABLE more (x REAL)")
    PostgresDatabase(postgres.url, schema, "here", newer).close()
    with pytest.raises(JobStoreError, match="has schema 3, this version of motion_ray knows 2"):
        opened(postgres, schema)


def test_a_folder_goes_with_one_store_of_jobs(postgres, schema, tmp_path) -> None:
    """Another one would take its videos for left over and remove them."""
    sketch, _ = sketch_backbone("puppet")
    inside = SiteConfig(store=f"{tmp_path}/store", state=tmp_path / "state")
    outside = inside.model_copy(update={"jobs": postgres.url, "jobs_schema": schema})
    other = outside.model_copy(update={"jobs_schema": f"{schema}_b"})
    open_site(outside, 100, sketch).jobs.close()
    for wrong in (inside, other):
        with pytest.raises(JobStoreError, match=f"are in a database, schema {schema}, and not in"):
            open_site(wrong, 100, sketch)
    open_site(outside, 100, sketch).jobs.close()
    old = inside.model_copy(update={"state": tmp_path / "old"})
    open_site(old, 100, sketch).jobs.close()
    (tmp_path / "old" / "jobs.txt").unlink()  # as an earlier version left it
    with pytest.raises(JobStoreError, match="are in a file, and not in a database"):
        open_site(old.model_copy(update={"jobs": postgres.url}), 100, sketch)


def test_a_folder_whose_jobs_are_elsewhere_makes_no_new_ones(postgres, schema, tmp_path) -> None:
    """In another database of the same kind, to which a name may lead by mistake."""
    sketch, _ = sketch_backbone("puppet")
    config = SiteConfig(
        store=f"{tmp_path}/store", state=tmp_path / "state", jobs=postgres.url, jobs_schema=schema
    )
    open_site(config, 100, sketch).jobs.close()
    other = config.model_copy(update={"jobs": postgres.database()})
    for _ in range(2):
        with pytest.raises(JobStoreError, match="has no jobs, and those of the videos here"):
            open_site(other, 100, sketch)
    with pytest.raises(JobStoreError, match="has no jobs"):  # and nothing was made there
        PostgresJobStore(other.jobs or "", schema, "somebody", make=False)
    open_site(config, 100, sketch).jobs.close()


# --- machines -------------------------------------------------------------------------------------


def test_claims_go_by_the_clock_of_the_database(postgres, schema, monkeypatch) -> None:
    """A machine whose clock is an hour ahead takes no job from others."""
    store = opened(postgres, schema)
    job = started(store, create(store), lease_s=60)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert store.recover() == []
    assert job.lease_until == pytest.approx(now + 60, abs=20)
    store.close()


def test_events_are_seen_in_the_order_of_their_ids(postgres, schema) -> None:
    """Who asks for events after the last one seen misses none that came later."""
    stores = [opened(postgres, schema) for _ in range(3)]
    jobs = [started(stores[0], create(stores[0])) for _ in range(3)]
    seen: list[int] = []

    def work(number: int) -> None:
        for step in range(1, 40):
            stores[number].beat(jobs[number].claim, 60, step, 40)

    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work, number) for number in range(3)]
        while not all(each.done() for each in working):
            with stores[0]._database.reading() as connection:
                rows = connection.execute(
                    "SELECT id FROM events WHERE id > ? ORDER BY id", (max(seen, default=0),)
                ).fetchall()
            seen += [row["id"] for row in rows]
        for each in working:
            each.result()
    with stores[0]._database.reading() as connection:
        rows = connection.execute("SELECT id FROM events ORDER BY id").fetchall()
    everything = [row["id"] for row in rows]
    assert len(everything) == 3 * 41
    assert seen == everything[: len(seen)] and len(seen) > 3
    for store in stores:
        store.close()


def test_a_writer_that_hangs_lets_go(postgres, schema) -> None:
    """A machine that is suddenly gone must not keep all others waiting."""
    hanging = PostgresDatabase(postgres.url, schema, "here", busy_s=1.0)
    others = SqlJobStore(PostgresDatabase(postgres.url, schema, "here", busy_s=20.0))
    gone = pytest.raises(JobStoreError, match=r"cannot be used: .*idle-in-transaction")
    with gone, hanging.writing() as connection:
        before = time.monotonic()
        job = create(others)  # as soon as the server has ended the other one
        assert 0.5 < time.monotonic() - before < 15
        connection.execute("SELECT 1")
    assert [each.id for each in others.queued()] == [job.id]
    hanging.close()
    others.close()


def test_a_database_that_says_nothing_is_not_waited_for(postgres, schema) -> None:
    """Though its connections are there: its machine swaps, or the network swallows everything."""
    database = PostgresDatabase(postgres.url, schema, "here", busy_s=1.0)
    store = SqlJobStore(database)
    job = create(store)
    before = time.monotonic()
    with database.reading() as connection, postgres.silent():
        with pytest.raises(OperationalError):
            connection.execute("SELECT 1")
        assert 1.5 < time.monotonic() - before < 10
    with postgres.silent(), pytest.raises(JobDatabaseError):
        store.get(job.id)
    assert time.monotonic() - before < 30
    assert store.get(job.id).state == "queued"
    store.close()


def test_who_is_a_standby_by_now_is_not_asked_again(postgres, schema) -> None:
    """On none of the connections that there are."""
    database = PostgresDatabase(postgres.url, schema, "here")
    pid = "SELECT pg_backend_pid() AS pid"
    with database.reading() as one, database.reading() as two:
        before = {each.execute(pid).fetchone()["pid"] for each in (one, two)}
    with pytest.raises(JobDatabaseError, match="read-only"), database.writing() as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute("CREATE TABLE more (x BIGINT)")
    with database.reading() as one, database.reading() as two:
        after = {each.execute(pid).fetchone()["pid"] for each in (one, two)}
    assert len(before) == len(after) == 2 and not before & after
    database.close()


def test_whoever_asked_first_is_served_first(postgres, schema) -> None:
    """Also when that takes longer than one round of attempts to connect."""
    database = PostgresDatabase(postgres.url, schema, "here")
    order: list[str] = []

    def ask(name: str) -> None:
        with database.reading():
            order.append(name)
            time.sleep(0.2)

    with ThreadPoolExecutor(32) as threads:
        with contextlib.ExitStack() as held:
            for _ in range(MOST_CONNECTIONS):
                held.enter_context(database.reading())
            asked = [threads.submit(ask, "early")]
            time.sleep(RETRY_S / 2)
            asked += [threads.submit(ask, f"late {number}") for number in range(20)]
            time.sleep(RETRY_S)
        for each in asked:
            each.result()
    assert "early" in order[:MOST_CONNECTIONS]
    database.close()


def test_who_waits_too_long_is_told(postgres, schema) -> None:
    one = PostgresDatabase(postgres.url, schema, "here", busy_s=30.0)
    two = SqlJobStore(PostgresDatabase(postgres.url, schema, "here", busy_s=0.5))
    with one.writing(), pytest.raises(JobStoreError, match=r"cannot be used: .*timeout"):
        create(two)
    assert create(two).state == "queued"
    one.close()
    two.close()


def test_a_server_that_is_killed_loses_nothing(postgres, schema) -> None:
    """And who was connected goes on without being started again."""
    store = opened(postgres, schema)
    waiting, running = create(store), started(store, create(store), lease_s=600)
    postgres.crash()
    try:
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(store.get, waiting.id)
            time.sleep(0.5)
            postgres.start()
            assert asked.result().state == "queued"
    finally:
        postgres.start()
    assert store.beat(running.claim, 600, 1, 2).held
    assert store.create(new(key="a"), FREE).fresh
    store.close()


def test_a_server_that_was_away_for_long_is_found_at_once(postgres, schema) -> None:
    """However often somebody has asked for it in vain."""
    store = SqlJobStore(PostgresDatabase(postgres.url, schema, "here", busy_s=4.0))
    job = create(store)
    postgres.crash()
    try:
        for _ in range(2):
            with pytest.raises(JobDatabaseError):
                store.get(job.id)
    finally:
        postgres.start()
    back = time.monotonic()
    assert store.get(job.id).state == "queued"
    assert time.monotonic() - back < 5
    store.close()
