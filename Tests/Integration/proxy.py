"""A TCP proxy that can be cut, as a network is: connections stay open and carry nothing."""

import socket
import threading

from lab import free_ports


class Proxy:
    """Forwards a port of its own to another one. Ends with the process, or with `close`. Cuts itself
    once `cut_after` bytes have come back, if that is given."""

    def __init__(self, target, cut_after=None):
        self.target, self.left = target, cut_after
        self.port, = free_ports(1)
        self.open = threading.Event()
        self.open.set()
        # Answers can be held back alone.
        self.answering = threading.Event()
        self.answering.set()
        # How a client's bytes are passed on: in pieces, with whatever happens between them.
        self.pieces = lambda data: [data]
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """From now on nothing passes. What is under way is kept, as TCP would send it again."""
        self.open.clear()

    def mend(self):
        self.open.set()
        self.answering.set()

    def drop(self):
        """Every connection breaks."""
        for one in list(self.sockets):
            self._drop(one)

    def close(self):
        self.listener.close()
        self.mend()
        self.drop()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near):
        self.open.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self.target), 5)
            far.settimeout(None)
        except OSError:
            near.close()
            return
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets.add(one)
        threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
        self._pump(far, near, True)

    def _pump(self, source, sink, answers):
        try:
            while data := source.recv(1 << 16):
                if self.left is not None and answers:
                    self.left -= len(data)
                    if self.left < 0:
                        self.cut()
                self.open.wait()
                if answers:
                    self.answering.wait()
                for piece in [data] if answers else self.pieces(data):
                    sink.sendall(piece)
        except OSError:
            pass
        self._drop(source)
        self._drop(sink)

    def _drop(self, one):
        self.sockets.discard(one)
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is over already
        one.close()
