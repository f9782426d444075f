"""Small decoder-only transformers: trained, traced, and used, with every number a return value.

Shape letters, used everywhere: B batch, T positions, K keys (T in a parallel pass), H heads, D width of a
head, C width of the model, V vocabulary. Losses are in nats per token.
"""

from decoder.config import DecoderConfig, Sampling, TextSource, TrainConfig
from decoder.inference.generation import GenerationStep, generate
from decoder.inference.likelihood import log_probabilities, perplexity
from decoder.inference.sampling import distribution
from decoder.language import CORPORA, Batch, Corpus, corpus_from_text, load_corpus, open_corpus
from decoder.model.attention import Attention, attend, causal_mask
from decoder.model.checkpoint import load, save
from decoder.model.decoder import BlockTrace, Decoder, KeyValueCache, Trace
from decoder.model.device import open_device
from decoder.runs import Progress, Run, Store, StoreError, Workers, advance, open_store
from decoder.training.evaluation import Evaluation, evaluate
from decoder.training.loss import next_token_loss
from decoder.training.rollout import (
    Rollout,
    free_running,
    parallel_scheduled_sampling,
    scheduled_sampling,
    teacher_forced,
)
from decoder.training.trainer import Trainer, TrainingDivergedError, TrainStep, train

__all__ = [
    "CORPORA", "Attention", "Batch", "BlockTrace", "Corpus", "Decoder", "DecoderConfig",
    "Evaluation", "GenerationStep", "KeyValueCache", "Progress", "Rollout", "Run", "Sampling",
    "Store", "StoreError", "TextSource", "Trace", "TrainConfig", "TrainStep", "Trainer",
    "TrainingDivergedError", "Workers", "advance", "attend", "causal_mask", "corpus_from_text",
    "distribution", "evaluate", "free_running", "generate", "load", "load_corpus",
    "log_probabilities", "next_token_loss", "open_corpus", "open_device", "open_store",
    "parallel_scheduled_sampling", "perplexity", "save", "scheduled_sampling", "teacher_forced",
    "train",
]  # fmt: skip
