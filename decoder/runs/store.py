"""Where runs live: one database holds what was asked for, how far it is, every metric and every snapshot."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import safetensors.torch
import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError
from torch import Tensor

from decoder.config import TrainConfig
from decoder.language import open_corpus
from decoder.model.checkpoint import load_weights
from decoder.model.decoder import Decoder
from decoder.runs.database import Database, StoreError, locate
from decoder.runs.history import Checkpoint, EvaluationRow, MetricsRow, planned_bytes
from decoder.runs.tables import (
    CHECKPOINTS,
    CONFIGS,
    EVALUATIONS,
    FORMAT,
    METRICS,
    OF_A_RUN,
    RUNS,
    SNAPSHOTS,
    VIEWS,
)
from decoder.seeds import generator_for
from decoder.training.trainer import WEIGHTS, check_fit

State = Literal["waiting", "training", "paused", "finished", "failed"]

CODE_VERSION = (
    2  # raise it when an equal configuration no longer trains to the same bits: its runs get new ids
)
LOOKING_SECONDS = 15.0
"""Who has looked within this time looks now: pages say so more often."""

WATCHED_SECONDS = 60.0
"""How long a look at a run counts: after it, the run is unwatched."""

MOST_STRETCHES = 50
"""So often one training may be continued in another way, each time from the last."""

QUOTA_MB = "2000"
"""What all runs together may take in the store, those that go on at their full size; DECODER_QUOTA_MB changes it."""


@dataclass(frozen=True)
class Run:
    """One training as it stands: `step` updates of `config.steps` are recorded.

    Attributes:
        id: the hash of what was asked for.
        state: "waiting" for a worker, "training", "paused", "finished" or "failed".
        step: number of updates whose metrics can be read.
        config: what is trained; of a fork, from its fork step on.
        parent: the run whose history this one continues; None: it began by itself.
        fork_step: the last update that it shares with its parent.
        error: the sentence that says why a failed run failed.
        paused_by: the viewer who paused it; None: it is not paused, or because nobody looked.
        step_seconds: what one update costs a worker, estimated before it is measured.
        trained: number of updates that its training goes on after: less than `step` as long as a fork, which was made
            behind its parent's last kept state, computes updates of its parent again.
    """

    id: str
    state: State
    step: int
    config: TrainConfig
    parent: str | None = None
    fork_step: int | None = None
    error: str | None = None
    paused_by: str | None = None
    step_seconds: float = 0.0
    trained: int = 0


class UnknownRunError(ValueError):
    """There is no such run, or no more: the store needed its room."""


class Segment(NamedTuple):
    """A stretch of a history, from after `start` updates on, that was trained with one configuration."""

    run_id: str
    config: TrainConfig
    start: int


class Store:
    """Runs and their histories, shared by all threads, processes and machines that open the same database.

    The row of a run is the truth about it: readers see a quantum whole or not at all. Whatever reads, forks or
    watches a run raises ValueError if there is no such run, and every method StoreError, which is one too,
    if the database cannot be used.
    """

    def __init__(self, url: sql.URL) -> None:
        self.quota_bytes = _quota()
        self.database = Database(url)
        # What was asked for never changes; but each may hold a text of a megabyte.
        self.lineage = lru_cache(maxsize=128)(self._read_lineage)
        self._select = lru_cache(maxsize=1024)(
            self._make_select
        )  # to put one together takes as long as to read it

    @property
    def url(self) -> str:
        """Its whole address, a password included: for other processes, not for people."""
        return self.database.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        self.database.close()

    # -- asking

    def request(self, config: TrainConfig, viewer: str = "") -> str:
        """Ask for a training and return its run's id, the same for equal configurations.

        A run that is already there is left as it is, be it waiting, finished or failed.

        Args:
            config: what to train.
            viewer: who asks; counts as a look at the run. A run that nobody with a name ever looked at is
                trained to its end; any other is paused once nobody looks.

        Raises:
            ValueError: if the training is larger than the limits, does not fit its corpus, or the store has no room for
                all that it will take.
        """
        run_id = _digest(config.to_json())
        if not self._notice(run_id, viewer):
            _check_trainable(config)
            self._add(self._new_row(run_id, config), config)
            self._notice(run_id, viewer)
        return run_id

    def fork(self, run_id: str, step: int, *, viewer: str = "", **changes: Any) -> str:
        """Continue a run in another way, and return the new run's id; the run itself does not change.

        The new run starts from the exact state that its parent had after `step` updates, with the parent's
        history before it. Equal forks are one run; a fork that changes nothing is the run itself.

        Args:
            run_id: the run to continue.
            step: number of the parent's updates to keep, up to those recorded.
            viewer: as in `request`.
            **changes: fields of `TrainConfig` that are different from here on, all but the corpus and the
                decoder, of which only the mask may change.

        Raises:
            ValueError: if the parent has not come to this step, the changed training is not possible, or the store has no
                room for all that it will take.
        """
        run = self.run(run_id)
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= run.step:
            raise ValueError(
                f"the run has {run.step} recorded updates and cannot be continued after {step!r}: "
                f"choose a step from 0 to {run.step}"
            )
        config = _changed(run.config, changes, step)
        # The state after this step may be an ancestor's: then that is the parent.
        parent = [segment for segment in self.lineage(run_id) if segment.start < step or not segment.start][
            -1
        ]
        if config == parent.config:
            if viewer:
                self.watch(parent.run_id, viewer)
            return parent.run_id
        if step == 0:
            return self.request(config, viewer)
        if len(self.lineage(parent.run_id)) >= MOST_STRETCHES:
            raise ValueError(
                f"this training has been continued in another way {MOST_STRETCHES - 1} times in a row, and no more are kept: "
                "choose an earlier step, or begin a new one"
            )
        fork_id = _digest(f"{parent.run_id}/{step}/{config.to_json()}")
        if not self._notice(fork_id, viewer):
            _check_trainable(config)
            try:
                self._add(self._new_row(fork_id, config, parent.run_id, step), config)
            except StoreError as error:
                if isinstance(error.__cause__, IntegrityError):  # its parent was removed at this moment
                    raise _unknown(parent.run_id) from error
                raise
            self._notice(fork_id, viewer)
        return fork_id

    def watch(self, run_id: str, viewer: str) -> None:
        """Note that a viewer looks at a run now.

        One that was paused because nobody looked goes on; so does one that another paused who is gone.
        """
        mine = RUNS.c.id == run_id
        look = sql.update(RUNS).where(mine).values(viewed=self.database.now).returning(RUNS.c.viewed)
        by_one_who_stays = sql.exists().where(
            VIEWS.c.run_id == RUNS.c.id,
            VIEWS.c.viewer == RUNS.c.paused_by,
            self.database.within(VIEWS.c.seen, WATCHED_SECONDS),
        )
        forgotten = sql.or_(
            RUNS.c.paused_by.is_(None), sql.and_(RUNS.c.paused_by != viewer, ~by_one_who_stays)
        )
        with self.database.write() as connection:
            now = connection.scalar(look)
            if now is None:
                raise _unknown(run_id)
            resumed = sql.update(RUNS).where(mine, RUNS.c.state == "paused", forgotten)
            connection.execute(resumed.values(state="waiting", paused_by=None))
            self.database.upsert(connection, VIEWS, [{"run_id": run_id, "viewer": viewer, "seen": now}])

    def watchers(self, run_id: str) -> frozenset[str]:
        """Return who looks at the run now."""
        recent = sql.select(VIEWS.c.viewer).where(
            VIEWS.c.run_id == run_id, self.database.within(VIEWS.c.seen, LOOKING_SECONDS)
        )
        with self.database.read() as connection:
            return frozenset(connection.scalars(recent))

    def pause(self, run_id: str, viewer: str) -> None:
        """Let nobody train the run until `resume`, or until its pauser is gone and another looks.

        Raises:
            ValueError: if others look at it: a run that is shared goes on.
        """
        runnable = sql.and_(RUNS.c.id == run_id, RUNS.c.state.in_(("waiting", "training")))
        by_others = sql.and_(
            VIEWS.c.run_id == RUNS.c.id,
            VIEWS.c.viewer != viewer,
            self.database.within(VIEWS.c.seen, LOOKING_SECONDS),
        )
        stop = sql.update(RUNS).where(runnable, ~sql.exists().where(by_others))
        with self.database.write() as connection:
            # Else PostgreSQL would overlook a look that is noted at this moment.
            connection.execute(sql.select(RUNS.c.id).where(RUNS.c.id == run_id).with_for_update())
            if connection.execute(stop.values(state="paused", paused_by=viewer)).rowcount:
                return
            others = connection.scalar(sql.select(sql.func.count()).where(runnable, by_others))
        if others:
            raise ValueError(
                f"{others} other{'s look' if others > 1 else ' looks'} at this training too, so it goes on: "
                "hold your own view at a step instead"
            )

    def resume(self, run_id: str) -> None:
        """Let a paused run go on."""
        go_on = sql.update(RUNS).where(RUNS.c.id == run_id, RUNS.c.state == "paused")
        with self.database.write() as connection:
            connection.execute(go_on.values(state="waiting", paused_by=None))

    def pin(self, run_id: str) -> None:
        """Keep the run, however little it is looked at and however full the store is."""
        with self.database.write() as connection:
            connection.execute(sql.update(RUNS).where(RUNS.c.id == run_id).values(pinned=True))

    # -- reading

    def run(self, run_id: str) -> Run:
        """Return the run as it stands now."""
        config = self.lineage(run_id)[-1].config
        row = self._row(run_id)
        return Run(
            run_id,
            row.state,
            row.step,
            config,
            parent=row.parent,
            fork_step=row.fork_step,
            error=row.error,
            paused_by=row.paused_by,
            step_seconds=row.step_seconds,
            trained=trained(row),
        )

    def progress(self, run_id: str) -> tuple[int, State]:
        """Return how far the run is, and its state: also of one whose configuration this version cannot read."""
        row = self._row(run_id)
        return row.step, row.state

    def metrics(self, run_id: str, after: int = 0) -> list[MetricsRow]:
        """Return the updates with a step above `after`, in order; of a fork, its parent's come first."""
        return [MetricsRow.read(row) for row in self._read(run_id, METRICS, after)]

    def evaluations(self, run_id: str, after: int = -1) -> list[EvaluationRow]:
        """Return the evaluations with a step above `after`, in order; step 0 is the untrained decoder."""
        rows = self._read(run_id, EVALUATIONS, after)
        # What its parent owed at the fork, a fork evaluates itself: the same numbers, maybe twice.
        return [EvaluationRow.read(row) for row in {row.step: row for row in rows}.values()]

    def snapshots(self, run_id: str) -> tuple[int, ...]:
        """Return the steps whose weights are kept, in order."""
        return tuple(row.step for row in self._read(run_id, SNAPSHOTS))

    def weights(self, run_id: str, step: int | None = None) -> dict[str, Tensor]:
        """Return the weights at the last snapshot at or before `step`; None: the last state there is.

        Raises:
            ValueError: if there is no such snapshot yet.
        """
        return self._weights(run_id, step)[2]

    def model(self, run_id: str, step: int | None = None) -> tuple[Decoder, int]:
        """Return the decoder with the `weights` of the same arguments, and the step they are from."""
        config, found, weights = self._weights(run_id, step)
        model = Decoder(config.decoder)
        load_weights(model, weights)
        return model, found

    def nearest_finished(self, config: TrainConfig) -> Run | None:
        """Return the finished run on the same corpus whose settings differ least; None if there is none."""
        finished = sql.select(RUNS.c.id).where(RUNS.c.state == "finished").order_by(RUNS.c.advanced.desc())
        with self.database.read() as connection:
            ids = connection.scalars(finished.limit(100)).all()
        wanted = _flat(config)

        def differences(segment: Segment) -> int:
            found = _flat(segment.config)
            return sum(found[name] != value for name, value in wanted.items())

        same_corpus = [one for one in self._readable(ids) if one.config.corpus == config.corpus]
        nearest = min(same_corpus, key=differences, default=None)
        return None if nearest is None else self.run(nearest.run_id)

    def _readable(self, ids: Iterable[str]) -> Iterator[Segment]:
        """Return the last stretches of runs, but of those that are gone or of another version nothing."""
        for run_id in ids:
            try:
                yield self.lineage(run_id)[-1]
            except StoreError:
                raise
            except ValueError:
                continue

    def _notice(self, run_id: str, viewer: str) -> bool:
        """Look at the run if the viewer has a name; return whether it is there.

        In one step: between a question and a look it could be removed, while one that is looked at stays.
        """
        try:
            if viewer:
                self.watch(run_id, viewer)
            else:
                self._row(run_id)
        except UnknownRunError:
            return False
        return True

    def _new_row(
        self, run_id: str, config: TrainConfig, parent: str | None = None, step: int = 0
    ) -> dict[str, Any]:
        return {
            "id": run_id,
            "parent": parent,
            "fork_step": step if parent else None,
            "state": "waiting",
            "step": step,
            "pinned": False,
            "bytes": planned_bytes(config, step),
            "created": self.database.now,
            "quanta": 0,
            "advanced": self.database.now,
            "step_seconds": config.estimated_step_seconds,
            "evaluation_seconds": 0.0,
            "turn_seconds": 0.0,
            "steps": config.steps,
            "deaths": 0,
        }

    def _add(self, row: dict[str, Any], config: TrainConfig) -> None:
        """Insert a run, and with a fork its parent's last state if that is not beyond it, unless it is there already.

        Room for all that it will take is made in the same transaction: who is refused has pushed nobody out.

        Raises:
            StoreError: if there is not so much room.
        """
        with self.database.write() as connection:
            # One after the other: else two would both take the last room.
            connection.scalar(sql.select(FORMAT).with_for_update())
            if not self.database.insert_new(connection, RUNS, row):
                return
            connection.execute(sql.insert(CONFIGS), {"run_id": row["id"], "text": config.to_json()})
            if row["parent"]:
                _copy_state(connection, row["id"], row["parent"], row["fork_step"])
            while (taken := _taken(connection)) > self.quota_bytes:
                if not self._evict_one(connection):
                    raise _full(taken - row["bytes"], row["bytes"], self.quota_bytes)

    def _read_lineage(self, run_id: str) -> tuple[Segment, ...]:
        """Return the stretches of a run's history, oldest first; the last one is its own."""
        columns = sql.select(CONFIGS.c.text, RUNS.c.parent, RUNS.c.fork_step)
        found = columns.select_from(sql.join(RUNS, CONFIGS)).where(RUNS.c.id == run_id)
        with self.database.read() as connection:
            row = connection.execute(found).first()
        if row is None:
            raise _unknown(run_id)
        own = Segment(run_id, TrainConfig.from_json(row.text), row.fork_step or 0)
        return (*self.lineage(row.parent), own) if row.parent else (own,)

    def _row(self, run_id: str) -> Any:
        """Return what stands of the run in its row, but not what was asked for, which may be long."""
        with self.database.read() as connection:
            row = connection.execute(_STANDING, {"run_id": run_id}).first()
        if row is None:
            raise _unknown(run_id)
        return row

    def _read(self, run_id: str, table: sql.Table, after: int = -1) -> list[Any]:
        """Return the rows of a run with a step above `after`: its own, and before its fork its ancestors'."""
        with self.database.read() as connection:
            rows = connection.execute(self._select(run_id, table), {"after": after}).all()
        if not rows:
            raise _unknown(run_id)
        return [row for row in rows if row.step is not None]

    def _make_select(self, run_id: str, table: sql.Table) -> sql.Select[Any]:
        lineage = self.lineage(run_id)
        ends = [segment.start for segment in lineage[1:]] + [None]
        parts = []
        for segment, end in zip(lineage, ends, strict=True):
            part = sql.and_(table.c.run_id == segment.run_id, table.c.step > sql.bindparam("after"))
            if segment.start and table is not EVALUATIONS:
                part = sql.and_(part, table.c.step > segment.start)
            parts.append(part if end is None else sql.and_(part, table.c.step <= end))
        columns = [SNAPSHOTS.c.step] if table is SNAPSHOTS else [*table.c]
        # A run that has nothing to show is one empty row; one that was removed is none.
        joined = sql.outerjoin(RUNS, table, sql.or_(*parts))
        return sql.select(*columns).select_from(joined).where(RUNS.c.id == run_id).order_by(table.c.step)

    def _weights(self, run_id: str, step: int | None) -> tuple[TrainConfig, int, dict[str, Tensor]]:
        """Return weights, the step they are from, and the configuration that they were trained with then."""
        steps = [kept for kept in self.snapshots(run_id) if step is None or kept <= step]
        newest = steps[-1] if steps else -1
        if step is None:
            last = sql.select(CHECKPOINTS).where(CHECKPOINTS.c.run_id == run_id, CHECKPOINTS.c.step > newest)
            with self.database.read() as connection:
                row = connection.execute(last).first()
            if row is not None and Checkpoint(row.step, row.file).checksum == row.checksum:
                tensors = safetensors.torch.load(row.file)
                weights = {
                    name.removeprefix(WEIGHTS): weight
                    for name, weight in tensors.items()
                    if name.startswith(WEIGHTS)
                }
                return self._segment(run_id, row.step).config, row.step, weights
        if newest < 0:
            when = "" if step is None else f" at or before step {step}"
            raise ValueError(f"run {run_id} has 0 snapshots{when}: wait until a worker has begun to train it")
        segment = self._segment(run_id, newest)
        kept = sql.select(SNAPSHOTS.c.file).where(
            SNAPSHOTS.c.run_id == segment.run_id, SNAPSHOTS.c.step == newest
        )
        with self.database.read() as connection:
            file = connection.scalar(kept)
        if file is None:  # removed at this moment
            raise _unknown(run_id)
        return segment.config, newest, safetensors.torch.load(file)

    def _segment(self, run_id: str, step: int) -> Segment:
        """Return the stretch of a run's history in which it stood after `step` updates."""
        return [segment for segment in self.lineage(run_id) if segment.start < step or not segment.start][-1]

    def evict(self) -> int:
        """Remove runs until the rest is within the quota; return how many bytes that rest takes, or will take.

        There is something to do only if the quota has become smaller: nothing new is let in above it. Runs that are
        pinned, looked at, not ended or continued by others stay; of the rest those go first that were looked at
        longest ago.
        """
        while True:
            with self.database.read() as connection:
                taken = _taken(connection)
            if taken <= self.quota_bytes:
                return taken
            with self.database.write() as connection:
                if not self._evict_one(connection):
                    return taken

    # -- inside

    def _evict_one(self, connection: sql.Connection) -> bool:
        """Remove the run that may go first; False if none may."""
        child = RUNS.alias()
        looked = sql.func.coalesce(RUNS.c.viewed, RUNS.c.advanced)
        removable = sql.and_(
            RUNS.c.pinned.is_(False),
            RUNS.c.lease.is_(None),
            RUNS.c.state.in_(("paused", "finished", "failed")),
            ~self.database.within(looked, WATCHED_SECONDS),
            ~sql.exists().where(child.c.parent == RUNS.c.id),
        )
        run_id = connection.scalar(sql.select(RUNS.c.id).where(removable).order_by(looked).limit(1))
        if run_id is None:
            return False
        # Asked again with the row locked: somebody may have begun to look at it, or to continue it.
        connection.execute(sql.update(RUNS).where(RUNS.c.id == run_id).values(bytes=RUNS.c.bytes))
        connection.execute(sql.select(RUNS.c.id).where(RUNS.c.id == run_id).with_for_update())
        if connection.scalar(sql.select(RUNS.c.id).where(RUNS.c.id == run_id, removable)) is None:
            return True
        for table in OF_A_RUN:
            connection.execute(sql.delete(table).where(table.c.run_id == run_id))
        connection.execute(sql.delete(RUNS).where(RUNS.c.id == run_id))
        self.lineage.cache_clear()
        self._select.cache_clear()
        return True


