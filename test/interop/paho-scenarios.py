"""Scenarios of paho-mqtt (Debian: python3-paho-mqtt) against a broker, over TCP and WebSocket, in MQTT 3.1, 3.1.1 and 5.

    /usr/bin/python3 -I paho-scenarios.py HOST TCP_PORT WS_PORT

Prints one JSON object per line: {"way", "version", "scenario", "result"} or, if it broke, {..., "error"}. It judges
nothing: what has to come out stands in paho.test.ts. Works with paho 1.6 and, by its old callbacks, with paho 2.
"""

import json
import os
import queue
import signal
import sys
import time
import traceback

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORTS = sys.argv[1], {"tcp": int(sys.argv[2]), "ws": int(sys.argv[3])}
PATIENCE_SECONDS = 5
VERSIONS = {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}


def properties(packet_type, **values):
    found = Properties(packet_type)
    for name, value in values.items():
        setattr(found, name, value)
    return found


class Client:
    """One connection whose callbacks are turned into things to wait for. Use as a context: it leaves at the end."""

    def __init__(self, way, version, client_id, keep_seconds=0, will=None):
        self.messages, self.grants, self.connects = queue.Queue(), queue.Queue(), queue.Queue()
        self.version = version
        clean = keep_seconds == 0
        transport = "websockets" if way == "ws" else "tcp"
        options = {"client_id": client_id, "protocol": VERSIONS[version], "transport": transport}
        if version < 5:
            options["clean_session"] = clean
        if hasattr(mqtt, "CallbackAPIVersion"):
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
        self.paho = mqtt.Client(**options)
        if way == "ws":
            self.paho.ws_set_options(path="/mqtt")
        if will:
            self.paho.will_set(*will)
        self.paho.on_connect = lambda client, data, flags, code, *rest: self.connects.put((int_of(code), flags))
        self.paho.on_subscribe = lambda client, data, mid, granted, *rest: self.grants.put([int_of(g) for g in granted])
        self.paho.on_message = lambda client, data, message: self.messages.put(message)
        more = {}
        if version == 5:
            more["clean_start"] = clean
            more["properties"] = properties(PacketTypes.CONNECT, SessionExpiryInterval=keep_seconds)
        self.paho.connect(HOST, PORTS[way], 30, **more)
        self.paho.loop_start()
        code, flags = self.connects.get(timeout=PATIENCE_SECONDS)
        if code != 0:
            raise RuntimeError(f"{client_id} was refused with {code}")
        self.session_present = bool(flags["session present"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Its thread ends once DISCONNECT is written and the broker closed the connection.
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, topic_filter, qos, **options):
        """Returns the granted QoS or reason code."""
        if self.version == 5:
            self.paho.subscribe(topic_filter, options=SubscribeOptions(qos=qos), **options)
        else:
            self.paho.subscribe(topic_filter, qos, **options)
        return self.grants.get(timeout=PATIENCE_SECONDS)[0]

    def publish(self, topic, payload, qos, retain=False, **values):
        """Returns when the broker acknowledged, or at QoS 0 when it is written."""
        more = {"properties": properties(PacketTypes.PUBLISH, **values)} if values else {}
        sent = self.paho.publish(topic, payload, qos, retain, **more)
        sent.wait_for_publish(PATIENCE_SECONDS)
        if not sent.is_published():
            raise RuntimeError(f"no acknowledgement for {payload!r} on {topic} at QoS {qos}")

    def receive(self):
        return self.messages.get(timeout=PATIENCE_SECONDS)

    def receive_text(self):
        return self.receive().payload.decode()


def int_of(code):
    return code if isinstance(code, int) else code.value


def described(message):
    return [message.topic, message.payload.decode(), message.qos, message.retain == 1]


class Victim:
    """A process with a will and a connection, for killing. Forked before this process has threads."""

    def __init__(self, way, version, topic):
        self.ready, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid > 0:
            os.close(write_end)
            return
        # Lives no longer than this even if nobody comes to kill it.
        signal.alarm(30)
        try:
            Client(way, version, f"victim-{way}-{version}", will=(topic, "gone", 1))
            os.write(write_end, b"connected")
            signal.pause()
        finally:
            os._exit(1)

    def kill(self):
        connected = os.read(self.ready, 100)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        if connected == b"":
            raise RuntimeError("the client with the will could not connect")


class Scenarios:
    """Every method without an underscore is a scenario; those named v5_ need MQTT 5. They run in this order."""

    def __init__(self, way, version):
        self._way, self._version = way, version
        self._root = f"paho/{way}/{version}"
        self._victim = Victim(way, version, f"{self._root}/will")

    def _open(self, name, **options):
        return Client(self._way, self._version, f"{name}-{self._way}-{self._version}", **options)

    def _prepare(self):
        """Messages for an absent subscriber of MQTT 5: one will have expired when it comes back, one will be older."""
        topic = f"{self._root}/expiry"
        if self._version < 5:
            return
        with self._open("expiry", keep_seconds=60) as client:
            client.subscribe(topic, 1)
        with self._open("expiry-pub") as client:
            client.publish(topic, "short", 1, MessageExpiryInterval=1)
            client.publish(topic, "long", 1, MessageExpiryInterval=100)
            client.publish(topic, "for ever", 1)
        self._prepared_at = time.monotonic()

    def qos(self):
        with self._open("sub") as subscriber, self._open("pub") as publisher:
            granted = [subscriber.subscribe(f"{self._root}/qos/+", 2), subscriber.subscribe(f"{self._root}/low/#", 1)]
            received = []
            for path, qos in [("qos/0", 0), ("qos/1", 1), ("qos/2", 2), ("low/er/still", 2)]:
                publisher.publish(f"{self._root}/{path}", f"hello {qos} \u00fc", qos)
                received.append(described(subscriber.receive()))
            return {"granted": granted, "received": received}

    def large(self):
        """The payload that came back, as its length and whether it is the one that was sent."""
        payload = bytes(i * 31 % 256 for i in range(300_000))
        with self._open("large") as client:
            client.subscribe(f"{self._root}/large", 2)
            client.publish(f"{self._root}/large", payload, 2)
            received = client.receive().payload
            return [len(received), received == payload]

    def retained(self):
        topic = f"{self._root}/state"
        with self._open("ret-pub") as publisher:
            publisher.publish(topic, "on", 1, retain=True)
            with self._open("ret-one") as subscriber:
                subscriber.subscribe(topic, 1)
                found = described(subscriber.receive())
                publisher.publish(topic, "", 1, retain=True)
                cleared = described(subscriber.receive())
            with self._open("ret-two") as subscriber:
                subscriber.subscribe(topic, 1)
                publisher.publish(topic, "first", 1)
                after = described(subscriber.receive())
            return {"found": found, "cleared": cleared, "after": after}

    def will(self):
        with self._open("watch") as watcher:
            watcher.subscribe(f"{self._root}/will", 1)
            self._victim.kill()
            return described(watcher.receive())

    def persistent(self):
        topic = f"{self._root}/keep"
        with self._open("keep", keep_seconds=60) as client:
            first = client.session_present
            client.subscribe(topic, 2)
        with self._open("keep-pub") as publisher:
            # Not mixed: paho hands over a QoS 2 message at its PUBREL, after QoS 1 messages that came behind it.
            for number in range(30):
                publisher.publish(topic, str(number), 1 if number < 15 else 2)
        with self._open("keep", keep_seconds=60) as client:
            received = [client.receive_text() for _ in range(30)]
            client.publish(topic, "end", 1)
            return {"present": [first, client.session_present], "received": received, "end": client.receive_text()}

    def shared(self):
        topic = f"{self._root}/shared"
        with self._open("one") as one, self._open("two") as two, self._open("share-pub") as publisher:
            granted = [member.subscribe(f"$share/group/{topic}", 1) for member in (one, two)]
            for number in range(20):
                publisher.publish(topic, str(number), 1)
            # Behind all of the group's messages, on each member's connection.
            for member in (one, two):
                member.subscribe(f"{topic}/end", 1)
            publisher.publish(f"{topic}/end", "end", 1)
            return {"granted": granted, "received": [list(iter(member.receive_text, "end")) for member in (one, two)]}

    def v5_properties(self):
        topic = f"{self._root}/properties"
        with self._open("prop-sub") as subscriber, self._open("prop-pub") as publisher:
            identifier = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=7)
            subscriber.subscribe(topic, 1, properties=identifier)
            publisher.publish(
                topic,
                "{}",
                1,
                ContentType="application/json",
                ResponseTopic=f"{self._root}/reply",
                CorrelationData=bytes([0, 1, 255]),
                MessageExpiryInterval=100,
                PayloadFormatIndicator=1,
                UserProperty=[("b", "1"), ("a", "2"), ("b", "3"), ("", "\u00fc")],
            )
            found = subscriber.receive().properties
            return {
                "contentType": found.ContentType,
                "responseTopic": found.ResponseTopic,
                "correlationData": found.CorrelationData.hex(),
                "expirySeconds": found.MessageExpiryInterval,
                "payloadFormat": found.PayloadFormatIndicator,
                "userProperties": found.UserProperty,
                "subscriptionIdentifier": found.SubscriptionIdentifier,
            }

    def v5_expiry(self):
        """What an absent subscriber finds 1.2 s later: payloads and what is left of their time, in seconds."""
        time.sleep(max(0, self._prepared_at + 1.2 - time.monotonic()))
        with self._open("expiry", keep_seconds=60) as client:
            found = [client.receive(), client.receive()]
            return [[m.payload.decode(), getattr(m.properties, "MessageExpiryInterval", None)] for m in found]


def main():
    # All the victims first: they are forked, which does not go well with threads.
    runs = [(way, version, Scenarios(way, version)) for way in PORTS for version in VERSIONS]
    for _, _, scenarios in runs:
        scenarios._prepare()
    for way, version, scenarios in runs:
        for name in [name for name in vars(Scenarios) if not name.startswith("_")]:
            if name.startswith("v5_") and version < 5:
                continue
            line = {"way": way, "version": version, "scenario": name}
            try:
                line["result"] = getattr(scenarios, name)()
            except Exception:
                line["error"] = traceback.format_exc()
            print(json.dumps(line), flush=True)


main()
