"""The same trainings on a Dask cluster, for when one machine is not enough; the store is then PostgreSQL.

The server tells the workers of the cluster when to work: a task is a turn of about a second. What is trained in it
the worker itself chooses, by the rule of `schedule` and at the last moment, as a process of `Workers` does. So nothing
depends on the server, on the scheduler or on any worker: whatever dies, the store's leases make others go on.

Dask runs whatever code it is sent. So everything here speaks over the loopback or over TLS, or not at all.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

import psutil
import sqlalchemy as sql
import torch

from decoder.runs import schedule
from decoder.runs.advance import Advancer
from decoder.runs.database import StoreError
from decoder.runs.store import Store
from decoder.runs.worker import IDLE_SECONDS, NICENESS, UNUSABLE_SECONDS, limit_memory, train_next
from decoder.runs.workers import TIDY_SECONDS, tidy
from decoder.training.presets import preset
from decoder.training.trainer import Trainer

if TYPE_CHECKING:
    from distributed import Client, Security

TURN_SECONDS = 1.0
"""Between two turns a worker waits some 10 ms for the next one: seldom enough, and yet it stops soon when told."""

ANSWER_SECONDS = 10.0
RETRY_SECONDS = 0.2
LEAVE_SECONDS = 5.0
PORT = 8786
TLS_FILES = {
    "DECODER_TLS_CA": "tls_ca_file",
    "DECODER_TLS_CERT": "tls_client_cert",
    "DECODER_TLS_KEY": "tls_client_key",
}
CLOSED = ("tls://", "inproc://")
"""How addresses begin at which nobody else is heard: without a certificate, or from outside the process."""

EXAMPLE = "dask://127.0.0.1:8786"


class Turn(NamedTuple):
    """What came of a worker's turn: whether it found something to train, and why it could not go on, if so."""

    trained: bool
    error: str = ""


