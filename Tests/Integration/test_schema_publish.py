"""Schemas in KV: versions, policies, immutability, and producers that validate by them."""

import asyncio
import hashlib
import json
import os
import signal
import threading

import jsonschema_rs
import nats
import pytest
import yaml
from bridge import Bridge, configuration, tailrace, wait_until
from lab import Lab
from load import client, make_collections

FIRST = {"type": "object", "required": ["id"], "properties": {
    "id": {"type": "string"}, "text": {"type": "string", "maxLength": 100}}}
WIDER = {"type": "object", "required": ["id"], "properties": {
    "id": {"type": "string"}, "text": {"type": "string", "maxLength": 200}}}
NARROWER = {"type": "object", "required": ["id"], "properties": {
    "id": {"type": "string"}, "text": {"type": "string", "maxLength": 50}}}


class Catalog:
    def __init__(self, lab, folder, name):
        self.folder, self.name = folder, f"{name}.message"
        self.file = Bridge(folder, configuration(lab, name)).file

    def run(self, verb, *arguments, code=0):
        done = tailrace("schema", verb, *arguments, "-c", self.file, cwd=self.folder)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout if code in (0, 1, 2) and done.stdout else done.stderr

    def publish(self, schema, *options, code=0):
        file = self.folder / f"{threading.get_ident()}.json"
        file.write_text(json.dumps(schema, indent=3))
        return self.run("publish", self.name, file, *options, code=code)


def test_versions(lab, tmp_path, name):
    catalog = Catalog(lab, tmp_path, name)
    assert f"no schema is published as {catalog.name}" in catalog.run("show", catalog.name, code=1)
    assert f"{catalog.name}.1 is published" in catalog.publish(FIRST)
    assert f"{catalog.name}.1 was published already" in catalog.publish(FIRST)
    said = catalog.publish(NARROWER, code=1)
    assert "refused" in said and "breaks producers" in said and "maxLength 50" in said
    report = json.loads(catalog.publish(NARROWER, "--json", code=1))
    assert report["refused_by"][0]["comparison"]["compatibility"] == "BACKWARD"
    witness = report["refused_by"][0]["comparison"]["backward"]["differences"][0]["witness"]
    assert jsonschema_rs.is_valid(FIRST, witness) and not jsonschema_rs.is_valid(NARROWER, witness)
    assert json.loads(catalog.publish(WIDER, "--json"))["version"] == 2
    # A policy that is set stays.
    assert f"{catalog.name}.3 is published" in catalog.publish(NARROWER, "--compatibility", "forward")
    assert "breaks consumers" in catalog.publish(WIDER | {"title": "again"}, code=1)
    versions = [json.loads(line) for line in
                catalog.run("list", catalog.name, "--json").splitlines()]
    assert [version["version"] for version in versions] == [1, 2, 3]
    assert {version["compatibility"] for version in versions} == {"FORWARD"}
    assert f"{catalog.name}.3" in catalog.run("list")
    assert json.loads(catalog.run("show", catalog.name, "--version", 2)) == WIDER
    pulled = tmp_path / "pulled.json"
    catalog.run("pull", catalog.name, "--version", 2, "-o", pulled, "--sha256", versions[1]["sha256"])
    assert hashlib.sha256(pulled.read_bytes()).hexdigest() == versions[1]["sha256"]
    assert json.loads(pulled.read_text()) == WIDER
    catalog.run("pull", catalog.name, "--sha256", versions[1]["sha256"], code=1)
    catalog.run("show", catalog.name, "--version", 9, code=1)


def test_refusals(lab, tmp_path, name):
    catalog = Catalog(lab, tmp_path, name)
    said = catalog.publish({"properties": {"a": {"$ref": "other.json"}}}, code=78)
    assert "other.json" in said
    assert "minLength" in catalog.publish({"minLength": "x"}, code=78)
    assert tailrace("schema", "publish", "a..b", "x.json").returncode == 64
    assert catalog.publish({"type": "string", "pattern": "^(?=a)b"})
    catalog.publish({"type": "string", "const": "x"}, code=2)


