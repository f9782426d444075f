"""One database for everything: a file through SQLite, or PostgreSQL by its URL when several machines share it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath
from threading import Lock
from typing import Any

import psutil
import sqlalchemy as sql
from platformdirs import user_data_path
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from decoder.runs.tables import FORMAT, METADATA, SCHEMA_VERSION

BUSY_SECONDS = 20.0
NETWORK_FILE_SYSTEMS = {
    "9p", "afs", "afpfs", "beegfs", "ceph", "cephfs", "cifs", "coda", "davfs", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs",
    "lustre",
    "macfuse", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "osxfuse", "panfs", "prl_fs", "pvfs2", "smb", "smb2",
    "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "webdav", "wekafs",
}  # fmt: skip
LOCAL_FUSE = {
    "fuse.bindfs", "fuse.encfs", "fuse.exfat", "fuse.ext2", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.mergerfs",
    "fuse.ntfs", "fuse.ntfs-3g", "fuse.zfs",
}  # fmt: skip
"""Programs that give the files of this very machine; behind any other `fuse.` may be a network."""

PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "10",  # seconds, as the next; a server that is gone says nothing
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": f"{1_000 * BUSY_SECONDS:.0f}",  # milliseconds
    "client_encoding": "utf8",
}
"""How long to wait for PostgreSQL, unless the address says otherwise: half a minute at most, whatever is wrong."""


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
        self._writing = Lock()
        if self._is_file:
            # As many connections as are wanted: those that wait to write must leave one for who only looks.
            self._engine = sql.create_engine(url, max_overflow=-1, connect_args={"timeout": BUSY_SECONDS})
            sql.event.listen(self._engine, "connect", _configure)
        else:
            self._engine = sql.create_engine(_patient(url), pool_pre_ping=True, pool_timeout=BUSY_SECONDS)
        try:
            with self._explained():
                self._open()
        except StoreError:
            self.close()  # nobody else will: this store was never there
            raise

    @property
    def name(self) -> str:
        """Its address as a person may see it, without a password."""
        return str(self.url.database) if self._is_file else shown(self.url)

    @property
    def now(self) -> sql.ColumnElement[float]:
        """Seconds since 1970 by the clock that all who share the database have in common."""
        if self._is_file:  # then they are on one machine
            return sql.literal(time.time())
        return sql.cast(sql.extract("epoch", sql.func.clock_timestamp()), sql.Float)

    def within(self, moment: sql.ColumnElement[float], seconds: float) -> sql.ColumnElement[bool]:
        """Whether a moment was in the last so many seconds; one that lies further ahead is long ago.

        A clock that is set back leaves such moments behind.
        """
        now = self.now
        return moment.between(now - seconds, now + seconds)

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
        with self._explained(), self._turn(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let the threads of this process write to a file one after the other.

        SQLite itself has who waits look again more and more rarely: three hundred at once took eight times as long.
        """
        if not self._is_file:
            yield
            return
        if not self._writing.acquire(timeout=BUSY_SECONDS):
            raise NoConnectionError("database is locked")
        try:
            yield
        finally:
            self._writing.release()

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
        except (DBAPIError, DisconnectionError, NoConnectionError) as error:
            words = str(error.orig if isinstance(error, DBAPIError) else error).strip() or "no answer"
            raise StoreError(f"the store {self.name} {_remedy(words.splitlines()[0])}") from error


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
            f"the store {shown(url)} needs a driver that is not installed ({error}): "
            "pip install 'decoder-explorer[postgresql]', and begin the address with postgresql+psycopg://"
        ) from error
    except ArgumentError as error:
        without_password = text.rpartition("@")[2].partition("?")[0]
        raise StoreError(
            f"{without_password!r} is no address of a store: give one such as sqlite:////data/runs.db"
        ) from error
    if backend != "sqlite" or url.database in (None, "", ":memory:"):
        raise StoreError(
            f"the store {shown(url)} is neither an SQLite file nor a PostgreSQL database: "
            "give an address such as sqlite:////data/runs.db or postgresql+psycopg://user@host/name"
        )
    path = Path(str(url.database)).absolute()  # workers may stand in another folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened ({error.strerror}): {_ELSEWHERE}") from error
    refuse_network(path)
    return url.set(database=str(path))


def shown(url: sql.URL) -> str:
    """Return an address as a person may see it: without a password, which may also stand among its options."""
    return url.difference_update_query(url.query).render_as_string()


def refuse_network(path: Path) -> None:
    """Raise StoreError if the file would lie on a network: SQLite's log needs memory that all its users share."""
    kind = network_of(path.resolve(), psutil.disk_partitions(all=True))
    if kind:
        raise StoreError(
            f"the store {path} lies on a network file system ({kind}), where SQLite can lose data: "
            "let DECODER_STORE name a file on a local disk, or a PostgreSQL database "
            "such as postgresql+psycopg://user@host/name"
        )


def network_of(real: PurePath, mounts: Iterable[Any]) -> str:
    """Return the kind of network file system that a path without links lies on; an empty text if on none.

    Args:
        real: where the file would be.
        mounts: all there are on the machine, as psutil names them, the earlier first.
    """
    if real.drive.startswith("\\\\") and not real.drive.endswith(":"):
        return "a Windows share"
    over = [mount for mount in mounts if real.is_relative_to(mount.mountpoint)]
    if not over:
        return ""
    # The longest mount point holds the file; of two on the same place, the later one hides the earlier.
    mount = max(reversed(over), key=lambda mount: len(mount.mountpoint))
    kind = str(mount.fstype).lower()
    unknown = kind == "fuse" or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)
    mapped = "remote" in mount.opts.split(",")  # so Windows says
    return kind if unknown or mapped or kind in NETWORK_FILE_SYSTEMS else ""


def _patient(url: sql.URL) -> sql.URL:
    """Return the address with all that keeps a server that does not answer from being waited for, for ever."""
    asked = {name: value for name, value in url.query.items() if name != "options"}
    options = f"-cstatement_timeout={1_000 * BUSY_SECONDS:.0f} {url.query.get('options', '')}"
    return url.update_query_dict(PATIENCE | asked | {"options": options.strip()})


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
    if "locked" in known or "statement timeout" in known or "queuepool" in known:
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
