//! Debian's `mosquitto_pub` and `mosquitto_sub`, over TLS and the Unix socket, in both versions.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    ops::RangeInclusive,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use muster_simulators::process::{Process, now};

use crate::stage::Stage;

/// Longest wait for what should come at once, on a machine that may be busy.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How a message is printed: topic, QoS, retain, payload.
const PLAIN: &str = "got %t %q %r %p";

#[test]
fn mosquitto_clients_do_all_of_3_1_1_and_5_over_tls_and_the_unix_socket() {
    let stage = Stage::raise_with_socket();
    let folder = stage.app.folder.display();
    let tls = format!(
        "-h localhost -p {} --cafile {folder}/ca.pem --cert {folder}/cert.pem --key {folder}/key.pem",
        stage.hub.mqtt_port()
    );
    let unix = format!("--unix {}", stage.socket().display());
    thread::scope(|scope| {
        for (way, connection) in [("tls", &tls), ("unix", &unix)] {
            for version in ["mqttv311", "mqttv5"] {
                let connection = connection.split(' ').map(str::to_owned).collect();
                let prefix = format!("{way}-{version}");
                let folder = stage.folder.path();
                scope.spawn(move || {
                    let clients = Clients { connection, version, prefix };
                    clients
                        .tell(&fs::canonicalize(folder).expect("a folder").join(way).with_extension(version));
                });
            }
        }
    });
}

/// How they connect, and what they call their topics.
struct Clients {
    connection: Vec<String>,
    version: &'static str,
    prefix: String,
}

impl Clients {
    fn tell(&self, file: &Path) {
        let is_v5 = self.version == "mqttv5";
        // What needs time begins first: these end the story.
        let mut gone = self.subscribe("gone", &["-q", "1"], PLAIN);
        let silent = self.subscribe(
            "x",
            &["-k", "5", "--will-topic", &self.topic("gone"), "--will-payload", "1"],
            PLAIN,
        );
        signal(&silent, "STOP");
        if is_v5 {
            self.leave_session("expires", "expires");
            self.publish(
                "expires",
                &["-q", "1", "-m", "short", "-D", "publish", "message-expiry-interval", "1"],
            );
            self.publish(
                "expires",
                &["-q", "1", "-m", "long", "-D", "publish", "message-expiry-interval", "100"],
            );
        }
        self.qualities();
        self.retained(file);
        self.will();
        self.persistent();
        self.shared();
        self.takeover(is_v5);
        if is_v5 {
            self.properties();
            self.refused();
        }
        gone.comes("gone 0 0 1", "the will of a client that stopped pinging");
        if is_v5 {
            let mut late = self.session("expires", "expires", "got %E %p");
            let left = late.next("what has not expired");
            let seconds = left.strip_suffix(" long").and_then(|left| left.parse::<u32>().ok());
            assert!(seconds.is_some_and(|left| (1..100).contains(&left)), "{}: {left:?}", self.prefix);
        }
    }

    fn qualities(&self) {
        for granted in 0..3 {
            let mut subscriber = self.subscribe("qos/+", &["-q", &granted.to_string()], PLAIN);
            for sent in 0..3 {
                let topic = format!("qos/{sent}");
                self.publish(&topic, &["-q", &sent.to_string(), "-m", "hello"]);
                let line = format!("{topic} {} 0 hello", granted.min(sent));
                subscriber.comes(&line, "the lower of both qualities");
            }
        }
    }

