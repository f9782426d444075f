"""What runs cost and how soon they are seen: each line is a figure, what was asked, what was measured.

Run with: .venv/bin/python tests/benchmarks/runs.py [--store URL] [figure ...]

Two workers, as on a machine with two cores; measure on a machine that does nothing else. Every figure gets a
store of its own: a new SQLite file, or a new schema of the PostgreSQL database that --store names.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import random
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
import torch

from decoder import open_corpus
from decoder.config import TrainConfig
from decoder.runs import Advancer, Store, Workers, leases, open_store, schedule, snapshot_steps
from decoder.runs.history import History
from decoder.runs.schedule import QUANTUM_SECONDS, Candidate
from decoder.runs.tables import RUNS
from decoder.training.evaluation import evaluate
from decoder.training.presets import Size, preset
from decoder.training.trainer import Trainer
from pages.ui import lanes, session

WORKERS = 2


def main() -> None:
    """Measure and print one line per figure."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="a PostgreSQL database in which schemas may be made; default: SQLite")
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="default: all")
    arguments = parser.parse_args()
    for name in arguments.figures or FIGURES:
        with new_store(arguments.store) as store:
            FIGURES[name](store)


@contextmanager
def new_store(address: str | None) -> Iterator[Store]:
    """Give an empty store that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        if address is None:
            store = open_store(f"sqlite:///{folder}/runs.db")
            yield store
            store.close()
            return
    schema = f"benchmark_{uuid.uuid4().hex}"
    engine = sql.create_engine(address, poolclass=sql.NullPool)
    with engine.begin() as connection:
        connection.execute(sql.schema.CreateSchema(schema))
    url = sql.make_url(address).update_query_dict({"options": f"-csearch_path={schema}"})
    store = open_store(url.render_as_string(hide_password=False))
    yield store
    store.close()
    with engine.begin() as connection:
        connection.execute(sql.schema.DropSchema(schema, cascade=True))


def tell(figure: str, asked: str, measured: str, *, met: bool) -> None:
    """Print one line."""
    print(f"{figure} | asked: {asked} | measured: {measured} | {'met' if met else 'MISSED'}", flush=True)


def p95(values: list[float]) -> float:
    """Return the value that 95 of 100 do not exceed."""
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


def metric_age(store: Store) -> None:
    """How old an update is when it can be read: what its quantum went on for after it, and the commit."""
    with Workers(store, WORKERS) as workers:
        assert len(workers.pids) == WORKERS
        sizes: tuple[Size, ...] = ("small", "standard", "large")
        ids = [store.request(preset("ibm", size=size, seed=seed)) for seed, size in enumerate(sizes)]
        newest = dict.fromkeys(ids, 0)
        ages: list[float] = []
        while any(store.run(run_id).state != "finished" for run_id in ids):
            for run_id in ids:
                rows = store.metrics(run_id, after=newest[run_id])
                read = time.time()
                if rows:
                    newest[run_id] = rows[-1].step
                    with store.database.read() as connection:
                        ended = sql.select(RUNS.c.advanced, RUNS.c.step).where(RUNS.c.id == run_id)
                        advanced, step = connection.execute(ended).one()
                    if step == rows[-1].step and advanced <= read:  # else another quantum came between
                        ages += [read - advanced + rows[-1].seconds - row.seconds for row in rows]
            time.sleep(0.002)
    limit = QUANTUM_SECONDS + 0.1
    tell(
        f"metric age, {len(ages)} updates of {len(ids)} runs, p95",
        f"<= {limit:.2f} s",
        f"{p95(ages):.3f} s (median {statistics.median(ages):.3f} s)",
        met=p95(ages) <= limit,
    )


def slicing(store: Store) -> None:
    """What it costs to train in quanta with a store, against the same updates and evaluations without."""
    for size in ("small", "standard", "large"):
        ratios = []
        for seed in range(3):
            config = dataclasses.replace(preset("ibm", size=size, seed=seed), steps=200)
            run_id = store.request(config)
            advancer = Advancer(store)
            trainer = Trainer(config)
            sliced = unsliced = 0.0
            kept = snapshot_steps(config.steps)
            done = False
            # In turns, so that what slows this machine down for a moment slows both.
            while not done or trainer.step < config.steps:
                if not done:
                    began = time.process_time()
                    done = advancer.advance(run_id).done
                    sliced += time.process_time() - began
                step = store.run(run_id).step
                began = time.process_time()
                while trainer.step < (config.steps if done else step):
                    if trainer.step == 0:
                        evaluate(trainer.model, trainer.corpus)
                    trainer.advance()
                    if trainer.step in kept:
                        evaluate(trainer.model, trainer.corpus)
                unsliced += time.process_time() - began
            ratios.append(sliced / unsliced)
        ratio = statistics.median(ratios)
        tell(f"slicing overhead, {size}, processor time", "<= 1.08 x", f"{ratio:.3f} x", met=ratio <= 1.08)


def first_point(store: Store) -> None:
    """How soon a class sees something: thirty runs of thirty viewers, then one run of three hundred."""
    with Workers(store, WORKERS) as workers:
        assert len(workers.pids) == WORKERS
        waits = press(store, [preset("ibm", seed=seed) for seed in range(30)])
        tell(
            "first point, 30 viewers and 30 runs, p95",
            "< 1 s",
            f"{p95(waits):.2f} s (median {statistics.median(waits):.2f} s)",
            met=p95(waits) < 1,
        )
        for run_id in list_runs(store):
            store.pause(run_id, "nobody") if not store.watchers(run_id) else let_go(store, run_id)
        before = len(list_runs(store))
        waits = press(store, [preset("story")] * 300)
        trained = len(list_runs(store)) - before
        tell(
            f"first point, 300 viewers of one preset, p95, {trained} run trained",
            "< 0.5 s, 1 run",
            f"{p95(waits):.2f} s (median {statistics.median(waits):.2f} s)",
            met=p95(waits) < 0.5 and trained == 1,
        )


def press(store: Store, configs: list[TrainConfig]) -> list[float]:
    """Let every viewer ask for a run at once; return how long it is for each until its first point can be read."""
    pressed: list[tuple[str, float]] = []
    barrier = threading.Barrier(len(configs))

    def viewer(number: int) -> None:
        barrier.wait()
        began = time.perf_counter()
        pressed.append((store.request(configs[number], viewer=f"viewer {number}"), began))

    threads = [threading.Thread(target=viewer, args=(number,)) for number in range(len(configs))]
    for thread in threads:
        thread.start()
    # One look for all, so that looking does not take the workers' processors.
    readable: dict[str, float] = {}
    shown = sql.select(RUNS.c.id).where(RUNS.c.step > 0)
    while len(pressed) < len(configs) or not {run_id for run_id, _ in pressed} <= readable.keys():
        with store.database.read() as connection:
            for run_id in connection.scalars(shown):
                readable.setdefault(run_id, time.perf_counter())
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    return [max(readable[run_id] - began, 0.0) for run_id, began in pressed]


def list_runs(store: Store) -> list[str]:
    """Return the ids of all runs."""
    with store.database.read() as connection:
        return [*connection.scalars(sql.select(RUNS.c.id))]


def let_go(store: Store, run_id: str) -> None:
    """Stop a run, whoever looks at it."""
    with store.database.write() as connection:
        connection.execute(sql.update(RUNS).where(RUNS.c.id == run_id).values(state="paused"))


def hog(store: Store) -> None:
    """Ten viewers with a run each, without and with one who has forty: in truth, then thirty of them in thought."""
    students = 10
    sizes = [random.Random(number).randint(100, 300) for number in range(students)]

    def finish_times(seed: int, hogs: int) -> list[float]:
        mine = [
            store.request(
                dataclasses.replace(preset("reverse", seed=seed + number), steps=2_000), viewer="hog"
            )
            for number in range(hogs)
        ]
        began = looked = time.perf_counter()
        ids = [
            store.request(dataclasses.replace(preset("ibm", seed=seed + number), steps=steps), f"v{number}")
            for number, steps in enumerate(sizes)
        ]
        ends: dict[str, float] = {}
        while len(ends) < students:
            if (
                time.perf_counter() - looked > 5
            ):  # as pages do: else nobody looks any more, and all are paused
                looked = time.perf_counter()
                for run_id in mine:
                    store.watch(run_id, "hog")
                for number, run_id in enumerate(ids):
                    store.watch(run_id, f"v{number}")
            for run_id in ids:
                if run_id not in ends and store.run(run_id).state == "finished":
                    ends[run_id] = time.perf_counter() - began
            time.sleep(0.02)
        for run_id in mine:
            let_go(store, run_id)
        return [ends[run_id] for run_id in ids]

    with Workers(store, WORKERS) as workers:
        assert len(workers.pids) == WORKERS
        alone = finish_times(0, 0)
        crowded = finish_times(1_000, 40)
    total = max(alone) * WORKERS
    fair = equal_share([total * size / sum(sizes) for size in sizes])
    ratio = statistics.median(crowded) / statistics.median(fair)
    worst = max(found / expected for found, expected in zip(crowded, fair, strict=True))
    tell(
        "one hog with 40 long runs, 10 others, trained",
        "median <= 1.1 x at equal share without it, nobody > 2 x",
        f"median {ratio:.2f} x (of the same rule without it {statistics.median(crowded) / statistics.median(alone):.2f} x), "
        f"worst {worst:.2f} x",
        met=ratio <= 1.1 and worst <= 2,
    )
    generator = random.Random(0)
    others = [
        Candidate(f"s{number}", {f"v{number}": 0.0}, generator.uniform(2, 20), 0, 0, number / 1e3)
        for number in range(30)
    ]
    hogs = [Candidate(f"h{number}", {"hog": 0.0}, 60, 0, 0, number / 1e3) for number in range(40)]
    found = schedule.play([*others, *hogs], WORKERS)
    crowded = [found[run.run_id].end for run in others]
    fair = equal_share([run.remaining_seconds for run in others])
    ratio = statistics.median(crowded) / statistics.median(fair)
    worst = max(have / want for have, want in zip(crowded, fair, strict=True))
    tell(
        "one hog with 40 long runs, 30 others, simulated",
        "median <= 1.1 x at equal share without it, nobody > 2 x",
        f"median {ratio:.2f} x, worst {worst:.2f} x",
        met=ratio <= 1.1 and worst <= 2,
    )


def equal_share(seconds: list[float]) -> list[float]:
    """Return when each ends if all that are left share the workers evenly at every moment."""
    left = dict(enumerate(seconds))
    ends = dict.fromkeys(left, 0.0)
    now = 0.0
    while left:
        speed = min(1.0, WORKERS / len(left))
        step = min(left.values()) / speed
        now += step
        left = {number: rest - step * speed for number, rest in left.items()}
        for number in [number for number, rest in left.items() if rest < 1e-9]:
            ends[number] = now
            del left[number]
    return [ends[number] for number in range(len(seconds))]


def checkpoints(store: Store) -> None:
    """What part of a training goes into its checkpoints: making them, and writing them."""
    advancing = importlib.import_module("decoder.runs.advance")  # the package shows the function of this name
    commit, make = leases.commit, advancing._Training.checkpoint
    for size in ("small", "standard", "large"):
        making: list[float] = []
        with_one: list[float] = []
        without: list[float] = []

        def timed_commit(
            store: Store,
            lease: leases.Lease,
            history: History,
            *rest: Any,
            with_one: list[float] = with_one,
            without: list[float] = without,
            **words: Any,
        ) -> bool:
            began = time.perf_counter()
            done = commit(store, lease, history, *rest, **words)
            (without if history.checkpoint is None else with_one).append(time.perf_counter() - began)
            return done

        def timed_make(training: Any, making: list[float] = making) -> Any:
            began = time.perf_counter()
            made = make(training)
            making.append(time.perf_counter() - began)
            return made

        leases.commit, advancing._Training.checkpoint = timed_commit, timed_make
        run_id = store.request(dataclasses.replace(preset("ibm", size=size), steps=300))
        advancer = Advancer(store)
        began = time.perf_counter()
        while not advancer.advance(run_id).done:
            pass
        total = time.perf_counter() - began
        leases.commit, advancing._Training.checkpoint = commit, make
        # A commit without a checkpoint would have been there anyway.
        share = (sum(making) + sum(with_one) - len(with_one) * statistics.median(without or [0.0])) / total
        tell(
            f"checkpoint share, {size}, {len(making)} checkpoints in {total:.1f} s",
            "< 5 %",
            f"{share:.1%}",
            met=share < 0.05,
        )


def pollers(store: Store) -> None:
    """What three hundred viewers who look twice a second cost the process that reads for them."""
    config = preset("ibm")
    run_id = store.request(config)
    advancer = Advancer(store)
    while advancer.advance(run_id).step < config.steps // 2:
        pass
    step = store.run(run_id).step
    session.store = lambda: store  # type: ignore[assignment]  # which the pages read from
    session.appearance = lambda: "light"
    corpus = open_corpus(config.corpus, config.decoder.context_length)
    shown = [session.Exploration(config, run_id, corpus)]
    looks: dict[str, Callable[[], object]] = {
        "ten rows, each for itself": lambda: store.metrics(run_id, after=step - 10),
        "the picture of a curve, as pages share it": lambda: lanes.newest(
            lanes.loss_figure, shown, seconds=False
        ),
        "a heartbeat": lambda: store.watch(run_id, "ada"),
    }
    for what, look in looks.items():
        look()
        count = (
            1_200  # two seconds of them, in two seconds: what is shared among them is shared as on a server
        )
        busy = 0.0
        start = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, start + number / 600 - time.perf_counter()))
            began = time.thread_time()
            look()
            busy += time.thread_time() - began
        share = busy / count * 600
        if what == "a heartbeat":
            tell("300 viewers say every 5 s that they look", "-", f"{share / 10:.1%} of a core", met=True)
        else:
            tell(
                f"300 pollers, twice a second, {what}",
                "about 4 % of a core",
                f"{share:.1%}",
                met=share <= 0.05,
            )
    for count in (30, 300, 1_000):
        for seed in range(count):
            store.request(dataclasses.replace(config, seed=10_000 + seed), viewer=f"viewer {seed}")
        began = time.process_time()
        schedule.forecast(store, WORKERS)
        seconds = time.process_time() - began
        tell(f"one forecast with {count} runs waiting", "-", f"{seconds * 1e3:.0f} ms", met=True)


FIGURES: dict[str, Callable[[Store], None]] = {
    "metric-age": metric_age,
    "slicing": slicing,
    "first-point": first_point,
    "hog": hog,
    "checkpoints": checkpoints,
    "pollers": pollers,
}

if __name__ == "__main__":
    main()
