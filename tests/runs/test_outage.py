"""A database that cannot be reached for a while costs nothing but that while, and is said in a line."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sql
from conftest import database_of_its_own
from disturbance import is_alive, until
from undisturbed import assert_undisturbed, tiny

from decoder.runs import worker
from decoder.runs.database import StoreError
from decoder.runs.store import open_store
from decoder.runs.workers import Workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="its processes end otherwise elsewhere")


class Proxy:
    """A way to a server that can be cut, and be whole again: as if the server was stopped and started."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._pairs = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.mend(self._listener)

    def mend(self, listener=None):
        self._listener = listener or socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        for end in (self._listener, *self._pairs):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._pairs = []

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(self._target)
                self._pairs += [here, there]
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def behind_proxy(tmp_path):
    """A store in PostgreSQL, and the proxy that it is reached through."""
    with database_of_its_own("postgresql", tmp_path) as text:
        url = sql.make_url(text)
        proxy = Proxy(url.host, url.port or 5432)
        store = open_store(url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))
        yield store, proxy
        store.close()
        proxy.cut()


@pytest.mark.parametrize("from_the_start", [False, True], ids=["in the middle", "at the start"])
def test_while_the_database_is_gone_workers_wait_and_then_train_to_the_same_bits(
    behind_proxy, capfd, from_the_start
):
    store, proxy = behind_proxy
    config = tiny(steps=300)
    run_id = store.request(config)
    if from_the_start:
        proxy.cut()
    with Workers(store, count=2) as workers:
        if not from_the_start:
            until(lambda: store.run(run_id).step > 5)
            proxy.cut()
        before = {nursery._process.pid for nursery in workers._nurseries}
        time.sleep(6)
        said = capfd.readouterr().err
        assert "cannot be used" in said
        assert "Traceback" not in said
        assert said.count("\n") <= 6, said
        proxy.mend()
        until(lambda: store.run(run_id).state == "finished")
        assert {nursery._process.pid for nursery in workers._nurseries} == before
    assert_undisturbed(store, run_id)


def test_a_worker_that_waits_for_its_database_ends_with_its_server(tmp_path):
    nursery = subprocess.Popen(
        [sys.executable, "-m", "decoder.runs.worker", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DECODER_STORE": f"sqlite:///{tmp_path}"},  # a folder is no database
    )
    assert "cannot be used" in nursery.stderr.readline()
    nursery.stdin.close()
    until(lambda: nursery.poll() is not None or not is_alive(nursery.pid))
    assert nursery.wait() == 0
    assert nursery.stderr.read() == ""
    nursery.stderr.close()


def test_an_outage_is_said_once_and_tried_again_more_and_more_seldom(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr(worker.time, "sleep", waited.append)
    outage = worker.Outage()
    for sentence in (*["the store sings"] * 6, "it is starting up", "the store sings"):
        outage.wait(StoreError(sentence))
    assert capsys.readouterr().err == "the store sings\nit is starting up\n"
    assert waited == sorted(waited)
    assert 0 < waited[0] < waited[-1] == worker.UNUSABLE_SECONDS
    outage.end()
    outage.wait(StoreError("the store sings"))
    assert capsys.readouterr().err == "the store sings\n"
    assert waited[-1] == waited[0]