    /// A retained message of 200,000 bytes waits, comes as it was, and is cleared.
    fn retained(&self, file: &Path) {
        let payload: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n * 7 % 251).unwrap_or(0)).collect();
        fs::write(file, &payload).expect("a file");
        self.publish("kept", &["-q", "2", "-r", "-f", &file.display().to_string()]);
        let mut subscriber = self.command("mosquitto_sub", "kept");
        let output = subscriber.args(["-C", "1", "-N", "-W", "20"]).output().expect("mosquitto_sub runs");
        assert!(output.stdout == payload, "{}: {} bytes came", self.prefix, output.stdout.len());
        self.publish("kept", &["-q", "1", "-r", "-n"]);
        let mut late = self.subscribe("kept", &[], PLAIN);
        self.publish("kept", &["-m", "marker"]);
        late.comes("kept 0 0 marker", "what is cleared does not come");
    }

    fn will(&self) {
        let mut watcher = self.subscribe("will", &["-q", "1"], PLAIN);
        let will = ["--will-topic", &self.topic("will"), "--will-payload", "cut", "--will-qos", "1"];
        let polite = self.command("mosquitto_sub", "x").args(will).arg("-E").status();
        assert!(polite.expect("mosquitto_sub runs").success());
        self.publish("will", &["-q", "1", "-m", "marker"]);
        watcher.comes("will 1 0 marker", "DISCONNECT takes the will back");
        let mut client = self.subscribe("x", &will, PLAIN);
        client.process.kill();
        watcher.comes("will 1 0 cut", "the will of a killed client");
    }

    fn persistent(&self) {
        self.leave_session("keeper", "offline");
        self.publish_lines("offline", &["-q", "2"], 1..=20);
        let mut back = self.session("keeper", "offline", PLAIN);
        for number in 1..=20 {
            back.comes(&format!("offline 2 0 {number}"), "what was missed, in order");
        }
        back.process.stop();
        // A clean start ends the session: what comes then is not for it.
        let id = self.id("keeper");
        let clean = self.command("mosquitto_sub", "offline").args(["-i", &id, "-E"]).status();
        assert!(clean.expect("mosquitto_sub runs").success());
        self.publish("offline", &["-q", "1", "-m", "unwanted"]);
        let mut anew = self.session("keeper", "offline", PLAIN);
        self.publish("offline", &["-q", "1", "-m", "marker"]);
        anew.comes("offline 1 0 marker", "nothing of the session that a clean start ended");
    }

    fn shared(&self) {
        let filter = format!("$share/{}/{}", self.prefix, self.topic("work"));
        let mut members = [(); 2].map(|()| self.watch(&["-t", &filter, "-q", "1"], "got %p"));
        self.publish_lines("work", &["-q", "1"], 1..=20);
        let mut parts = [BTreeSet::new(), BTreeSet::new()];
        let deadline = now() + WAIT_MAX;
        while parts.iter().map(BTreeSet::len).sum::<usize>() < 20 && now() < deadline {
            for (member, part) in members.iter_mut().zip(&mut parts) {
                // The next may be the other's.
                let next = member.process.wait_line("work", Duration::from_millis(20), message);
                part.extend(next.ok().and_then(|number| number.parse::<u32>().ok()));
            }
        }
        let [first, second] = parts;
        assert!(
            !first.is_empty() && !second.is_empty() && first.is_disjoint(&second),
            "{first:?} {second:?}"
        );
        assert_eq!(first.union(&second).copied().collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    }

    fn takeover(&self, is_v5: bool) {
        let id = self.id("twin");
        let mut first = self.subscribe("twin", &["-i", &id], PLAIN);
        let second = self.command("mosquitto_sub", "twin").args(["-i", &id, "-E"]).status();
        assert!(second.expect("mosquitto_sub runs").success());
        // In 5 it is told why, and ends; in 3.1.1 it finds the connection closed, and comes back.
        let (what, wanted) = if is_v5 {
            ("the reason", "Received DISCONNECT (142)")
        } else {
            ("a second CONNACK", "received CONNACK (0)")
        };
        let seen = |line: &str| line.ends_with(wanted).then_some(());
        first.process.wait_line(what, WAIT_MAX, seen).expect("taken over");
    }

    fn properties(&self) {
        let mut subscriber =
            self.subscribe("p", &["-D", "subscribe", "subscription-identifier", "7"], "got %S %C %R %P %p");
        let pairs = "-D publish user-property b 1 -D publish user-property a 2 -D publish content-type text \
            -D publish response-topic reply -q 1 -m hello";
        self.publish("p", &pairs.split_whitespace().collect::<Vec<_>>());
        subscriber.comes("7 text reply b:1 a:2 hello", "the properties");
        let mut subscriber = self.subscribe("alias", &[], PLAIN);
        let alias = "-D publish topic-alias 1 --repeat 3 -q 1 -m again";
        self.publish("alias", &alias.split(' ').collect::<Vec<_>>());
        for _ in 0..3 {
            subscriber.comes("alias 0 0 again", "what is published by an alias");
        }
    }

    fn refused(&self) {
        let mut command = Command::new("mosquitto_pub");
        command.args(&self.connection).args(["-V", self.version, "-q", "1", "-m", "1"]);
        let topic = "devices/aaaaaaaaaaaaaaaaaaaa/telemetry/x";
        let output = command.args(["-t", topic]).output().expect("mosquitto_pub runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("Not authorized"), "{}: {said}", self.prefix);
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn command(&self, program: &str, topic: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.connection).args(["-V", self.version, "-t", &self.topic(topic)]);
        command
    }

    fn publish(&self, topic: &str, extra: &[&str]) {
        let output = self.command("mosquitto_pub", topic).args(extra).output().expect("mosquitto_pub runs");
        assert!(output.status.success(), "{}: {}", self.prefix, String::from_utf8_lossy(&output.stderr));
    }

    fn publish_lines(&self, topic: &str, extra: &[&str], numbers: RangeInclusive<u32>) {
        let mut command = self.command("mosquitto_pub", topic);
        let mut child =
            command.args(extra).arg("-l").stdin(Stdio::piped()).spawn().expect("mosquitto_pub runs");
        let lines: String = numbers.map(|number| format!("{number}\n")).collect();
        child.stdin.take().expect("its input").write_all(lines.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "{}", self.prefix);
    }

    /// Makes a session that outlives its connection, and goes.
    fn leave_session(&self, name: &str, topic: &str) {
        let id = self.id(name);
        let mut command = self.command("mosquitto_sub", topic);
        let status = command.args(["-c", "-i", &id, "-q", "2", "-E"]).status();
        assert!(status.expect("mosquitto_sub runs").success(), "{}", self.prefix);
    }

    /// Comes back to it.
    fn session(&self, name: &str, topic: &str, format: &str) -> Watching {
        self.subscribe(topic, &["-c", "-i", &self.id(name), "-q", "2"], format)
    }

    fn subscribe(&self, topic: &str, extra: &[&str], format: &str) -> Watching {
        let topic = self.topic(topic);
        let mut arguments = vec!["-t", topic.as_str()];
        arguments.extend(extra);
        self.watch(&arguments, format)
    }

    /// A subscriber that stays, once its subscription stands. What comes before that is told afterwards.
    fn watch(&self, arguments: &[&str], format: &str) -> Watching {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-V", self.version, "-F", format]);
        let process = Process::start("mosquitto_sub", command.args(&self.connection).args(arguments));
        let mut process = process.expect("mosquitto_sub is installed: see setup/packages");
        let mut early = Vec::new();
        let stands = |line: &str| {
            early.extend(message(line));
            line.starts_with("Subscribed").then_some(())
        };
        process.wait_line("the subscription", WAIT_MAX, stands).expect("subscribed");
        early.reverse();
        Watching { process, early, prefix: format!("{}/", self.prefix) }
    }
}

/// A subscriber that runs.
struct Watching {
    process: Process,
    /// What came before the subscription stood, the first last.
    early: Vec<String>,
    prefix: String,
}

impl Watching {
    fn next(&mut self, what: &str) -> String {
        let early = self.early.pop();
        let line =
            early.unwrap_or_else(|| self.process.wait_line(what, WAIT_MAX, message).expect("it comes"));
        line.strip_prefix(&self.prefix).map(str::to_owned).unwrap_or(line)
    }

    fn comes(&mut self, wanted: &str, what: &str) {
        assert_eq!(self.next(what), wanted, "{}: {what}", self.prefix);
    }
}

/// What a line tells about a message; debug lines tell nothing.
fn message(line: &str) -> Option<String> {
    line.strip_prefix("got ").map(str::to_owned)
}

fn signal(client: &Watching, name: &str) {
    let pid = client.process.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs").success());
}
