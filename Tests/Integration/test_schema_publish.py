"""Schemas in KV: versions, policies, immutability, and producers that validate by them."""

import asyncio
import hashlib
import json
import threading

import jsonschema_rs
import nats
from bridge import Bridge, configuration, tailrace

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
