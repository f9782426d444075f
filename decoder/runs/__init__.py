"""Trainings as rows of a store: asked for by pages, advanced by worker processes."""

from decoder.runs.advance import Advancer, Progress, advance
from decoder.runs.store import EvaluationRow, MetricsRow, Run, Store, open_store
from decoder.runs.workers import Workers

__all__ = [
    "Advancer",
    "EvaluationRow",
    "MetricsRow",
    "Progress",
    "Run",
    "Store",
    "Workers",
    "advance",
    "open_store",
]
