"""NATS over a plain socket, one short connection for one purpose. Independent of the bridge as nats-py is, for a tenth
of its processor time: tests ask thousands of questions, and read millions of messages."""

import json
import random
import socket
import uuid
from urllib.parse import urlsplit

# Bytes read at once.
CHUNK = 1 << 18


class NATSSocket:
    """One subscription, to an inbox, on the first server that answers."""

    def __init__(self, servers):
        self.inbox = f"_INBOX.{uuid.uuid4().hex}"
        problem = OSError("no server is named")
        for server in random.sample(servers, len(servers)):
            try:
                return self._connect(urlsplit(server))
            except OSError as error:
                problem = error
        raise problem

    def _connect(self, url):
        self.received, self.begin = bytearray(), 0
        self.socket = socket.create_connection((url.hostname, url.port), timeout=1)
        try:
            self._line()  # INFO; a server that is frozen says nothing
            options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                       "lang": "python", "version": "1", "protocol": 1}
            if url.username:
                options |= {"user": url.username, "pass": url.password}
            self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox} 1\r\n".encode())
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _send(self, data):
        self.socket.sendall(data)

    def publish(self, subject, body=b"", headers=None):
        """What comes back comes to the inbox."""
        names = subject.encode(), self.inbox.encode()
        if headers is None:
            return self._send(b"PUB %s %s %d\r\n%s\r\n" % (*names, len(body), body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        block = f"NATS/1.0\r\n{lines}\r\n".encode()
        self._send(b"HPUB %s %s %d %d\r\n%s%s\r\n" % (*names, len(block), len(block) + len(body), block, body))

    def request(self, subject, body=b"", headers=None, seconds=5):
        """The answer's body."""
        self.publish(subject, body, headers)
        _, _, header, answer = self.next(seconds)
        if header.startswith(b"NATS/1.0 503"):
            raise ConnectionError(f"nobody answers to {subject}")
        return answer

    def _fill(self):
        more = self.socket.recv(CHUNK)
        if not more:
            raise ConnectionError("the server has closed the connection")
        self.received += more

    def _line(self):
        while (end := self.received.find(b"\r\n", self.begin)) < 0:
            self._fill()
        line = bytes(self.received[self.begin:end])
        self.begin = end + 2
        return line

    def _exactly(self, count):
        """So many bytes, and the end of line behind them."""
        while len(self.received) - self.begin < count + 2:
            self._fill()
        data = bytes(self.received[self.begin:self.begin + count])
        self.begin += count + 2
        return data

    def next(self, seconds):
        """(subject, reply, header, body) of the next message; TimeoutError when none comes in time."""
        self.socket.settimeout(seconds)
        while True:
            if self.begin > CHUNK:
                del self.received[:self.begin]
                self.begin = 0
            start = self.begin
            try:
                found = self._frame()
            except TimeoutError:
                self.begin = start  # what has come of it is read again
                raise
            if found:
                return found

    def _frame(self):
        """A message; None for anything else."""
        verb, *words = self._line().split(b" ")
        if verb == b"HMSG":
            header, total, replied = int(words[-2]), int(words[-1]), len(words) == 5
        elif verb == b"MSG":
            header, total, replied = 0, int(words[-1]), len(words) == 4
        else:
            if verb == b"PING":
                self._send(b"PONG\r\n")
            elif verb == b"-ERR":
                raise ConnectionError(b" ".join(words).decode())
            return None
        whole = self._exactly(total)
        return words[0].decode(), words[2].decode() if replied else "", whole[:header], whole[header:]


def headers(block):
    """By name; of several with one name the last, as nats-py has it."""
    found = {}
    for line in block.decode(errors="replace").split("\r\n")[1:]:
        name, separator, value = line.partition(":")
        if separator:
            found[name] = value.strip()
    return found


def sequence(reply):
    """$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>. …; some servers name domain and account before the stream."""
    tokens = reply.split(".")
    return int(tokens[5 if len(tokens) == 9 else 7])


def read(servers, stream, consumer, last, batch=1000):
    """(sequence, subject, headers, body) of each message that the consumer has, up to sequence `last`."""
    request = json.dumps({"batch": batch, "expires": 2_000_000_000}).encode()
    reached, silent = 0, 0
    with NATSSocket(servers) as connection:
        while reached < last:
            connection.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", request)
            for _ in range(batch):
                try:
                    subject, reply, header, body = connection.next(10)
                except TimeoutError:
                    # Not even a status: the request fell into a change of leaders.
                    silent += 1
                    if silent == 6:
                        raise
                    break
                if not reply:  # a status: nothing more in this batch
                    break
                reached = sequence(reply)
                yield reached, subject, headers(header), body
                if reached >= last:
                    break
