"""What systemd hears of the bridge (sd_notify): ready, alive, stopping."""

import os
import signal
import socket
import time

import pytest
from bridge import Bridge, configuration
from lab import free_ports


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    """systemd's end of the socket; WATCHDOG_USEC is set."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        path = f"/tmp/tailrace-notify-{os.getpid()}"
        end.bind(path)
        end.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        yield end
        os.unlink(path)


def hear(end, what, without=None):
    """The first message that has it."""
    while True:
        message = end.recv(8192).decode()
        assert without is None or without not in message, message
        if what in message:
            return message


def test_ready_alive_and_stopping(lab, tmp_path, name, supervisor):
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start()
        assert "READY=1\nSTATUS=" in hear(supervisor, "READY=1", without="WATCHDOG=1")
        hear(supervisor, "STATUS=idle, leader: ")
        assert "WATCHDOG=1\n" in hear(supervisor, "WATCHDOG=1")
        bridge.process.send_signal(signal.SIGTERM)
        hear(supervisor, "STOPPING=1")
        assert bridge.wait() == 0


def test_ready_without_servers(lab, tmp_path, name, supervisor):
    """A server that is missing is no reason to restart the bridge."""
    whole = configuration(lab, name, nats={"servers": [f"nats://127.0.0.1:{free_ports(1)[0]}"]})
    with Bridge(tmp_path, whole) as bridge:
        bridge.start()
        hear(supervisor, "READY=1")
        hear(supervisor, "STATUS=stalled")
        hear(supervisor, "WATCHDOG=1")


def test_a_process_that_hangs_is_silent(lab, tmp_path, name, supervisor):
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start()
        hear(supervisor, "WATCHDOG=1")
        bridge.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        supervisor.setblocking(False)
        try:
            while True:
                supervisor.recv(8192)
        except BlockingIOError:
            pass
        supervisor.settimeout(1)
        with pytest.raises(TimeoutError):
            supervisor.recv(8192)
        bridge.process.send_signal(signal.SIGCONT)
        supervisor.settimeout(30)
        hear(supervisor, "WATCHDOG=1")


def test_somebody_elses_watchdog(lab, tmp_path, name, supervisor, monkeypatch):
    """WATCHDOG_PID names another process."""
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start()
        hear(supervisor, "READY=1", without="WATCHDOG=1")
        bridge.wait_ready()
        bridge.process.send_signal(signal.SIGTERM)
        hear(supervisor, "STOPPING=1", without="WATCHDOG=1")