_STANDING = sql.select(
    RUNS.c.state, RUNS.c.step, RUNS.c.parent, RUNS.c.fork_step, RUNS.c.error, RUNS.c.paused_by, RUNS.c.step_seconds,
    RUNS.c.checkpoint_step,
).where(RUNS.c.id == sql.bindparam("run_id"))  # fmt: skip


def trained(row: Any) -> int:
    """Return the step from which a run is really trained on: a fork first replays what its parent did since a checkpoint."""
    return int(row.checkpoint_step or 0) if row.step == row.fork_step else int(row.step)


def open_store(url: str | None = None) -> Store:
    """Open the store at an SQLAlchemy URL, making it if it is new.

    Args:
        url: such as sqlite:////data/runs.db or postgresql+psycopg://user@host/name; None: the environment's
            DECODER_STORE, else a file in the user's data folder.

    Raises:
        StoreError: a ValueError, if the URL is of another kind, a file would lie on a network file system,
            the database cannot be used, or it belongs to another version.
    """
    return Store(locate(url))


def _quota() -> float:
    text = os.environ.get("DECODER_QUOTA_MB", QUOTA_MB)
    try:
        return float(text) * 1e6
    except ValueError as error:
        raise StoreError(
            f"DECODER_QUOTA_MB is {text!r}: give a number of megabytes such as {QUOTA_MB}"
        ) from error