class Cluster:
    """`with Cluster(store, "dask://127.0.0.1:8786"):` lets the workers of that cluster train what waits in the store.

    A scheduler that is not there, now or later, is said on standard error, once, and looked for until it is.

    Raises:
        ValueError: if the address is none, or must not be used; if a file or package that it needs is missing.
    """

    def __init__(self, store: Store, address: str) -> None:
        self._store = store
        self._name = address
        self._address, tls_files = contact(address, os.environ)
        if not is_loopback(self._address) and store.database.url.get_backend_name() == "sqlite":
            raise StoreError(
                f"the workers of {address} stand on other machines and cannot open the file {store.database.name}: "
                "let DECODER_STORE name a PostgreSQL database such as postgresql+psycopg://user@host/name"
            )
        self._security = _security(tls_files)
        self._said: dict[str, str] = {}
        self._leaving = threading.Event()
        # A daemon, so that a server that forgets to leave the block still ends.
        self._driver = threading.Thread(target=self._main, name="cluster", daemon=True)

    def __enter__(self) -> Self:
        tidy(self._store)  # what an earlier server left in the middle of a quantum
        self._driver.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._driver.join()

    def _main(self) -> None:
        asyncio.run(self._drive())

    async def _drive(self) -> None:
        # Of what is cancelled in its middle Dask leaves tasks behind, and asyncio would print their tracebacks.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        driving = asyncio.create_task(self._keep_connected())
        while not self._leaving.is_set():
            try:
                await asyncio.to_thread(tidy, self._store)
            except Exception as reason:  # noqa: BLE001  # whatever it is, it must not stop the trainings
                self._tell("tidy", f"the runs cannot be looked after ({reason!r}): it is tried again")
            else:
                self._tell("tidy", "")
            await asyncio.to_thread(self._leaving.wait, TIDY_SECONDS)
        driving.cancel()  # also where it waits for a scheduler that is not there
        await asyncio.wait([driving])

    async def _keep_connected(self) -> None:
        from distributed import Client  # noqa: PLC0415  # an extra

        while not self._leaving.is_set():  # Dask may swallow the cancellation
            client = Client(  # type: ignore[no-untyped-call]
                self._address,
                security=self._security,
                timeout=ANSWER_SECONDS,
                asynchronous=True,
                set_as_default=False,
            )
            try:
                await client
                await self._refuse_open(client)
                await self._employ(client)
            except OSError:  # also when a connection breaks, or no answer comes in time
                with_tls = " with our certificates" if self._security else ""
                self._tell(
                    "scheduler",
                    f"no Dask scheduler answers at {self._name}{with_tls}: start it, and its workers; "
                    "trainings wait until then",
                )
            except Exception as reason:  # noqa: BLE001  # a refusal, or whatever Dask may come up with: it can get well
                self._tell("scheduler", str(reason) or repr(reason))
            finally:
                with suppress(Exception):  # a connection that is gone
                    await client.close()  # type: ignore[no-untyped-call]
            await asyncio.sleep(RETRY_SECONDS)

    async def _refuse_open(self, client: Client) -> None:
        """Raise ValueError if the scheduler takes orders from other machines too, at any of its addresses without TLS."""
        if self._security is not None:
            return

        # Sent as it stands because it is no name of a module: the scheduler need not import this one, and torch with it.
        def addresses(dask_scheduler: Any) -> list[str]:
            return [listener.listen_address for listener in dask_scheduler.listeners]

        asked = client.run_on_scheduler(addresses)  # type: ignore[no-untyped-call]
        for address in await asyncio.wait_for(asked, ANSWER_SECONDS):
            if not address.startswith(CLOSED) and not is_loopback(address):
                raise ValueError(
                    f"the Dask scheduler at {self._name} also answers at {address}, and would run anybody's code: "
                    "start it with --host 127.0.0.1, or use TLS (see README, Beyond one machine)"
                )

    async def _employ(self, client: Client) -> None:
        """Give every worker its turns, until cancelled; raise OSError when the scheduler is lost."""
        turns: dict[str, asyncio.Task[bool]] = {}
        try:
            while not self._leaving.is_set():
                if client.status != "running":
                    raise ConnectionError
                workers = await asyncio.wait_for(client.nthreads(), ANSWER_SECONDS)  # type: ignore[no-untyped-call]
                self._tell("scheduler", "")
                if gone := turns.keys() - workers.keys():
                    for worker in gone:
                        turns.pop(worker).cancel()
                    await asyncio.to_thread(tidy, self._store)  # what they had is free at once
                # A worker's first turn warms it up, and one that has just trained holds a run.
                next_turns = [w for w in workers if w not in turns or (turns[w].done() and turns[w].result())]
                idle = [w for w in workers if w in turns and turns[w].done() and not turns[w].result()]
                if idle:
                    next_turns += idle[: await self._count_free()]
                for worker in next_turns:
                    turns[worker] = asyncio.create_task(self._turn(client, worker))
                await _first_of(turns.values(), IDLE_SECONDS)
        finally:
            if turns:
                await asyncio.wait(turns.values(), timeout=LEAVE_SECONDS)
            for task in turns.values():
                task.cancel()

    async def _turn(self, client: Client, worker: str) -> bool:
        """Let a worker train for a while; return whether it found something to train."""
        from distributed.comm.core import CommClosedError  # noqa: PLC0415  # an extra

        try:
            outcome: Turn = await client.submit(turn, self._store.database.url, workers=[worker], pure=False)
        except (CancelledError, CommClosedError):  # the scheduler is lost, or has lost the worker
            return False
        except Exception as reason:  # noqa: BLE001  # whatever stands in a worker's way must not stop the others
            outcome = Turn(trained=False, error=f"{type(reason).__name__}: {reason}")
        self._tell(worker, outcome.error and f"a worker of {self._name} cannot train: {outcome.error}")
        if outcome.error:
            await asyncio.sleep(UNUSABLE_SECONDS)
        return outcome.trained

    async def _count_free(self) -> int:
        """Return how many runs could be taken now."""
        try:
            runs = await asyncio.to_thread(schedule.candidates, self._store)
        except StoreError as error:
            self._tell("store", str(error))
            return 0
        self._tell("store", "")
        active = schedule.shares(runs)
        return sum(run.free and run.run_id in active for run in runs)

    def _tell(self, who: str, sentence: str) -> None:
        """Say what is wrong, once until it is well again: then the sentence is empty."""
        if not sentence:
            self._said.pop(who, None)
            return
        if sentence not in self._said.values():
            print(sentence, file=sys.stderr, flush=True)  # noqa: T201  # for whoever keeps the server
        self._said[who] = sentence


