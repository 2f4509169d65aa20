"""Producers publish for writes that MongoDB undoes."""

from bridge import wait_until
from jetstream import JetStream
from lab import Lab
from rollback import PARAMETERS, Rollback
from test_cutover import Group
from test_cutover_faults import judged


def test_rolled_back_writes(tmp_path, name):
    """The bridge publishes nothing for them, and finds the producers' messages; a write that is repeated has one."""
    with Lab(mongod=3, parameters=PARAMETERS) as lab:
        rule = {"match": {"namespace": f"{name}.rooms", "operations": ["insert"]},
                "subject": name + ".{documentKey._id}.created"}
        jetstream = JetStream(lab.nats_url)
        with Group(lab, jetstream, tmp_path, name, rule=rule) as group:
            rooms = group.mongo[name].rooms

            def publish(*keys):
                for key in keys:
                    jetstream.publish(f"{name}.{key}.created", b'{"_id": "%s"}' % key.encode(),
                                      {"Nats-Msg-Id": f"{key}.created"})

            group.bridge.start().wait_ready()
            group.dual()
            rooms.insert_one({"_id": "before"})
            publish("before")
            judged(group)
            rollback = Rollback(lab, name)
            rollback.stop_replication()
            rollback.write_phantoms(3)
            publish(*rollback.ids)
            rollback.depose("killed")
            # The application repeats one of them; its message is there already.
            again, *gone = rollback.ids
            lab.wait_primary()
            rooms.insert_many([{"_id": again}, {"_id": "after"}])
            publish("after")
            rollback.ids = gone
            rollback.bring_back()
            # Depending on how long the election took, the repeated one came first as a phantom.
            wait_until(lambda: group.note() and group.status()["counts"]["phantom"] >= 2, "both phantoms")
            counts = wait_until(lambda: (c := group.status()["counts"])["by_producer"] == 3 and c, "all three")
            assert (counts["filled"], counts["mismatched"], counts["missed"]) == (0, 0, 0), group.status()
            assert counts["phantom"] in (2, 3)
            ids = sorted(m.id for m in jetstream.messages(name))
            assert ids == sorted(f"{key}.created" for key in ["before", again, *gone, "after"])
            assert group.bridge.terminate() == 0