async def in_catalogue(lab, body):
    client = await nats.connect(lab.nats_url)
    try:
        return await body(client.jetstream(), await client.jetstream().key_value("TAILRACE_SCHEMAS"))
    finally:
        await client.close()


def test_a_number_is_given_once(lab, tmp_path, name):
    """Whatever becomes of a version: a consumer that has seen its number would take another schema for it."""
    catalog = Catalog(lab, tmp_path, name)
    catalog.publish(FIRST)
    catalog.publish(WIDER)

    async def remove(stream, bucket):
        key = f"{catalog.name}.2"
        await bucket.delete(key)
        await stream.purge_stream("KV_TAILRACE_SCHEMAS", subject=f"$KV.TAILRACE_SCHEMAS.{key}")
        assert [found for found in await bucket.keys() if found == key] == []

    asyncio.run(in_catalogue(lab, remove))
    assert json.loads(catalog.publish(WIDER | {"title": "another"}, "--json"))["version"] == 3

    async def remove_all(stream, bucket):
        for number in (1, 3):
            await stream.purge_stream("KV_TAILRACE_SCHEMAS", subject=f"$KV.TAILRACE_SCHEMAS.{catalog.name}.{number}")

    asyncio.run(in_catalogue(lab, remove_all))
    assert "no schema is published" in catalog.run("show", catalog.name, code=1)
    # Nothing to be compared with is left, but the number is.
    assert json.loads(catalog.publish(NARROWER, "--json"))["version"] == 4
    assert "has no version 9, the newest is 4" in catalog.run("show", catalog.name, "--version", 9, code=1)


def test_the_end_of_the_numbers(lab, tmp_path, name):
    """Whatever somebody else has put there, an error says what to do."""
    catalog = Catalog(lab, tmp_path, name)
    catalog.publish(FIRST)
    for number in (2**63 - 1, 2**63 - 2, 10**9):
        async def put(stream, bucket):
            await bucket.put(f"{catalog.name}.highest", json.dumps({"version": number}).encode())

        asyncio.run(in_catalogue(lab, put))
        assert "publish under another name" in catalog.publish(WIDER, code=78)


def test_what_is_stored_is_not_the_file(lab, tmp_path, name):
    """A version that somebody has damaged is named, and not the file that is published."""
    catalog = Catalog(lab, tmp_path, name)
    catalog.publish(FIRST)

    async def damage(_, bucket):
        await bucket.put(f"{catalog.name}.1", b"no JSON")

    asyncio.run(in_catalogue(lab, damage))
    said = catalog.publish(WIDER, code=78)
    assert f"{catalog.name}.1" in said and ".json" not in said
    assert f"{catalog.name}.2 is published" in catalog.publish(WIDER, "--compatibility", "none")


def test_a_policy_changes_aloud(lab, tmp_path, name):
    catalog = Catalog(lab, tmp_path, name)
    assert "the policy of" not in catalog.publish(FIRST)
    assert "the policy of" not in catalog.publish(FIRST, "--compatibility", "backward")
    said = catalog.publish(FIRST, "--compatibility", "full", "--transitive")
    assert "was published already" in said
    assert f"the policy of {catalog.name} was BACKWARD, and is FULL (transitive) from now on" in said
    change = json.loads(catalog.publish(FIRST | {"title": "T"}, "--compatibility", "none", "--json"))["policy"]
    assert change == {"before": {"compatibility": "FULL", "transitive": True},
                      "now": {"compatibility": "NONE", "transitive": False}}


def test_names(tmp_path):
    for text, reason in [("policy", "policy"), ("n" * 300, "300 characters"), ("a.7", "number"), ("a/b", "'/'")]:
        done = tailrace("schema", "publish", text, "x.json", cwd=tmp_path)
        assert done.returncode == 64 and reason in done.stderr, done.stderr


def test_files_that_are_none(lab, tmp_path, name):
    catalog = Catalog(lab, tmp_path, name)
    said = catalog.run("publish", catalog.name, tmp_path / "nothing.json", code=78)
    assert "nothing.json" in said and "No such file" in said and "NSCocoa" not in said and "Error Domain" not in said
    os.mkfifo(tmp_path / "pipe.json")
    assert "it is a pipe" in catalog.run("publish", catalog.name, tmp_path / "pipe.json", code=78)
    assert "directory" in catalog.run("publish", catalog.name, tmp_path, code=78)


