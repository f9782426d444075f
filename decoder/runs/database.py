"""One database for everything: a file through SQLite, or PostgreSQL by its URL when several machines share it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sql
from platformdirs import user_data_path
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from decoder.runs.tables import FORMAT, METADATA, SCHEMA_VERSION

BUSY_SECONDS = 20.0
NETWORK_FILE_SYSTEMS = {
    "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "fuse.cephfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
    "fuse.sshfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "panfs", "smb",
    "smb2", "smb3", "smbfs", "webdav",
}  # fmt: skip


class StoreError(ValueError):
    """The store cannot be used as it is now: the message says why, and what to do."""


class Database:
    """Connections to one database; whatever goes wrong with it is a `StoreError` of one sentence.

    Raises:
        StoreError: if it cannot be opened, or belongs to another version of this program.
    """

    def __init__(self, url: sql.URL) -> None:
        self.url = url
        self._is_file = url.get_backend_name() == "sqlite"
        if self._is_file:
            self._engine = sql.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
            sql.event.listen(self._engine, "connect", _configure)
        else:
            self._engine = sql.create_engine(
                url, pool_pre_ping=True, connect_args={"connect_timeout": 10, "client_encoding": "utf8"}
            )
        try:
            with self._explained():
                self._open()
        except StoreError:
            self.close()  # nobody else will: this store was never there
            raise

    @property
    def name(self) -> str:
        """Its address as a person may see it, without a password."""
        return str(self.url.database) if self._is_file else self.url.render_as_string()

    @property
    def now(self) -> sql.ColumnElement[float]:
        """Seconds since 1970 by the clock that all who share the database have in common."""
        if self._is_file:  # then they are on one machine
            return sql.literal(time.time())
        return sql.cast(sql.extract("epoch", sql.func.clock_timestamp()), sql.Float)

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sql.Connection]:
        """Give a connection for looking; what is read in it belongs to one moment per statement."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sql.Connection]:
        """Give a connection whose changes become true together at the end, or not at all."""
        with self._explained(), self._engine.begin() as connection:
            yield connection

    def upsert(self, connection: sql.Connection, table: sql.Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows; one that is there already, by its primary key, is replaced."""
        if rows:
            connection.execute(_upsert((sqlite if self._is_file else postgresql).insert, table), rows)

    def insert_new(self, connection: sql.Connection, table: sql.Table, row: dict[str, Any]) -> bool:
        """Insert a row and return True; False if it is there already, and then it stays as it is."""
        insert = (sqlite if self._is_file else postgresql).insert(table).values(row)
        counted = {"preserve_rowcount": True}  # without it PostgreSQL's count of inserted rows is thrown away
        done = connection.execute(insert.on_conflict_do_nothing(), execution_options=counted)
        return done.rowcount > 0

    def _open(self) -> None:
        """Make the tables in a new database; refuse one of another version."""
        with self._engine.connect() as connection:
            # A second process that opens the same new database waits here until the tables stand.
            if self._is_file:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(728353)")
            tables = set(sql.inspect(connection).get_table_names())
            if not tables & set(METADATA.tables):
                METADATA.create_all(connection)
                connection.execute(sql.insert(FORMAT), {"version": SCHEMA_VERSION})
                tables.add(FORMAT.name)
            version = connection.scalar(sql.select(FORMAT.c.version)) if FORMAT.name in tables else 1
            connection.commit()
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.name} has format {version} and this program writes format {SCHEMA_VERSION}: "
                "move it away, or let DECODER_STORE name another one"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
            raise StoreError(f"the store {self.name} {_remedy(reason)}") from error


def locate(text: str | None) -> sql.URL:
    """Return the database's URL: the given one, else that of DECODER_STORE, else a file in the user's data folder.

    Raises:
        StoreError: if it is no SQLite file and no PostgreSQL database, or a file that SQLite cannot keep safe.
    """
    # A new format gets a new file, so that nobody's older trainings stand in the way of a newer program.
    default = user_data_path("decoder-explorer") / f"runs-{SCHEMA_VERSION}.db"
    text = text or os.environ.get("DECODER_STORE") or f"sqlite:///{default}"
    try:
        url = sql.make_url(text)
        backend = url.get_backend_name()
        if backend == "postgresql":
            url.get_dialect().import_dbapi()
            return url
    except (ImportError, NoSuchModuleError) as error:  # the latter is an ArgumentError, too
        raise StoreError(
            f"the store {url.render_as_string()} needs a driver that is not installed ({error}): "
            "pip install 'decoder-explorer[postgresql]', and begin the address with postgresql+psycopg://"
        ) from error
    except ArgumentError as error:
        shown = text.rpartition("@")[2]  # never a password
        raise StoreError(
            f"{shown!r} is no address of a store: give one such as sqlite:////data/runs.db"
        ) from error
    if backend != "sqlite" or url.database in (None, "", ":memory:"):
        raise StoreError(
            f"the store {url.render_as_string()} is neither an SQLite file nor a PostgreSQL database: "
            "give an address such as sqlite:////data/runs.db or postgresql+psycopg://user@host/name"
        )
    path = Path(str(url.database)).absolute()  # workers may stand in another folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened ({error.strerror}): {_ELSEWHERE}") from error
    refuse_network(path)
    return url.set(database=str(path))


def refuse_network(path: Path) -> None:
    """Raise StoreError if the file would lie on a network: SQLite's log needs memory that all its users share."""
    real = path.resolve()
    mounts = [mount for mount in psutil.disk_partitions(all=True) if real.is_relative_to(mount.mountpoint)]
    if not mounts:
        return
    # The longest mount point holds the file; of two on the same place, the later one hides the earlier.
    kind = max(reversed(mounts), key=lambda mount: len(mount.mountpoint)).fstype.lower()
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreError(
            f"the store {path} lies on a network file system ({kind}), where SQLite can lose data: "
            "let DECODER_STORE name a file on a local disk, or a PostgreSQL database "
            "such as postgresql+psycopg://user@host/name"
        )


@cache  # every quantum needs a few, and to put one together takes longer than to carry it out
def _upsert(insert_into: Callable[[sql.Table], Any], table: sql.Table) -> sql.Executable:
    insert = insert_into(table)
    keys = [column.name for column in table.primary_key]
    others = {
        column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys
    }
    statement: sql.Executable = insert.on_conflict_do_update(index_elements=keys, set_=others)
    return statement


_ELSEWHERE = "let DECODER_STORE name another file"


def _remedy(reason: str) -> str:
    known = reason.lower()
    if "full" in known or "no space" in known:
        return (
            "has no room left on its disk: free some space; what is recorded is safe, and goes on from there"
        )
    if "readonly" in known or "read-only" in known:
        return f"can only be read: make the file and its folder writable, or {_ELSEWHERE}"
    if "locked" in known:
        return f"has been busy for {BUSY_SECONDS:.0f} seconds: try again, or see which program holds it"
    if "malformed" in known or "not a database" in known:
        return f"is damaged or no store at all ({reason}): move it away, or {_ELSEWHERE}"
    return f"cannot be used ({reason}): look after it, or {_ELSEWHERE}"


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    """Set up a new connection: readers never wait for writers, and a power cut costs the last moments only."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # A new file becomes WAL once; who loses that race is not made to wait.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
