"""What is wrong with a store is one sentence that says what to do, and nothing that is there is harmed."""

import contextlib
import os
import sqlite3
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import psutil
import pytest
import sqlalchemy as sql
from undisturbed import assert_undisturbed, tiny

from decoder.runs import database
from decoder.runs.advance import Advancer, advance
from decoder.runs.database import LOCAL_FUSE, NETWORK_FILE_SYSTEMS, StoreError, network_of, refuse_network
from decoder.runs.store import open_store
from decoder.runs.tables import FORMAT, METADATA, SCHEMA_VERSION


def is_one_sentence(error):
    text = str(error.value)
    return "\n" not in text and len(text) < 400 and "Traceback" not in text


def finish(store, run_id):
    advancer = Advancer(store)
    while not advancer.advance(run_id, 0.02).done:
        pass


# -- a disk that is full


@contextlib.contextmanager
def full_disk(store):
    """Let SQLite find no room for another page, as on a full disk; what is there can be changed and read."""

    def limit(connection, _record):
        connection.execute("PRAGMA max_page_count=1")  # SQLite takes it to the pages that there are

    engine = store.database._engine
    sql.event.listen(engine, "connect", limit)
    store.close()
    try:
        yield
    finally:
        sql.event.remove(engine, "connect", limit)
        store.close()


@pytest.fixture
def file_store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    yield store
    store.close()


def test_on_a_full_disk_nothing_is_lost_and_the_run_goes_on_once_there_is_room(file_store, dump):
    run_id = file_store.request(tiny(), viewer="ada")
    advancer = Advancer(file_store)
    for _ in range(4):
        advancer.advance(run_id, 0.0)
    before = dump(file_store)
    with full_disk(file_store):
        for _ in range(40):
            try:
                advancer.advance(run_id, 0.02)
            except StoreError as error:
                refused = error
                break
        else:
            pytest.fail("the disk is not full")
        assert str(refused).endswith(
            "has no room left on its disk: free some space; what is recorded is safe, and goes on from there"
        )
        # Reading goes on: the curve so far stays on the screen.
        assert len(file_store.metrics(run_id)) == file_store.run(run_id).step >= 4
        with pytest.raises(StoreError, match="no room left on its disk"):
            for seed in range(1, 200):
                file_store.request(tiny(seed=seed))
    assert dump(file_store)["metrics"][:4] == before["metrics"]
    assert file_store.run(run_id).error is None
    finish(file_store, run_id)
    assert_undisturbed(file_store, run_id)


def test_a_full_disk_gives_the_lease_back_so_that_nobody_waits_for_it(file_store):
    run_id = file_store.request(tiny())
    with full_disk(file_store):
        advancer = Advancer(file_store)
        with pytest.raises(StoreError, match="no room"):
            for _ in range(100):
                advancer.advance(run_id, 0.02)
    with file_store.database.read() as connection:
        row = connection.execute(sql.select(METADATA.tables["runs"])).one()
    assert (row.lease, row.deaths) == (None, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system of its own")
def test_a_full_file_system_is_told_in_the_same_words(tmp_path):
    """Not SQLite's own limit but the operating system's, where this machine lets us mount a small one."""
    mounted = os.system(f"mount -t tmpfs -o size=16m tmpfs {tmp_path} 2>/dev/null")  # noqa: S605  # a path of pytest's
    if mounted:
        pytest.skip("this user may not mount a file system")
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    try:
        run_id = store.request(tiny(), viewer="ada")
        advance(store, run_id, 0.0)
        filler = tmp_path / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(65_536)):
                pass
        with pytest.raises(StoreError, match="has no room left on its disk: free some space"):
            for _ in range(40):
                advance(store, run_id, 0.02)
        filler.unlink()
        finish(store, run_id)
        assert_undisturbed(store, run_id)
    finally:
        store.close()
        os.system(f"umount {tmp_path}")  # noqa: S605  # the same


# -- a disk that cannot be written


@pytest.fixture
def as_somebody_else():
    """What root may write, root may write: so become nobody for a while."""
    if os.name != "posix":
        pytest.skip("permissions are those of POSIX")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)  # nobody has to look inside
        root = os.geteuid() == 0

        @contextlib.contextmanager
        def become():
            if root:
                os.seteuid(65534)
            try:
                yield
            finally:
                if root:
                    os.seteuid(0)

        yield Path(folder), become
        for path in (Path(folder), *Path(folder).iterdir()):
            path.chmod(0o700)


