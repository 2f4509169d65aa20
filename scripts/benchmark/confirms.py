"""Publishes messages of 400 bytes with so many in flight, and measures from sending to the confirm.

    confirms.py nats URL COUNT WINDOW
    confirms.py rabbitmq PORT KIND COUNT WINDOW

Both the same way: a message is sent when one before has been confirmed, and callbacks note the time. Prints
{"count", "p50", "p99" (milliseconds), "rate" (messages a second)}. Runs in an environment of its own.
"""

import asyncio
import json
import statistics
import sys
import time

BODY = b"x" * 400


def result(sent, confirmed):
    times = sorted((after - before) * 1000 for before, after in zip(sent, confirmed))
    cuts = statistics.quantiles(times, n=100)
    print(json.dumps({"count": len(sent), "p50": cuts[49], "p99": cuts[98],
                      "rate": len(sent) / (max(confirmed) - sent[0])}))


async def jetstream(url, count, window):
    import nats

    connection = await nats.connect(url.split(","))
    name = f"confirms{window}_{time.time_ns()}"
    await connection.jetstream().add_stream(name=name, subjects=[f"{name}.>"])
    sent, confirmed, acks = [0.0] * count, [0.0] * count, 0
    done, inbox = asyncio.get_running_loop().create_future(), connection.new_inbox()

    async def send(number):
        sent[number] = time.perf_counter()
        await connection.publish(f"{name}.a", BODY, reply=f"{inbox}.{number}",
                                 headers={"Nats-Msg-Id": f"{name}-{number}"})

    async def on_ack(message):
        nonlocal acks
        confirmed[int(message.subject.rsplit(".", 1)[1])] = time.perf_counter()
        if b'"seq":' not in message.data:
            done.set_exception(RuntimeError(message.data.decode()))
            return
        acks += 1
        if acks == count:
            done.set_result(None)
        elif acks + window <= count:
            await send(acks + window - 1)

    await connection.subscribe(f"{inbox}.*", cb=on_ack)
    for number in range(min(window, count)):
        await send(number)
    await done
    await connection.jetstream().delete_stream(name)
    await connection.close()
    result(sent, confirmed)


def rabbitmq(port, kind, count, window):
    import pika

    name = f"confirms{window}_{time.time_ns()}"
    sent, confirmed, waiting = [0.0] * count, [0.0] * count, set()
    persistent, following, failed = pika.BasicProperties(delivery_mode=2), 0, []

    def send(channel):
        nonlocal following
        sent[following] = time.perf_counter()
        waiting.add(following + 1)  # delivery tags count from 1
        channel.basic_publish("", name, BODY, persistent)
        following += 1

    def on_confirm(frame, channel):
        now, tag = time.perf_counter(), frame.method.delivery_tag
        if frame.method.NAME != "Basic.Ack":
            failed.append(tag)
            channel.connection.close()
            return
        for one in [t for t in waiting if t <= tag] if frame.method.multiple else [tag]:
            waiting.discard(one)
            confirmed[one - 1] = now
            if following < count:
                send(channel)
        if following == count and not waiting:
            channel.queue_delete(name, callback=lambda _: channel.connection.close())

    def opened(channel):
        def begin(_):
            for _ in range(min(window, count)):
                send(channel)

        channel.confirm_delivery(lambda frame: on_confirm(frame, channel))
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind}, callback=begin)

    def closed(connection, _):
        connection.ioloop.stop()

    connection = pika.SelectConnection(
        pika.ConnectionParameters("127.0.0.1", int(port)),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
        on_open_error_callback=closed, on_close_callback=closed)
    connection.ioloop.start()
    if failed or not all(confirmed):
        sys.exit(f"{len(failed)} refused, {confirmed.count(0.0)} not confirmed")
    result(sent, confirmed)


if __name__ == "__main__":
    broker, *target = sys.argv[1:]
    if broker == "nats":
        asyncio.run(jetstream(target[0], int(target[1]), int(target[2])))
    else:
        rabbitmq(target[0], target[1], int(target[2]), int(target[3]))
