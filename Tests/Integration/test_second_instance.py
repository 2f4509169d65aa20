"""Two instances of one bridge, as a supervisor's mistake starts them: the second refuses while the first
one lives; a killed one is followed at once."""

import time

from bridge import Bridge, configuration, wait_until
from load import client, make_collections


def insert(lab, name, numbers):
    with client(lab) as mongo:
        mongo[name].rooms.insert_many([{"_id": n} for n in numbers])


def second_of(bridge, folder):
    folder.mkdir(exist_ok=True)
    from lab import free_ports
    whole = bridge.configuration | {"http": {"listen": f"127.0.0.1:{free_ports(1)[0]}"}}
    return Bridge(folder, whole)


def test_the_second_refuses(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    whole = configuration(lab, name)
    whole["bridge"]["checkpoint_interval"] = "1h"  # what it renews has nothing to do with that
    with Bridge(tmp_path, whole) as first:
        first.start().wait_ready()
        insert(lab, name, range(5))
        wait_until(lambda: jetstream.holds(name, 5), "5 messages")
        with second_of(first, tmp_path / "second") as second:
            for attempt in range(2):
                assert second.run(seconds=20) == 1
                assert "is running" in second.tail()
                insert(lab, name, [100 + attempt])
                wait_until(lambda attempt=attempt: jetstream.holds(name, 6 + attempt), "the next")
        first.alive()
        assert first.json("/status")[1]["epoch"] == 1, "it was not disturbed"
        assert first.terminate() == 0


def test_stopped_and_killed_ones_are_followed(lab, jetstream, tmp_path, name):
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as first:
        first.start().wait_ready()
        with second_of(first, tmp_path / "second") as second:
            count = 0
            for old, new, end in [(first, second, "stop"), (second, first, "kill"),
                                  (first, second, "kill")]:
                if end == "stop":
                    assert old.terminate() == 0
                else:
                    old.kill()
                began = time.monotonic()
                new.start().wait_ready()
                count += 1
                insert(lab, name, [count])
                wait_until(lambda count=count: jetstream.holds(name, count), "the next message")
                assert time.monotonic() - began < 10
                if end == "stop":
                    log = new.log.read_text()
                    assert "displaced" not in log


def test_both_at_once(lab, jetstream, tmp_path, name):
    """One of them comes to work, whichever; the other one ends."""
    make_collections(lab, name)
    with Bridge(tmp_path, configuration(lab, name)) as first:
        with second_of(first, tmp_path / "second") as second:
            first.start()
            second.start()
            both = [first, second]
            wait_until(lambda: any(b.process.poll() is not None for b in both), "one ends", 20)
            running, = (b for b in both if b.process.poll() is None)
            ended, = (b for b in both if b.process.poll() is not None)
            assert ended.process.returncode == 1
            running.wait_ready()
            insert(lab, name, range(3))
            wait_until(lambda: jetstream.holds(name, 3), "3 messages")
            running.alive()