def _digest(text: str) -> str:
    return hashlib.blake2b(f"{CODE_VERSION}/{text}".encode(), digest_size=10).hexdigest()


def _changed(config: TrainConfig, changes: Mapping[str, Any], step: int) -> TrainConfig:
    """Return the configuration with these changes, if a training can change so in its middle."""
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    if unknown := sorted(changes.keys() - known):
        raise ValueError(f"a training has no setting {unknown[0]!r}: choose from {', '.join(sorted(known))}")
    changed = dataclasses.replace(config, **changes)
    same_shape = dataclasses.replace(changed.decoder, causal=config.decoder.causal) == config.decoder
    if changed.corpus != config.corpus or not same_shape:
        raise ValueError(
            "a training keeps its corpus and the shape of its decoder to the end: request a new one for others"
        )
    if changed.steps <= step:
        raise ValueError(
            f"{step} updates are made and {changed.steps} would be planned: plan more than {step}"
        )
    return changed


def _check_trainable(config: TrainConfig) -> None:
    """Raise at the door what would otherwise fail a worker's first update; the decoder itself is not built."""
    config.check_limits()
    corpus = open_corpus(config.corpus, config.decoder.context_length)
    check_fit(config, corpus)
    corpus.batch(1, generator_for(config.seed, 1, "batch"), window=config.decoder.context_length)


