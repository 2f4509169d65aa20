"""JetStream as independent clients see it: nats_socket.py, and nats-py for buckets; one short connection a question."""

import asyncio
import json
import time
from dataclasses import dataclass

import nats
from nats_socket import NATSSocket, read

# No stream, no consumer, no message of this name or sequence.
GONE = (10059, 10014, 10037, 10043, 10057)


@dataclass(frozen=True)
class Message:
    sequence: int
    subject: str
    headers: dict
    body: bytes

    @property
    def id(self):
        return self.headers.get("Nats-Msg-Id")

    @property
    def position(self):
        """(seconds, increment, index)"""
        return tuple(int(part) for part in self.headers["Tailrace-Position"].split("."))

    @property
    def json(self):
        return json.loads(self.body)


def is_fence(subject):
    """What an unclean end of a leader leaves in streams that several publish to."""
    return subject.startswith("tailrace.fence.")


class JetStreamError(Exception):
    def __init__(self, error):
        super().__init__(f"{error.get('err_code')}: {error.get('description')}")
        self.code = error.get("err_code")


class JetStream:
    def __init__(self, url):
        self.servers = url.split(",")

    def _run(self, work):
        async def connected():
            nc = await nats.connect(self.servers, allow_reconnect=False, connect_timeout=1,
                                    max_reconnect_attempts=3)
            try:
                return await work(nc)
            finally:
                await nc.close()

        return asyncio.run(connected())

    def api(self, subject, body=None, seconds=60, attempt=5):
        """Asked again every `attempt` seconds: a request that falls into a change of leaders is never
        answered. All of these may be repeated; that something asked to be removed is gone by the
        second time is what was wanted."""
        payload = json.dumps(body).encode() if body else b""
        deadline = time.monotonic() + seconds
        asked_before = False
        with NATSSocket(self.servers) as connection:
            while True:
                left = deadline - time.monotonic()
                try:
                    answer = connection.request(f"$JS.API.{subject}", payload, seconds=min(attempt, left))
                    break
                except TimeoutError:
                    if left <= attempt:
                        raise
                    asked_before = True
        parsed = json.loads(answer)
        if "error" in parsed:
            removed = ".DELETE." in subject and parsed["error"].get("err_code") in GONE
            if not (asked_before and removed):
                raise JetStreamError(parsed["error"])
        return parsed

    def state(self, stream, seconds=60):
        """The stream's state, or None when it doesn't exist."""
        try:
            return self.api(f"STREAM.INFO.{stream}", seconds=seconds)["state"]
        except JetStreamError as error:
            if error.code == 10059:
                return None
            raise

    def last_sequence(self, stream):
        """Of what isn't a fence. 0 when there is no stream; None when nobody can say, which is soon found out: a
        question that falls into a change of leaders is never answered."""
        try:
            state = self.api(f"STREAM.INFO.{stream}", {"subjects_filter": "tailrace.fence.>"},
                             seconds=0.5)["state"]
            return state["last_seq"] - sum((state.get("subjects") or {}).values())
        except JetStreamError as error:
            return 0 if error.code == 10059 else None
        except (OSError, JetStreamError):
            return None

    def holds(self, stream, count):
        """Whether the stream's last sequence has come to `count`."""
        last = self.last_sequence(stream)
        return last is not None and last >= count

    def config(self, stream):
        return self.api(f"STREAM.INFO.{stream}")["config"]

    def delete_stream(self, stream):
        self.api(f"STREAM.DELETE.{stream}")

    def purge(self, stream):
        self.api(f"STREAM.PURGE.{stream}")

    def publish(self, subject, body=b"", headers=None):
        """One stored message, published by somebody else than the bridge; the PubAck."""
        with NATSSocket(self.servers) as connection:
            return json.loads(connection.request(subject, body, headers))

    def messages(self, stream, fences=False):
        """Every message of the stream, in order; without the bridges' fences, unless asked for."""
        consumer, last = self._consumer(stream)
        found = (Message(*message) for message in read(self.servers, stream, consumer, last)) if last else ()
        return [m for m in found if fences or not is_fence(m.subject)]

    def count(self, stream):
        """How many messages there are that aren't fences."""
        return len(self.messages(stream))

    def _consumer(self, stream):
        """A new consumer of everything, and the last sequence; 0 of a stream without messages."""
        state = self.state(stream)
        if not state["messages"]:
            return None, 0
        made = self.api(f"CONSUMER.CREATE.{stream}", {
            "stream_name": stream,
            "config": {"deliver_policy": "all", "ack_policy": "none", "mem_storage": True,
                       "inactive_threshold": 60_000_000_000, "num_replicas": 1},
        })
        return made["name"], state["last_seq"]

    def everything(self, but=("-",)):
        """All that the account's streams, consumers and buckets are and hold, to be compared: by stream its
        configuration, its beginning, what it holds (the subjects with their last sequences, and how many
        messages), and its durable consumers. `but`: of keys with these ends, only that they are there."""
        found = {}
        while True:
            page = self.api("STREAM.LIST", {"offset": len(found)})
            for info in page["streams"] or []:
                found[info["config"]["name"]] = info
            if not page["streams"] or len(found) >= page["total"]:
                break
        return {name: self._all_of(name, info, but) for name, info in found.items()}

    def _all_of(self, name, info, but):
        consumers = {}
        if info["state"]["consumer_count"]:
            listed = self.api(f"CONSUMER.LIST.{name}")["consumers"] or []
            consumers = {one["name"]: one["config"] for one in listed
                         if "durable_name" in one["config"]}
        held = [info["state"]["messages"], info["state"]["last_seq"]]
        if name.startswith("KV_"):
            subjects = self.api(f"STREAM.INFO.{name}", {"subjects_filter": ">"})[
                "state"].get("subjects") or {}
            held = {}
            for subject in subjects:
                last = self.api(f"STREAM.MSG.GET.{name}", {"last_by_subj": subject})["message"]
                held[subject] = subject.endswith(but) or (last["seq"], last.get("data"))
        return info["config"], info["created"], held, consumers

    # Key-value buckets are streams named KV_<bucket>.

    def get(self, bucket, key):
        return self._run(lambda nc: self._get(nc, bucket, key))

    async def _get(self, nc, bucket, key):
        entry = await (await nc.jetstream().key_value(bucket)).get(key)
        return entry.value

    def put(self, bucket, key, value):
        async def work(nc):
            return await (await nc.jetstream().key_value(bucket)).put(key, value)

        return self._run(work)

    def keys(self, bucket):
        """Keys of a bucket with their values; {} when it doesn't exist."""
        if self.state(f"KV_{bucket}") is None:
            return {}

        async def work(nc):
            store = await nc.jetstream().key_value(bucket)
            try:
                names = await store.keys()
            except nats.js.errors.NoKeysError:
                return {}
            return {name: (await store.get(name)).value for name in names}

        return self._run(work)