def test_a_schema_that_no_server_takes(lab, tmp_path, name):
    catalog = Catalog(lab, tmp_path, name)
    large = {"description": "x" * (1 << 20), "type": "string"}
    said = catalog.publish(large, code=78)
    assert "max_payload" in said and "raise it" in said, said
    assert "no schema is published" in catalog.run("show", catalog.name, code=1)


@pytest.fixture(scope="module")
def own():
    """A server whose catalogue may be spoiled."""
    with Lab(mongod=0) as servers:
        yield servers


def spoiled(own, folder, name):
    settings = configuration(own, name, source={"uri": "mongodb://127.0.0.1:1/?replicaSet=rs0"})
    catalog = Catalog.__new__(Catalog)
    catalog.folder, catalog.name, catalog.file = folder, f"{name}.message", Bridge(folder, settings).file
    return catalog


def with_stream(own, **settings):
    async def make():
        client = await nats.connect(own.nats_url)
        stream = client.jetstream()
        try:
            await stream.delete_stream("KV_TAILRACE_SCHEMAS")
        except nats.js.errors.NotFoundError:
            pass
        if settings:
            await stream.add_stream(name="KV_TAILRACE_SCHEMAS", **settings)
        await client.close()

    asyncio.run(make())


BUCKET = {"subjects": ["$KV.TAILRACE_SCHEMAS.>"], "max_msgs_per_subject": 1, "allow_rollup_hdrs": True}


def test_a_stream_that_is_no_bucket(own, tmp_path, name):
    catalog = spoiled(own, tmp_path, name)
    with_stream(own, subjects=["orders.>"])
    for said in [catalog.publish(FIRST, code=78), catalog.run("list", code=78), catalog.run("show", catalog.name, code=78)]:
        assert "KV_TAILRACE_SCHEMAS is no bucket" in said and "it takes orders.>" in said, said
    with_stream(own, **BUCKET, max_msg_size=200)
    said = catalog.publish(FIRST | {"description": "x" * 300}, code=78)
    assert "max_msg_size of the stream KV_TAILRACE_SCHEMAS is 200" in said, said


def test_a_bucket_whose_values_vanish(own, tmp_path, name):
    catalog = spoiled(own, tmp_path, name)
    file = tmp_path / "s.json"
    file.write_text(json.dumps(FIRST))

    def publish():
        done = tailrace("schema", "publish", catalog.name, file, "-c", catalog.file, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stderr

    with_stream(own, **BUCKET, max_age=3600)
    said = publish()
    assert "expire after 3600 s" in said and "--max-age=0" in said, said
    with_stream(own, **BUCKET, max_msgs=1000)
    assert "drops its oldest values" in publish()
    with_stream(own)
    assert publish() == ""


def test_one_policy_that_is_none(own, tmp_path, name):
    """The others are listed; and the policy can be set again."""
    with_stream(own)
    catalog = spoiled(own, tmp_path, name)
    catalog.publish(FIRST)
    good = catalog.name
    catalog.name = f"{name}.bad"
    catalog.publish(FIRST)

    async def damage(_, bucket):
        await bucket.put(f"{name}.bad.policy", b"nonsense")

    asyncio.run(in_catalogue(own, damage))
    done = tailrace("schema", "list", "-c", catalog.file, cwd=tmp_path)
    assert done.returncode == 78 and f"{good}.1" in done.stdout and f"{name}.bad.1" in done.stdout
    assert f"{name}.bad.policy" in done.stderr and good not in done.stderr
    versions = [json.loads(line) for line in tailrace(
        "schema", "list", "--json", "-c", catalog.file, cwd=tmp_path).stdout.splitlines()]
    assert {version["name"]: version["compatibility"] for version in versions} == {good: "BACKWARD", f"{name}.bad": None}
    assert json.loads(catalog.run("pull", catalog.name)) == FIRST
    assert "--compatibility" in catalog.publish(WIDER, code=78)
    assert "was not understood, and is FULL from now on" in catalog.publish(
        FIRST, "--compatibility", "full")
    catalog.run("list")


def test_several_at_once(lab, tmp_path, name):
    """Each gets a number of its own, and none is lost."""
    catalog = Catalog(lab, tmp_path, name)
    catalog.publish({"title": "0", "type": "string"})
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append(json.loads(
        catalog.publish({"title": f"{n}", "type": "string"}, "--json"))["version"]))
        for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [2, 3, 4, 5]