def test_a_store_that_can_only_be_read_is_refused_with_what_to_do(as_somebody_else):
    folder, become = as_somebody_else
    path = folder / "runs.db"
    store = open_store(f"sqlite:///{path}")
    finish(store, store.request(tiny(steps=1)))
    store.close()
    before = path.read_bytes()
    path.chmod(0o444)
    folder.chmod(0o555)
    with become(), pytest.raises(StoreError) as refusal:
        open_store(f"sqlite:///{path}")
    assert str(refusal.value) == (
        f"the store {path} can only be read: make the file and its folder writable, "
        "or let DECODER_STORE name another file"
    )
    assert path.read_bytes() == before


def test_so_is_a_store_in_a_folder_that_cannot_be_written(as_somebody_else):
    folder, become = as_somebody_else
    folder.chmod(0o555)
    with become(), pytest.raises(StoreError, match="or let DECODER_STORE name another file") as refusal:
        open_store(f"sqlite:///{folder}/runs.db")
    assert is_one_sentence(refusal)
    with become(), pytest.raises(StoreError, match=r"cannot be opened \(Permission denied\)") as refusal:
        open_store(f"sqlite:///{folder}/deep/er/runs.db")
    assert is_one_sentence(refusal)


# -- a file system on which SQLite loses data


def mounts(*pairs, opts="rw"):
    return lambda **_: [SimpleNamespace(mountpoint=point, fstype=kind, opts=opts) for point, kind in pairs]


