"""Certificates of every kind that is wrong, by openssl; keys and JWTs of NATS."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import time

import nkeys
import pytest

HERE = "subjectAltName=DNS:localhost,IP:127.0.0.1"
# name -> (subject, extensions, first and last day)
NOW = ("20200101000000Z", "20460101000000Z")
KINDS = {
    "server": ("/CN=server", HERE, NOW),
    "expired": ("/CN=expired", HERE, ("20200101000000Z", "20200102000000Z")),
    "named": ("/CN=named", "subjectAltName=DNS:elsewhere.example.org", NOW),
    "client": ("/O=bridges/CN=client", "extendedKeyUsage=clientAuth", NOW),
    "nobody": ("/O=bridges/CN=nobody", "extendedKeyUsage=clientAuth", NOW),
    "old-client": ("/O=bridges/CN=client", "extendedKeyUsage=clientAuth", ("20200101000000Z", "20200102000000Z")),
}


class Certificates:
    """An authority with certificates of all KINDS, and another one that nobody trusts."""

    def __init__(self, folder):
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make certificates with")
        self.folder = folder
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n"
            "unique_subject=no\n[p]\norganizationName=optional\ncommonName=supplied\n")
        (folder / "index").write_text("")
        (folder / "serial").write_text("01\n")
        for name in ("ca", "other-ca"):
            self._openssl("req", "-x509", *key, "-days", "2", "-subj", f"/CN={name}",
                          "-keyout", f"{name}.key", "-out", f"{name}.pem")
        for name, (subject, extensions, (first, last)) in KINDS.items():
            (folder / f"{name}.ext").write_text(extensions)
            self._openssl("req", *key, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self._openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key",
                          "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", f"{name}.ext",
                          "-startdate", first, "-enddate", last)
            (folder / f"{name}-both.pem").write_text(
                (folder / f"{name}.pem").read_text() + (folder / f"{name}.key").read_text())

    def _openssl(self, *words):
        done = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"openssl {' '.join(words)}\n{done.stderr}"

    def path(self, name):
        return str(self.folder / name)

    def subject(self, name):
        """As MongoDB names the user of a certificate (RFC 2253)."""
        done = subprocess.run(["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in",
                               self.path(f"{name}.pem")], capture_output=True, text=True, check=True)
        return done.stdout.strip().removeprefix("subject=")


class Key:
    """A key of NATS: operator, account or user."""

    PREFIXES = {"operator": nkeys.PREFIX_BYTE_OPERATOR, "account": nkeys.PREFIX_BYTE_ACCOUNT,
                "user": nkeys.PREFIX_BYTE_USER}

    def __init__(self, kind):
        self.seed = nkeys.encode_seed(os.urandom(32), self.PREFIXES[kind])
        self.pair = nkeys.from_seed(self.seed)
        self.public = self.pair.public_key.decode()
        self.seed = self.seed.decode()

    def issue(self, to, claims, expires=None):
        """A JWT."""
        def coded(content):
            return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

        body = {"iat": int(time.time()), "iss": self.public, "sub": to.public, "name": "test", "nats": claims}
        if expires is not None:
            body["exp"] = expires
        body["jti"] = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        head = coded(b'{"typ":"JWT","alg":"ed25519-nkey"}') + "." + coded(json.dumps(body).encode())
        return head + "." + coded(self.pair.sign(head.encode()))


def credentials(jwt, seed):
    """A .creds file."""
    return (f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n")