def test_a_producer_validates_by_it(lab, tmp_path, name):
    catalog = Catalog(lab, tmp_path, name)
    catalog.publish(FIRST)

    async def fetch():
        client = await nats.connect(lab.nats_url)
        try:
            bucket = await client.jetstream().key_value("TAILRACE_SCHEMAS")
            entry = await bucket.get(f"{catalog.name}.1")
            return entry.value
        finally:
            await client.close()

    value = asyncio.run(fetch())
    validator = jsonschema_rs.validator_for(json.loads(value))
    assert validator.is_valid({"id": "a"}) and not validator.is_valid({"text": "a"})
    assert value.decode() == catalog.run("pull", catalog.name)


def test_rules_that_name_a_version(lab, jetstream, tmp_path, name):
    """Another content than what is published is refused, at the start and at a reload; a reload moves to the next."""
    make_collections(lab, name)
    catalog = Catalog(lab, tmp_path, name)
    first = {"properties": {"fullDocument": {"required": ["n"]}}}
    second = {"properties": {"fullDocument": {"required": []}}}
    rule = {"schema": "s.json", "schema_version": f"{catalog.name}.1"}
    file = tmp_path / "s.json"
    file.write_text(json.dumps(first, indent=7))
    whole = configuration(lab, name, rule=rule)

    def versions(count):
        wait_until(lambda: jetstream.holds(name, count), "messages")
        return [message.headers["ce-dataschema"].rsplit(".", 1) for message in jetstream.messages(name)][-1]

    def verdict(bridge):
        done = tailrace("doctor", "--json", "-c", bridge.file, cwd=tmp_path)
        checks = {check["id"]: check["verdict"] for check in json.loads(done.stdout)["checks"]}
        return checks[f"nats.schema.{catalog.name}.1"]

    with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        assert f"no schema is published as {catalog.name}.1" in bridge.tail()
        bridge.terminate()
        assert verdict(bridge) == "warn"
        catalog.publish(second)
        # Its own document is another one.
        assert bridge.run() == 78
        assert f"not what is published as {catalog.name}.1" in bridge.tail()
        assert verdict(bridge) == "fail"

        file.write_text(json.dumps(second))
        bridge.start().wait_ready()
        mongo[name].messages.insert_one({"_id": 1})
        assert versions(1) == [f"urn:tailrace:schema:{catalog.name}", "1"]
        # The third is not the second: the old rules keep running.
        third = {"properties": {"fullDocument": {"required": [], "maxProperties": 9}}}
        catalog.publish(third, "--compatibility", "none")
        rule["schema_version"] = f"{catalog.name}.2"
        bridge.file.write_text(yaml.safe_dump(configuration(lab, name, rule=rule, http=whole["http"])))
        bridge.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the configuration is not reloaded" in bridge.tail(), "it is refused")
        assert f"not what is published as {catalog.name}.2" in bridge.tail()
        mongo[name].messages.insert_one({"_id": 2})
        assert versions(2)[1] == "1"
        file.write_text(json.dumps(third))
        bridge.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the rules have changed" in bridge.tail(), "the rules change")
        mongo[name].messages.insert_one({"_id": 3})
        assert versions(3)[1] == "2"
        assert bridge.terminate() == 0


def test_what_is_no_version(lab, tmp_path, name):
    (tmp_path / "s.json").write_text("{}")
    for rule in [{"schema": "s.json", "schema_version": "chat.message"}, {"schema_version": "chat.message.1"},
                 {"schema": "s.json", "schema_version": "chat.0"}]:
        file = Bridge(tmp_path, configuration(lab, name, rule=rule)).file
        done = tailrace("validate", "-c", file)
        assert done.returncode == 78 and "schema_version" in done.stdout
