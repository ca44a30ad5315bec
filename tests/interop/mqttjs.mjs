// mqtt.js against a hub: one story after the other, one line for each.
//
// Two arguments: the folder with node_modules, and JSON: transport (tls, websocket), version (3.1.1, 5), host, port, folder
// (with ca.pem, cert.pem and key.pem), prefix (of topics and client identifiers). Ends with 1 at the first story that does
// not hold, and says why.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

const mqtt = createRequire(join(process.argv[2], "package.json"))("mqtt");
const hub = JSON.parse(process.argv[3]);
const isV5 = hub.version === "5";
const WAIT_MS = 20_000;

const file = (name) => readFileSync(join(hub.folder, name));
const credentials = { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") };
const topic = (name) => `${hub.prefix}/${name}`;
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function expect(what, wanted, found) {
  if (!isDeepStrictEqual(wanted, found)) {
    throw new Error(`${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(found)}`);
  }
}

/** What comes, and who waits for it. */
class Arrivals {
  #there = [];
  #waiting = [];

  add(it) {
    const waiting = this.#waiting.shift();
    waiting ? waiting(it) : this.#there.push(it);
  }

  get count() {
    return this.#there.length;
  }

  next(what) {
    if (this.#there.length > 0) return Promise.resolve(this.#there.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${what} within ${WAIT_MS / 1000} s`)), WAIT_MS);
      this.#waiting.push((it) => {
        clearTimeout(timer);
        resolve(it);
      });
    });
  }
}

/** One client, with what came to it. */
class Peer {
  messages = new Arrivals();
  told = new Arrivals();
  closed = new Arrivals();
  pings = new Arrivals();

  static async connect(name, { keep = false, keepalive = 60, will, properties = {}, ...more } = {}) {
    const peer = new Peer();
    const url = hub.transport === "websocket" ? `wss://${hub.host}:${hub.port}/mqtt` : `mqtts://${hub.host}:${hub.port}`;
    const expiry = keep ? { sessionExpiryInterval: 300 } : {};
    const client = mqtt.connect(url, {
      ...credentials,
      protocolVersion: isV5 ? 5 : 4,
      clientId: name && `${hub.prefix}-${name}`,
      clean: !keep,
      keepalive,
      reconnectPeriod: 0,
      ...(will ? { will: { topic: topic(will), payload: Buffer.from("gone"), qos: 1, retain: false } } : {}),
      ...(isV5 ? { properties: { ...expiry, ...properties } } : {}),
      ...more,
    });
    peer.client = client;
    const connacks = new Arrivals();
    client.on("connect", (packet) => connacks.add(packet));
    client.on("error", (error) => connacks.add(error));
    client.on("message", (name, payload, packet) => peer.messages.add({ topic: name, payload, packet }));
    client.on("disconnect", (packet) => peer.told.add(packet.reasonCode));
    client.on("close", () => peer.closed.add(true));
    client.on("packetreceive", (packet) => packet.cmd === "pingresp" && peer.pings.add(true));
    peer.connack = await connacks.next("CONNACK");
    if (peer.connack instanceof Error) throw peer.connack;
    return peer;
  }

  async subscribe(filter, options = {}) {
    const granted = await this.client.subscribeAsync(filter, { qos: 2, ...options });
    expect(`SUBACK for ${filter}`, [options.qos ?? 2], granted.map((one) => one.qos));
    return this;
  }

  /** Publishes and waits for the last acknowledgement. */
  publish(name, payload, options = {}) {
    return this.client.publishAsync(name, payload, { qos: 1, ...options });
  }

  next() {
    return this.messages.next("message");
  }

  async text() {
    return (await this.next()).payload.toString();
  }

  async texts(count) {
    const came = [];
    while (came.length < count) came.push(await this.text());
    return came;
  }

  async leave() {
    await this.client.endAsync();
  }

  /** Ends the connection under the client's feet, without DISCONNECT. */
  async cut() {
    this.client.stream.destroy();
    await this.closed.next("end of the connection");
  }
}

const leave = (...peers) => Promise.all(peers.map((peer) => peer.leave()));

