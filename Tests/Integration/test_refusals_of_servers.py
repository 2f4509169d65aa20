"""Servers that take nothing: no quorum, no space, no JetStream. As test_refusals."""

import pytest
from jetstream import JetStream
from lab import Lab
from refusals import Case, endure, judge


def test_no_quorum(tmp_path, name):
    """Two of three servers stop, and come back."""
    with Lab(nats=3) as lab:
        case = Case(name, ("no ack", "no answer", "does not answer", "temporarily unavailable",
                           "none of", "connection refused", "no leader", "no quorum"), lab.nats_url,
                    {"stream": {"num_replicas": 3}})

        def refuse():
            for index in (0, 1):
                lab.kill("nats", index)

        def repair():
            for index in (0, 1):
                lab.spawn("nats", index)
            lab.wait("nats")

        times = endure(lab, tmp_path, [case], refuse, repair)
        judge(case, *times)


def test_server_storage(tmp_path, name):
    """The servers' own limit: what a full disk comes to."""
    with Lab(file_store="6MB") as lab:
        case = Case(name, ("insufficient storage resources", "insufficient resources"),
                    lab.nats_url)
        jetstream = JetStream(lab.nats_url)

        def refuse():
            jetstream.api("STREAM.CREATE.FILLER", {"name": "FILLER", "subjects": ["filler"]})
            for size in (500_000, 50_000, 5_000, 500, 1):
                while jetstream.publish("filler", b"x" * size).get("seq"):
                    pass

        times = endure(
            lab, tmp_path, [case], refuse, lambda: jetstream.delete_stream("FILLER"))
        judge(case, *times)


def test_no_jetstream(tmp_path, name):
    """The server comes back without JetStream, and then with it."""
    with Lab() as lab:
        server = lab.nats[0]
        whole = server.configuration.read_text()
        case = Case(name, ("JetStream does not answer",), lab.nats_url)

        def restart(text):
            server.configuration.write_text(text)
            lab.kill("nats", 0, "TERM")
            lab.spawn("nats")

        def refuse():
            restart(whole[:whole.index("jetstream {")] + whole[whole.index("}") + 1:])

        def repair():
            restart(whole)
            lab.wait("nats")

        times = endure(lab, tmp_path, [case], refuse, repair)
        judge(case, *times)
