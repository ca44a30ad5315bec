"""Paho's client for Python against a hub: one story after the other, one line for each.

The only argument is JSON: transport (tls, websocket), version (3.1.1, 5), host, port, folder (with ca.pem, cert.pem and
key.pem), prefix (of topics and client identifiers). Ends with 1 at the first story that does not hold, and says why.
"""

import json
import os
import queue
import select
import socket
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HUB = json.loads(sys.argv[1])
IS_V5 = HUB["version"] == "5"
WAIT_S = 20


class Unexpected(Exception):
    """What a story expected, and what came."""


def expect(what, wanted, found):
    if wanted != found:
        raise Unexpected(f"{what}: expected {wanted!r}, got {found!r}")


def topic(name):
    return f"{HUB['prefix']}/{name}"


def properties(packet, **values):
    """Properties of a packet; none where the version has none."""
    if not IS_V5 or not values:
        return None
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Peer:
    """One client, with what came to it."""

    def __init__(self, name, keep=False, keep_alive=60, will=None, manual_ack=False, is_silent=False, **connect):
        self.messages, self.answers, self.ended = queue.Queue(), queue.Queue(), queue.Queue()
        self.pings, self.is_silent, self.keep = 0, is_silent, keep
        self.pinged = threading.Condition()
        clean = {} if IS_V5 else {"clean_session": not keep}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name and f"{HUB['prefix']}-{name}",
            protocol=mqtt.MQTTv5 if IS_V5 else mqtt.MQTTv311,
            transport="websockets" if HUB["transport"] == "websocket" else "tcp",
            reconnect_on_failure=False,
            manual_ack=manual_ack,
            **clean,
        )
        folder = HUB["folder"]
        self.client.tls_set(f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem")
        if HUB["transport"] == "websocket":
            self.client.ws_set_options(path="/mqtt")
        if will:
            self.client.will_set(topic(will), b"gone", qos=1)
        self.client.on_connect = lambda c, u, flags, code, props: self.answers.put((flags, code, props))
        self.client.on_subscribe = lambda c, u, mid, codes, props: self.answers.put((mid, codes))
        self.client.on_unsubscribe = lambda c, u, mid, codes, props: self.answers.put((mid, codes))
        self.client.on_publish = lambda c, u, mid, code, props: self.answers.put((mid, code))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_disconnect = lambda c, u, flags, code, props: self.ended.put(code)
        self.client.on_log = self._log
        if keep and IS_V5:
            connect.setdefault("SessionExpiryInterval", 300)
        start = {"clean_start": not keep} if IS_V5 else {}
        self.client.connect(
            HUB["host"], HUB["port"], keep_alive, properties=properties(PacketTypes.CONNECT, **connect), **start
        )
        if is_silent:
            while self.answers.empty():
                self.client.loop(timeout=1)
        else:
            self.client.loop_start()
        flags, code, self.connack = self._answer("CONNACK")
        expect("CONNACK", 0, code.value)
        self.session_present = flags.session_present

    def _log(self, _client, _userdata, _level, text):
        if "PINGRESP" in text:
            with self.pinged:
                self.pings += 1
                self.pinged.notify_all()

    def _answer(self, what):
        try:
            return self.answers.get(timeout=WAIT_S)
        except queue.Empty:
            raise Unexpected(f"no {what} within {WAIT_S} s") from None

    def subscribe(self, name, qos=2, **options):
        identifier = options.pop("identifier", None)
        props = properties(PacketTypes.SUBSCRIBE, **({"SubscriptionIdentifier": identifier} if identifier else {}))
        if IS_V5:
            self.client.subscribe(name, options=SubscribeOptions(qos=qos, **options), properties=props)
        else:
            self.client.subscribe(name, qos)
        expect(f"SUBACK for {name}", [qos], [code.value for code in self._answer("SUBACK")[1]])
        return self

    def unsubscribe(self, name):
        self.client.unsubscribe(name)
        self._answer("UNSUBACK")

    def publish(self, name, payload, qos=1, retain=False, **props):
        """Publishes, waits for the last acknowledgement, and gives its reason code."""
        self.client.publish(name, payload, qos, retain, properties(PacketTypes.PUBLISH, **props))
        return self._answer("acknowledgement")[1].value

    def next(self):
        try:
            return self.messages.get(timeout=WAIT_S)
        except queue.Empty:
            raise Unexpected(f"no message within {WAIT_S} s") from None

    def payloads(self, count):
        return [self.next().payload for _ in range(count)]

    def end(self):
        """Waits until the connection has ended, and gives the reason that the hub told."""
        try:
            return self.ended.get(timeout=WAIT_S)
        except queue.Empty:
            raise Unexpected(f"the connection did not end within {WAIT_S} s") from None

    def leave(self):
        self.client.disconnect()
        self.end()
        self.client.loop_stop()

    def cut(self):
        """Ends the connection under the client's feet, without DISCONNECT."""
        below = socket.socket(fileno=os.dup(self.client.socket().fileno()))
        below.shutdown(socket.SHUT_RDWR)
        below.close()
        self.end()
        self.client.loop_stop()


def connects():
    """connects, with an identifier of its own and with one that the hub assigns"""
    Peer("named").leave()
    anonymous = Peer("")
    if IS_V5:
        assigned = anonymous.connack.AssignedClientIdentifier
        expect("an assigned client identifier", True, assigned.startswith("auto-"))
    expect("session present", False, anonymous.session_present)
    anonymous.leave()


def all_qualities():
    """QoS 0, 1 and 2 both ways, lowered to the subscription's and never raised"""
    publisher = Peer("publisher")
    for granted in (0, 1, 2):
        subscriber = Peer("subscriber").subscribe(topic("qos/+"), granted)
        for sent in (0, 1, 2):
            payload = f"{sent} to {granted}".encode()
            code = publisher.publish(topic(f"qos/{sent}"), payload, sent)
            expect("the acknowledgement", 0, code)
            message = subscriber.next()
            expect("the message", (topic(f"qos/{sent}"), payload), (message.topic, message.payload))
            expect(f"the QoS of {sent} to {granted}", min(sent, granted), message.qos)
        subscriber.leave()
    publisher.leave()


def order():
    """300 messages at each QoS arrive once and in order"""
    publisher, subscriber = Peer("publisher"), Peer("subscriber").subscribe(topic("order/+"))
    for qos in (0, 1, 2):
        sent = [str(number).encode() for number in range(300)]
        for payload in sent:
            publisher.client.publish(topic(f"order/{qos}"), payload, qos)
        expect(f"what came at QoS {qos}", sent, subscriber.payloads(300))
    publisher.leave()
    subscriber.leave()


def retained():
    """a retained message waits for who subscribes later, and an empty one clears it"""
    publisher = Peer("publisher")
    publisher.publish(topic("retained/a"), b"kept", 1, retain=True)
    early = Peer("early").subscribe(topic("retained/#"))
    message = early.next()
    expect("the retained message", (b"kept", True), (message.payload, bool(message.retain)))
    publisher.publish(topic("retained/a"), b"", 1, retain=True)
    message = early.next()
    expect("what clears it, as it passes by", (b"", False), (message.payload, bool(message.retain)))
    late = Peer("late").subscribe(topic("retained/#"))
    publisher.publish(topic("retained/b"), b"marker", 1)
    expect("the first message to who came after", b"marker", late.next().payload)
    for peer in (publisher, early, late):
        peer.leave()


def unsubscribes():
    """what is unsubscribed comes no more"""
    peer = Peer("both").subscribe(topic("un/a")).subscribe(topic("un/b"))
    peer.unsubscribe(topic("un/a"))
    peer.publish(topic("un/a"), b"unwanted")
    peer.publish(topic("un/b"), b"wanted")
    expect("the first message", b"wanted", peer.next().payload)
    peer.leave()


def will():
    """a will is published when the connection is cut, and not after DISCONNECT"""
    watcher = Peer("watcher").subscribe(topic("will"))
    Peer("polite", will="will").leave()
    watcher.publish(topic("will"), b"marker")
    expect("after DISCONNECT", b"marker", watcher.next().payload)
    Peer("cut", will="will").cut()
    expect("after the cut", b"gone", watcher.next().payload)
    watcher.leave()


def persistent():
    """a session outlives its connection: what was missed comes in order; a clean start ends it"""
    peer = Peer("keeper", keep=True)
    expect("session present at first", False, peer.session_present)
    peer.subscribe(topic("kept/+"))
    peer.leave()
    publisher = Peer("publisher")
    sent = [(number % 2 + 1, str(number).encode()) for number in range(30)]
    for qos, payload in sent:
        publisher.publish(topic("kept/it"), payload, qos)
    peer = Peer("keeper", keep=True)
    expect("session present on return", True, peer.session_present)
    came = [(message.qos, message.payload) for message in (peer.next() for _ in sent)]
    # The client shows a message at QoS 2 when it is released, so order holds for each QoS.
    for qos in (1, 2):
        expect(f"what was missed at QoS {qos}", [m for m in sent if m[0] == qos], [m for m in came if m[0] == qos])
    publisher.publish(topic("kept/it"), b"live")
    expect("what comes then", b"live", peer.next().payload)
    peer.leave()
    peer = Peer("keeper")
    expect("session present after a clean start", False, peer.session_present)
    peer.subscribe(topic("marker"))
    publisher.publish(topic("kept/it"), b"unwanted")
    publisher.publish(topic("marker"), b"marker")
    expect("the first message after a clean start", b"marker", peer.next().payload)
    for peer in (peer, publisher):
        peer.leave()


def repeats():
    """what was not acknowledged when the connection broke comes again, marked as such"""
    publisher = Peer("publisher")
    peer = Peer("forgetful", keep=True, manual_ack=True).subscribe(topic("repeat"), 1)
    publisher.publish(topic("repeat"), b"once more")
    expect("a first delivery's DUP", False, bool(peer.next().dup))
    peer.cut()
    peer = Peer("forgetful", keep=True)
    message = peer.next()
    expect("the repetition", (b"once more", True), (message.payload, bool(message.dup)))
    peer.leave()
    Peer("forgetful").leave()
    publisher.leave()


def shared():
    """two members of a shared subscription get each message once between them"""
    members = [Peer(f"member-{n}").subscribe(f"$share/{HUB['prefix']}/{topic('work')}", 1) for n in (1, 2)]
    publisher = Peer("publisher")
    sent = [str(number).encode() for number in range(40)]
    for payload in sent:
        publisher.publish(topic("work"), payload)
    deadline = time.monotonic() + WAIT_S
    while sum(member.messages.qsize() for member in members) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.01)
    parts = [[member.next().payload for _ in range(member.messages.qsize())] for member in members]
    expect("both parts together", sorted(sent), sorted(parts[0] + parts[1]))
    expect("that each member has a part", True, all(parts))
    for peer in (*members, publisher):
        peer.leave()


