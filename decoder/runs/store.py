"""Where runs live: one database holds what was asked for, how far it is, every metric and every snapshot."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import struct
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
import sqlalchemy as sql
from platformdirs import user_data_path
from sqlalchemy.exc import ArgumentError, DatabaseError
from torch import Tensor

from decoder.config import TrainConfig
from decoder.language import open_corpus
from decoder.model import checkpoint
from decoder.model.decoder import Decoder
from decoder.seeds import generator_for
from decoder.training.evaluation import Evaluation
from decoder.training.trainer import TrainStep, check_fit

State = Literal["waiting", "training", "paused", "finished", "failed"]

SCHEMA_VERSION = 1  # raise it when a table changes
CODE_VERSION = (
    1  # raise it when an equal configuration no longer trains to the same bits: its runs get new ids
)
BUSY_SECONDS = 20.0

_tables = sql.MetaData()
_runs = sql.Table(
    "runs",
    _tables,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("config", sql.String, nullable=False),
    sql.Column("state", sql.String, nullable=False),
    sql.Column("step", sql.Integer, nullable=False),
    sql.Column("error", sql.String),
    sql.Column("worker", sql.Integer),  # process id of the worker that trains it
    sql.Column("created", sql.Float, nullable=False),
    sql.Column("updated", sql.Float, nullable=False),
    sql.Index("runs_by_state", "state", "updated"),
)


def _history(name: str, *columns: sql.Column[Any], with_rowid: bool = False) -> sql.Table:
    """Return a table with one row per run and step."""
    run_id: sql.Column[str] = sql.Column("run_id", sql.ForeignKey(_runs.c.id), primary_key=True)
    step: sql.Column[int] = sql.Column("step", sql.Integer, primary_key=True)
    return sql.Table(name, _tables, run_id, step, *columns, sqlite_with_rowid=with_rowid)


_metrics = _history(
    "metrics",
    sql.Column("loss", sql.Float, nullable=False),
    sql.Column("loss_per_position", sql.LargeBinary, nullable=False),
    sql.Column("tokens_seen", sql.Integer, nullable=False),
    sql.Column("seconds", sql.Float, nullable=False),
)
_evaluations = _history(
    "evaluations",
    sql.Column("true_history_loss", sql.Float, nullable=False),
    sql.Column("own_history_loss", sql.Float, nullable=False),
    sql.Column("loss_per_position", sql.LargeBinary, nullable=False),
    sql.Column("valid_share", sql.Float),
    sql.Column("prompted_accuracy", sql.Float),
)
_snapshots = _history("snapshots", sql.Column("file", sql.LargeBinary, nullable=False), with_rowid=True)


@dataclass(frozen=True)
class Run:
    """One training as it stands: `step` updates of `config.steps` are recorded.

    `error` is the sentence that says why a failed run failed; `parent` and `fork_step` are for runs that
    continue another one.
    """

    id: str
    state: State
    step: int
    config: TrainConfig
    parent: str | None = None
    fork_step: int | None = None
    error: str | None = None


class MetricsRow(NamedTuple):
    """One update: the fields of `TrainStep`; None at positions where nothing counts."""

    step: int
    loss: float
    loss_per_position: tuple[float | None, ...]
    tokens_seen: int
    seconds: float


class EvaluationRow(NamedTuple):
    """The fields of `Evaluation` after `step` updates; None at positions where nothing counts."""

    step: int
    true_history_loss: float
    own_history_loss: float
    loss_per_position: tuple[float | None, ...]
    valid_share: float | None
    prompted_accuracy: float | None


@dataclass(frozen=True)
class History:
    """What one quantum adds to a run: its updates, and by step the evaluations and the decoder's files."""

    updates: list[TrainStep] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    snapshots: dict[int, bytes] = field(default_factory=dict)


