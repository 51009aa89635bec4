"""What a bulkhead says of itself at GET /metrics, read as strictly as a collector should."""

import re
import socket

from .wait import DEADLINE_S, until

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|\Z)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


def http_get(path, target, accept=None, method="GET", version="1.1"):
    """(status, headers, body) over a Unix socket, by its path, or TCP, by (host, port); chunks are
    joined and must be whole."""
    head = f"{method} {target} HTTP/{version}\r\nHost: localhost\r\n"
    head += f"Accept: {accept}\r\n" if accept else ""
    head += "Content-Length: 0\r\n" if method == "POST" else ""
    with socket.socket(socket.AF_UNIX if isinstance(path, str) else socket.AF_INET) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(path)
        sock.sendall((head + "\r\n").encode())
        answer = b""
        while piece := sock.recv(1 << 20):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if headers.get("Transfer-Encoding") == "chunked" and method != "HEAD":
        body = join_chunks(body)
    return int(status.split()[1]), headers, body


def join_chunks(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        size = int(size, 16)
        assert data[size:size + 2] == b"\r\n", "a chunk is cut short"
        if size == 0:
            assert data == b"\r\n"
            return body
        body, data = body + data[:size], data[size + 2:]


def parse_labels(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"labels {text!r}"
        assert match[1] not in labels, f"a label twice: {text!r}"
        labels[match[1]] = re.sub(
            r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), match[2])
        at = match.end()
    return labels


class Metrics:
    """One exposition. metrics("name_total", label="value") is a sample's value, or None."""

    def __init__(self, body, openmetrics=False):
        self.samples, self.types, self.helps, self.order = {}, {}, {}, []
        text = body.decode()
        assert text.endswith("\n")
        lines = text[:-1].split("\n")
        if openmetrics:
            assert lines.pop() == "# EOF"
        family = None
        for line in lines:
            if line.startswith("# HELP "):
                family, self.helps[family] = line[7:].split(" ", 1)
                assert family not in self.types, f"{family} comes twice"
            elif line.startswith("# TYPE "):
                assert line[7:].split(" ")[0] == family
                self.types[family] = line[7:].split(" ")[1]
            else:
                self._add(line, family, openmetrics)

    def _add(self, line, family, openmetrics):
        match = SAMPLE.match(line)
        assert match, f"no sample: {line!r}"
        kind = self.types[family]
        suffixes = ("_total",) if openmetrics and kind == "counter" else SUFFIXES[kind]
        assert match[1] in [family + suffix for suffix in suffixes], f"{line!r} in {family}"
        key = (match[1], frozenset(parse_labels(match[2] or "").items()))
        assert key not in self.samples, f"{key} twice"
        self.samples[key] = float(match[3])
        self.order.append(key)

    def __call__(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())))

    def by(self, name, label, **labels):
        """{value of that label: sample} of those that have the other labels."""
        wanted = set(labels.items())
        return {dict(key)[label]: value for (found, key), value in self.samples.items()
                if found == name and wanted <= key}

    def families(self):
        return set(self.types)


def scrape(path, openmetrics=False):
    accept = "application/openmetrics-text" if openmetrics else None
    status, headers, body = http_get(path, "/metrics", accept)
    assert status == 200
    assert headers["Content-Type"] == (OPENMETRICS if openmetrics else TEXT)
    return Metrics(body, openmetrics)


def wait_metrics(path, condition, what):
    """The first scrape for which the condition is true."""
    def look():
        metrics = scrape(path)
        return metrics if condition(metrics) else None

    return until(look, what)
