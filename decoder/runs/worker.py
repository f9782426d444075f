"""The process that trains: `python -m decoder.runs.worker`, started by `Workers` with the store in DECODER_STORE.

It may be killed at any moment, because a quantum is committed whole or not at all. It leaves by itself when its
standard input closes, that is, when the process that started it is gone.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

import torch

from decoder.runs.advance import HELD_RUNS, Advancer
from decoder.runs.store import Store, open_store

NICENESS = 10
IDLE_SECONDS = 0.05
BUSY_CLAIM_SECONDS = 0.1  # several looks of an idle worker


def main() -> None:
    """Train whatever waits in the store, until killed."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)  # clicks in the web process come first
    torch.set_num_threads(1)  # threads of several trainings would fight
    torch.optim.AdamW(
        [torch.nn.Parameter(torch.zeros(1))]
    )  # the first one takes a second: not a run's second
    work(open_store())


def work(store: Store) -> None:
    """Take turns between the runs this worker has claimed, for ever; a run just claimed comes first.

    A busy worker claims only what idle ones have left lying.
    """
    advancer = Advancer(store)
    own: deque[str] = deque()
    while True:
        if len(own) < HELD_RUNS:
            claimed = store.claim(os.getpid(), BUSY_CLAIM_SECONDS if own else 0.0)
            if claimed is not None:
                own.appendleft(claimed)
        if not own:
            time.sleep(IDLE_SECONDS)
            continue
        run_id = own.popleft()
        if not advancer.advance(run_id).done:
            own.append(run_id)


def _leave_with_parent() -> None:
    os.read(0, 1)  # nothing is ever written: this returns when the other end is closed
    os._exit(0)


if __name__ == "__main__":
    main()
