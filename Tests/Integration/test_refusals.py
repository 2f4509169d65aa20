"""What refuses the bridge's messages, or the way to them: limits, rights, accounts. Health has the right
status and the server's own words, and all is well, and exact, soon after the repair."""

import json
import signal

import pytest
from jetstream import JetStream
from lab import Lab
from refusals import Case, endure, judge

NAMES = [
    "full_messages_fast", "full_messages_chain", "full_bytes_atomic", "publish_fast",
    "publish_one_subject_chain", "acks", "credentials", "account_storage", "account_streams",
    "account_disabled", "sealed_auto", "sealed_chain"]
FILLER = "FILLER"


def users(denied):
    """The servers' accounts; `denied`: those whose rights are taken away."""
    def bridge(name, publish="", subscribe=""):
        password = "b" if name not in denied or name != "credentials" else "changed"
        return (f'{{ user: {name}, password: {password}, permissions: {{ publish: {{ allow: [">"], '
                f"{publish} }}, subscribe: {{ allow: [{subscribe or json.dumps('_INBOX.>')}] }} }} }}")

    lines = ["{ user: admin, password: a }"]
    for name in NAMES[:7] + NAMES[10:]:
        publish = subscribe = ""
        if name in denied:
            publish = {"publish_fast": 'deny: ["publish_fast.>"]',
                       "publish_one_subject_chain":
                           'deny: ["publish_one_subject_chain.users.*"]'}.get(name, "")
            # The bridge's requests are answered one token higher.
            subscribe = json.dumps("_INBOX.*.*") if name == "acks" else ""
        lines.append(bridge(name, publish, subscribe))
    return f"""
accounts {{
  MAIN {{ jetstream: enabled, users: [
    {", ".join(lines)} ] }}
  STORAGE {{ jetstream {{ max_file: 6MB }}, users: [
    {{ user: storage, password: a }}, {bridge("account_storage")} ] }}
  STREAMS {{ jetstream {{ max_streams: 3 }}, users: [
    {{ user: streams, password: a }}, {bridge("account_streams")} ] }}
  DISABLED {{ jetstream: {"disabled" if "account_disabled" in denied else "enabled"}, users: [
    {{ user: disabled, password: a }}, {bridge("account_disabled")} ] }}
}}
no_auth_user: admin
"""


def reload(lab, denied):
    server = lab.nats[0]
    text = server.configuration.read_text()
    server.configuration.write_text(text[:text.index("\naccounts {")] + users(denied))
    server.process.send_signal(signal.SIGHUP)


def change(jetstream, stream, **settings):
    jetstream.api(f"STREAM.UPDATE.{stream}", jetstream.config(stream) | settings)


def fill(jetstream):
    """Takes all of the account's storage."""
    jetstream.api(f"STREAM.CREATE.{FILLER}", {
        "name": FILLER, "subjects": ["filler"], "storage": "file", "retention": "limits"})
    for size in (500_000, 50_000, 5_000, 500, 1):
        while jetstream.publish("filler", b"x" * size).get("seq"):
            pass


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    with Lab(nats_conf=users([])) as lab:
        at = lab.nats_url.removeprefix("nats://")
        storage, streams, disabled = (
            JetStream(f"nats://{user}:a@{at}") for user in ("storage", "streams", "disabled"))
        streams.api(f"STREAM.CREATE.{FILLER}", {"name": FILLER, "subjects": ["filler"]})

        def case(name, *words, publish="auto", url=lab.nats_url, **options):
            return Case(name, words, url, {
                "nats": {"servers": [lab.nats_url], "user": name, "password": "b"},
                "stream": {"publish": publish}}, **options)

        cases = [
            case("full_messages_fast", "maximum messages exceeded", publish="fast"),
            case("full_messages_chain", "maximum messages exceeded", publish="chain"),
            case("full_bytes_atomic", "maximum bytes exceeded", publish="atomic"),
            case("publish_fast", "Permissions Violation for Publish", publish="fast"),
            case("publish_one_subject_chain", "Permissions Violation for Publish",
                 publish="chain"),
            case("acks", "Permissions Violation for Subscription"),
            case("credentials", "Authorization Violation"),
            case("account_storage", "resource limits exceeded for account",
                 "insufficient storage resources", url=storage.servers[0]),
            case("account_streams", "maximum number of streams reached", "max_streams 3",
                 url=streams.servers[0], starts_late=True),
            case("account_disabled", "JetStream not enabled for account",
                 "JetStream does not answer", url=disabled.servers[0]),
            case("sealed_auto", "sealed"),
            case("sealed_chain", "sealed", publish="chain"),
        ]
        main = JetStream(lab.nats_url)

        def refuse():
            for name in ("full_messages_fast", "full_messages_chain"):
                change(main, name, max_msgs=main.state(name)["messages"], discard="new")
            name = "full_bytes_atomic"
            change(main, name, max_bytes=main.state(name)["bytes"] + 1, discard="new")
            for name in ("sealed_auto", "sealed_chain"):
                change(main, name, sealed=True)
            fill(storage)
            reload(lab, NAMES)

        def repair():
            for name in ("full_messages_fast", "full_messages_chain", "full_bytes_atomic"):
                change(main, name, max_msgs=-1, max_bytes=-1)
            # Nothing unseals a stream: it is made again, and filled again, as `on_loss` says.
            for name in ("sealed_auto", "sealed_chain"):
                main.delete_stream(name)
            storage.delete_stream(FILLER)
            streams.delete_stream(FILLER)
            reload(lab, [])

        times = endure(lab, tmp_path_factory.mktemp("refusals"), cases, refuse, repair)
        yield {case.name: (case, *times) for case in cases}


@pytest.mark.parametrize("name", NAMES)
def test_refused(course, name):
    judge(*course[name])
