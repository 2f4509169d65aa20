"""HTTP clients beside a measurement: slow ones, which send a byte a second, and fast ones, which ask for /metrics and
/status in turn. A process of its own: `python -m benchmark.clients HOST PORT SLOW FAST PAUSE`."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

# Seconds after which a client whose connection was closed comes back.
BACK = 1
PATHS = ("/metrics", "/status")


class Clients:
    """In a block: they are there, from before the server listens. Afterwards `answered`, `connections` and `failed`."""

    def __init__(self, listen, slow, fast, pause):
        """pause: a fast client's, between an answer and its next question, in seconds; 0: it asks flat out."""
        host, _, port = listen.rpartition(":")
        self.command = [sys.executable, "-m", "benchmark.clients", host, port, str(slow), str(fast), str(pause)]

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, cwd=Path(__file__).resolve().parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # They are at work, not still being imported.
        self.process.stdout.readline()
        return self

    def __exit__(self, *_):
        # They end with their standard input, also if this program is killed.
        output, _ = self.process.communicate(timeout=20)
        counts = json.loads(output or "{}")
        self.answered, self.connections = counts.get("answered", 0), counts.get("connections", 0)
        self.failed = counts.get("failed", 0)


class Counts:
    answered = connections = failed = 0


async def slow_client(host, port, counts):
    """Never gets to the end of its request."""
    text = b"GET /status HTTP/1.1\r\nHost: slow\r\nX: "
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
            counts.connections += 1
            for number in range(1_000_000):
                writer.write(text[number:number + 1] or b"x")
                await writer.drain()
                await asyncio.sleep(1)
        except OSError:
            await asyncio.sleep(BACK)


async def fast_client(host, port, counts, pause):
    turn = 0
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
            counts.connections += 1
            while True:
                writer.write(f"GET {PATHS[turn % 2]} HTTP/1.1\r\nHost: fast\r\n\r\n".encode())
                turn += 1
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
                await reader.readexactly(length)
                if head.startswith(b"HTTP/1.1 200"):
                    counts.answered += 1
                else:
                    counts.failed += 1
                if pause:
                    await asyncio.sleep(pause)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(BACK if counts.connections else 0.05)


async def main(host, port, slow, fast, pause):
    counts = Counts()
    tasks = [asyncio.create_task(slow_client(host, port, counts)) for _ in range(slow)]
    tasks += [asyncio.create_task(fast_client(host, port, counts, pause)) for _ in range(fast)]
    print("", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({name: getattr(counts, name) for name in ("answered", "connections", "failed")}))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
