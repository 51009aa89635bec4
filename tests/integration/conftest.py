"""Fixtures: credentials once for each run, programs and backends that end with their test."""

import shutil
import tempfile

import pytest

from harness.backends import Backend, TlsBackend
from harness.bulkhead import Bulkhead, is_sanitizer_build
from harness.clock import Clock
from harness.credentials import Credentials
from harness.issuer import Issuer
from harness.reloading import Reloadable

CREDENTIALS = pytest.StashKey()

# What is put beside the program is the same in every build: once, with the release, is enough. Its
# tools are what `make check` installs and `make test` does without (.ci/deps).
PACKAGING_TOOLS = ("dh", "dpkg-buildpackage", "fish", "mandoc", "promtool", "systemd-analyze", "zsh")
MISSING_TOOLS = [tool for tool in PACKAGING_TOOLS if shutil.which(tool) is None]
LEAVES_OUT_PACKAGING = is_sanitizer_build() or MISSING_TOOLS
collect_ignore_glob = ["test_packaging_*.py"] if LEAVES_OUT_PACKAGING else []


def pytest_terminal_summary(terminalreporter):
    if MISSING_TOOLS:
        terminalreporter.write_line(
            f"left out: test_packaging_*.py, for want of {', '.join(MISSING_TOOLS)} (.ci/deps check)")


def pytest_configure(config):
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[CREDENTIALS] = Credentials(worker["credentials"])
    else:
        directory = tempfile.mkdtemp(prefix="bulkhead-certs-")
        config.stash[CREDENTIALS] = Credentials.make(directory)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """pytest-xdist: its workers use the credentials of the process that started them."""
    node.workerinput["credentials"] = str(node.config.stash[CREDENTIALS].directory)


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput") and CREDENTIALS in config.stash:
        shutil.rmtree(config.stash[CREDENTIALS].directory, ignore_errors=True)


def pytest_generate_tests(metafunc):
    """good_row and bad_row are the rows of the manifest."""
    for name, good in (("good_row", True), ("bad_row", False)):
        if name in metafunc.fixturenames:
            rows = metafunc.config.stash[CREDENTIALS].rows(good)
            metafunc.parametrize(name, rows, ids=[row.name for row in rows])


@pytest.fixture(scope="session")
def credentials(request):
    return request.config.stash[CREDENTIALS]


class Starter:
    """Starts programs and stops them, each with its checks, when the scope ends."""

    def __init__(self, factory):
        self.factory = factory
        self.started = []

    def __call__(self, config, wait=True, **more):
        bulkhead = Bulkhead(config, self.factory.mktemp("bulkhead"), **more)
        self.started.append(bulkhead)
        return bulkhead.start() if wait else bulkhead

    def finish(self):
        problems = []
        for bulkhead in self.started:
            try:
                bulkhead.stop()
            except AssertionError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]


@pytest.fixture
def start(tmp_path_factory):
    """start(config) -> a running Bulkhead."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.finish()


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory):
    """The same for a whole file of tests."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.finish()


class Opener:
    def __init__(self):
        self.opened = []

    def plain(self, *arguments, **more):
        return self._keep(Backend(*arguments, **more))

    def tls(self, *arguments, **more):
        return self._keep(TlsBackend(*arguments, **more))

    def _keep(self, backend):
        self.opened.append(backend)
        return backend

    def close(self):
        for backend in self.opened:
            backend.close()


@pytest.fixture
def backends():
    """backends.plain(handler) and backends.tls(context, handler): servers that end with the test."""
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture(scope="module")
def shared_backends():
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture(scope="session")
def issuer(tmp_path_factory):
    """The CA of prod.example for tests that make their own SVIDs."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def shop(issuer):
    """shop("web"): the SVID of a service, made once."""
    made = {}

    def svid(name):
        if name not in made:
            made[name] = issuer.issue(name)
        return made[name]

    return svid


@pytest.fixture
def reloadable(start, issuer, shop, tmp_path):
    """reloadable(*listeners, **config) -> a running bulkhead whose files the test exchanges."""

    def make(*listeners, **more):
        more.setdefault("own", shop("orders"))
        return Reloadable(start, tmp_path, issuer, *listeners, **more)

    return make


@pytest.fixture
def clock():
    clock = Clock()
    yield clock
    clock.close()