const both = {
  async "connects, with an identifier of its own and with one that the hub assigns"() {
    await leave(await Peer.connect("named"));
    const anonymous = await Peer.connect("");
    expect("session present", false, anonymous.connack.sessionPresent);
    if (isV5) {
      const assigned = anonymous.connack.properties.assignedClientIdentifier;
      expect("an assigned client identifier", true, assigned.startsWith("auto-"));
    }
    await leave(anonymous);
  },

  async "QoS 0, 1 and 2 both ways, lowered to the subscription's and never raised"() {
    const publisher = await Peer.connect("publisher");
    for (const granted of [0, 1, 2]) {
      const subscriber = await Peer.connect("subscriber");
      await subscriber.subscribe(topic("qos/+"), { qos: granted });
      for (const sent of [0, 1, 2]) {
        await publisher.publish(topic(`qos/${sent}`), `${sent} to ${granted}`, { qos: sent });
        const { topic: name, payload, packet } = await subscriber.next();
        expect("the message", [topic(`qos/${sent}`), `${sent} to ${granted}`], [name, payload.toString()]);
        expect(`the QoS of ${sent} to ${granted}`, Math.min(sent, granted), packet.qos);
      }
      await leave(subscriber);
    }
    await leave(publisher);
  },

  async "300 messages at each QoS arrive once and in order"() {
    const [publisher, subscriber] = [await Peer.connect("publisher"), await Peer.connect("subscriber")];
    await subscriber.subscribe(topic("order/+"));
    const sent = Array.from({ length: 300 }, (_, number) => `${number}`);
    for (const qos of [0, 1, 2]) {
      await Promise.all(sent.map((payload) => publisher.publish(topic(`order/${qos}`), payload, { qos })));
      expect(`what came at QoS ${qos}`, sent, await subscriber.texts(sent.length));
    }
    await leave(publisher, subscriber);
  },

  async "a retained message waits for who subscribes later, and an empty one clears it"() {
    const [publisher, early, late] = [
      await Peer.connect("publisher"), await Peer.connect("early"), await Peer.connect("late"),
    ];
    await publisher.publish(topic("retained/a"), "kept", { retain: true });
    await early.subscribe(topic("retained/#"));
    const kept = await early.next();
    expect("the retained message", ["kept", true], [kept.payload.toString(), kept.packet.retain]);
    await publisher.publish(topic("retained/a"), "", { retain: true });
    await late.subscribe(topic("retained/#"));
    await publisher.publish(topic("retained/b"), "marker");
    expect("the first message to who came after", "marker", await late.text());
    await leave(publisher, early, late);
  },

  async "what is unsubscribed comes no more"() {
    const peer = await Peer.connect("both");
    await peer.subscribe(topic("un/+"));
    await peer.subscribe(topic("marker"));
    await peer.client.unsubscribeAsync(topic("un/+"));
    // In 5 a publish that nobody hears is answered with 0x10, which is no error.
    await peer.publish(topic("un/a"), "unwanted");
    await peer.publish(topic("marker"), "wanted");
    expect("the first message", "wanted", await peer.text());
    await leave(peer);
  },

  async "a will is published when the connection is cut, and not after DISCONNECT"() {
    const watcher = await Peer.connect("watcher");
    await watcher.subscribe(topic("will"));
    await leave(await Peer.connect("polite", { will: "will" }));
    await watcher.publish(topic("will"), "marker");
    expect("after DISCONNECT", "marker", await watcher.text());
    await (await Peer.connect("cut", { will: "will" })).cut();
    expect("after the cut", "gone", await watcher.text());
    await leave(watcher);
  },

  async "a session outlives its connection: what was missed comes in order; a clean start ends it"() {
    let peer = await Peer.connect("keeper", { keep: true });
    expect("session present at first", false, peer.connack.sessionPresent);
    await peer.subscribe(topic("kept/+"));
    await leave(peer);
    const publisher = await Peer.connect("publisher");
    const sent = Array.from({ length: 30 }, (_, number) => [number % 2 + 1, `${number}`]);
    for (const [qos, payload] of sent) await publisher.publish(topic("kept/it"), payload, { qos });
    peer = await Peer.connect("keeper", { keep: true });
    expect("session present on return", true, peer.connack.sessionPresent);
    const came = [];
    while (came.length < sent.length) {
      const { payload, packet } = await peer.next();
      came.push([packet.qos, payload.toString()]);
    }
    // The client shows a message at QoS 2 when it is released, so order holds for each QoS.
    for (const qos of [1, 2]) {
      const at = (messages) => messages.filter((message) => message[0] === qos);
      expect(`what was missed at QoS ${qos}`, at(sent), at(came));
    }
    await leave(peer);
    peer = await Peer.connect("keeper");
    expect("session present after a clean start", false, peer.connack.sessionPresent);
    await peer.subscribe(topic("marker"));
    await publisher.publish(topic("kept/it"), "unwanted");
    await publisher.publish(topic("marker"), "marker");
    expect("the first message after a clean start", "marker", await peer.text());
    await leave(peer, publisher);
  },

  async "what was not acknowledged when the connection broke comes again, marked as such"() {
    const publisher = await Peer.connect("publisher");
    let shown;
    const first = new Promise((resolve) => (shown = resolve));
    // The client acknowledges when this says so, and it never does.
    const peer = await Peer.connect("forgetful", { keep: true, customHandleAcks: (_topic, _payload, packet) => shown(packet) });
    if (!isV5) peer.client.handleMessage = (packet) => shown(packet);
    await peer.subscribe(topic("repeat"), { qos: 1 });
    await publisher.publish(topic("repeat"), "once more");
    expect("a first delivery's DUP", false, (await first).dup);
    await peer.cut();
    const again = await Peer.connect("forgetful", { keep: true });
    const { payload, packet } = await again.next();
    expect("the repetition", ["once more", true], [payload.toString(), packet.dup]);
    await leave(again);
    await leave(await Peer.connect("forgetful"), publisher);
  },

  async "two members of a shared subscription get each message once between them"() {
    const members = [await Peer.connect("member-1"), await Peer.connect("member-2")];
    for (const member of members) await member.subscribe(`$share/${hub.prefix}/${topic("work")}`, { qos: 1 });
    const publisher = await Peer.connect("publisher");
    const sent = Array.from({ length: 40 }, (_, number) => `${number}`);
    for (const payload of sent) await publisher.publish(topic("work"), payload);
    const deadline = performance.now() + WAIT_MS;
    while (members[0].messages.count + members[1].messages.count < sent.length && performance.now() < deadline) {
      await later(10);
    }
    const parts = [];
    for (const member of members) parts.push(await member.texts(member.messages.count));
    expect("both parts together", [...sent].sort(), parts.flat().sort());
    expect("that each member has a part", true, parts.every((part) => part.length > 0));
    await leave(...members, publisher);
  },

  async "200,000 bytes go through unchanged at each QoS"() {
    const peer = await Peer.connect("large");
    await peer.subscribe(topic("large"));
    const payload = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, number) => (number * 7) % 251));
    for (const qos of [0, 1, 2]) {
      await peer.publish(topic("large"), payload, { qos });
      expect(`that the payload is the same at QoS ${qos}`, true, payload.equals((await peer.next()).payload));
    }
    await leave(peer);
  },

  async "a publish that no rule allows is refused: told in 5, the connection closed in 3.1.1"() {
    const peer = await Peer.connect("thief");
    const outcome = peer.publish("devices/aaaaaaaaaaaaaaaaaaaa/telemetry/x", "1").then(
      () => "accepted",
      (error) => error.code ?? error.message,
    );
    if (isV5) {
      expect("the reason code", 0x87, await outcome);
      await leave(peer);
    } else {
      await peer.closed.next("end of the connection");
    }
  },

  async "a second connection of the same identifier takes the first over"() {
    const first = await Peer.connect("twin");
    const second = await Peer.connect("twin");
    if (isV5) expect("the reason told to the first", 0x8e, await first.told.next("DISCONNECT"));
    await first.closed.next("end of the connection");
    await second.subscribe(topic("twin"));
    await second.publish(topic("twin"), "here");
    expect("what comes to the second", "here", await second.text());
    await leave(second);
  },

  async "who is silent for one and a half times its keep alive is gone; who pings stays"() {
    const watcher = await Peer.connect("watcher");
    await watcher.subscribe(topic("silent"));
    const pinging = await Peer.connect("pinging", { keepalive: 1 });
    const began = performance.now();
    const silent = await Peer.connect("silent", { keepalive: 1, will: "silent" });
    silent.client.keepaliveManager.destroy();
    expect("the will of the silent one", "gone", await watcher.text());
    const lasted = (performance.now() - began) / 1000;
    expect(`that its ${lasted.toFixed(2)} s were from 1.5 to 10`, true, lasted >= 1.5 && lasted <= 10);
    if (isV5) expect("the reason told to the silent one", 0x8d, await silent.told.next("DISCONNECT"));
    await silent.closed.next("end of the connection");
    for (let count = 0; count < 2; count += 1) await pinging.pings.next("answer to a ping");
    await leave(pinging, watcher);
  },
};

