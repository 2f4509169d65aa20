"""A server that goes away while verify reads from it: INCONCLUSIVE with the reason, never PASS, and never
without an end."""

import json

import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from load import Writer, make_collections, now
from proxy import Proxy


@pytest.fixture
def backlog(lab, tmp_path, name):
    """(what a bridge has published, its configuration)"""
    make_collections(lab, name)
    after = now(lab)
    with Writer(lab, name, seed=2, rate=6000) as writer:
        wait_until(lambda: writer.written >= 20_000, "writes")
    whole = configuration(lab, name)
    with Bridge(tmp_path, whole) as bridge:
        assert bridge.run("--from", f"{after.time}.{after.inc}", "--until", "now") == 0
    return whole


def verify(folder, whole, *arguments):
    folder.mkdir()
    done = tailrace("verify", "--json", "--timeout", "5", "-c", Bridge(folder, whole).file, *arguments,
                    seconds=150)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("level", ["events", "state"])
def test_network_to_nats_cut(lab, tmp_path, backlog, level):
    port = int(lab.nats_url.rsplit(":", 1)[1])
    proxy = Proxy(port, cut_after=2_000_000)
    backlog["nats"]["servers"] = [f"nats://127.0.0.1:{proxy.port}"]
    code, report = verify(tmp_path / "cut", backlog, "--level", level)
    proxy.close()
    assert proxy.left < 0, "the network was not cut"
    assert code == 2 and report["verdict"] == "INCONCLUSIVE" and report["reasons"]


@pytest.mark.parametrize("level", ["events", "state"])
def test_network_to_mongodb_cut(lab, tmp_path, backlog, level):
    proxy = Proxy(lab.mongod[0].port, cut_after=1_000_000)
    backlog["source"]["uri"] = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true&replicaSet=rs0"
    code, report = verify(tmp_path / "cut", backlog, "--level", level)
    proxy.close()
    assert proxy.left < 0, "the network was not cut"
    assert code == 2 and report["verdict"] == "INCONCLUSIVE"
    assert "MongoDB" in " ".join(report["reasons"])
