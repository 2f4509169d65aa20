"""Addresses that a cluster announces and that don't answer."""

import contextlib
import json
import socket
import time

import pytest
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections
from proxy import Proxy


class Announcer(Proxy):
    """Between a client and its server: adds addresses to the server's INFO."""

    def __init__(self, target, addresses):
        self.addresses = addresses
        super().__init__(target)

    def _pump(self, source, sink, answers):
        if answers:
            try:
                line = b""
                while not line.endswith(b"\r\n"):
                    line += source.recv(1)
                info = json.loads(line[5:])
                info["connect_urls"] = self.addresses
                sink.sendall(b"INFO " + json.dumps(info).encode() + b"\r\n")
            except (OSError, ValueError):
                pass
        super()._pump(source, sink, answers)


@pytest.fixture
def silent():
    """Addresses that accept and say nothing, and some that do not even accept."""
    with contextlib.ExitStack() as stack:
        addresses = []
        for number in range(24):
            is_deaf = number % 3 == 0
            listener = stack.enter_context(
                socket.create_server(("127.0.0.1", 0), backlog=0 if is_deaf else 128))
            addresses.append(f"127.0.0.1:{listener.getsockname()[1]}")
            for _ in range(4 if is_deaf else 0):  # whoever comes after these gets no answer
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
        yield addresses


def test_silent_servers(tmp_path, name, silent):
    many = [f"127.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}:4222"
            for n in range(1 << 16, (1 << 16) + 20_000)]
    with Lab() as lab:
        for kind, addresses, ignored in (("silent", silent, False), ("ignored", silent, True),
                                         ("many", many + silent, False)):
            outages(lab, tmp_path, f"{name}_{kind}", addresses, ignored)


def outages(lab, folder, name, addresses, ignored):
    make_collections(lab, name)
    jetstream = JetStream(lab.nats_url)
    proxy = Announcer(lab.nats[0].port, addresses)
    changes = {"nats": {"servers": [f"nats://127.0.0.1:{proxy.port}"],
                        "ignore_discovered_servers": ignored}}
    with Bridge(folder, configuration(lab, name, **changes)) as bridge:
        bridge.start().wait_ready()
        for number in range(1, 3):
            lab.kill("nats")
            time.sleep(0.5)  # long enough for it to knock at the others' doors
            lab.start("nats")
            with client(lab) as mongo:
                mongo[name].rooms.insert_one({"_id": number})
            began = time.monotonic()
            wait_until(lambda: bridge.alive() and jetstream.holds(name, number),
                       f"event {number} after an outage", 10)
            print(f"{name}: published after {time.monotonic() - began:.2f} s")
        # Told to stop while it does so.
        lab.kill("nats")
        time.sleep(0.5)
        began = time.monotonic()
        assert bridge.terminate(10) == 0
        print(f"{name}: stopped after {time.monotonic() - began:.2f} s")
    lab.start("nats")
    proxy.close()
