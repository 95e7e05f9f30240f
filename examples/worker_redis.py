#!/usr/bin/env python3
"""A worker that speaks only Redis, with nothing but Python's standard library.

    worker_redis.py QUEUE [HOST [PORT]]

The queue needs `redisWorkers: { enabled: true }`. With the package redis the same is r.xreadgroup(...), r.xack(...).
"""
import os
import socket
import sys
import time


class Redis:
    """Commands and replies of Redis (RESP2) over one connection."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.file = self.socket.makefile("rb")

    def __call__(self, *parts):
        parts = [p if isinstance(p, bytes) else str(p).encode() for p in parts]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.file.readline().rstrip(b"\r\n")
        if not line:
            raise ConnectionError("Redis hung up")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return rest


def handle(message):
    print(message[b"topic"].decode(), message[b"payload"].decode(errors="replace"), flush=True)


def main(queue, host="127.0.0.1", port=6379):
    redis = Redis(host, int(port))
    stream, answers = "sluicemq:work:" + queue, "sluicemq:answers:" + queue
    me = "%s-%d" % (socket.gethostname(), os.getpid())
    while True:
        try:
            found = redis("XREADGROUP", "GROUP", "workers", me, "COUNT", 10, "BLOCK", 5000, "STREAMS", stream, ">")
        except RuntimeError as error:
            # The broker has not laid out the stream yet, or makes it anew.
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            time.sleep(1)
            continue
        for _, entries in found or []:
            for entry, flat in entries:
                try:
                    handle(dict(zip(flat[::2], flat[1::2])))
                except Exception as error:
                    redis("XADD", answers, "*", "id", entry, "answer", "nack", "consumer", me, "reason", error)
                    continue
                if redis("XACK", stream, "workers", entry) == 0:
                    print("too late: somebody else gets it again", entry.decode(), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
