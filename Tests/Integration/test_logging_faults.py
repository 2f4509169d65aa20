"""Standard error and standard output that can't be written to."""

import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest
from bridge import BINARY, Bridge, configuration, tailrace, wait_until
from load import client, make_collections

INSERT = ('{"op":"i","ns":"a.b","o":{"_id":{"$numberInt":"%d"}},'
          '"ts":{"$timestamp":{"t":1700000000,"i":%d}},"v":{"$numberLong":"2"},'
          '"wall":{"$date":{"$numberLong":"1700000000000"}},"t":{"$numberLong":"1"}}\n')


def full_pipe():
    """A pipe that takes nothing more, since nobody reads it: (read end, write end)."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    return reader, writer


def gone_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return None, writer


STDERR = {
    "full": lambda: (None, os.open("/dev/full", os.O_WRONLY)),
    "gone": gone_pipe,
    "stuck": full_pipe,
    "closed": lambda: (None, None),
}


@pytest.mark.parametrize("kind", STDERR)
def test_stderr(lab, jetstream, tmp_path, name, kind):
    make_collections(lab, name)
    reader, writer = STDERR[kind]()
    with Bridge(tmp_path, configuration(lab, name, log={"level": "debug"})) as bridge:
        bridge.start(stderr=writer, closing=(0, 1, 2) if kind == "closed" else ())
        if writer is not None:
            os.close(writer)
        bridge.wait_ready()
        with client(lab) as mongo:
            mongo[name].rooms.insert_many([{"_id": number} for number in range(100)])
        wait_until(lambda: bridge.alive() and jetstream.holds(name, 100), "100 messages")
        assert bridge.metric("tailrace_log_lines_dropped_total") > 0
        assert bridge.json("/status")[1]["log_lines_dropped"] > 0
        if kind == "closed":
            # No socket has the number of a standard descriptor.
            for number in (0, 1, 2):
                assert os.readlink(f"/proc/{bridge.process.pid}/fd/{number}") == "/dev/null"
        if kind == "stuck":
            # The reader is back: what is logged from now on arrives, on lines of its own.
            fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
            read_all(reader)
            assert bridge.terminate() == 0
            assert b"\n" in read_all(reader)
        else:
            assert bridge.terminate() == 0
    if reader is not None:
        os.close(reader)


def read_all(reader):
    text = b""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            data = os.read(reader, 1 << 16)
        except BlockingIOError:
            return text
        if not data:
            return text
        text += data
    return text


def decode(count, stdout, **options):
    lines = "".join(INSERT % (number, number) for number in range(1, count + 1))
    return subprocess.run([BINARY, "decode"], input=lines.encode(), stdout=stdout,
                          stderr=subprocess.PIPE, timeout=60, **options)


def test_results_that_nobody_gets(lab, tmp_path, name):
    assert decode(2000, subprocess.DEVNULL).returncode == 0
    with open("/dev/full", "wb") as full:
        result = decode(3, full)
        assert result.returncode == 74, result
        assert b"standard output" in result.stderr and b"No space" in result.stderr
    # A reader that has had enough, as `head`: quiet, and at once.
    reader, writer = os.pipe()
    os.close(reader)
    result = decode(2000, writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (74, b"")
    result = decode(3, subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert result.returncode == 74, result
    # Both closed: nothing to say and nobody to say it to.
    result = decode(3, subprocess.PIPE, preexec_fn=lambda: (os.close(1), os.close(2)))
    assert result.returncode == 74, result
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        for command in (["validate"], ["validate", "--json"], ["verify", "--json"], ["doctor"]):
            with open("/dev/full", "wb") as full:
                result = subprocess.run([BINARY, *command, "-c", bridge.file], stdout=full,
                                        stderr=subprocess.PIPE, timeout=60)
            assert result.returncode == 74, (command, result)
        bad = tailrace("validate", "-c", "/nonexistent", preexec_fn=lambda: os.close(2))
        assert bad.returncode == 78


@pytest.mark.parametrize("option", ["--report", "--html", "--mismatches"])
@pytest.mark.parametrize("where", ["full", "folder", "pipe"])
def test_results_into_a_file(lab, tmp_path, name, option, where):
    """What can't be written ends with 74; what isn't a file is written to, not replaced by one."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge, client(lab) as mongo:
        mongo[name].rooms.insert_one({"_id": 1})
        assert bridge.run("--from", "oldest", "--until", "now") == 0
        target = {"full": Path("/dev/full"), "folder": tmp_path / "none" / "file",
                  "pipe": tmp_path / "pipe"}[where]
        if where == "pipe":
            os.mkfifo(target)
            descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
        result = tailrace("verify", option, target, "-c", bridge.file, cwd=tmp_path)
        if where == "pipe":
            assert result.returncode == 0, result.stderr
            assert target.is_fifo()
            assert bool(os.read(descriptor, 1 << 16)) == (option != "--mismatches")
            os.close(descriptor)
        elif where == "full" and option == "--mismatches":
            assert result.returncode == 0  # there are none
        else:
            assert result.returncode == 74 and str(target) in result.stderr, result
        assert Path("/dev/full").is_char_device()


def test_the_driver_says_nothing_by_itself(lab, tmp_path, name):
    """A process that was killed left its counters in shared memory, and we got its pid."""

    def counters(pid=None):
        return Path("/dev/shm") / f"mongoc-{pid or os.getpid()}"

    result = subprocess.run([BINARY, "decode"], input=b"", capture_output=True, timeout=60,
                            preexec_fn=lambda: counters().write_bytes(b"left behind"))
    assert (result.returncode, result.stderr) == (0, b"")
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as bridge:
        bridge.start().wait_ready()
        assert not counters(bridge.process.pid).exists()
        bridge.kill()
        assert not counters(bridge.process.pid).exists()
