"""The same runs on a Dask cluster: trained to the same bits whatever dies, and never over an open network."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time

import distributed
import pytest
import sqlalchemy as sql
from local_cluster import LocalCluster

from decoder.runs import cluster
from decoder.runs.cluster import Cluster, contact, is_loopback
from decoder.runs.database import StoreError
from decoder.runs.engine import engine
from decoder.runs.store import open_store
from decoder.runs.tables import RUNS
from decoder.runs.workers import Workers

PATIENCE = 120.0
UNREACHABLE = "dask://127.0.0.1:9"


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def all_finished(store, ids):
    runs = [store.run(run_id) for run_id in ids]
    assert not [run.error for run in runs if run.error]
    return all(run.state == "finished" for run in runs)


def leased(store):
    with store.database.read() as connection:
        return connection.scalars(sql.select(RUNS.c.id).where(RUNS.c.lease.is_not(None))).all()


class Said:
    """What the server's process has said on standard error until now."""

    def __init__(self, capfd):
        self._capfd = capfd
        self._text = ""

    def __contains__(self, text):
        return text in self.text

    @property
    def text(self):
        self._text += self._capfd.readouterr().err
        return self._text


@pytest.fixture
def said(capfd):
    return Said(capfd)


@pytest.fixture
def file_store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    yield store
    store.close()


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory):
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as local:
        yield local


# ---- which engine, and at which address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dask://127.0.0.1:8786", "tcp://127.0.0.1:8786"),
        ("dask://127.1.2.3:1", "tcp://127.1.2.3:1"),
        ("dask://localhost", "tcp://localhost:8786"),
        ("dask://[::1]:9000/", "tcp://[::1]:9000"),
    ],
)
def test_a_scheduler_on_this_machine_is_spoken_to_in_the_open(text, expected):
    assert contact(text, {}) == (expected, {})


@pytest.mark.parametrize(
    "host",
    ["192.168.1.5", "0.0.0.0", "[::]", "[fe80::1]", "10.0.0.1", "cluster.example", "127.0.0.1.evil.example"],  # noqa: S104
)
def test_a_scheduler_on_another_machine_is_refused_without_tls(host):
    assert not is_loopback(f"tcp://{host}:8786")
    with pytest.raises(
        ValueError, match=r"whatever code .* use TLS \(dask\+tls://.*:8786, with DECODER_TLS_CA"
    ):
        contact(f"dask://{host}", {})


@pytest.fixture
def pem(tmp_path):
    files = {name: tmp_path / f"{name}.pem" for name in cluster.TLS_FILES}
    for file in files.values():
        file.touch()
    return {name: str(file) for name, file in files.items()}


def test_with_tls_a_scheduler_may_be_anywhere(pem):
    address, files = contact("dask+tls://cluster.example", pem)
    assert address == "tls://cluster.example:8786"
    assert files == {meaning: pem[name] for name, meaning in cluster.TLS_FILES.items()}


@pytest.mark.parametrize("missing", cluster.TLS_FILES)
def test_a_missing_certificate_is_named(pem, missing):
    with pytest.raises(ValueError, match=f"the file that {missing} names, and there is none at ''"):
        contact("dask+tls://127.0.0.1", {name: file for name, file in pem.items() if name != missing})
    with pytest.raises(ValueError, match=f"{missing} names, and there is none at '/no/such.pem'"):
        contact("dask+tls://127.0.0.1", pem | {missing: "/no/such.pem"})


def test_without_a_wish_this_machine_trains(file_store, monkeypatch):
    for wish in (None, ""):
        monkeypatch.delenv("DECODER_ENGINE", raising=False)
        if wish is not None:
            monkeypatch.setenv("DECODER_ENGINE", wish)
        assert isinstance(engine(file_store), Workers)


def test_with_an_address_a_cluster_trains(file_store, monkeypatch):
    monkeypatch.setenv("DECODER_ENGINE", UNREACHABLE)
    assert isinstance(engine(file_store), Cluster)


@pytest.mark.parametrize(
    "wish",
    ["dask", "ray://127.0.0.1:1", "127.0.0.1:8786", "tcp://127.0.0.1", "dask://", "dask://127.0.0.1:x",
     "dask://127.0.0.1:99999", "dask://user@127.0.0.1", "dask://127.0.0.1/path"],
)  # fmt: skip
def test_an_unknown_wish_is_answered_with_an_example(file_store, monkeypatch, wish):
    monkeypatch.setenv("DECODER_ENGINE", wish)
    with pytest.raises(
        ValueError, match=f"DECODER_ENGINE is '{wish}': leave it out .* such as {cluster.EXAMPLE}"
    ):
        engine(file_store)


def test_without_dask_the_line_that_installs_it_is_said(file_store, monkeypatch):
    monkeypatch.setenv("DECODER_ENGINE", UNREACHABLE)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install 'decoder-explorer\[cluster\]'"):
        engine(file_store)


def test_files_that_are_no_certificates_are_refused_at_once(file_store, monkeypatch, pem):
    for name, file in pem.items():
        monkeypatch.setenv(name, file)
    with pytest.raises(ValueError, match=r"cannot be used together .* in PEM format"):
        Cluster(file_store, "dask+tls://127.0.0.1")


def test_workers_of_other_machines_get_no_file_of_this_one(file_store, monkeypatch, pem):
    for name, file in pem.items():
        monkeypatch.setenv(name, file)
    with pytest.raises(StoreError, match=r"cannot open the file .*: let DECODER_STORE name a PostgreSQL"):
        Cluster(file_store, "dask+tls://cluster.example")


# ---- a cluster that trains


