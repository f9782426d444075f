"""The app as people meet it: a server started as the README says, and a real Chromium that looks at its pages."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sql
from local_cluster import LocalCluster
from playwright.sync_api import Error, expect, sync_playwright
from sqlalchemy import update

from decoder.runs import open_store
from decoder.runs.tables import RUNS

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60.0  # seconds; the machine may be shared and busy
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
# On a deep link Streamlit's front end first looks for its server below the page's own path.
KNOWN_PROBES = re.compile(r"/[a-z_]+/_stcore/(health|host-config)$")
# Streamlit's own answer to a message that is no UTF-8, which only a lone surrogate in a text field gives.
REFUSED_MESSAGE = re.compile(
    r"Error deserializing back message\nTraceback.*\n(?: .*\n)+.*DecodeError: .*bad UTF-8"
)

# What the page sends arrives late, as it does over a slow network.
FAR_SERVER = """
window.WebSocket = class extends WebSocket {
  send(data) { setTimeout(() => super.send(data), 300); }
};
"""

expect.set_options(timeout=PATIENCE * 1000)


def until(condition, what="it", seconds=PATIENCE):
    """Return the condition's first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} seconds in vain for {what}"
        time.sleep(0.05)
    return value


# ---- the server


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def workers_of(pid):
    """Return the ids of the worker processes that this server has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid and b"decoder.runs.worker" in process.joinpath("cmdline").read_bytes():
                found.append(int(process.name))
    return found


@dataclasses.dataclass
class Server:
    """`streamlit run app.py` with a store of its own."""

    url: str
    store_url: str
    process: subprocess.Popen
    log: Path

    @classmethod
    def start(cls, folder, store_url=None):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        store_url = store_url or f"sqlite:///{folder / 'runs.sqlite3'}"
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        log = folder / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"DECODER_STORE": store_url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        server = cls(f"http://127.0.0.1:{port}", store_url, process, log)
        until(server.answers, f"the server to start:\n{log.read_text()}")
        return server

    def answers(self):
        assert self.process.poll() is None, f"the server has ended:\n{self.log.read_text()}"
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5) as answer:  # noqa: S310
                return answer.status == 200
        except (URLError, OSError):
            return False

    @property
    def workers(self):
        return workers_of(self.process.pid)

    def stop(self):
        """End the server as Ctrl-C does; its workers must be gone with it, and its log free of tracebacks."""
        workers = self.workers
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        until(lambda: not any(map(is_alive, workers)), "the workers to end with their server", 10)
        log = REFUSED_MESSAGE.sub("", self.log.read_text())
        assert "Traceback" not in log, log


@pytest.fixture
def fresh_server(tmp_path):
    """A server that nobody has visited, with an empty store."""
    server = Server.start(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server that all tests share for which freshness is not the point."""
    server = Server.start(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


class Trainings:
    """What the server's store holds, read by this process."""

    def __init__(self, server):
        self.store = open_store(server.store_url)

    def asleep(self, config):
        """Have a run of this configuration that begins when the first page looks at it, and return its id."""
        run_id = self.store.request(config)
        with self.store.database.write() as connection:
            connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(state="paused"))
        return run_id

    def finished(self, config):
        """Have this training done by the server's workers, and return its run's id."""
        run_id = self.store.request(config)
        until(lambda: self.store.run(run_id).state in {"finished", "failed"}, "a training", 120)
        assert self.store.run(run_id).state == "finished", self.store.run(run_id).error
        return run_id

    def model(self, config, step=None):
        return self.store.model(self.finished(config), step)[0]

    def evaluation(self, config):
        return self.store.evaluations(self.finished(config))[-1]


@pytest.fixture(scope="session")
def trainings(server):
    trainings = Trainings(server)
    yield trainings
    trainings.store.close()


# ---- the browser


@pytest.fixture(scope="session")
def chromium_path():
    named = os.environ.get("CHROMIUM")
    found = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        reason = "no Chromium: apt-get install chromium, or name the program in CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")  # playwright's event loop must not run on while other modules are tested