def large():
    """200,000 bytes go through unchanged at each QoS"""
    peer = Peer("large").subscribe(topic("large"))
    payload = bytes(number * 7 % 251 for number in range(200_000))
    for qos in (0, 1, 2):
        peer.publish(topic("large"), payload, qos)
        expect(f"that the payload is the same at QoS {qos}", True, peer.next().payload == payload)
    peer.leave()


def refused():
    """a publish that no rule allows is refused: told in 5, the connection closed in 3.1.1"""
    peer = Peer("thief")
    forbidden = "devices/aaaaaaaaaaaaaaaaaaaa/telemetry/x"
    if IS_V5:
        expect("the reason code", 0x87, peer.publish(forbidden, b"1"))
        peer.leave()
    else:
        peer.client.publish(forbidden, b"1", 1)
        peer.end()


def takeover():
    """a second connection of the same identifier takes the first over"""
    first = Peer("twin")
    second = Peer("twin")
    reason = first.end()
    if IS_V5:
        expect("the reason told to the first", 0x8E, reason.value)
    second.subscribe(topic("twin"))
    expect("that the second can publish", 0, second.publish(topic("twin"), b"here"))
    second.leave()


def keep_alive():
    """who is silent for one and a half times its keep alive is gone; who pings stays"""
    watcher = Peer("watcher").subscribe(topic("silent"))
    pinging = Peer("pinging", keep_alive=1)
    began = time.monotonic()
    silent = Peer("silent", keep_alive=1, will="silent", is_silent=True)
    expect("the will of the silent one", b"gone", watcher.next().payload)
    lasted = time.monotonic() - began
    expect(f"that its {lasted:.2f} s were from 1.5 to 10", True, 1.5 <= lasted <= 10)
    # It reads what the hub sent when it closed, and still says nothing.
    while silent.ended.empty() and select.select([silent.client.socket()], [], [], WAIT_S)[0]:
        silent.client.loop_read()
    reason = silent.end()
    if IS_V5:
        expect("the reason told to the silent one", 0x8D, reason.value)
    with pinging.pinged:
        expect("two answers to pings", True, pinging.pinged.wait_for(lambda: pinging.pings >= 2, WAIT_S))
    for peer in (pinging, watcher):
        peer.leave()


