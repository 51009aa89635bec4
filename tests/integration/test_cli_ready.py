"""`bulkhead ready`: the exit codes of what runs, what drains, what is not there."""

import socket
import threading

import pytest
import yaml

from harness.bulkhead import configuration, run_command, terminate


def free_port():
    """One that was free a moment ago: the configuration must name it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def ready(*arguments):
    result = run_command("ready", *arguments)
    return result.returncode, result.stdout, result.stderr


@pytest.fixture(scope="module")
def site(start_shared, shared_backends, credentials):
    return start_shared(configuration(
        credentials, terminate(shared_backends.plain().url),
        probes={"listen": f"tcp://0.0.0.0:{free_port()}"}))


def port_of(bulkhead):
    return int(bulkhead.wait_log("probes_listening")["addr"].rpartition(":")[2])


def test_ready_by_configuration_and_by_url(site):
    port = port_of(site)
    assert ready("-c", site.config_file) == (0, "ok\n", "")
    for url in (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/readyz",
                f"http://127.0.0.1:{port}/livez"):
        assert ready("--url", url) == (0, "ok\n", "")
    assert ready("--url", f"http://127.0.0.1:{port}/readyz?json")[1].startswith('{"live":true')
    code, out, err = ready("--url", f"http://127.0.0.1:{port}/metrics")
    assert (code, out) == (1, "") and "status 404" in err


def test_ready_by_an_admin_address_of_tcp(start, backends, credentials):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   admin={"listen": f"tcp://127.0.0.1:{free_port()}"}))
    assert ready("-c", bulkhead.config_file)[:2] == (0, "ok\n")


def test_not_ready_while_it_stops(start, backends, credentials, tmp_path):
    """By the admin socket, where there are no probes."""
    path = tmp_path / "admin.sock"
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   admin={"listen": f"unix://{path}"}, drain={"delay": "1h"}))
    assert ready("-c", bulkhead.config_file)[:2] == (0, "ok\n")
    assert ready("--url", f"http://unix:{path}")[0] == 0
    bulkhead.signal()
    bulkhead.wait_log("draining")
    code, out, err = ready("-c", bulkhead.config_file)
    assert (code, out) == (1, "")
    assert err.splitlines()[1] == "draining: the process was told to stop"
    bulkhead.signal()
    bulkhead.wait_exit(0)
    code, _, err = ready("-c", bulkhead.config_file)
    assert code == 1 and f"cannot connect to unix:{path}" in err


@pytest.mark.parametrize("answer", [
    b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\n\x1b[m",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 None\r\n\r\n",
])
def test_only_a_200_is_ready(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            sock, _ = server.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        code, out, err = ready("--url", f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert (code, out) == (1, "") and err.startswith("bulkhead ready: ")
    assert "\x1b" not in err


def test_no_answer_in_time_is_not_ready():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        code, _, err = ready("--url", url, "--timeout", "50ms")
    assert code == 1 and "did not answer in 50 ms" in err


@pytest.mark.parametrize("arguments, why", [
    ([], "one of -c and --url"), (["-c", "a", "--url", "b"], "one of -c and --url"),
    (["--url", "http://localhost:1/"], "IP address"), (["--url", "x"], "http://"),
    (["--url", "http://127.0.0.1:1/", "more"], "too many"),
    (["--url", "http://127.0.0.1:1/", "--timeout", "5"], "--timeout"),
    (["--url", "http://127.0.0.1:1/", "--timeout", "0s"], "--timeout"),
    (["-c", "/nonexistent/x.yaml"], "x.yaml"),
])
def test_wrong_usage_is_2(arguments, why):
    code, out, err = ready(*arguments)
    assert (code, out) == (2, "") and why in err


@pytest.mark.parametrize("more, why", [
    ({}, "neither probes.listen nor admin.listen"),
    ({"probes": {"listen": "tcp://127.0.0.1:0"}}, "lets the kernel choose the port"),
])
def test_a_configuration_that_names_no_place_is_2(credentials, tmp_path, more, why):
    path = tmp_path / "bulkhead.yaml"
    path.write_text(yaml.safe_dump(configuration(
        credentials, terminate("tcp://127.0.0.1:1"), **more)))
    code, out, err = ready("-c", path)
    assert (code, out) == (2, "") and why in err