@pytest.mark.parametrize(
    "kind", [*sorted(NETWORK_FILE_SYSTEMS), "NFS4", "CIFS", "fuse", "fuse.sshfs", "fuse.whatever-comes-next"]
)
def test_a_network_file_system_is_refused_and_postgresql_is_named(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(psutil, "disk_partitions", mounts(("/", "ext4"), (str(tmp_path), kind)))
    with pytest.raises(StoreError, match=rf"network file system \({kind.lower()}\).*postgresql\+psycopg://"):
        open_store(f"sqlite:///{tmp_path}/runs.db")
    assert not (tmp_path / "runs.db").exists()


def test_it_is_found_through_links_and_in_folders_below(tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    monkeypatch.setattr(psutil, "disk_partitions", mounts(("/", "ext4"), (str(tmp_path / "far"), "nfs")))
    for place in ("far/deep/runs.db", "near/runs.db"):
        with pytest.raises(StoreError, match="network file system"):
            refuse_network(tmp_path / place)
    refuse_network(tmp_path / "farther.db")  # begins alike, lies elsewhere


@pytest.mark.parametrize(
    ("kinds", "refused"),
    [
        ([("/", "nfs4"), ("{}", "ext4")], False),
        ([("/", "ext4"), ("{}", "nfs4"), ("{}", "tmpfs")], False),
        ([("/", "ext4"), ("{}", "autofs"), ("{}", "nfs4")], True),
        ([], False),
    ],
    ids=["local below network", "hidden by a later one", "an automatic mount", "nothing known"],
)
def test_the_nearest_and_latest_mount_decides(tmp_path, monkeypatch, kinds, refused):
    found = [(point.format(tmp_path), kind) for point, kind in kinds]
    monkeypatch.setattr(psutil, "disk_partitions", mounts(*found))
    with pytest.raises(StoreError, match="network") if refused else contextlib.nullcontext():
        refuse_network(tmp_path / "runs.db")


@pytest.mark.parametrize("kind", ["ext4", "apfs", "ntfs", "overlay", "fuseblk", *sorted(LOCAL_FUSE)])
def test_a_local_file_system_is_none_whatever_program_gives_it(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(psutil, "disk_partitions", mounts(("/", "nfs4"), (str(tmp_path), kind)))
    refuse_network(tmp_path / "runs.db")


def test_on_windows_a_share_is_a_network_under_its_name_and_as_a_drive():
    local = mounts(("C:\\", "NTFS"), opts="rw,fixed")() + mounts(("H:\\", "NTFS"), opts="rw,remote")()
    kinds = {
        r"C:\Users\ada\runs.db": "",
        r"\\?\C:\Users\ada\runs.db": "",
        r"H:\runs.db": "ntfs",
        r"\\server\share\runs.db": "a Windows share",
        r"\\?\UNC\server\share\runs.db": "a Windows share",
    }
    assert {path: network_of(PureWindowsPath(path), local) for path in kinds} == kinds


# -- a store that is busy


def test_while_another_program_holds_the_file_all_wait_to_write_and_nobody_to_read(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 1.0)
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    run_id = store.request(tiny(), viewer="ada")
    with ThreadPoolExecutor(20) as pool, contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = [pool.submit(store.watch, run_id, f"viewer {number}") for number in range(20)]
        time.sleep(0.2)
        began = time.perf_counter()
        assert store.run(run_id).state == "waiting"
        assert time.perf_counter() - began < 0.5
        assert not any(writer.done() for writer in writing)
        sentences = {str(writer.exception()) for writer in writing}
    assert sentences == {
        f"the store {tmp_path}/runs.db has been busy for 1 seconds: try again, or see which program holds it"
    }
    store.close()


def test_a_row_that_somebody_locks_in_postgresql_is_waited_for_so_long_and_no_longer(postgresql, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    store = open_store(postgresql)
    holder = open_store(postgresql)
    run_id = store.request(tiny(seed=99))
    with holder.database.write() as connection:
        connection.execute(sql.update(METADATA.tables["runs"]).values(pinned=True))
        with pytest.raises(StoreError, match="has been busy for 0 seconds: try again"):
            store.pin(run_id)
    store.close()
    holder.close()


def test_a_postgresql_that_is_gone_without_a_word_is_noticed_within_half_a_minute(postgresql):
    """The network's own patience is two hours; what an address says of it comes first."""
    store = open_store(
        sql.make_url(postgresql)
        .update_query_dict({"keepalives_count": "2"})
        .render_as_string(hide_password=False)
    )
    with store.database.read() as connection:
        asked = connection.connection.dbapi_connection.info.get_parameters()
        assert connection.scalar(sql.text("SHOW statement_timeout")) == "20s"
        assert connection.scalar(sql.text("SHOW search_path")).startswith("test_"), (
            "the address's own options"
        )
    store.close()
    assert int(asked["tcp_user_timeout"]) <= 30_000
    quiet = int(asked["keepalives_idle"]) + int(asked["keepalives_interval"]) * int(asked["keepalives_count"])
    assert quiet == 10 + 5 * 2
    assert int(asked["connect_timeout"]) == 10


def test_when_every_connection_is_in_use_that_is_one_sentence(store, monkeypatch):
    def refuse(*_arguments, **_words):
        raise sql.exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached, connection timed out")

    monkeypatch.setattr(store.database._engine, "connect", refuse)
    with pytest.raises(StoreError, match="has been busy for 20 seconds: try again") as refusal:
        store.run(store.request(tiny()))
    assert is_one_sentence(refusal)


def test_a_moment_ahead_of_the_clock_is_long_ago(store):
    """The clock was set back since: what was noted then must not hold for hours."""
    with store.database.read() as connection:
        ages = {
            age: connection.scalar(sql.select(store.database.within(store.database.now - age, 60)))
            for age in (-3_600, -1, 1, 59, 61)
        }
    assert {age: bool(recent) for age, recent in ages.items()} == {
        -3_600: False, -1: True, 1: True, 59: True, 61: False,
    }  # fmt: skip


# -- what is no store of ours


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_store_of_another_format_is_refused_with_a_remedy_and_left_as_it_is(store, dump, version):
    store.request(tiny())
    with store.database.write() as connection:
        connection.execute(sql.update(FORMAT).values(version=version))
    before = dump(store)
    with pytest.raises(
        StoreError, match=f"format {version} .* format {SCHEMA_VERSION}: move it away"
    ) as refusal:
        open_store(store.url)
    assert is_one_sentence(refusal)
    assert dump(store) == before


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_the_file_of_another_format_stays_the_same_to_the_byte(tmp_path, version):
    path = tmp_path / "runs.db"
    open_store(f"sqlite:///{path}").close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE format SET version = ?", (version,))
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"format {version}"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_the_first_formats_file_has_no_number_and_is_refused_as_well(tmp_path):
    path = tmp_path / "runs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("PRAGMA user_version=1")
        connection.execute("CREATE TABLE runs (id TEXT PRIMARY KEY, config TEXT)")
        connection.execute("INSERT INTO runs VALUES ('an old training', '{}')")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"format 1 and this program writes format {SCHEMA_VERSION}"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"a diary, not a database" * 100, b"SQLite format 3\0" + bytes(4_000), bytes(8_192)]
)
def test_a_file_that_is_no_database_is_refused_with_a_remedy_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "runs.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="let DECODER_STORE name another file") as refusal:
        open_store(f"sqlite:///{path}")
    assert is_one_sentence(refusal)
    assert path.read_bytes() == content


def test_a_folder_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="let DECODER_STORE name another file") as refusal:
        open_store(f"sqlite:///{tmp_path}")
    assert is_one_sentence(refusal)


def test_a_store_that_is_damaged_later_is_one_sentence(tmp_path):
    path = tmp_path / "runs.db"
    store = open_store(f"sqlite:///{path}")
    finish(store, store.request(tiny(steps=5)))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)  # all but the first page
    path.write_bytes(content)
    with pytest.raises(StoreError) as refusal:
        open_store(f"sqlite:///{path}").request(tiny(seed=1))
    assert is_one_sentence(refusal)
    assert "is damaged or no store at all" in str(refusal.value)


