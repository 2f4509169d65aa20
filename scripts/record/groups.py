"""Consumer groups: workers share a durable consumer, come and go, and scale; order where it is wanted."""

import threading
import time

from record.claim import claim, demand
from record.world import wait_until

# Milliseconds of waiting for each message: so that four workers are limited by their work, not by this machine.
WORK = 20


def consumer(durable="workers", **settings):
    return {"durable_name": durable, "ack_policy": "explicit", "ack_wait": "3s"} | settings


def complete(world, name, workers, most_again):
    """Every message was handled: (how many there are, how many were delivered more than once)."""
    handled = workers.handled()
    done, truth = {one[2] for one in handled}, world.positions(name)
    demand(done == set(truth), f"{len(done)} of {len(truth)} messages were handled")
    again = len({one[2] for one in handled if one[4] > 1})
    demand(again <= most_again, f"{again} messages were delivered again, and {most_again} were in flight")
    return len(truth), again


class Feed(threading.Thread):
    """Inserts while the workers work."""

    def __init__(self, world, name, first, batch, every):
        super().__init__(daemon=True)
        self.world, self.name_of, self.next, self.batch, self.every = world, name, first, batch, every
        self.over = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(30)

    def run(self):
        while not self.over.wait(self.every):
            self.world.insert(self.name_of, self.batch, first=self.next)
            self.next += self.batch


@claim("consumer groups", "Workers join and die under load, and every message is processed, without partitions",
       spoiled="max_deliver: 1, so that what a dead worker had is not delivered again")
def membership(world, spoiled):
    name, batch = "groups", 5
    one = consumer(**({"max_deliver": 1} if spoiled else {}))
    with world.bridge(name, stream={"consumers": [one]}), world.workers(name) as workers:
        def start(count):
            workers.wait_busy([workers.start("workers", "--work", WORK, "--batch", batch) for _ in range(count)])

        world.insert(name, 2000)
        with Feed(world, name, 2000, 20, 0.2):
            start(4)
            four = workers.rate()
            start(2)
            six = workers.rate()
            # Killed with two of its five done, so that others have to do the rest.
            wait_until(lambda: len(workers.handled(0)) % batch == 2, "the first worker is in the middle of a batch")
            workers.kill(0)
            five = workers.rate()
        workers.wait_drained(["workers"])
        count, again = complete(world, name, workers, batch)
        demand(again, "nothing was delivered again, so nothing was tested")
        demand(six > four * 1.2, f"six workers do {six:.0f}/s, four did {four:.0f}/s")
        return (f"4 workers {four:.0f}/s, 6 workers {six:.0f}/s, one of them killed {five:.0f}/s; {count} of {count} "
                f"messages processed, {again} delivered again")


@claim("consumer scaling", "Four workers on one durable do at least three times what one does",
       spoiled="one message in flight for the whole group")
def scaling(world, spoiled):
    name, rates = "scaling", {}
    one = consumer(**({"max_ack_pending": 1} if spoiled else {}))
    with world.bridge(name, stream={"consumers": [one]}), world.workers(name) as workers:
        world.insert(name, 2000)
        world.wait_stored(name, 2000)
        for count in (1, 2, 4):
            while len(workers.all) < count:
                workers.wait_busy([workers.start("workers", "--work", WORK)])
            rates[count] = workers.rate()
        demand(rates[4] >= 3 * rates[1], f"1: {rates[1]:.0f}/s, 4: {rates[4]:.0f}/s")
        return (", ".join(f"{count}: {rate:.0f}/s" for count, rate in rates.items())
                + f" (work of {WORK} ms): {rates[4] / rates[1]:.1f} times")


def out_of_order(handled):
    """How many messages began before an older one of their room had ended, or was begun."""
    wrong, rooms = 0, {}
    for began, ended, position, subject, _ in handled:
        room, position = subject.split(".")[-1], tuple(map(int, position.split(".")))
        last, until = rooms.get(room, ((0,), 0.0))
        wrong += position < last or began < until
        rooms[room] = max(position, last), max(ended, until)
    return wrong


def course(world, name, stream, durables, batch=10):
    """Four workers on these consumers, each taking `batch` at a time: (messages a second, out of order, handled)."""
    with world.workers(stream) as workers:
        began = time.monotonic()
        for n in range(4):
            workers.start(durables[n % len(durables)], "--work", 6, "--uneven", "--batch", batch)
        wait_until(lambda: workers.handled(), "the first message")
        workers.wait_drained(durables)
        handled = workers.handled()
        spent = max(one[1] for one in handled) - min(one[0] for one in handled)
        demand({one[2] for one in handled} == set(world.positions(name)), "not every message was handled")
        for n in range(len(workers.all)):
            workers.file(n).unlink(missing_ok=True)  # the next course has workers of the same numbers
        return len(handled) / spent, out_of_order(handled), len(handled)


@claim("order in a group", "Four workers keep the order of each room, either by one message in flight or by partitions",
       spoiled="four workers on one durable, nothing else")
def order(world, spoiled):
    name, count, parts = "order", 480, 4
    consumers = [consumer("one", max_ack_pending=1), consumer("any"), consumer("again")]
    with world.bridge(name, stream={"consumers": consumers}):
        world.insert(name, count, rooms=12)
        world.wait_stored(name, count)
        # Partitions of rooms, in a stream that sources the bridge's: docs/scale.md.
        world.make_stream(f"{name}_P", sources=[{"name": name, "subject_transforms": [
            {"src": f"{name}.*", "dest": f"p.{{{{partition({parts},1)}}}}.{{{{wildcard(1)}}}}"}]}])
        durables = [f"part{n}" for n in range(parts)]
        for n, durable in enumerate(durables):
            world.api(f"CONSUMER.DURABLE.CREATE.{name}_P.{durable}", {"stream_name": f"{name}_P", "config": {
                "durable_name": durable, "ack_policy": "explicit", "filter_subject": f"p.{n}.>"}})
        world.wait_stored(f"{name}_P", count)
        any_rate, any_wrong, _ = course(world, name, name, ["any"])
        one_rate, one_wrong, one_handled = course(world, name, name, ["again"] if spoiled else ["one"],
                                                   batch=10 if spoiled else 1)
        part_rate, part_wrong, part_handled = course(world, name, f"{name}_P", durables)
        demand(one_wrong == 0 and part_wrong == 0,
               f"out of order: {one_wrong} of {one_handled} by one in flight, {part_wrong} of {part_handled} by partitions")
        return (f"{count} messages, 4 workers, uneven work of 6 ms: one in flight {one_rate:.0f}/s, partitions "
                f"{part_rate:.0f}/s, none out of order; one durable without either {any_rate:.0f}/s, {any_wrong} out of "
                f"order")