def browser(chromium_path):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def profiles():
    """Browser profiles that nobody uses now. They keep Streamlit's scripts: with an empty one a page takes twice as long."""
    return []


class Visit:
    """One visitor's tab, and everything that the browser complained about or asked for."""

    def __init__(self, context, url):
        self.url = url
        self.complaints = []
        self.tolerated = None  # a pattern of complaints that a test provokes
        self.requests = []
        self.held_back = []
        self.context = context
        self.page = context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda websocket: self.requests.append(websocket.url))

    def _on_console(self, message):
        address = urlsplit(message.location.get("url", "")).path
        probe = KNOWN_PROBES.search(address) and "404" in message.text
        if message.type in {"error", "warning"} and not probe:
            self.complaints.append(f"{message.type}: {message.text} ({message.location})")

    until = staticmethod(until)

    # -- going about

    def open(self, path="", **query):
        self.page.goto(f"{self.url}/{path}" + (f"?{urlencode(query)}" if query else ""))
        return self.idle()

    def hold_back(self, part):
        """Let a part of Streamlit's front end come only when it is let through, as over a slow network."""
        place = f"**/static/js/{part}.*.js"
        self.page.route(place, lambda one: self.held_back.append(one))  # noqa: PLW0108  # no builtin may be passed

    def let_through(self):
        for request in self.held_back:
            request.continue_()

    def leave(self):
        """Close the page, and leave a profile behind that nobody has visited anything with."""
        with contextlib.suppress(Error):  # a blank page has no storage
            self.page.evaluate("localStorage.clear()")
        self.page.close()
        self.context.clear_cookies()

    def idle(self):
        """Wait until the page has been drawn and no script runs."""
        self.page.wait_for_selector(IDLE, timeout=PATIENCE * 1000)
        expect(self.page.locator("h1").first).to_be_visible()
        return self

    def go_to(self, title):
        """Switch to another page by the navigation."""
        self.navigation.filter(has_text=title).click()
        return self.idle()

    def trained(self):
        """Wait until no training of this page goes on, and the page has been drawn for the last time."""
        bars = self.page.locator('[data-testid="stProgress"]')

        def stays_away():
            """A page that is drawn again in mid-training has no bar for a moment."""
            self.idle()
            gone = bars.count() == 0
            self.page.wait_for_timeout(500)
            return gone and bars.count() == 0

        until(stays_away, "the end of the training", 120)
        return self.idle()

    def choose(self, key, option):
        """Choose an option of a select box."""
        self.key(key).locator("input").click()
        self.page.get_by_role("option", name=option, exact=True).click()
        return self

    def type(self, key, text):
        """Type a text over the old one, and leave the field by Enter."""
        field = self.key(key).locator("input, textarea").first
        field.fill(text)
        field.press("Control+Enter" if field.evaluate("e => e.tagName") == "TEXTAREA" else "Enter")
        return self

    # -- looking

    @property
    def address(self):
        """The address as the browser has it now; playwright's own `page.url` stands still while nobody asks it anything."""
        return self.page.evaluate("location.href")

    def key(self, key):
        """What stands under a Streamlit key."""
        return self.page.locator(".st-key-" + re.sub(r"[^a-zA-Z0-9_-]", "-", key.strip()))

    @property
    def main(self):
        return self.page.locator('[data-testid="stMain"]')

    @property
    def navigation(self):
        return self.page.locator('[data-testid="stSidebarNavLink"]')

    @property
    def refusal(self):
        return self.key("refusal").locator('[data-testid="stText"]')

    @property
    def exceptions(self):
        return self.page.locator('[data-testid="stException"]')

    def sentences(self):
        """The plain texts of the page, one string each."""
        return self.main.locator('[data-testid="stText"]').all_inner_texts()

    def strips(self, key):
        """Rows of tokens under a key: name -> list of (token, note, kind)."""
        rows = (
            self.key(key)
            .locator(".groups")
            .evaluate(
                """groups => [...groups.querySelectorAll("tbody")].map(body => [
                body.querySelector("th.name span").textContent,
                [...body.querySelectorAll("td[data-column]")].filter(cell => cell.querySelector(".chip")).map(cell => [
                    cell.querySelector("bdi").textContent,
                    cell.querySelector(".note")?.textContent ?? "",
                    cell.querySelector(".chip").className.replace("chip ", "")])])"""
            )
        )
        strips = {}
        for name, chips in rows:
            strips.setdefault(name, []).extend(map(tuple, chips))
        return strips

    def tables(self, key):
        """The numbers of matrices as their table says them: a list of (caption, row names, rows of texts)."""
        details = self.key(key).locator("details")
        if details.get_attribute("open") is None:
            details.locator("summary").click()
            expect(details.locator("table").first).to_be_visible()
        return details.evaluate(
            """details => [...details.querySelectorAll("table")].map(table => [
                table.caption.textContent,
                [...table.tBodies[0].rows].map(row => row.cells[0].textContent),
                [...table.tBodies[0].rows].map(row => [...row.cells].slice(1).map(cell => cell.textContent))])"""
        )

    # -- what must hold on every page

    def assert_clean(self):
        """No complaint in the console, no box with an exception, and not a byte from another host."""
        boxes = self.exceptions.all_inner_texts()  # asking the browser also hears what it has said until now
        assert boxes == []
        complaints = [
            text for text in self.complaints if not (self.tolerated and re.search(self.tolerated, text))
        ]
        assert not complaints, "\n".join(complaints)
        host = urlsplit(self.url).netloc
        foreign = [
            url for url in self.requests
            if urlsplit(url).scheme not in {"data", "blob"} and urlsplit(url).netloc != host
        ]  # fmt: skip
        assert not foreign, foreign


