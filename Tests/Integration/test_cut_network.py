"""The network to the member being read is cut: no error, no end of the connection, just silence."""

import pytest
from bridge import wait_until
from lab import Lab
from members import SILENT_ROUNDS, read_on
from proxy import Proxy


def put_behind_proxies(lab, proxies):
    """The members know, and tell, each other by the proxies' addresses."""
    with lab.mongod[lab.wait_primary()].client() as mongo:
        config = mongo.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        for member, proxy in zip(config["members"], proxies):
            member["host"] = f"127.0.0.1:{proxy.port}"
        mongo.admin.command("replSetReconfig", config)
    hosts = {f"127.0.0.1:{proxy.port}" for proxy in proxies}
    wait_until(lambda: all(set(member.hello().get("hosts", [])) == hosts for member in lab.mongod),
               "every member knows the addresses")
    lab.wait("mongod")
    return f"mongodb://{','.join(sorted(hosts))}/?replicaSet=rs0"


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_cut_network(tmp_path, name, role):
    with Lab(mongod=3) as lab:
        proxies = [Proxy(member.port) for member in lab.mongod]
        uri = put_behind_proxies(lab, proxies)
        if role == "secondary":
            uri += "&readPreference=secondary"

        def cut(victim):
            proxies[victim].cut()
            return proxies[victim].mend

        read_on(lab, tmp_path, name, cut, uri, rounds=SILENT_ROUNDS)
        for proxy in proxies:
            proxy.close()
