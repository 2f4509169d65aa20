"""What an application does once it publishes its own events: docs/cutover.md shows this."""

import json

import jsonschema_rs


class Producer:
    def __init__(self, jetstream, schema, subject):
        self.jetstream, self.validator, self.subject = jetstream, jsonschema_rs.validator_for(schema), subject

    async def created(self, message):
        """After the write, and before the answer to the user. True: this call stored it."""
        self.validator.validate(message)
        ack = await self.jetstream.publish(
            self.subject.format(**message), json.dumps(message).encode(),
            headers={"Nats-Msg-Id": f"{message['_id']}.created"})
        return not ack.duplicate
