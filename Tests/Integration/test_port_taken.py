"""An address that can't be listened on is reported before anything else happens."""

import socket

import pytest
from bridge import Bridge, configuration, tailrace
from lab import free_ports
from load import make_collections


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_port_taken(lab, jetstream, tmp_path, name, host):
    make_collections(lab, name)
    port, = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        address = f"{host}:{port}"
        with Bridge(tmp_path, configuration(lab, name, http={"listen": address})) as bridge:
            assert bridge.run() == 69
            log = bridge.tail()
        assert f"http.listen: can't listen on {address}" in log, log
        assert ("the port is taken" if host == "127.0.0.1" else "does not have that address") in log
    # Nothing was made, and nothing resumed.
    assert jetstream.state(name) is None
    assert jetstream.state(f"KV_STATE_{name}") is None


def test_port_of_verify_taken(lab, tmp_path, name):
    make_collections(lab, name)
    port, = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        with Bridge(tmp_path, configuration(lab, name)) as bridge:
            result = tailrace(
                "verify", "-c", bridge.file, "--follow", "--listen", f"127.0.0.1:{port}")
    assert result.returncode == 69, result.stderr
    assert f"--listen: can't listen on 127.0.0.1:{port}: the port is taken" in result.stderr
