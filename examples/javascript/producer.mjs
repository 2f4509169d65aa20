// An application's part of a cut-over: publishes the events of its own writes, as the bridge would (docs/cutover.md).
//
//     node producer.mjs SERVERS SCHEMA PREFIX < DOCUMENTS
//
// DOCUMENTS holds JSON documents, one a line. Needs @nats-io/transport-node, @nats-io/jetstream and ajv.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import Ajv from "ajv/dist/2020.js";

/** A value as one token of a subject, escaped as the bridge does it: letters, digits, `-`, `_` and `~` stay. */
const token = (value) =>
  encodeURIComponent(String(value)).replace(/[.!'()*]/g,
    (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0"));

export class Producer {
  constructor(js, schema, prefix) {
    this.js = js;
    this.prefix = prefix;
    this.isValid = new Ajv().compile(schema);
  }

  /** After the write, and before the answer to the user. False: the event is stored already, by an earlier attempt or
   *  by the bridge, which is as good. */
  async created(message, attempts = 20) {
    if (!this.isValid(message)) throw new TypeError(JSON.stringify(this.isValid.errors));
    const subject = `${this.prefix}.${token(message.room)}.created`;
    for (;;) {
      attempts -= 1;
      try {
        // The same id for each attempt, so that the event is stored once, however many of them arrive.
        const ack = await this.js.publish(subject, JSON.stringify(message),
          { msgID: `${message._id}.created`, timeout: 2000 });
        return !ack.duplicate;
      } catch (error) {
        // It may have been stored or not.
        if (attempts <= 0) throw error;
        await new Promise((done) => setTimeout(done, 250));
      }
    }
  }
}

const [servers, schema, prefix] = process.argv.slice(2);
const connection = await connect({ servers: servers.split(","), maxReconnectAttempts: -1 });
const producer = new Producer(jetstream(connection), JSON.parse(readFileSync(schema, "utf8")), prefix);
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  try {
    console.log(message._id, (await producer.created(message)) ? "stored" : "duplicate");
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.log(message._id, `invalid: ${error.message}`);
  }
}
await connection.close();
