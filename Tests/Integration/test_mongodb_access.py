"""Every way to authenticate to MongoDB, and TLS: the right one works, each wrong one ends a start with a reason that
names the remedy, and no secret is in it."""

import contextlib
import json
import shutil
import socket
import ssl
import threading
from pathlib import Path

import pymongo
import pytest
from bridge import Bridge, configuration, tailrace, wait_until
from certificates import Certificates
from lab import Lab
from load import client

PASSWORD, OTHER = "pa55%2Fof-the-bridge", "wr0ng%2Fof-the-bridge"
DATABASE = "access"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Server:
    """A set that has users, and takes connections with TLS only with a certificate of its authority. Without TLS,
    too, for the lab's own questions."""

    def __init__(self, lab, files, root):
        self.lab, self.files, self.root = lab, files, root
        self.port = lab.mongod[0].port

    def uri(self, user="", host="127.0.0.1", tls=None, ca="ca.pem", **options):
        """`tls`: the certificate; "" for none of one's own."""
        options = {"replicaSet": "rs0", **options}
        if tls is not None:
            options |= {"tls": "true", "tlsCAFile": self.files.path(ca)}
        if tls:
            options["tlsCertificateKeyFile"] = self.files.path(f"{tls}-both.pem")
        return (f"mongodb://{user}{'@' if user else ''}{host}:{self.port}/?"
                + "&".join(f"{key}={value}" for key, value in options.items()))

    def show(self, name):
        """Another certificate from now on."""
        shutil.copyfile(self.files.path(f"{name}-both.pem"), self.files.path("shown-both.pem"))
        self.root.admin.command("rotateCertificates")


