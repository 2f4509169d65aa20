"""What anybody may read does not quote documents; who has the token reads the whole reason."""

import http.client
import json

import pytest
from bridge import Bridge, configuration, wait_until
from load import client

VALUE = "value-of-a-document"
OPEN = ("/healthz", "/status", "/metrics", "/history", "/")


@pytest.mark.parametrize("guarded", [False, True])
def test_values_of_documents(lab, tmp_path, name, guarded):
    schema = {"type": "object", "properties": {"fullDocument": {"properties": {
        "text": {"maxLength": 3}, "kind": {"enum": ["a", "b"]}}}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    whole = configuration(lab, name, rule={"schema": "schema.json"})
    if guarded:
        whole["http"]["token"] = "letmein"
    with Bridge(tmp_path, whole) as bridge, client(lab) as mongo:
        bridge.start().wait_ready()
        mongo[name].rooms.insert_one({"_id": 1, "text": VALUE, "kind": VALUE})

        def get(path):
            host, port = whole["http"]["listen"].split(":")
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            connection.request("GET", path, headers={"Authorization": "Bearer letmein"} if guarded else {})
            body = connection.getresponse().read().decode()
            connection.close()
            return body

        error = wait_until(lambda: json.loads(get("/status"))["rules"][0]["last_error"], "the rule's last error")
        assert "/fullDocument/text" in error and "maxLength" in error and "/fullDocument/kind" in error
        assert (VALUE in error) is guarded
        # The log has it all.
        assert VALUE in bridge.log.read_text()
        if not guarded:
            assert all(VALUE not in get(path) for path in OPEN)
