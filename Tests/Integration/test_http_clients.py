"""HTTP clients that are slow, many or wrong do not hold up the bridge."""

import http.client
import os
import re
import resource
import socket
import time
from email.utils import parsedate_to_datetime

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

PATHS = ["/", "/livez", "/readyz", "/healthz", "/status", "/metrics"]


def ask(bridge, method, path, headers=None):
    """(status, headers, body) of one request."""
    host, port = bridge.configuration["http"]["listen"].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def open_socket(bridge, text=b""):
    host, port = bridge.configuration["http"]["listen"].split(":")
    one = socket.create_connection((host, int(port)), 5)
    one.sendall(text)
    return one


def holds(bridge, one):
    """Whether the bridge still has the other end of a connection."""
    port = f":{one.getsockname()[1]:04X}"
    pid = bridge.process.pid
    own = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            own.add(os.readlink(f"/proc/{pid}/fd/{number}"))
        except OSError:
            pass  # closed meanwhile
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return any(row[2].endswith(port) and f"socket:[{row[9]}]" in own for row in rows)


def test_methods_token_and_slow_clients(lab, tmp_path, name):
    make_collections(lab, name)
    token = tmp_path / "token"
    token.write_text("\ufefffirst\n")
    changes = {"http": configuration(lab, name)["http"] | {"token_file": str(token)}}
    with Bridge(tmp_path, configuration(lab, name, **changes)) as bridge:
        bridge.start().wait_ready()
        first = {"Authorization": "Bearer first"}
        for path in PATHS:
            status, headers, body = ask(bridge, "GET", path, first)
            assert status == 200 and len(body) == int(headers["Content-Length"]) > 0, path
            status, headers, body = ask(bridge, "HEAD", path, first)
            assert status == 200 and body == b"" and int(headers["Content-Length"]) > 0, path
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                status, headers, _ = ask(bridge, method, path, first)
                assert (status, headers["Allow"]) == (405, "GET, HEAD"), (method, path)
            status, headers, _ = ask(bridge, "GET", path, {"Authorization": "Bearer x"})
            open_to_all = path in ("/livez", "/readyz", "/healthz")
            assert status == (200 if open_to_all else 401), path
        assert ask(bridge, "GET", "/nothing", first)[0] == 404
        assert ask(bridge, "HEAD", "/nothing", first)[0] == 404
        # The file is read again; while it is empty nobody gets in.
        token.write_text("")
        assert ask(bridge, "GET", "/status", first)[0] == 503
        token.write_text("second")
        assert ask(bridge, "GET", "/status", {"Authorization": "Bearer second"})[0] == 200
        assert ask(bridge, "GET", "/status", first)[0] == 401

        slow = {
            "silent": open_socket(bridge),
            "dribbling": open_socket(bridge, b"GET /livez HTTP/1.1\r\nHost: x\r\n"),
            # It asks on and on and never reads.
            "deaf": open_socket(bridge, b"GET /metrics HTTP/1.1\r\nHost: x\r\n"
                                        b"Authorization: Bearer second\r\n\r\n" * 5000),
        }
        wait_until(lambda: all(holds(bridge, one) for one in slow.values()), "they are connected")

        def still_open():
            try:
                slow["dribbling"].send(b"x")  # it continues, a byte at a time
            except OSError:
                pass
            return [kind for kind, one in slow.items() if holds(bridge, one)]

        wait_until(lambda: not still_open(), "slow clients are closed", 40, every=0.2)
        bridge.alive()
        assert bridge.terminate() == 0
        for one in slow.values():
            one.close()


def conversation(bridge, *texts, ends=False):
    """Everything that is answered to texts sent one after the other, until the bridge closes; `ends`: our
    side is closed behind them."""
    with open_socket(bridge) as one:
        for text in texts:
            one.sendall(text)
        if ends:
            one.shutdown(socket.SHUT_WR)
        answer = b""
        while part := one.recv(1 << 16):
            answer += part
        return answer


