"""The fence is marked in the oplog where that is permitted, and a commit needs no right to it."""

from types import SimpleNamespace

import pytest
import yaml
from test_cutover import Group
from test_mongodb_role import WORD, guarded  # noqa: F401


@pytest.mark.parametrize("permitted", [True, False], ids=["permitted", "refused"])
def test_fence(guarded, tmp_path, name, permitted):  # noqa: F811
    privileges = [{"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]}]
    if permitted:
        privileges.append({"resource": {"cluster": True}, "actions": ["appendOplogNote"]})
    guarded.root.admin.command("createRole", name, roles=[], privileges=privileges)
    guarded.root.admin.command("createUser", name, pwd=WORD, roles=[name])
    servers = SimpleNamespace(uri=guarded.uri("root"), nats_url=guarded.lab.nats_url)
    with Group(servers, guarded.jetstream, tmp_path, name) as group:
        group.configuration["source"]["uri"] = guarded.uri(name)
        group.bridge.file.write_text(yaml.safe_dump(group.configuration, sort_keys=False))
        group.bridge.start().wait_ready()
        group.dual()
        group.committable(1)
        group.command("commit", "--timeout", "20s")
        notes = list(guarded.root.local["oplog.rs"].find(
            {"op": "n", "o.msg": f"tailrace {name}: fence of group messages"}))
        assert len(notes) == permitted
        fence = tuple(map(int, group.status()["fence"].split(".")))
        assert all((note["ts"].time, note["ts"].inc) <= fence for note in notes)
        assert group.bridge.terminate() == 0
