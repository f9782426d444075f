"""Trainings as rows of a store: asked for by pages, advanced by worker processes, never lost."""

from decoder.runs.advance import Advancer, Progress, advance
from decoder.runs.database import StoreError
from decoder.runs.history import EvaluationRow, MetricsRow, snapshot_steps
from decoder.runs.schedule import Forecast, forecast
from decoder.runs.store import Run, Segment, Store, UnknownRunError, open_store
from decoder.runs.workers import Workers

__all__ = [
    "Advancer",
    "EvaluationRow",
    "Forecast",
    "MetricsRow",
    "Progress",
    "Run",
    "Segment",
    "Store",
    "StoreError",
    "UnknownRunError",
    "Workers",
    "advance",
    "forecast",
    "open_store",
    "snapshot_steps",
]
