#!/usr/bin/env python3
"""A SluiceMQ worker with nothing but the standard library.

    python3 examples/worker.py [http://127.0.0.1:8080] [telemetry]

It takes batches off the queue, does something with each message, and says for each whether that worked. A message that
is neither acknowledged nor given back returns to the queue when its lease runs out. Ctrl-C stops after the batch
in hand, within five seconds when there is none.
"""

import base64
import http.client
import json
import signal
import sys
import time
from urllib.parse import quote, urlsplit

LEASE_MS = 30_000
WAIT_MS = 5_000
BATCH = 50

stopping = False


def stop(_signal, _frame):
    global stopping
    stopping = True


class Queue:
    """One queue of one broker, over one connection that is opened again when it breaks."""

    def __init__(self, address, name):
        self.address = urlsplit(address)
        self.path = "/api/v1/queues/" + quote(name, safe="")
        self.connection = None

    def post(self, action, body):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(
                self.address.hostname, self.address.port or 80, timeout=WAIT_MS / 1000 + 10
            )
        try:
            self.connection.request(
                "POST", f"{self.path}/{action}", json.dumps(body), {"content-type": "application/json"}
            )
            response = self.connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()
            self.connection = None
            raise
        if response.status >= 500:
            raise OSError(answer["error"]["message"])
        if response.status != 200:
            error = answer["error"]
            raise SystemExit(f"{error['code']}: {error['message']} {error['action']}")
        return answer

    def pull(self):
        return self.post("pull", {"max": BATCH, "waitMs": WAIT_MS, "leaseMs": LEASE_MS})["messages"]

    def ack(self, receipts):
        """The messages are done. Durable once this returns; lost leases come back as results with ok false."""
        return self.post("ack", {"receipts": receipts})["results"]

    def nack(self, entries):
        """The messages failed: they come again after the queue's backoff, and at last as dead letters."""
        return self.post("nack", {"entries": entries})["results"]


def payload_of(message):
    if message["encoding"] == "base64":
        return base64.b64decode(message["payload"])
    return message["payload"].encode()


def handle(message):
    """Your work goes here. The same message may come twice: message["id"] is the same each time."""
    print(f"{message['topic']} from {message['clientId']}, attempt {message['attempt']}: {payload_of(message)!r}")


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
    queue = Queue(address, sys.argv[2] if len(sys.argv) > 2 else "telemetry")
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    pause = 0.2
    while not stopping:
        try:
            done, failed = [], []
            for message in queue.pull():
                try:
                    handle(message)
                    done.append(message["receipt"])
                except Exception as error:  # whatever went wrong: give it back, with the reason
                    print(f"{message['topic']}: {error!r}", file=sys.stderr)
                    failed.append({"receipt": message["receipt"], "reason": repr(error)})
            if done:
                for result in queue.ack(done):
                    if not result["ok"]:
                        print(f"too late for {result['receipt']}: {result['error']}", file=sys.stderr)
            if failed:
                queue.nack(failed)
            pause = 0.2
        except (OSError, http.client.HTTPException, ValueError) as error:
            print(f"no broker at {address} ({error}); trying again", file=sys.stderr)
            time.sleep(pause)
            pause = min(pause * 2, 5)


if __name__ == "__main__":
    main()