class Store:
    """Runs and their histories, shared by all threads and processes that open the same file.

    The row of a run is the truth about it: readers see a quantum whole or not at all. Every method that
    takes a run's id raises ValueError if there is no such run.
    """

    def __init__(self, url: sql.URL) -> None:
        self.url = url.render_as_string(hide_password=False)
        self._engine = sql.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sql.event.listen(self._engine, "connect", _configure)
        self._config = lru_cache(maxsize=64)(self._read_config)  # a configuration never changes
        _check_schema(self._engine)

    def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        self._engine.dispose()

    def request(self, config: TrainConfig, viewer: str = "") -> str:
        """Ask for a training and return its run's id, the same for equal configurations.

        A run that is already there is left as it is, be it waiting, finished or failed.

        Raises:
            ValueError: if the training is larger than the limits, or does not fit its corpus.
        """
        del viewer  # who asked decides whose turn it is, once workers share their time between viewers
        text = config.to_json()
        run_id = hashlib.blake2b(f"{CODE_VERSION}/{text}".encode(), digest_size=10).hexdigest()
        with self._engine.connect() as connection:
            known = connection.execute(sql.select(_runs.c.id).where(_runs.c.id == run_id)).first()
        if known is None:
            _check_trainable(config)
            now = time.time()
            row = {
                "id": run_id,
                "config": text,
                "state": "waiting",
                "step": 0,
                "created": now,
                "updated": now,
            }
            with self._engine.begin() as connection:
                connection.execute(sql.insert(_runs).prefix_with("OR IGNORE"), row)
        return run_id

    def run(self, run_id: str) -> Run:
        """Return the run as it stands now."""
        config = self._config(run_id)
        columns = sql.select(_runs.c.state, _runs.c.step, _runs.c.error)
        with self._engine.connect() as connection:
            row = connection.execute(columns.where(_runs.c.id == run_id)).one()
        return Run(run_id, row.state, row.step, config, error=row.error)

    def metrics(self, run_id: str, after: int = 0) -> list[MetricsRow]:
        """Return the updates with a step above `after`, in order."""
        rows = self._read(
            run_id, sql.select(_metrics).where(_metrics.c.step > after).order_by(_metrics.c.step)
        )
        return [
            MetricsRow(row.step, row.loss, _unpack(row.loss_per_position), row.tokens_seen, row.seconds)
            for row in rows
        ]

    def evaluations(self, run_id: str, after: int = -1) -> list[EvaluationRow]:
        """Return the evaluations with a step above `after`, in order; step 0 is the untrained decoder."""
        table = _evaluations
        rows = self._read(run_id, sql.select(table).where(table.c.step > after).order_by(table.c.step))
        return [
            EvaluationRow(
                row.step,
                row.true_history_loss,
                row.own_history_loss,
                _unpack(row.loss_per_position),
                row.valid_share,
                row.prompted_accuracy,
            )
            for row in rows
        ]

    def snapshots(self, run_id: str) -> tuple[int, ...]:
        """Return the steps whose weights are kept, in order."""
        rows = self._read(run_id, sql.select(_snapshots.c.step).order_by(_snapshots.c.step))
        return tuple(row.step for row in rows)

    def weights(self, run_id: str, step: int | None = None) -> dict[str, Tensor]:
        """Return the weights at the last snapshot at or before `step`; None: the newest.

        Raises:
            ValueError: if there is no such snapshot yet.
        """
        return safetensors.torch.load(self._snapshot(run_id, step)[1])

    def model(self, run_id: str, step: int | None = None) -> tuple[Decoder, int]:
        """Return the decoder with the `weights` of the same arguments, and the step they are from."""
        found, file = self._snapshot(run_id, step)
        return checkpoint.load(file), found

    def claim(self, worker: int, waiting_for: float = 0.0) -> str | None:
        """Take the run that has waited longest, at least `waiting_for` seconds; None if there is none."""
        longest = (
            sql.select(_runs.c.id)
            .where(_runs.c.state == "waiting", _runs.c.updated <= time.time() - waiting_for)
            .order_by(_runs.c.updated)
            .limit(1)
        )
        while True:
            with self._engine.connect() as connection:  # looking takes no lock, and workers look often
                run_id: str | None = connection.scalar(longest)
            if run_id is None:
                return None
            take = sql.update(_runs).where(_runs.c.id == run_id, _runs.c.state == "waiting")
            with self._engine.begin() as connection:
                taken = connection.execute(take.values(state="training", worker=worker, updated=time.time()))
            if taken.rowcount:  # else somebody was faster: look for the next one
                return run_id

    def release(self, worker: int | None = None) -> None:
        """Let the runs of a worker that is no more wait for another one; None: those of all workers."""
        give_back = sql.update(_runs).where(_runs.c.state == "training")
        if worker is not None:
            give_back = give_back.where(_runs.c.worker == worker)
        with self._engine.begin() as connection:
            connection.execute(give_back.values(state="waiting", worker=None, updated=time.time()))

    def commit(self, run_id: str, history: History, state: State, error: str | None = None) -> None:
        """Add a quantum to an unfinished run, whole or not at all; a replayed row replaces itself."""
        step = max((update.step for update in history.updates), default=0)
        furthest = sql.case((_runs.c.step > step, _runs.c.step), else_=step)  # a replay starts behind the row
        advance = sql.update(_runs).where(_runs.c.id == run_id, _runs.c.state.in_(("waiting", "training")))
        values = {"state": state, "step": furthest, "error": error, "updated": time.time()}
        tables: dict[sql.Table, list[dict[str, Any]]] = {
            _metrics: [
                {
                    "step": update.step,
                    "loss": update.loss,
                    "loss_per_position": _pack(update.loss_per_position),
                    "tokens_seen": update.tokens_seen,
                    "seconds": update.seconds,
                }
                for update in history.updates
            ],
            _evaluations: [
                {
                    "step": step,
                    **evaluation._asdict(),
                    "loss_per_position": _pack(evaluation.loss_per_position),
                }
                for step, evaluation in history.evaluations.items()
            ],
            _snapshots: [{"step": step, "file": file} for step, file in history.snapshots.items()],
        }
        with self._engine.begin() as connection:
            if not connection.execute(advance.values(values)).rowcount:
                return  # somebody else trained it to its end, to the same bits
            for table, rows in tables.items():
                if rows:
                    insert = sql.insert(table).prefix_with("OR REPLACE")
                    connection.execute(insert, [{"run_id": run_id, **row} for row in rows])

    def _read_config(self, run_id: str) -> TrainConfig:
        with self._engine.connect() as connection:
            text = connection.scalar(sql.select(_runs.c.config).where(_runs.c.id == run_id))
        if text is None:
            raise ValueError(
                f"there is no run {run_id!r} in this store: request it again from its configuration"
            )
        return TrainConfig.from_json(text)

    def _read(self, run_id: str, rows: sql.Select[Any]) -> list[Any]:
        """Return the rows of one run, from a selection out of one history table."""
        self._config(run_id)  # raises if there is no such run
        (table,) = rows.get_final_froms()
        with self._engine.connect() as connection:
            return list(connection.execute(rows.where(table.c.run_id == run_id)))

    def _snapshot(self, run_id: str, step: int | None) -> tuple[int, bytes]:
        newest_first = (
            sql.select(_snapshots.c.step, _snapshots.c.file).order_by(_snapshots.c.step.desc()).limit(1)
        )
        if step is not None:
            newest_first = newest_first.where(_snapshots.c.step <= step)
        rows = self._read(run_id, newest_first)
        if not rows:
            when = "" if step is None else f" at or before step {step}"
            raise ValueError(f"run {run_id} has 0 snapshots{when}: wait until a worker has begun to train it")
        return rows[0].step, rows[0].file


