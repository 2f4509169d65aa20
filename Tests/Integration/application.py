"""An application that writes to MongoDB and publishes the events of its writes itself."""

import asyncio
import json
import threading

import nats
import nats.errors


class Application(threading.Thread):
    """Does `work()` beside the test until `stopping` is set. What ended it before is raised by `stop()`."""

    def __init__(self, lab):
        super().__init__(daemon=True, name="application")
        self.lab = lab
        self.stopping = threading.Event()
        self.failure = None

    async def work(self):
        raise NotImplementedError

    def run(self):
        try:
            asyncio.run(self.work())
        except BaseException as failure:  # reported by stop()
            self.failure = failure

    async def connect(self):
        """A connection that comes back whatever the servers do."""
        return await nats.connect(
            self.lab.nats_url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1)

    @staticmethod
    async def publish_until_stored(connection, subject, body, id):
        """Under the same id again and again, until a server has acknowledged it."""
        while True:
            try:
                answer = await connection.request(subject, body, timeout=1, headers={"Nats-Msg-Id": id})
                if "seq" in json.loads(answer.data):
                    return
            except nats.errors.Error:
                pass
            await asyncio.sleep(0.05)

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "the application hangs"
        if self.failure:
            raise self.failure