# -- addresses


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret@host/runs",
        "nosql://user:secret@host/runs",
        "postgresql:/user:secret@host/runs",
        "sqlite://",
        "sqlite:///:memory:",
        "runs",
        "sqlite:///",
        "://",
        "file:runs",
    ],
)
def test_what_is_no_address_of_a_store_is_refused_with_an_example(url):
    with pytest.raises(StoreError, match=r"sqlite:////data/runs\.db|driver that is not installed") as refusal:
        open_store(url)
    assert is_one_sentence(refusal)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://user:secret@127.0.0.1:1/runs",
        "postgresql+psycopg://user:secret@nowhere.invalid/runs",
        "postgresql+psycopg://user:secret@/runs?host=%2Fno%2Fsuch%2Ffolder",
    ],
)
def test_a_postgresql_that_does_not_answer_is_one_sentence_without_the_password(url):
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match=r"^the store postgresql\+psycopg://user:\*\*\*@") as refusal:
        open_store(url)
    assert is_one_sentence(refusal)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://127.0.0.1:1/runs?user=ada&password=secret",
        "mysql://host/runs?password=secret",
        "postgresql+nosuchdriver://host/runs?password=secret",
        "no address?password=secret",
    ],
)
def test_a_password_among_the_options_of_an_address_is_not_said_either(url):
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as refusal:
        open_store(url)
    assert is_one_sentence(refusal)
    assert "secret" not in str(refusal.value)


def test_a_driver_that_is_not_installed_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'decoder-explorer\[postgresql\]'") as refusal:
        open_store("postgresql+psycopg://user:secret@host/runs")
    assert "secret" not in str(refusal.value)
    with pytest.raises(StoreError, match=r"begin the address with postgresql\+psycopg://"):
        open_store("postgresql+nosuchdriver://user:secret@host/runs")


def test_a_store_that_goes_away_while_it_is_used_is_one_sentence_without_the_password(store, monkeypatch):
    """The database's own words may hold anything: only its first line is shown, and the address is ours."""
    run_id = store.request(tiny())

    def break_off(*_arguments, **_words):
        raise sql.exc.OperationalError(
            "SELECT 1", {}, Exception("server closed the connection\nDETAIL: all of it")
        )

    monkeypatch.setattr(store.database._engine, "connect", break_off)
    with pytest.raises(StoreError, match=r"cannot be used \(server closed the connection\)") as refusal:
        store.metrics(run_id)
    assert is_one_sentence(refusal)
    password = store.database.url.password
    assert not password or f":{password}@" not in str(refusal.value)


def test_without_a_url_the_environment_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("DECODER_STORE", f"sqlite:///{tmp_path}/deep/er/runs.db")
    open_store().close()
    assert (tmp_path / "deep/er/runs.db").exists()


def test_without_an_environment_it_is_a_file_of_this_format_in_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("DECODER_STORE")
    monkeypatch.setattr(database, "user_data_path", lambda name: tmp_path / name)
    open_store().close()
    assert (tmp_path / "decoder-explorer" / f"runs-{SCHEMA_VERSION}.db").exists()


def test_a_relative_address_is_the_same_file_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///runs.db")
    assert store.url == f"sqlite:///{tmp_path}/runs.db"
    store.close()


# -- many at once


def test_many_may_open_a_new_store_at_once(store):
    with store.database.write() as connection:
        METADATA.drop_all(connection)
    for _ in range(3):
        barrier = threading.Barrier(6)

        def open_together(barrier=barrier):
            barrier.wait()
            open_store(store.url).close()

        with ThreadPoolExecutor(6) as pool:
            for opened in [pool.submit(open_together) for _ in range(6)]:
                opened.result()
        with store.database.write() as connection:
            assert connection.scalars(sql.select(FORMAT.c.version)).all() == [SCHEMA_VERSION]
            METADATA.drop_all(connection)


def test_many_may_open_a_new_file_at_once(tmp_path):
    for attempt in range(5):
        url = f"sqlite:///{tmp_path}/new{attempt}.db"
        barrier = threading.Barrier(6)

        def open_together(url=url, barrier=barrier):
            barrier.wait()
            open_store(url).close()

        with ThreadPoolExecutor(6) as pool:
            for opened in [pool.submit(open_together) for _ in range(6)]:
                opened.result()
