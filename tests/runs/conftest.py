"""Stores of their own for every test of runs, on each kind of database."""

import importlib
import os
import uuid
from contextlib import contextmanager

import psutil
import pytest
import sqlalchemy as sql
import undisturbed

from decoder.runs.store import open_store
from decoder.runs.tables import FORMAT, METADATA, RUNS, SCHEMA_VERSION, VIEWS

DATABASES = ["sqlite", "postgresql"]
SET_UP = (
    "DECODER_TEST_POSTGRES is not set: apt-get install postgresql, make a role that may create databases "
    "as .ci/run does, and set it to an address such as postgresql+psycopg://decoder:decoder@127.0.0.1/decoder"
)


@pytest.fixture(name="tiny")
def _tiny():
    return undisturbed.tiny


@pytest.fixture(name="assert_undisturbed")
def _assert_undisturbed():
    return undisturbed.assert_undisturbed


@pytest.fixture
def quick_evaluations(monkeypatch):
    """For tests of this process alone: worker processes know nothing of it."""
    advancing = importlib.import_module("decoder.runs.advance")  # the package shows the function of this name
    monkeypatch.setattr(advancing, "evaluate", undisturbed.quick_evaluation)
    monkeypatch.setattr(undisturbed, "evaluate", undisturbed.quick_evaluation)


@contextmanager
def database_of_its_own(kind, folder):
    """Give the address of a new, empty database; afterwards it is gone."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/runs.db"
        return
    address = os.environ.get("DECODER_TEST_POSTGRES")
    if not address:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(SET_UP)
    schema = f"test_{uuid.uuid4().hex}"
    engine = sql.create_engine(address, poolclass=sql.NullPool)
    with engine.begin() as connection:
        connection.execute(sql.schema.CreateSchema(schema))
    try:
        # No test cuts the server's power, so nobody has to wait for its disk.
        options = {"options": f"-csearch_path={schema} -csynchronous_commit=off"}
        url = sql.make_url(address).update_query_dict(options)
        yield url.render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(sql.schema.DropSchema(schema, cascade=True))


@contextmanager
def open_new_store(kind, folder):
    with database_of_its_own(kind, folder) as url:
        store = open_store(url)
        try:
            yield store
        finally:
            store.close()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """The address of a schema for all tests of one store: to make the tables takes longer than most tests."""
    with database_of_its_own("postgresql", tmp_path_factory) as url:
        yield url


@pytest.fixture(params=DATABASES)
def store(request, tmp_path):
    if request.param == "sqlite":
        with open_new_store(request.param, tmp_path) as store:
            yield store
        return
    store = open_store(request.getfixturevalue("postgresql"))
    yield store
    with store.database._engine.begin() as connection:
        tables = {*sql.inspect(connection).get_table_names()}
        if tables >= {*METADATA.tables} and connection.scalar(sql.select(FORMAT.c.version)) == SCHEMA_VERSION:
            for table in reversed(METADATA.sorted_tables):
                if table is not FORMAT:
                    connection.execute(sql.delete(table))
        else:
            METADATA.drop_all(connection)  # the next store is made anew
    store.close()


@pytest.fixture(scope="module", params=DATABASES)
def shared_store(request, tmp_path_factory):
    """One store for all tests of a module that need worker processes: they take seconds to start."""
    with open_new_store(request.param, tmp_path_factory.mktemp("shared")) as store:
        yield store


@pytest.fixture
def dump():
    def read(store, run_id=None, tables=None):
        """Return every row of the store, or of one run, to the byte."""
        rows = {}
        with store.database.read() as connection:
            for table in tables or METADATA.sorted_tables:
                owner = table.c.get("run_id", table.c.get("id"))
                found = sql.select(table)
                if run_id is not None and owner is not None:
                    found = found.where(owner == run_id)
                rows[table.name] = sorted(map(repr, map(tuple, connection.execute(found))))
        return rows

    return read


@pytest.fixture
def let_time_pass():
    def shift(store, seconds):
        """Let the store believe that so much time has gone by since everything that it noted."""
        columns = (RUNS.c.created, RUNS.c.viewed, RUNS.c.advanced, RUNS.c.lease_until, VIEWS.c.seen)
        with store.database.write() as connection:
            for column in columns:
                connection.execute(sql.update(column.table).values({column.name: column - seconds}))

    return shift


@pytest.fixture
def dead_worker():
    """The name of a process of this machine that is no more."""
    from decoder.runs import leases

    host, pid, _ = leases.worker_name().rsplit("|", 2)
    assert psutil.Process(int(pid)).create_time() > 1
    return f"{host}|{pid}|1.00"  # this process's id, as an earlier process had it
