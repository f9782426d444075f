"""Pages over trainings of a few updates, so that a test sees real runs without waiting for them."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from decoder import Evaluation
from decoder.runs import advance
from decoder.training import evaluation
from decoder.training.loss import loss_by_position, token_losses
from decoder.training.rollout import teacher_forced

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    file.stem: str(file.relative_to(ROOT))
    for folder in ("lecture", "lab")
    for file in sorted((ROOT / "pages" / folder).glob("*.py"))
}
STEPS = 3
SECONDS = 60


def quick_evaluate(model, corpus):
    """The same measurements, on a few sentences."""
    batch = corpus.held_out(model.config.context_length)[:4]
    losses = token_losses(teacher_forced(model, batch).logits, batch)
    return Evaluation(
        true_history_loss=evaluation.true_history_loss(model, batch),
        own_history_loss=evaluation.own_history_loss(model, batch),
        loss_per_position=loss_by_position(losses, batch),
        valid_share=evaluation.valid_share(model, corpus, samples=4) if corpus.has_grammar else None,
        prompted_accuracy=evaluation.prompted_accuracy(model, corpus, prompts=4)
        if corpus.has_grammar
        else None,
    )


def train(store, *configs):
    for config in configs:
        run_id = store.request(config)
        while not advance(store, run_id).done:
            pass
        assert store.run(run_id).state == "finished", store.run(run_id).error


def visit(page="start", state=None, **query):
    """One run of a page, with settings as a link carries them."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
    for key, value in query.items():
        at.query_params[key] = value
    for key, value in (state or {}).items():
        at.session_state[key] = value
    if page != "start":
        at.switch_page(PAGES[page])
    return at.run()