const only5 = {
  async "5: user properties in order, content type, response topic and correlation; a request gets its reply"() {
    const [service, asker] = [await Peer.connect("service"), await Peer.connect("asker")];
    await service.subscribe(topic("ask"));
    await asker.subscribe(topic("reply"));
    const sent = {
      userProperties: { b: ["1", "3"], a: "2" },
      contentType: "text/plain",
      payloadFormatIndicator: true,
      responseTopic: topic("reply"),
      correlationData: Buffer.from([0, 1]),
    };
    await asker.publish(topic("ask"), "time?", { properties: sent });
    const { properties } = (await service.next()).packet;
    expect("the properties", sent, { ...properties, userProperties: { ...properties.userProperties } });
    await service.publish(properties.responseTopic, "noon", { properties: { correlationData: properties.correlationData } });
    const reply = await asker.next();
    expect("the reply", "noon", reply.payload.toString());
    expect("its correlation", sent.correlationData, reply.packet.properties.correlationData);
    await leave(service, asker);
  },

  async "5: a message that has expired is not delivered; one that has not says how long it has left"() {
    const before = await Peer.connect("later", { keep: true });
    await leave(await before.subscribe(topic("expiry")));
    const publisher = await Peer.connect("publisher");
    await publisher.publish(topic("expiry"), "short", { properties: { messageExpiryInterval: 1 } });
    await publisher.publish(topic("expiry"), "long", { properties: { messageExpiryInterval: 100 } });
    // Nothing is to come of it: there is no state to wait for but the time.
    await later(1500);
    const peer = await Peer.connect("later", { keep: true });
    const { payload, packet } = await peer.next();
    expect("the message that comes", "long", payload.toString());
    const left = packet.properties.messageExpiryInterval;
    expect(`that ${left} s are from 1 to 99`, true, left >= 1 && left <= 99);
    await leave(peer);
    await leave(await Peer.connect("later"), publisher);
  },

  async "5: topic aliases both ways"() {
    // The client names topics by alias on its own, and reads the hub's.
    const peer = await Peer.connect("alias", { autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 } });
    await peer.subscribe(topic("alias/#"));
    const [sent, received] = [[], []];
    const note = (list) => (packet) => packet.cmd === "publish" && list.push([packet.topic === "", packet.properties?.topicAlias]);
    peer.client.on("packetsend", note(sent));
    peer.client.on("packetreceive", note(received));
    for (const payload of ["1", "2", "3"]) {
      await peer.publish(topic("alias/a"), payload);
      const message = await peer.next();
      expect("the message", [topic("alias/a"), payload], [message.topic, message.payload.toString()]);
    }
    expect("that the client used an alias", true, sent.slice(1).every(([, alias]) => alias === 1));
    expect("that the hub used an alias", true, received.slice(1).every(([, alias]) => alias > 0));
    await leave(peer);
  },

  async "5: a message carries the identifiers of all subscriptions that it matches"() {
    const peer = await Peer.connect("identified");
    await peer.subscribe(topic("id/+"), { properties: { subscriptionIdentifier: 7 } });
    await peer.subscribe(topic("id/a"), { properties: { subscriptionIdentifier: 8 } });
    await peer.publish(topic("id/a"), "both");
    await peer.publish(topic("id/b"), "marker");
    const found = [];
    let message = await peer.next();
    while (message.payload.toString() === "both") {
      found.push(message.packet.properties.subscriptionIdentifier);
      message = await peer.next();
    }
    expect("the identifiers of both", [7, 8], found.flat().sort());
    expect("the identifier of one", 7, message.packet.properties.subscriptionIdentifier);
    await leave(peer);
  },

  async "5: no local, retain as published, retain handling"() {
    const [peer, other] = [await Peer.connect("options"), await Peer.connect("other")];
    await other.publish(topic("options/kept"), "old", { retain: true });
    await peer.subscribe(topic("options/+"), { nl: true, rap: true, rh: 2 });
    await peer.publish(topic("options/own"), "own");
    await other.publish(topic("options/kept"), "new", { retain: true });
    const { payload, packet } = await peer.next();
    expect("the first message", ["new", true], [payload.toString(), packet.retain]);
    await other.publish(topic("options/kept"), "", { retain: true });
    await leave(peer, other);
  },
};

const where = `mqtt.js ${hub.version} over ${hub.transport}`;
for (const [sentence, story] of Object.entries({ ...both, ...(isV5 ? only5 : {}) })) {
  try {
    await story();
  } catch (why) {
    console.log(`FAILED ${where}: ${sentence}: ${why.message}`);
    process.exit(1);
  }
  console.log(`ok ${where}: ${sentence}`);
}
process.exit(0);