def open_store(url: str | None = None) -> Store:
    """Open the store at an SQLAlchemy URL, making it if it is new.

    Args:
        url: such as sqlite:////data/runs.db; None: the environment's DECODER_STORE, else a file in the
            user's data folder.

    Raises:
        ValueError: if the URL is no SQLite file, or the file belongs to another version.
    """
    text = (
        url
        or os.environ.get("DECODER_STORE")
        or f"sqlite:///{user_data_path('decoder-explorer') / 'runs.db'}"
    )
    try:
        parts = sql.make_url(text)
    except ArgumentError as error:
        raise ValueError(
            f"{text!r} is no address of a store: give one such as sqlite:////data/runs.db"
        ) from error
    if parts.get_backend_name() != "sqlite" or parts.database in (None, "", ":memory:"):
        raise ValueError(
            f"the store {parts.render_as_string()} is no SQLite file, which this version needs: "
            "give a URL such as sqlite:////data/runs.db"
        )
    path = Path(str(parts.database)).absolute()  # workers may stand in another folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Store(parts.set(database=str(path)))
    except (OSError, DatabaseError) as error:
        reason = error.orig if isinstance(error, DatabaseError) else error
        raise ValueError(
            f"the store {path} cannot be opened ({reason}): let DECODER_STORE name another file"
        ) from error


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    """Set up a new connection: readers never wait for writers, and a power cut costs the last moments only."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except (
            sqlite3.OperationalError
        ):  # a new file becomes WAL once; who loses that race is not made to wait
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _check_schema(engine: sql.Engine) -> None:
    """Make the tables in a new file; refuse a file of another version."""
    with engine.connect() as connection:
        # A second process that opens the same new file waits here until the tables stand.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version == 0 and not sql.inspect(connection).get_table_names():
            _tables.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
            version = SCHEMA_VERSION
        connection.commit()
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"the store {engine.url.database} has format {version} and this program writes format {SCHEMA_VERSION}: "
            "move the file away, or let DECODER_STORE name another one"
        )


def _check_trainable(config: TrainConfig) -> None:
    """Raise at the door what would otherwise fail a worker's first update; the decoder itself is not built."""
    config.check_limits()
    corpus = open_corpus(config.corpus, config.decoder.context_length)
    check_fit(config, corpus)
    corpus.batch(1, generator_for(config.seed, 1, "batch"), window=config.decoder.context_length)


def _pack(losses: Tensor) -> bytes:
    """Return (T,) float32 losses as little-endian bytes, nan included: SQLite would turn a nan into NULL."""
    return struct.pack(f"<{len(losses)}f", *losses.tolist())


def _unpack(losses: bytes) -> tuple[float | None, ...]:
    values = struct.unpack(f"<{len(losses) // 4}f", losses)
    return tuple(None if math.isnan(value) else value for value in values)
