"""An application's part of a cut-over: publishes the events of its own writes, as the bridge would (docs/cutover.md).

    producer.py SERVERS SCHEMA PREFIX < DOCUMENTS

DOCUMENTS holds JSON documents, one a line: what the application has just written. Each is published to
`PREFIX.<room>.created` as event `<_id>.created`. Prints for each whether it was `stored`, is a `duplicate`, or is
`invalid`. SCHEMA is a file, or `kv:NAME.VERSION`, a published version (docs/schema-publish.md). Needs nats-py and
jsonschema-rs.
"""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import quote

import jsonschema_rs
import nats
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswer
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError


def token(value):
    """A value as one token of a subject, escaped as the bridge does it: letters, digits, `-`, `_` and `~` stay."""
    return quote(str(value), safe="").replace(".", "%2E")


class Producer:
    def __init__(self, jetstream, schema, prefix):
        self.jetstream, self.prefix = jetstream, prefix
        self.validator = jsonschema_rs.validator_for(schema)

    async def created(self, message, attempts=20):
        """After the write, and before the answer to the user. False: the event is stored already, by an earlier attempt
        or by the bridge, which is as good.

        Raises `jsonschema_rs.ValidationError`, and the last attempt's error."""
        self.validator.validate(message)
        subject = f"{self.prefix}.{token(message['room'])}.created"
        # The same id for each attempt, so that the event is stored once, however many of them arrive.
        headers = {"Nats-Msg-Id": f"{message['_id']}.created"}
        body = json.dumps(message, ensure_ascii=False).encode()
        while True:
            attempts -= 1
            try:
                ack = await self.jetstream.publish(subject, body, timeout=2, headers=headers)
                return not ack.duplicate
            except (NoAnswer, NoRespondersError, NoStreamResponseError, ServiceUnavailableError,
                    nats.errors.ConnectionClosedError):
                # It may have been stored or not.
                if attempts <= 0:
                    raise
                await asyncio.sleep(0.25)


async def contract(jetstream, schema):
    """A published version never changes: it can be kept for as long as the program runs."""
    if not schema.startswith("kv:"):
        return json.loads(Path(schema).read_text())
    bucket = await jetstream.key_value("TAILRACE_SCHEMAS")
    return json.loads((await bucket.get(schema.removeprefix("kv:"))).value)


async def main(servers, schema, prefix):
    connection = await nats.connect(servers.split(","), max_reconnect_attempts=-1)
    jetstream = connection.jetstream()
    producer = Producer(jetstream, await contract(jetstream, schema), prefix)
    for line in sys.stdin:
        message = json.loads(line)
        try:
            result = "stored" if await producer.created(message) else "duplicate"
        except jsonschema_rs.ValidationError as error:
            # Nothing that consumers were not promised.
            result = f"invalid: {error.message}"
        print(f"{message['_id']} {result}", flush=True)
    await connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