def _copy_state(connection: sql.Connection, run_id: str, parent: str, step: int) -> None:
    """Give a new run its parent's last state, if that is not beyond this step."""
    state = sql.select(sql.literal(run_id), *CHECKPOINTS.c[1:]).where(
        CHECKPOINTS.c.run_id == parent, CHECKPOINTS.c.step <= step
    )
    connection.execute(sql.insert(CHECKPOINTS).from_select([*CHECKPOINTS.c], state))
    copied = sql.select(CHECKPOINTS.c.step).where(CHECKPOINTS.c.run_id == run_id).scalar_subquery()
    connection.execute(sql.update(RUNS).where(RUNS.c.id == run_id).values(checkpoint_step=copied))


def _taken(connection: sql.Connection) -> int:
    """Return how many bytes all runs take, or will take: what was planned for them, until they have ended."""
    return int(connection.scalar(sql.select(sql.func.sum(RUNS.c.bytes))) or 0)


def _full(kept: float, wanted: float, quota: float) -> StoreError:
    """Return the sentence that says why a run that wants so many bytes is not let in beside those that stay."""
    room = f"the store may hold {quota / 1e6:,.1f} MB"
    if wanted > quota:
        return StoreError(
            f"this training would take {wanted / 1e6:,.1f} MB and {room}: "
            "choose a smaller decoder, or raise DECODER_QUOTA_MB"
        )
    return StoreError(
        f"this training would take {wanted / 1e6:,.1f} MB, {room}, and {kept / 1e6:,.1f} MB of it are for trainings "
        "that go on or that somebody looks at or keeps: try again later, or raise DECODER_QUOTA_MB"
    )


def _flat(config: TrainConfig) -> dict[str, Any]:
    fields = dataclasses.asdict(config)
    decoder: dict[str, Any] = fields.pop("decoder")
    return fields | decoder


def _unknown(run_id: str) -> UnknownRunError:
    return UnknownRunError(
        f"there is no run {run_id!r} in this store: request it again from its configuration"
    )