def message_properties():
    """5: user properties in order, content type, response topic and correlation; a request gets its reply"""
    service = Peer("service").subscribe(topic("ask"))
    asker = Peer("asker").subscribe(topic("reply"))
    pairs = [("b", "1"), ("a", "2"), ("b", "3")]
    asker.publish(
        topic("ask"), b"time?", UserProperty=pairs, ContentType="text/plain", PayloadFormatIndicator=1,
        ResponseTopic=topic("reply"), CorrelationData=b"\x00\x01",
    )
    request = service.next().properties
    expect("the user properties", pairs, request.UserProperty)
    expect("the content type and format", ("text/plain", 1), (request.ContentType, request.PayloadFormatIndicator))
    service.publish(request.ResponseTopic, b"noon", CorrelationData=request.CorrelationData)
    reply = asker.next()
    expect("the reply", (b"noon", b"\x00\x01"), (reply.payload, reply.properties.CorrelationData))
    service.leave()
    asker.leave()


def expiry():
    """5: a message that has expired is not delivered; one that has not says how long it has left"""
    Peer("later", keep=True).subscribe(topic("expiry")).leave()
    publisher = Peer("publisher")
    publisher.publish(topic("expiry"), b"short", MessageExpiryInterval=1)
    publisher.publish(topic("expiry"), b"long", MessageExpiryInterval=100)
    # Nothing is to come of it: there is no state to wait for but the time.
    time.sleep(1.5)
    peer = Peer("later", keep=True)
    message = peer.next()
    expect("the message that comes", b"long", message.payload)
    left = message.properties.MessageExpiryInterval
    expect(f"that {left} s are from 1 to 99", True, 1 <= left <= 99)
    peer.leave()
    Peer("later").leave()
    publisher.leave()