def contact(text: str, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a scheduler's address as Dask wants it, and the files of its TLS; none: it is spoken to without.

    Raises:
        ValueError: if it is no address, would be spoken to in the open, or lacks a file.
    """
    parts = urlsplit(text)
    try:
        host, port = parts.hostname, parts.port or PORT
    except ValueError:  # a port that is none
        host = None
    if parts.scheme not in {"dask", "dask+tls"} or not host or parts.path.strip("/") or parts.username:
        raise ValueError(
            f"DECODER_ENGINE is {text!r}: leave it out to train on this machine alone, "
            f"or give the address of a Dask scheduler such as {EXAMPLE}"
        )
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.scheme == "dask":
        if not is_loopback(f"tcp://{place}"):
            raise ValueError(
                f"DECODER_ENGINE is {text!r}, on another machine, and Dask runs whatever code comes over the network: "
                f"use TLS (dask+tls://{place}, with {', '.join(TLS_FILES)})"
            )
        return f"tcp://{place}", {}
    files = {}
    for name, meaning in TLS_FILES.items():
        file = environment.get(name, "")
        if not Path(file).is_file():
            raise ValueError(
                f"{text} needs the file that {name} names, and there is none at {file!r}: "
                "let it name a file in PEM format"
            )
        files[meaning] = file
    return f"tls://{place}", files


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine can be at an address such as tcp://127.0.0.1:8786."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# -- in the workers of the cluster


def turn(url: sql.URL, seconds: float = TURN_SECONDS) -> Turn:
    """Train whatever is wanted most, quantum by quantum, for about so long.

    The address comes as a URL and not as text, because Dask's logs show arguments, and a URL hides its password.
    """
    end = time.monotonic() + seconds
    trained = False
    try:
        advancer = _advancer(url, threading.get_ident())
        while time.monotonic() < end and train_next(advancer, next(_quanta)):
            trained = True
    except ValueError as error:  # of the store, or a refusal
        return Turn(trained, str(error))
    return Turn(trained)


_quanta = itertools.count()


@lru_cache(maxsize=8)
def _advancer(url: sql.URL, thread: int) -> Advancer:
    """Return what holds a thread's live trainings of a store between its turns."""
    _prepare(thread)
    return Advancer(Store(url))


@cache
def _prepare(_thread: int) -> None:
    """Make a thread of Dask's a worker like those of `Workers`."""
    _refuse_open_port()
    torch.set_num_threads(1)  # threads of several trainings would fight
    limit_memory()
    if sys.platform == "linux":
        os.nice(NICENESS)  # of this thread only: clicks, and what Dask has to say, come first
    Trainer(preset("ibm")).advance()  # the first update of a process takes a second: not a run's second


def _refuse_open_port() -> None:
    """Raise ValueError if this worker takes orders from other machines too, and not over TLS.

    Without --host a worker of Dask says that its address is 127.0.0.1, and listens everywhere.
    """
    from distributed import get_worker  # noqa: PLC0415  # an extra

    address = get_worker().address
    if address.startswith("tls://"):
        return
    port = urlsplit(address).port
    for socket in psutil.Process().net_connections("tcp"):
        if socket.status != psutil.CONN_LISTEN or socket.laddr.port != port:
            continue
        if not ipaddress.ip_address(socket.laddr.ip).is_loopback:
            raise ValueError(
                f"it is open to other machines (it listens at {socket.laddr.ip}) and would run anybody's code: "
                "start it with --host 127.0.0.1, or use TLS (see README, Beyond one machine)"
            )


# -- inside


async def _first_of(turns: Iterable[asyncio.Task[bool]], seconds: float) -> None:
    """Wait until one of the turns that go on ends, but no longer than so many seconds."""
    if going_on := [turn for turn in turns if not turn.done()]:
        await asyncio.wait(going_on, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(seconds)


def _security(tls_files: dict[str, str]) -> Security | None:
    """Return what Dask needs for TLS.

    Raises:
        ValueError: if Dask is not installed, or the files are not what they should be.
    """
    try:
        from distributed import Security  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ValueError(
            f"DECODER_ENGINE needs a package that is not installed ({error}): "
            "pip install 'decoder-explorer[cluster]', or leave it out to train on this machine alone"
        ) from error
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(
            logging.CRITICAL
        )  # what there is to say `Cluster` says, in a sentence
    if not tls_files:
        return None
    security = Security(require_encryption=True, **tls_files)  # type: ignore[no-untyped-call]
    try:
        security.get_connection_args("client")  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ValueError(
            f"the files that {', '.join(TLS_FILES)} name cannot be used together ({error}): "
            "give the authority, a certificate of it, and that certificate's key, all in PEM format"
        ) from error
    return security
