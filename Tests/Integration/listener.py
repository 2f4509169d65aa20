"""A core NATS subscriber with nats-py, in a thread of its own: what it has heard, and when."""

import asyncio
import threading
import time
from dataclasses import dataclass

import nats

from jetstream import Message


@dataclass(frozen=True)
class Heard(Message):
    at: float


class Listener:
    """Hears every subject given, until its end; connects again by itself."""

    def __init__(self, url, *subjects):
        self.servers, self.subjects = url.split(","), subjects
        self.heard = []
        self.ready, self.over = threading.Event(), None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(20), "no subscription"
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)

    async def _listen(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        nc = await nats.connect(self.servers, max_reconnect_attempts=-1, reconnect_time_wait=0.1)

        async def hear(message):
            self.heard.append(Heard(0, message.subject, dict(message.headers or {}), message.data,
                                    time.time()))

        for subject in self.subjects:
            await nc.subscribe(subject, cb=hear)
        await nc.flush()
        self.ready.set()
        await self.over.wait()
        await nc.close()
