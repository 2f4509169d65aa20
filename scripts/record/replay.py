"""Reading again: from the beginning, a sequence, a time, or a position of the oplog."""

import json
import time

from nats.js.api import DeliverPolicy

from record.claim import claim, demand


@claim("replay", "A new consumer reads again from the beginning, a sequence, a time, or an oplog position",
       spoiled="the stream keeps the newest of each subject only")
def replay(world, spoiled):
    name, count = "replay", 300
    with world.bridge(name, stream={"max_msgs_per_subject": 1} if spoiled else {}) as bridge:
        for first in range(0, count, 100):
            world.insert(name, 100, first=first)
            world.wait_stored(name, first + 100)
            time.sleep(0.05)  # so that the times of the parts differ
        truth = world.oplog(name)
        whole = world.everything(name)
        demand([m.headers["Tailrace-Position"] for m in whole] == [position for position, _ in truth],
               f"{len(whole)} messages from the beginning, of {count}")

        middle = whole[200]
        began = time.monotonic()
        by_sequence = world.read(name, 100, deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                                 opt_start_seq=middle.metadata.sequence.stream)
        by_time = world.read(name, 100, deliver_policy=DeliverPolicy.BY_START_TIME,
                             opt_start_time=middle.metadata.timestamp.isoformat().replace("+00:00", "Z"))
        for kind, found in (("sequence", by_sequence), ("time", by_time)):
            demand([m.headers["Tailrace-Position"] for m in found] == [position for position, _ in truth[200:]],
                   f"by {kind}: begins at {found[0].headers['Tailrace-Position']}, not {truth[200][0]}")

        # The position is MongoDB's, read from the oplog; `explain` translates it.
        position, document = truth[123]
        code, out = bridge.command("explain", position, "--json")
        demand(code == 0, f"explain ends with {code}")
        stored, = (one for event in json.loads(out)["events"] for outcome in event["outcomes"]
                   for one in outcome["stored"])
        first, = world.read(name, 1, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=stored["seq"])
        demand(first.headers["Tailrace-Position"] == position
               and json.loads(first.data)["fullDocument"]["_id"] == document["_id"],
               f"position {position} is sequence {stored['seq']}, which has {first.headers['Tailrace-Position']}")

        by_its_time = world.read(name, 1, deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=stored["time"])
        demand(by_its_time[0].headers["Tailrace-Position"] == position,
               f"position {position} is of {stored['time']}, where {by_its_time[0].headers['Tailrace-Position']} is next")

        # The same by `tap`, from the beginning.
        code, out = bridge.command("tap", "--from-start", "--count", str(count), "--json")
        tapped = [json.loads(line) for line in out.splitlines()]
        demand(code == 0 and [(one["seq"], one["headers"]["Tailrace-Position"]) for one in tapped] == [
            (m.metadata.sequence.stream, m.headers["Tailrace-Position"]) for m in whole], f"tap ends with {code}")
        return (f"{count} messages from the beginning, 100 from sequence {middle.metadata.sequence.stream} and from its "
                f"time, one from position {position} (by explain sequence {stored['seq']}, "
                f"{stored['time']}); tap shows the same {count}")
