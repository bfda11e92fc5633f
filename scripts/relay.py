#!/usr/bin/env python3
"""A long link on one machine: relay.py PORT TARGET_PORT ROUND_TRIP_S BYTES_PER_S

What arrives is passed on half a round trip later, and no faster than the rate. A connection costs its client a round
trip before anything passes, as TCP's handshake does."""
import queue
import socket
import sys
import threading
import time

port, target = int(sys.argv[1]), int(sys.argv[2])
delay, rate = float(sys.argv[3]) / 2, float(sys.argv[4])


def pump(source, sink):
    """Two threads for one direction: one takes what comes, the other waits for its time."""
    blocks = queue.Queue()

    def take():
        block = True
        while block:
            try:
                block = source.recv(1 << 16)
            except OSError:
                block = b""
            blocks.put((time.monotonic(), block))

    def give():
        line_free = 0
        while True:
            arrived, block = blocks.get()
            line_free = max(arrived, line_free) + len(block) / rate
            time.sleep(max(0, line_free + delay - time.monotonic()))
            try:
                if not block:
                    return sink.shutdown(socket.SHUT_WR)
                sink.sendall(block)
            except OSError:
                return None

    for work in (take, give):
        threading.Thread(target=work, daemon=True).start()


def connect(client):
    time.sleep(2 * delay)
    server = socket.create_connection(("127.0.0.1", target))
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pump(client, server)
    pump(server, client)


listener = socket.create_server(("127.0.0.1", port))
print("ready", flush=True)
while True:
    threading.Thread(target=connect, args=(listener.accept()[0],), daemon=True).start()
