"""Secrets that change while the bridge runs are taken up without a restart, and what would refuse
a start does not end a bridge that runs."""

import signal

import pymongo
from bridge import Bridge, configuration, wait_until
from jetstream import JetStream
from lab import Lab
from load import client, make_collections

SEED = "SUAMGLI4SNKELZLXBO6WMARTAW7NREO6D3YFP77VOPJ6RRXRCBSQWWVTOE"
CREDENTIALS = f"""-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJVIn0.c2lnbmF0dXJl
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


def errors(bridge):
    return " ".join(error["error"] for error in bridge.json("/status")[1]["last_errors"])


def insert(lab, name, number):
    with client(lab) as mongo:
        mongo[name].rooms.insert_one({"_id": number})


def test_nats_password(tmp_path, name):
    """The server's password changes first, the file a while later."""
    def conf(password):
        return (f"authorization {{ users = [{{ user: bridge, password: {password} }}, "
                "{ user: test, password: test }] }\n")

    secret = tmp_path / "password"
    secret.write_text("first-word\n")
    with Lab(nats_conf=conf("first-word")) as lab:
        make_collections(lab, name)
        server = lab.nats[0]
        jetstream = JetStream(f"nats://test:test@127.0.0.1:{server.port}")
        changes = {"nats": {"servers": [lab.nats_url], "user": "bridge",
                            "password_file": str(secret)}}
        with Bridge(tmp_path, configuration(lab, name, **changes)) as bridge:
            bridge.start().wait_ready()
            insert(lab, name, 1)
            wait_until(lambda: jetstream.holds(name, 1), "an event with the first password")
            text = server.configuration.read_text()
            server.configuration.write_text(text.replace("first-word", "second-word"))
            server.process.send_signal(signal.SIGHUP)
            insert(lab, name, 2)
            wait_until(lambda: "Authorization Violation" in errors(bridge), "it is refused")
            bridge.alive()
            for half in ("", "second-w", "\ufeffsecond-word\r\n"):
                secret.write_text(half)
            wait_until(lambda: bridge.alive() and jetstream.holds(name, 2),
                       "an event with the second password")
            shown = bridge.log.read_text() + bridge.get("/status")[1]
            assert "first-word" not in shown and "second-w" not in shown
            assert bridge.terminate() == 0


def test_mongodb_password(tmp_path, name):
    """Every thread takes up the new one: reader, monitor, images, snapshot."""
    key = tmp_path / "key"
    key.write_text("bG9jYWwtdGVzdC1rZXk=")
    key.chmod(0o400)
    with Lab() as lab:
        make_collections(lab, name)
        with client(lab) as mongo:
            for user, roles in (("root", ["root"]), ("bridge", [
                    "readAnyDatabase", "clusterMonitor", {"role": "read", "db": "local"}])):
                mongo.admin.command("createUser", user, pwd=f"{user}-one", roles=roles)
        lab.kill("mongod", 0)
        lab.mongod[0].command += ["--keyFile", str(key)]
        lab.start("mongod", 0)
        address = f"127.0.0.1:{lab.mongod[0].port}/?replicaSet=rs0&authSource=admin"
        root = pymongo.MongoClient(f"mongodb://root:root-one@{address}")
        jetstream = JetStream(lab.nats_url)
        secret = tmp_path / "uri"
        secret.write_text(f"\ufeffmongodb://bridge:bridge-one@{address}\n")
        rule = {"payload": {"envelope": "document", "full_document": "required"}}
        changes = {"source": {"uri_file": str(secret)}, "rule": rule}
        whole = configuration(lab, name, **changes)
        del whole["source"]["uri"]
        with Bridge(tmp_path, whole) as bridge:
            bridge.start().wait_ready()
            root[name].rooms.insert_one({"_id": 1})
            root[name].rooms.update_one({"_id": 1}, {"$set": {"a": 1}})
            wait_until(lambda: jetstream.holds(name, 2), "events with the first password")
            root.admin.command("updateUser", "bridge", pwd="bridge-two")
            lab.kill("mongod", 0)
            lab.start("mongod", 0)
            wait_until(lambda: root.is_primary, "a primary")
            root[name].rooms.insert_one({"_id": 2})
            root[name].rooms.update_one({"_id": 2}, {"$set": {"a": 2}})
            wait_until(lambda: "uthentication" in bridge.json("/status")[1]["source"]["detail"],
                       "the old password is refused")
            bridge.alive()
            # Half written, then missing, then right.
            secret.write_text("mongodb://bridge:bridge-")
            wait_until(lambda: "must" in bridge.json("/status")[1]["source"]["detail"]
                       or "onnection string" in bridge.json("/status")[1]["source"]["detail"],
                       "half a connection string is noticed")
            secret.unlink()
            wait_until(lambda: "No such file" in bridge.json("/status")[1]["source"]["detail"],
                       "the missing file is noticed")
            secret.write_text(f"mongodb://bridge:bridge-two@{address}")
            wait_until(lambda: bridge.alive() and jetstream.holds(name, 4),
                       "events with the second password")
            wait_until(lambda: bridge.get("/readyz")[0] == 200, "ready")
            assert "bridge-one" not in bridge.log.read_text() + bridge.get("/status")[1]
            assert "bridge-two" not in bridge.log.read_text() + bridge.get("/status")[1]
            assert bridge.terminate() == 0
        root.close()


def test_errors_of_a_start_while_running(tmp_path, name):
    """A credentials file that is being written, and a stream that was changed by hand: retried,
    shown, and over when they are put right."""
    secret = tmp_path / "nats.creds"
    secret.write_text(CREDENTIALS)
    with Lab() as lab:
        make_collections(lab, name)
        jetstream = JetStream(lab.nats_url)
        changes = {"nats": {"servers": [lab.nats_url], "credentials_file": str(secret)}}
        with Bridge(tmp_path, configuration(lab, name, **changes)) as bridge:
            bridge.start().wait_ready()
            insert(lab, name, 1)
            wait_until(lambda: jetstream.holds(name, 1), "an event")
            for half in (CREDENTIALS[:120], ""):
                secret.write_text(half)
                lab.restart("nats", signal_name="KILL")
                wait_until(lambda: bridge.alive() and "credentials_file" in errors(bridge),
                           "the half file is reported")
                assert bridge.get("/readyz")[0] == 503
            insert(lab, name, 2)
            secret.write_text(CREDENTIALS)
            wait_until(lambda: bridge.alive() and jetstream.holds(name, 2), "the next event")

            settings = jetstream.config(name)
            jetstream.api(f"STREAM.UPDATE.{name}", settings | {"no_ack": True})
            lab.restart("nats", signal_name="KILL")
            insert(lab, name, 3)
            wait_until(lambda: bridge.alive() and "no_ack" in errors(bridge), "no_ack is reported")
            jetstream.api(f"STREAM.UPDATE.{name}", settings)
            wait_until(lambda: bridge.alive() and jetstream.holds(name, 3), "the last event")
            messages = jetstream.messages(name)
            assert [message.json["documentKey"]["_id"] for message in messages] == [1, 2, 3]
            assert bridge.terminate() == 0

            # The same at a start ends it.
            secret.write_text(CREDENTIALS[:120])
            assert bridge.run() == 78
            assert "credentials_file" in bridge.tail()