def test_a_killed_worker_costs_nothing(store, dask_cluster, tiny, assert_undisturbed, said):
    ids = [store.request(tiny(seed=seed, steps=300)) for seed in range(3)]
    with Cluster(store, dask_cluster.address):
        until(lambda: all(store.run(run_id).step > 1 for run_id in ids))
        killed = dask_cluster.pids[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: all_finished(store, ids))
        assert killed not in dask_cluster.pids  # and there are two again
    for run_id in ids:
        assert_undisturbed(store, run_id)
    assert said.text == ""


def test_leaving_lets_runs_wait_and_workers_live(file_store, dask_cluster, tiny):
    run_id = file_store.request(tiny(steps=5_000))
    pids = dask_cluster.pids
    with Cluster(file_store, dask_cluster.address):
        until(lambda: file_store.run(run_id).step > 1)
    until(lambda: not leased(file_store))  # who leaves does not wait for ever for a turn that goes on
    step = file_store.run(run_id).step
    assert 1 < step < 5_000
    time.sleep(0.5)
    assert file_store.run(run_id).step == step
    assert dask_cluster.pids == pids


def test_a_lost_scheduler_is_one_sentence_and_the_runs_go_on_with_the_next_one(
    file_store, dask_cluster, tiny, assert_undisturbed, said
):
    run_id = file_store.request(tiny(steps=1_000))
    with Cluster(file_store, dask_cluster.address):
        until(lambda: file_store.run(run_id).step > 1)
        dask_cluster.stop("scheduler")
        dask_cluster.stop("worker")
        assert file_store.run(run_id).step < 1_000
        until(lambda: "trainings wait" in said)
        dask_cluster.start("scheduler")
        dask_cluster.start("worker")
        until(lambda: all_finished(file_store, [run_id]))
    assert said.text == (
        f"no Dask scheduler answers at {dask_cluster.address}: start it, and its workers; trainings wait until then\n"
    )
    assert_undisturbed(file_store, run_id)


# ---- never over an open network


def test_a_worker_that_listens_to_other_machines_trains_nothing(file_store, tmp_path, tiny, said):
    run_id = file_store.request(tiny())
    with LocalCluster(tmp_path, count=1, host=()) as local, Cluster(file_store, local.address):
        until(lambda: "would run anybody's code: start it with --host 127.0.0.1, or use TLS" in said)
    assert said.text.count("\n") == 1
    assert file_store.run(run_id).state == "waiting"


EVERYWHERE = "0.0.0.0"  # noqa: S104  # what must not be


@pytest.mark.parametrize("hosts", [[EVERYWHERE], ["127.0.0.1", EVERYWHERE]])
def test_a_scheduler_that_listens_to_other_machines_gets_nothing_to_do(file_store, hosts):
    """At whichever of its addresses: it says only the first to who asks."""
    with pytest.raises(
        ValueError, match=r"also answers at tcp://0\.0\.0\.0:\d+, .* --host 127.0.0.1, or use TLS"
    ):
        asyncio.run(refuse_open(file_store, hosts))


def test_a_scheduler_that_listens_to_this_machine_only_is_not_refused(file_store):
    asyncio.run(refuse_open(file_store, ["127.0.0.1", "localhost"]))


async def refuse_open(file_store, hosts):
    ways = {"host": hosts, "protocol": "tcp", "port": 0, "dashboard": False}
    async with (
        distributed.Scheduler(**ways) as scheduler,
        distributed.Client(f"tcp://127.0.0.1:{scheduler.port}", asynchronous=True) as client,
    ):
        await Cluster(file_store, UNREACHABLE)._refuse_open(client)


def test_whatever_goes_wrong_in_tidying_it_is_said_once_and_tidied_again(file_store, monkeypatch, capfd):
    said, calls = Said(capfd), []

    def fail_twice(_store):
        calls.append(len(calls))
        if calls[-1] in {1, 2}:  # the first is in the server's own thread
            raise MemoryError

    monkeypatch.setattr(cluster, "tidy", fail_twice)
    monkeypatch.setattr(cluster, "TIDY_SECONDS", 0.02)
    with Cluster(file_store, UNREACHABLE):
        until(lambda: len(calls) > 4)
    assert said.text.count("the runs cannot be looked after (MemoryError()): it is tried again") == 1


@pytest.fixture
def make_certificate(tmp_path):
    """Make a certificate that is its own authority; return the paths of it and of its key."""
    program = shutil.which("openssl")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no openssl: apt-get install openssl")

    def make(name):
        certificate, key = (str(tmp_path / f"{name}.{kind}") for kind in ("pem", "key"))
        request = (
            f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {key} -out {certificate}"
        )
        subprocess.run([program, *request.split()], check=True, capture_output=True)
        return certificate, key

    return make


def test_over_tls_only_those_with_a_certificate_of_the_same_authority_are_heard(
    file_store, tmp_path, tiny, monkeypatch, make_certificate, said
):
    certificate, key = make_certificate("ours")
    foreign, foreign_key = make_certificate("theirs")
    tls = ("--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key)
    run_id = file_store.request(tiny())
    monkeypatch.setenv("DECODER_TLS_CA", certificate)
    with LocalCluster(tmp_path, count=1, host=(), tls=tls) as local:
        monkeypatch.setenv("DECODER_TLS_CERT", foreign)
        monkeypatch.setenv("DECODER_TLS_KEY", foreign_key)
        with monkeypatch.context() as impatient, Cluster(file_store, local.address):
            impatient.setattr(cluster, "ANSWER_SECONDS", 1.0)
            until(lambda: "no Dask scheduler answers" in said)
        assert file_store.run(run_id).state == "waiting"
        monkeypatch.setenv("DECODER_TLS_CERT", certificate)
        monkeypatch.setenv("DECODER_TLS_KEY", key)
        with Cluster(file_store, local.address):
            until(lambda: all_finished(file_store, [run_id]))
