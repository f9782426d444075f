"""What a class costs one server: many browsers' worth of live pages on one training, over real websockets.

Run with: .venv/bin/python tests/benchmarks/viewers.py [--viewers 30 100 300] [--seconds 10]

A viewer here is what a browser is to the server: a websocket that opens the start page and has its live parts drawn
again whenever the page asks for it, twice a second. Drawing in the browser is left out: that is the viewer's machine.
A redraw is late when it ends after the next one was due.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

sys.path.append(str(Path(__file__).parents[1] / "browser"))
sys.path.append(str(Path(__file__).parents[1]))

from conftest import Server, until  # of the browser tests

from decoder.runs import Store, open_store
from decoder.training.presets import preset
from pages.ui.session import FIRST_CORPUS

CONFIG = replace(preset("story"), steps=1_000)  # it does not end while they look


@dataclass
class Viewer:
    """One websocket, and how long its redraws took (seconds, from asking until the server's script has ended)."""

    url: str
    run_id: str
    redraws: list[float] = field(default_factory=list)
    late: int = 0
    opened: float = 0.0

    async def look(self, until: float) -> None:
        """Open the page, and redraw what it asks to be redrawn until then (seconds of the event loop's clock)."""
        clock = asyncio.get_running_loop().time
        address = self.url.replace("http", "ws") + "/_stcore/stream"
        async with connect(address, subprotocols=["streamlit"], origin=self.url, max_size=None) as socket:
            began = clock()
            await socket.send(self._ask())
            parts: dict[str, float] = {}
            await self._answer(socket, parts)
            self.opened = clock() - began
            due = {part: clock() + interval for part, interval in parts.items()}
            while due and (now := clock()) < until:
                part, when = min(due.items(), key=lambda item: item[1])
                await asyncio.sleep(max(0.0, when - now))
                began = clock()
                await socket.send(self._ask(part))
                await self._answer(socket, parts)
                self.redraws.append(clock() - began)
                self.late += clock() > when + parts[part]
                due[part] = max(when + parts[part], clock())

    def _ask(self, part: str = "") -> bytes:
        message = BackMsg()
        message.rerun_script.query_string = f"run={self.run_id}"
        if part:
            message.rerun_script.fragment_id = part
            message.rerun_script.is_auto_rerun = True
        return message.SerializeToString()

    async def _answer(self, socket: object, parts: dict[str, float]) -> None:
        """Read until the script has ended; note what is to be redrawn, and how often."""
        async for data in socket:  # type: ignore[attr-defined]
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if kind == "auto_rerun":
                parts[message.auto_rerun.fragment_id] = message.auto_rerun.interval
            elif kind == "script_finished":
                return


async def look_all(url: str, run_id: str, count: int, seconds: float) -> list[Viewer]:
    """Let so many viewers come within two seconds and look for a while."""
    until = asyncio.get_running_loop().time() + 2 + seconds
    viewers = [Viewer(url, run_id) for _ in range(count)]

    async def come(number: int, viewer: Viewer) -> None:
        await asyncio.sleep(2 * number / count)
        await viewer.look(until)

    await asyncio.gather(*(come(number, viewer) for number, viewer in enumerate(viewers)))
    return viewers


def measure(server: Server, store: Store, count: int, seconds: float, steps_per_second: float) -> float:
    """Print what so many viewers cost, and return how fast the training went."""
    process = psutil.Process(server.process.pid)
    run_id = store.request(replace(CONFIG, seed=9_000 + count))
    until(lambda: store.run(run_id).step > 0, "the training")
    busy, step, began = sum(process.cpu_times()[:2]), store.run(run_id).step, time.perf_counter()
    viewers = asyncio.run(look_all(server.url, run_id, count, seconds)) if count else []
    if not count:
        time.sleep(seconds)
    took = time.perf_counter() - began
    share = (sum(process.cpu_times()[:2]) - busy) / took
    speed = (store.run(run_id).step - step) / took
    redraws = sorted(redraw for viewer in viewers for redraw in viewer.redraws)
    if redraws:
        late = sum(viewer.late for viewer in viewers) / len(redraws)
        print(
            f"{count} viewers | redraw: median {1e3 * statistics.median(redraws):.0f} ms, "
            f"p95 {1e3 * redraws[int(0.95 * (len(redraws) - 1))]:.0f} ms, late {late:.0%} of {len(redraws)} | "
            f"first page: median {1e3 * statistics.median(viewer.opened for viewer in viewers):.0f} ms | "
            f"server: {share:.0%} of a core, {process.memory_info().rss / 2**20:.0f} MB | "
            f"training: {speed / steps_per_second:.0%} of its speed without viewers",
            flush=True,
        )
    until(lambda: store.run(run_id).state == "finished", "its end")  # the next has the workers for itself
    return speed


def main() -> None:
    """Measure and print one line per number of viewers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 30, 100, 300])
    parser.add_argument("--seconds", type=float, default=10.0, help="that they look")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server.start(Path(folder))
        store = open_store(server.store_url)
        try:
            first = store.request(preset(FIRST_CORPUS))
            until(lambda: store.run(first).state == "finished", "the server's own training")
            alone = measure(server, store, 0, arguments.seconds, 1.0)
            for count in arguments.viewers:
                measure(server, store, count, arguments.seconds, alone)
        finally:
            store.close()
            server.stop()


if __name__ == "__main__":
    main()