def test_on_the_wire(lab, tmp_path, name):
    """What HTTP demands of a server, byte by byte."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        get = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"
        last = get % (b"/livez", b"Connection: close\r\n")

        one = conversation(bridge, last)
        head, body = one.split(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and body == b"ok\n"
        assert headers[b"connection"] == b"close" and headers[b"cache-control"] == b"no-store"
        date = parsedate_to_datetime(headers[b"date"].decode())
        assert abs(date.timestamp() - time.time()) < 5

        # Sent ahead: answered in their order. A body is of no interest, and not taken for a request.
        several = conversation(
            bridge, get % (b"/livez?x=1", b"") + get % (b"/nothing", b""),
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n" + last[:30],
            get % (b"/livez/", b""), last, get % (b"/status", b""))
        assert re.findall(rb"HTTP/1.1 (\d+)", several) == [b"200", b"404", b"405", b"200", b"200"]
        many = conversation(bridge, get % (b"/metrics", b"") * 500, last)
        assert many.count(b"HTTP/1.1 200 OK") == 501 and many.endswith(b"\r\n\r\nok\n")

        # HTTP/1.0 closes, unless asked not to.
        assert conversation(bridge, b"GET /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nok\n")
        kept = conversation(bridge, b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", last)
        assert kept.count(b"200 OK") == 2 and b"keep-alive" in kept.lower()

        # HEAD: the same head, no body, whatever the answer is.
        for path in (b"/livez", b"/nothing"):
            answer = conversation(bridge, (get % (path, b"")).replace(b"GET", b"HEAD"), last)
            assert re.search(rb"(?i)content-length: [1-9]", answer.split(b"\r\n\r\n")[0])
            assert answer.split(b"\r\n\r\n")[1].startswith(b"HTTP/1.1 200 OK"), answer

        # Who closes its side behind a request has its answer.
        assert conversation(bridge, get % (b"/livez", b""), ends=True).endswith(b"\r\n\r\nok\n")
        # What is not HTTP, or too long, ends the connection, behind the answers that were due.
        for text in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET /livez HTTP/9.9\r\n\r\n",
                     get % (b"/livez", b"X: " + b"x" * 20000 + b"\r\n")):
            answer = conversation(bridge, get % (b"/livez", b"") + text)
            assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"400"], (text[:20], answer)

        # At its end, connections that rest do not keep it.
        with open_socket(bridge, get % (b"/livez", b"")) as resting:
            assert resting.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")
            assert bridge.terminate() == 0
            assert resting.recv(1 << 16) == b""


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"only {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_2000_clients_of_1024_descriptors(tmp_path, name, many_descriptors):
    with Lab() as lab, Bridge(tmp_path, configuration(lab, name)) as bridge:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        bridge.descriptors = 1024
        bridge.start().wait_ready()
        texts = [b"", b"GET /", b"GET /status HTTP/1.1\r\nHost: x\r\nX: ",
                 b"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc",
                 b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20]
        clients = []
        try:
            for number in range(2000):
                clients.append(open_socket(bridge, texts[number % len(texts)]))
            assert bridge.get("/livez")[0] == 200
            used = len(os.listdir(f"/proc/{bridge.process.pid}/fd"))
            assert used < 512, f"{used} descriptors are in use"
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": "before"})
            wait_until(lambda: jetstream.holds(name, 1), "an event with 2000 clients")
            lab.restart("nats", signal_name="KILL")
            lab.restart("mongod", signal_name="KILL")
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": "after"})
            wait_until(lambda: bridge.alive() and jetstream.holds(name, 2),
                       "an event after both ends were away")
            # Their places are taken again.
            for text in texts * 60:
                clients.append(open_socket(bridge, text))
            began = time.monotonic()
            assert bridge.get("/livez")[0] == 200
            print(f"{used} descriptors; /livez took {time.monotonic() - began:.3f} s")
        finally:
            for one in clients:
                one.close()
        assert bridge.terminate() == 0
