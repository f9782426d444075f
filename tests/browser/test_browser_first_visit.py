"""A server that nobody has visited yet: every page answers its first visitor, and the first decoder trains by itself."""

import os
import re
import signal
import socket
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from decoder import evaluate, load_corpus
from decoder.runs import open_store
from decoder.training.evaluation import write_sentences
from decoder.training.presets import preset

STREAM = "/_stcore/stream"


@contextmanager
def held(workers):
    """Stop processes for a while."""
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def ask(server, path, *, host=None, origin=None):
    """Ask for a page, or for the websocket that carries a visit; return the status of the answer."""
    place = urlsplit(server.url)
    upgrade = (
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    request = f"GET {path} HTTP/1.1\r\nHost: {host or place.netloc}\r\nOrigin: {origin or server.url}\r\n" + (
        f"Connection: Upgrade\r\n{upgrade}\r\n" if path == STREAM else "Connection: close\r\n\r\n"
    )
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(request.encode())
        return int(connection.recv(1024).split()[1])


def test_every_page_answers_the_first_visitor_of_a_server_in_full(fresh_server, visit, path, pages):
    with held(fresh_server.workers):  # what the page shows before there is any decoder at all
        first = visit(path, at=fresh_server)
        links = first.navigation.evaluate_all(
            "links => links.map(link => new URL(link.href).pathname.slice(1))"
        )
        assert sorted(links) == pages
        expect(first.page.get_by_text("page not found")).to_have_count(0)
        assert urlsplit(first.address).path == f"/{path}"
        expect(first.refusal).to_have_count(0)
        first.assert_clean()


def test_the_first_decoder_trains_by_itself_and_the_start_page_says_how_well(fresh_server, visit):
    with held(fresh_server.workers):
        start = visit(at=fresh_server)
        expect(start.main.locator('[data-testid="stProgress"]')).to_have_count(1)
    start.trained()
    corpus, config = load_corpus("ibm"), preset("ibm")
    expect(start.main).to_contain_text(f"trained {config.steps} steps")

    store = open_store(fresh_server.store_url)
    run_id = store.request(config)
    run = store.run(run_id)
    assert (run.state, run.step) == ("finished", config.steps)  # nobody has asked for it but the server
    row = store.evaluations(run_id)[-1]
    model, step = store.model(run_id)
    untrained, _ = store.model(run_id, 0)
    store.close()

    measured = evaluate(model, corpus)
    assert (step, row.step) == (config.steps, config.steps)
    assert row.true_history_loss == pytest.approx(measured.true_history_loss, rel=1e-5)
    assert row.valid_share == pytest.approx(measured.valid_share, abs=0.01)
    said = next(sentence for sentence in start.sentences() if "nats per token" in sentence)
    for number in (f"{row.true_history_loss:.4g}", f"{corpus.floor:.4g}", f"{100 * row.valid_share:.0f} %"):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d])", said), (number, said)

    shown = [sentence for sentence in start.sentences() if sentence[:2] in {"✓ ", "✗ "}]
    expected = [
        ("✓ " if corpus.valid(ids) else "✗ ") + corpus.tokenizer.decode(ids, skip_specials=True)
        for decoder in (untrained, model)
        for ids in write_sentences(decoder, corpus, len(shown) // 2, seed=config.seed)
    ]
    assert len(shown) >= 2
    assert shown == expected


@pytest.mark.parametrize("address", ["", "training", "_stcore/health", "_stcore/no-such-thing"])
def test_every_answer_carries_the_security_headers(server, address):
    request = urllib.request.Request(f"{server.url}/{address}")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            headers = answer.headers
    except urllib.error.HTTPError as refused:
        with refused:
            headers = refused.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    assert not re.search(r"https?:|wss?:|\*", headers["Content-Security-Policy"])  # this host only


@pytest.mark.parametrize(("address", "welcome"), [(STREAM, 101), ("/", 200), ("/_stcore/health", 200)])
def test_pages_of_another_host_and_other_names_of_this_one_get_nothing(server, address, welcome):
    assert ask(server, address) == welcome
    assert ask(server, address, origin="http://evil.example") == 403
    assert ask(server, address, origin="null") == 403
    assert ask(server, address, host="evil.example") == 403
    assert ask(server, address, host="evil.example", origin="http://evil.example") == 403