@pytest.fixture
def visit(browser, profiles, request):
    """Open a page as a new visitor; whatever the test is about, the page must have stayed clean at its end."""
    visits = []

    def open_page(path="", width=1280, height=1600, scheme="light", at=None, far=False, late=None, **query):
        server = at or request.getfixturevalue("server")
        each = Visit(profiles.pop() if profiles else browser.new_context(), server.url)
        visits.append(each)
        each.page.set_viewport_size({"width": width, "height": height})
        each.page.emulate_media(color_scheme=scheme)
        if far:
            each.page.add_init_script(FAR_SERVER)
        if late:
            each.hold_back(late)
        return each.open(path, **query)

    yield open_page
    try:
        for each in visits:
            each.assert_clean()
    finally:
        for each in visits:
            each.leave()
            profiles.append(each.context)


PATHS = sorted(
    "" if file.stem == "start" else file.stem
    for folder in ("lecture", "lab")
    for file in (ROOT / "pages" / folder).glob("*.py")
)


@pytest.fixture
def pages():
    """The paths of all pages."""
    return PATHS


def pytest_generate_tests(metafunc):
    """`path` in a test's arguments stands for every page of the app."""
    if "path" in metafunc.fixturenames:
        metafunc.parametrize("path", PATHS, ids=[path or "start" for path in PATHS])


# ---- the app on a cluster


@pytest.fixture
def database():
    """The address of an empty PostgreSQL database, which is gone afterwards."""
    address = os.environ.get("DECODER_TEST_POSTGRES")
    if not address:
        reason = "no PostgreSQL: install it, and name it in DECODER_TEST_POSTGRES, as .ci/run does"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    name = f"decoder_cluster_{uuid.uuid4().hex}"
    engine = sql.create_engine(address, isolation_level="AUTOCOMMIT", poolclass=sql.NullPool)
    with engine.connect() as connection:
        connection.execute(sql.text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"))
    yield sql.make_url(address).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sql.text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers on this machine."""
    with LocalCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def cluster_server(tmp_path, cluster, database, monkeypatch):
    """A server whose trainings a cluster does, with PostgreSQL as the store."""
    monkeypatch.setenv("DECODER_ENGINE", cluster.address)
    server = Server.start(tmp_path, database)
    yield server
    server.stop()
