#!/usr/bin/env python3
"""A SluiceMQ worker over MQTT, with Debian's python3-paho-mqtt.

    python3 examples/worker_mqtt.py [127.0.0.1] [1883] [telemetry]

It subscribes to $queue/telemetry: the broker gives it one message at a time (MQTT 5: its Receive Maximum), and PUBACK, which
paho sends when on_message returns, says that the work is done. Whatever it held when it dies goes to another worker at once.
"""

import signal
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
port = int(sys.argv[2]) if len(sys.argv) > 2 else 1883
queue = sys.argv[3] if len(sys.argv) > 3 else "telemetry"


def handle(topic, payload, facts):
    """Your work goes here. The same message may come twice: facts["sluicemq-id"] is the same each time."""
    print(f"{topic} from {facts['sluicemq-client']}, attempt {facts['sluicemq-attempt']}: {payload!r}", flush=True)


def on_connect(client, _userdata, _flags, reason_code, _properties):
    print(f"connected: {reason_code}", file=sys.stderr)
    client.subscribe(f"$queue/{queue}", qos=1)


def on_subscribe(_client, _userdata, _mid, reason_codes, _properties):
    if reason_codes[0].value >= 0x80:
        raise SystemExit(f"$queue/{queue}: {reason_codes[0]}")


def on_message(_client, _userdata, message):
    # An exception ends the connection before PUBACK: the message goes back. Over HTTP a worker can also say why, wait, or
    # give up (examples/worker.py); here a message that always fails comes again for ever.
    handle(message.topic, message.payload, dict(message.properties.UserProperty))


def main():
    client = mqtt.Client(client_id="", protocol=mqtt.MQTTv5)
    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    signal.signal(signal.SIGTERM, lambda *_: client.disconnect())
    window = Properties(PacketTypes.CONNECT)
    window.ReceiveMaximum = 1
    while True:
        try:
            client.connect(host, port, keepalive=30, properties=window)
            # Returns after disconnect(); connects again by itself when the broker was away.
            client.loop_forever()
            return
        except OSError as error:
            print(f"no broker at {host}:{port} ({error}); trying again", file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    main()
