"""What the store's database holds: runs, who looks at them, and per run and step what was measured and kept."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

SCHEMA_VERSION = 4  # raise it when a table changes

METADATA = sql.MetaData()

FORMAT = sql.Table("format", METADATA, sql.Column("version", sql.Integer, primary_key=True))

RUNS = sql.Table(
    "runs",
    METADATA,
    sql.Column("id", sql.String, primary_key=True),
    sql.Column("parent", sql.ForeignKey("runs.id")),
    sql.Column("fork_step", sql.Integer),
    sql.Column("state", sql.String, nullable=False),
    sql.Column("step", sql.Integer, nullable=False),  # the last one whose metrics are recorded
    sql.Column("checkpoint_step", sql.Integer),  # the step that it would go on from; None: from its beginning
    sql.Column("error", sql.Text),
    sql.Column("paused_by", sql.String),  # the viewer who stopped it; None: it stopped because nobody looked
    sql.Column("pinned", sql.Boolean, nullable=False),
    sql.Column("bytes", sql.BigInteger, nullable=False),
    sql.Column("created", sql.Float, nullable=False),
    sql.Column("viewed", sql.Float),  # None: nobody ever looked, so nobody can have looked away
    # For the scheduler:
    sql.Column("quanta", sql.Integer, nullable=False),
    sql.Column("advanced", sql.Float, nullable=False),  # when the last quantum ended
    sql.Column("step_seconds", sql.Float, nullable=False),  # of one update, estimated, later measured
    sql.Column("evaluation_seconds", sql.Float, nullable=False),  # of one evaluation; 0 before the first
    sql.Column("turn_seconds", sql.Float, nullable=False),  # that the last quantum really took
    sql.Column("steps", sql.Integer, nullable=False),
    # The lease: who may commit the next quantum.
    sql.Column("lease", sql.String),
    sql.Column("lease_until", sql.Float),
    sql.Column("worker", sql.String),  # who has it, or had it last
    sql.Column("deaths", sql.Integer, nullable=False),  # of workers that had it, since it last made progress
    sql.Index("runs_by_state", "state", "advanced"),
    sql.Index("runs_by_parent", "parent"),
)

# Apart from the row that every quantum writes anew: a configuration may hold a text of a megabyte.
CONFIGS = sql.Table(
    "configs",
    METADATA,
    sql.Column("run_id", sql.ForeignKey(RUNS.c.id), primary_key=True),
    sql.Column("text", sql.Text, nullable=False),
)

VIEWS = sql.Table(
    "views",
    METADATA,
    sql.Column("run_id", sql.ForeignKey(RUNS.c.id), primary_key=True),
    sql.Column("viewer", sql.String, primary_key=True),
    sql.Column("seen", sql.Float, nullable=False),
    sql.Index("views_by_time", "seen"),
)

CHECKPOINTS = sql.Table(
    "checkpoints",
    METADATA,
    sql.Column("run_id", sql.ForeignKey(RUNS.c.id), primary_key=True),
    sql.Column("step", sql.Integer, nullable=False),
    sql.Column("file", sql.LargeBinary, nullable=False),
    sql.Column("checksum", sql.LargeBinary, nullable=False),
)


def _history(name: str, *columns: sql.Column[Any], with_rowid: bool = False) -> sql.Table:
    """Return a table with one row per run and step."""
    run_id: sql.Column[str] = sql.Column("run_id", sql.ForeignKey(RUNS.c.id), primary_key=True)
    step: sql.Column[int] = sql.Column("step", sql.Integer, primary_key=True)
    return sql.Table(name, METADATA, run_id, step, *columns, sqlite_with_rowid=with_rowid)


METRICS = _history(
    "metrics",
    sql.Column("loss", sql.Float, nullable=False),
    sql.Column("loss_per_position", sql.LargeBinary, nullable=False),
    sql.Column("tokens_seen", sql.Integer, nullable=False),
    sql.Column("seconds", sql.Float, nullable=False),
)
EVALUATIONS = _history(
    "evaluations",
    sql.Column("true_history_loss", sql.Float, nullable=False),
    sql.Column("own_history_loss", sql.Float, nullable=False),
    sql.Column("loss_per_position", sql.LargeBinary, nullable=False),
    sql.Column("valid_share", sql.Float),
    sql.Column("prompted_accuracy", sql.Float),
)
SNAPSHOTS = _history("snapshots", sql.Column("file", sql.LargeBinary, nullable=False), with_rowid=True)

OF_A_RUN = (CONFIGS, VIEWS, CHECKPOINTS, METRICS, EVALUATIONS, SNAPSHOTS)