def aliases():
    """5: topic aliases both ways"""
    peer = Peer("alias", TopicAliasMaximum=5).subscribe(topic("alias/#"))
    expect("that the hub takes aliases", True, peer.connack.TopicAliasMaximum >= 1)
    name = topic("alias/a")
    expect("the first", 0, peer.publish(name, b"1", TopicAlias=1))
    expect("the second, by its alias alone", 0, peer.publish("", b"2", TopicAlias=1))
    expect("the third", 0, peer.publish("", b"3", 2, TopicAlias=1))
    known, by_alias = {}, 0
    for wanted in (b"1", b"2", b"3"):
        message = peer.next()
        alias = getattr(message.properties, "TopicAlias", None)
        if message.topic:
            known[alias] = message.topic
        else:
            by_alias += 1
        expect("the message", (name, wanted), (message.topic or known.get(alias), message.payload))
    expect("how many came by alias alone", 2, by_alias)
    peer.leave()


def identifiers():
    """5: a message carries the identifiers of all subscriptions that it matches"""
    peer = Peer("identified").subscribe(topic("id/+"), identifier=7).subscribe(topic("id/a"), identifier=8)
    peer.publish(topic("id/a"), b"both")
    found = list(peer.next().properties.SubscriptionIdentifier)
    peer.publish(topic("id/b"), b"marker")
    message = peer.next()
    if message.payload == b"both":
        found += message.properties.SubscriptionIdentifier
        message = peer.next()
    expect("the identifiers of both", [7, 8], sorted(found))
    expect("the identifier of one", (b"marker", [7]), (message.payload, message.properties.SubscriptionIdentifier))
    peer.leave()


def options():
    """5: no local, retain as published, retain handling"""
    peer, other = Peer("options"), Peer("other")
    other.publish(topic("options/kept"), b"old", retain=True)
    peer.subscribe(topic("options/+"), noLocal=True, retainAsPublished=True, retainHandling=2)
    peer.publish(topic("options/own"), b"own")
    other.publish(topic("options/kept"), b"new", retain=True)
    message = peer.next()
    expect("the first message", (b"new", True), (message.payload, bool(message.retain)))
    other.publish(topic("options/kept"), b"", retain=True)
    peer.leave()
    other.leave()


def receive_maximum():
    """5: never more unacknowledged messages than the client's Receive Maximum"""
    peer = Peer("narrow", manual_ack=True, ReceiveMaximum=2).subscribe(topic("narrow"))
    publisher = Peer("publisher")
    sent = [str(number).encode() for number in range(12)]
    for payload in sent:
        publisher.publish(topic("narrow"), payload)
    came = []
    while len(came) < len(sent):
        held = [peer.next(), peer.next()]
        expect("what comes beyond the Receive Maximum", 0, peer.messages.qsize())
        for message in held:
            came.append(message.payload)
            peer.client.ack(message.mid, message.qos)
    expect("what came", sent, came)
    peer.leave()
    publisher.leave()


BOTH = [connects, all_qualities, order, retained, unsubscribes, will, persistent, repeats, shared, large, refused]
BOTH += [takeover, keep_alive]
ONLY_5 = [message_properties, expiry, aliases, identifiers, options, receive_maximum]

for story in BOTH + (ONLY_5 if IS_V5 else []):
    where = f"paho {HUB['version']} over {HUB['transport']}"
    try:
        story()
    except Exception as why:
        print(f"FAILED {where}: {story.__doc__}: {type(why).__name__}: {why}", flush=True)
        # Threads of clients that are still connected must not keep the program.
        os._exit(1)
    print(f"ok {where}: {story.__doc__}", flush=True)
os._exit(0)
