"""Every way to authenticate to NATS, and TLS: the right one works, each wrong one ends a start with a reason that
names the remedy, and no secret is in it."""

import json

import pytest
from bridge import Bridge, configuration, tailrace
from certificates import Certificates, Key, credentials
from lab import Lab

PASSWORD = "pa55-of-the-bridge"
TOKEN = "t0ken-of-the-bridge"
OTHER = "wr0ng-of-the-bridge"
LIMITS = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1,
          "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
NO_STREAMS = LIMITS | {"mem_storage": 0, "disk_storage": 0, "streams": 0, "consumer": 0}
USER = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Access:
    """A nats-server that asks for something, beside the shared MongoDB."""

    def __init__(self, servers, lab, folder, name):
        self.servers, self.lab, self.folder, self.name = servers, lab, folder, name
        self.secrets = [PASSWORD, TOKEN, OTHER]

    def bridge(self, scheme="nats", host="127.0.0.1", **nats):
        whole = configuration(self.lab, self.name, nats={
            "servers": [f"{scheme}://{host}:{self.servers.nats[0].port}"], **nats})
        return Bridge(self.folder, whole)

    def works(self, **nats):
        with self.bridge(**nats) as bridge:
            assert bridge.run("--until", "now", "--no-wait") == 0, bridge.tail()
            self.keeps_secrets(bridge.log.read_text())
            bridge.log.unlink()

    def fails(self, *words, code=69, **nats):
        """run and doctor say why, in the same words."""
        with self.bridge(**nats) as bridge:
            assert bridge.run("--until", "now", "--no-wait") == code, bridge.tail()
            said = bridge.log.read_text()
            bridge.log.unlink()
            done = tailrace("doctor", "-c", bridge.file, "--json")
        for word in words:
            assert word in said, said
        self.keeps_secrets(said + done.stdout + done.stderr)
        if done.returncode == 1:
            check, = (check for check in json.loads(done.stdout)["checks"] if check["id"] == "nats.reachable")
            assert check["verdict"] == "fail" and check["remedy"]
            for word in words:
                assert word in check["evidence"], check
        else:
            assert done.returncode == code and words[0] in done.stderr, done.stderr

    def keeps_secrets(self, text):
        assert not [secret for secret in self.secrets if secret in text]


@pytest.fixture
def access(lab, tmp_path, name):
    def make(servers):
        return Access(servers, lab, tmp_path, name)

    return make


def only_nats(conf, version=None):
    return Lab(mongod=0, nats_conf=conf, nats_version=version)


def test_token(access):
    with only_nats(f"authorization {{ token: {TOKEN} }}\n") as servers:
        nats = access(servers)
        nats.works(token=TOKEN)
        nats.fails("Authorization Violation", "token", token=OTHER)
        nats.fails("compare user and password, token, nkey or credentials")


def test_users_and_nkeys(access, tmp_path):
    user, stranger = Key("user"), Key("user")
    with only_nats(f"authorization {{ users: [ {{ user: bridge, password: {PASSWORD} }}, "
                   f"{{ nkey: {user.public} }} ] }}\n") as servers:
        nats = access(servers)
        nats.secrets += [user.seed, stranger.seed]
        (tmp_path / "password").write_text(PASSWORD + "\n")
        nats.works(user="bridge", password_file=str(tmp_path / "password"))
        nats.fails("compare user and password", user="bridge", password=OTHER)
        nats.fails("compare user and password", user="nobody", password=PASSWORD)
        seed = tmp_path / "bridge.nk"
        seed.write_text(user.seed)
        nats.works(nkey_seed_file=str(seed))
        seed.write_text(stranger.seed)
        nats.fails("nkey", nkey_seed_file=str(seed))
        seed.write_text(user.seed[:-3])
        nats.fails("the nkey seed has the wrong length", nkey_seed_file=str(seed))


