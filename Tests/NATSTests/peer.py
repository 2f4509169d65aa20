"""The peer of PeerTests: an official client of the NATS project.

    peer.py URL      serves until its standard input ends; prints "ready" first

peer.echo            answers with the request's payload reversed and its headers
peer.send            publishes the number of messages in the payload to peer.out, with headers
peer.ask             sends a request to the subject in the payload and returns the answer
"""

import asyncio
import sys

import nats


async def main(url):
    client = await nats.connect(url, allow_reconnect=False)

    async def echo(message):
        headers = dict(message.headers or {})
        headers["peer"] = "python"
        await client.publish(message.reply, message.data[::-1], headers=headers)

    async def send(message):
        for n in range(int(message.data)):
            await client.publish("peer.out", f"m{n}".encode(), headers={"n": str(n), "to": "swift"})
        await message.respond(b"done")

    async def ask(message):
        answer = await client.request(
            message.data.decode(), b"from python", timeout=20, headers={"asked-by": "python"})
        headers = dict(answer.headers or {})
        await client.publish(message.reply, answer.data, headers=headers)

    await client.subscribe("peer.echo", cb=echo)
    await client.subscribe("peer.send", cb=send)
    await client.subscribe("peer.ask", cb=ask)
    await client.flush()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await client.close()


asyncio.run(main(sys.argv[1]))