@pytest.fixture(scope="module")
def server(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mongod")
    key = folder / "key"
    key.write_text("bG9jYWwtdGVzdC1rZXk=")
    key.chmod(0o400)
    shown = Path(files.path("shown-both.pem"))
    shutil.copyfile(files.path("server-both.pem"), shown)
    with Lab(nats=1) as lab:
        with client(lab) as mongo:
            mongo.admin.command("createUser", "root", pwd="root", roles=["root"])
            mongo[DATABASE].create_collection("rooms")
        lab.kill("mongod", 0)
        lab.mongod[0].command += [
            "--keyFile", str(key), "--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(shown),
            "--tlsCAFile", files.path("ca.pem"), "--setParameter",
            "authenticationMechanisms=SCRAM-SHA-1,SCRAM-SHA-256,MONGODB-X509"]
        lab.start("mongod", 0)
        root = pymongo.MongoClient(f"mongodb://root:root@127.0.0.1:{lab.mongod[0].port}/?replicaSet=rs0")
        wait_until(lambda: root.is_primary, "a primary")
        # The rights of docs/permissions.md.
        root.admin.command("createRole", "tailrace", roles=[], privileges=[
            {"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]}])
        root.admin.command("createUser", "bridge", pwd=PASSWORD.replace("%2F", "/"), roles=["tailrace"],
                           mechanisms=["SCRAM-SHA-256"])
        root["$external"].command("createUser", files.subject("client"),
                                  roles=[{"role": "tailrace", "db": "admin"}])
        yield Server(lab, files, root)
        root.close()


@contextlib.contextmanager
def answering(answer):
    """A port of this machine; each connection to it is answered in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def attempt(server, tmp_path, name):
    """Runs with a connection string; `words`: what `run` and `doctor` both have to say."""
    def attempted(uri, *words, code=69):
        whole = configuration(server.lab, name, source={"uri": uri, "name": "rs0"})
        whole["rules"][0]["match"]["namespace"] = f"{DATABASE}.rooms"
        with Bridge(tmp_path, whole) as bridge:
            ended = bridge.run("--until", "now", "--no-wait")
            said = bridge.log.read_text()
            bridge.log.unlink()
            done = tailrace("doctor", "-c", bridge.file, "--json")
        shown = said + done.stdout + done.stderr
        for secret in (PASSWORD, OTHER):
            assert secret not in shown and secret.replace("%2F", "/") not in shown
        if not words:
            assert ended == 0, said
            checks = json.loads(done.stdout)["checks"]
            assert not [check for check in checks if check["verdict"] == "fail"], checks
            return
        assert ended == code, said
        for word in words:
            assert word in said, said
        failed = [check for check in json.loads(done.stdout)["checks"] if check["verdict"] == "fail"]
        evidence = " ".join(check["evidence"] + (check["remedy"] or "") for check in failed)
        for word in words:
            assert word in evidence, failed

    return attempted


def test_scram_sha_256(server, attempt):
    attempt(server.uri(f"bridge:{PASSWORD}", authSource="admin", authMechanism="SCRAM-SHA-256"))
    attempt(server.uri(f"bridge:{PASSWORD}", authSource="admin"))
    remedy = "check user, password and authSource"
    attempt(server.uri(f"bridge:{OTHER}", authSource="admin"), "Authentication failed", remedy, code=78)
    attempt(server.uri(f"bridge:{PASSWORD}", authSource=DATABASE), "Authentication failed", remedy, code=78)
    # The user has no key for it.
    attempt(server.uri(f"bridge:{PASSWORD}", authSource="admin", authMechanism="SCRAM-SHA-1"), remedy, code=78)


def test_no_user(server, tmp_path, name):
    """It could be given rights at any moment, so `run` waits, and says for what."""
    with Bridge(tmp_path, configuration(server.lab, name, source={"uri": server.uri(), "name": "rs0"})) as bridge:
        done = tailrace("doctor", "-c", bridge.file, "--json")
        failed = [check for check in json.loads(done.stdout)["checks"] if check["verdict"] == "fail"]
        assert done.returncode == 1 and any("createUser" in (check["remedy"] or "") for check in failed), failed
        bridge.start()
        wait_until(lambda: "requires authentication" in bridge.get("/status")[1], "health says why")
        assert bridge.terminate() == 0


def test_x509(server, attempt):
    external = {"authMechanism": "MONGODB-X509", "authSource": "$external"}
    attempt(server.uri(tls="client", host="localhost", **external))
    attempt(server.uri(tls="nobody", host="localhost", **external), "Could not find user", "CN=nobody",
            "create a user in $external", code=78)


def test_tls(server, attempt):
    def uri(**options):
        return server.uri(f"bridge:{PASSWORD}", authSource="admin", **options)

    attempt(uri(tls="client"))
    attempt(uri(tls="client", host="localhost"))
    attempt(uri(tls="client", ca="other-ca.pem"), "not trusted", "tlsCAFile")
    attempt(uri(tls=""), "may require a client certificate", "tlsCertificateKeyFile")
    attempt(uri(tls="old-client"), "may have rejected the client certificate", "valid now")
    server.show("named")
    attempt(uri(tls="client", host="localhost"), "another name", "connect by a name that it has")
    server.show("server")
    attempt(uri(tls="client"))


def test_expired_certificate_of_the_server(server, attempt, files):
    """mongod itself refuses to begin with one; it may expire later. What answers here ends with the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.path("expired-both.pem"))

    def answer(connection):
        with contextlib.suppress(OSError), connection:
            context.wrap_socket(connection, server_side=True).close()

    with answering(answer) as port:
        attempt(f"mongodb://127.0.0.1:{port}/?replicaSet=rs0&tls=true&tlsCAFile={files.path('ca.pem')}",
                "has expired", "renew it")


def test_certificates_that_cannot_be_read(server, attempt):
    def uri(**options):
        return server.uri(f"bridge:{PASSWORD}", authSource="admin", **options)

    attempt(uri(tls="client", ca="none.pem"), "none.pem can't be read", "tlsCAFile", code=78)
    attempt(uri(tls="none"), "none-both.pem can't be read", "tlsCertificateKeyFile", code=78)