def test_credentials(access, tmp_path):
    operator, account, user, stranger = Key("operator"), Key("account"), Key("user"), Key("account")
    # The server wants an account of its own beside JetStream.
    system, claims = Key("account"), {"type": "account", "version": 2, "limits": LIMITS}
    conf = (f"operator: {operator.issue(operator, {'type': 'operator', 'version': 2})}\nresolver: MEMORY\n"
            f"system_account: {system.public}\nresolver_preload: {{ "
            f"{account.public}: {operator.issue(account, claims)}\n"
            f"{system.public}: {operator.issue(system, {**claims, 'limits': NO_STREAMS})} }}\n")
    with only_nats(conf) as servers:
        nats = access(servers)
        nats.secrets += [user.seed]
        file = tmp_path / "bridge.creds"

        def wrong(jwt, seed, *words, **more):
            file.write_text(credentials(jwt, seed))
            nats.fails(*words, credentials_file=str(file), **more)

        file.write_text(credentials(account.issue(user, USER), user.seed))
        nats.works(credentials_file=str(file))
        wrong(account.issue(user, USER), Key("user").seed, "authenticationFailed", "credentials")
        wrong(stranger.issue(user, USER), user.seed, "authenticationFailed", "credentials")
        wrong(account.issue(user, USER, expires=1_600_000_000), user.seed, "expired", "2020-09-13")
        file.write_text(credentials(account.issue(user, USER), user.seed)[:90])
        nats.fails("credentials_file", code=78, credentials_file=str(file))


def server(files, certificate="server", more=""):
    return (f'tls {{ cert_file: "{files.path(certificate + ".pem")}", key_file: "{files.path(certificate + ".key")}", '
            f'ca_file: "{files.path("ca.pem")}"\n{more} }}\n')


def test_certificate_of_the_server(access, files):
    trusting = {"ca_file": files.path("ca.pem")}
    with only_nats(server(files)) as servers:
        nats = access(servers)
        nats.works(tls=trusting)
        nats.works(scheme="tls", host="localhost", tls=trusting)
        nats.fails("not trusted", "tls.ca_file", tls={"ca_file": files.path("other-ca.pem")})
        nats.fails("not trusted", "tls.ca_file", scheme="tls")
        nats.fails("handshake_first", tls=trusting | {"handshake_first": True})
        nats.fails("none.pem", code=78, tls={"ca_file": files.path("none.pem")})
    with only_nats(server(files, "expired")) as servers:
        access(servers).fails("expired on 2020-01-02", "renew it", tls=trusting)
    with only_nats(server(files, "named")) as servers:
        access(servers).fails("another name", "connect by a name", host="localhost", tls=trusting)


def test_certificate_of_the_client(access, files):
    def ours(name):
        return {"ca_file": files.path("ca.pem"), "cert_file": files.path(f"{name}.pem"),
                "key_file": files.path(f"{name}.key")}

    with only_nats(server(files, more="verify: true")) as servers:
        nats = access(servers)
        nats.works(tls=ours("client"))
        nats.fails("tls.cert_file", "tls.key_file", tls={"ca_file": files.path("ca.pem")})
        nats.fails("our client certificate expired on 2020-01-02", "renew it", tls=ours("old-client"))
        nats.fails("do tls.cert_file and tls.key_file match?", tls=ours("client") | {"key_file": files.path("server.key")})


def test_handshake_first(access, files):
    with only_nats(server(files, more="handshake_first: true")) as servers:
        nats = access(servers)
        nats.works(tls={"ca_file": files.path("ca.pem"), "handshake_first": True})
        nats.fails("handshake_first", tls={"ca_file": files.path("ca.pem")})


def test_no_tls_where_it_is_asked_for(access, files):
    """Nothing is sent to a server that would get it in the clear."""
    with only_nats(f"authorization {{ token: {TOKEN} }}\n") as servers:
        access(servers).fails("does not offer", "TLS", scheme="tls", token=TOKEN)
