//! Revocation: how soon a session ends whose certificate was revoked while thousands of others are open, and whether
//! traffic notices that a long list of revoked certificates is published.
//!
//! ```text
//!   API: revoke ──▶ hub ──▶ answer
//!                    └────▶ DISCONNECT, close ──▶ the one session among 10,000 (one thread watches them all)
//! ```

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use muster_mqtt::Version;
use muster_tpm::manufacturer::SimulatedManufacturer;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    BenchError, TENANT,
    api::{Access, Api},
    crowd::Crowd,
    fleet::{Enrolled, Newcomer, Target, enrol_all},
    limits::{
        ANSWER_TIME_MAX, ENROLMENTS_AT_ONCE, LISTED, LISTED_AT_ONCE, LISTED_GAP, LISTED_RATE, LISTED_ROUND_S,
        LISTED_ROUNDS, LISTED_SETTLE_TIME, LISTING_TIME_MAX, LIVE_SESSIONS, REVOKED_DEVICES,
    },
    page::{Section, grouped, mib, ms, rate},
    pin::Places,
    sample::Sample,
};
use crate::{
    app::App,
    gauge::Gauge,
    hub::Hub,
    load::{
        self, LoadOptions, Quantiles,
        dial::{Dial, TlsFiles},
        opening::{KEEP_ALIVE_S, Sessions, Wanted, open_in_order},
    },
    process::{Process, event, now},
};

/// The app of most sessions, one that is revoked alone, and one whose messages are timed.
const APPS: [&str; 3] = ["crowd", "alone", "timed"];
/// Sessions of apps that are being opened at one time.
const OPENING_MAX: usize = 32;

/// A hub with one tenant, and who calls it.
pub struct Revocations {
    runtime: Runtime,
    hub: Hub,
    /// Devices that have not enrolled yet.
    newcomers: Vec<Newcomer>,
    /// Those that have; their sessions come before all others in the crowd.
    enrolled: Vec<Enrolled>,
    folder: PathBuf,
    /// The operator's connection; away while it is used.
    api: Option<Api>,
}

/// One revocation, from the call on.
struct Revoked {
    answered: Duration,
    ended: Duration,
}

/// One publication, as the hub's log tells of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Published {
    revoked: u64,
    took: Duration,
}

/// What one kind of traffic saw, over all rounds.
#[derive(Default)]
struct Timed {
    quantiles: Vec<Quantiles>,
    /// How late the generator itself was at most, in milliseconds.
    late_ms: f64,
    published: Vec<Published>,
    lost: u64,
}

impl Revocations {
    /// Prepares a hub that trusts chips of this maker.
    ///
    /// # Errors
    /// The hub refuses, or the folder cannot be written.
    pub fn prepare(
        folder: &Path,
        maker_root: &Path,
        manufacturer: &SimulatedManufacturer,
    ) -> Result<Self, BenchError> {
        load::allow_files();
        std::fs::create_dir_all(folder)?;
        let mut hub = Hub::init(&folder.join("hub"), maker_root)?;
        hub.set("MUSTER__LIMITS__CONNECTIONS_MAX", &(LIVE_SESSIONS + 1_000).to_string());
        hub.start()?;
        hub.operate(&["tenant", "create", TENANT, "--accept-simulated-tpms"])?;
        for name in APPS {
            App::create(&hub, TENANT, name, folder.join(name))?;
        }
        let newcomers = (0..=u32::try_from(REVOKED_DEVICES).unwrap_or(u32::MAX)).map(|number| {
            let claim = hub.operate(&["claim", "create", "--tenant", TENANT])?;
            let code = claim.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
            Newcomer::new(number, code, manufacturer)
        });
        let newcomers = newcomers.collect::<Result<Vec<_>, BenchError>>()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, hub, newcomers, enrolled: Vec::new(), folder: folder.to_owned(), api: None })
    }

    /// Measures everything, telling each section as it comes.
    ///
    /// # Errors
    /// A measurement did not take place.
    pub fn measure(mut self, out: &mut dyn Write) -> Result<Vec<Section>, BenchError> {
        let enrolment = self.enrolment()?;
        writeln!(out, "{}", enrolment.told())?;
        let mut sections = vec![enrolment];
        let access = Access::operator(&self.hub)?;
        for measure in [Self::live, Self::list] {
            let section = measure(&mut self, &access)?;
            writeln!(out, "{}", section.told())?;
            sections.push(section);
        }
        self.hub.stop();
        Ok(sections)
    }

    /// Has the devices enrol with the hub and the load on one processor.
    fn enrolment(&mut self) -> Result<Section, BenchError> {
        let target = Target::new(self.hub.mqtt(), &self.hub.root())?;
        let gauge = self.gauge()?;
        self.runtime.block_on(gauge.quiet())?;
        let pinned = Places::Together.pin(gauge.process())?;
        let mark = gauge.mark()?;
        // One thread does all of it: this one.
        let alone = Builder::new_current_thread().enable_all().build()?;
        self.enrolled = alone.block_on(enrol_all(&target, std::mem::take(&mut self.newcomers)))?;
        let span = gauge.since(mark)?;
        drop(pinned);
        // The hub has its processors back when it is started again.
        self.hub.stop();
        self.hub.start()?;
        let count = self.enrolled.len();
        let mut section = Section::new("Enrolment, hub and load on one processor");
        section.row_with_target(
            format!("{count} enrolments with soft keys over TLS, {ENROLMENTS_AT_ONCE} at a time"),
            rate(count, span.wall),
            "over 200 /s",
        );
        section.row_with_target(
            "hub processor time each",
            ms(span.cpu / u32::try_from(count.max(1)).unwrap_or(u32::MAX)),
            "under 2 ms",
        );
        Ok(section)
    }

    /// Revokes some of many who are there.
    fn live(&mut self, access: &Access) -> Result<Section, BenchError> {
        let target = Target::new(self.hub.mqtt(), &self.hub.root())?;
        let enrolled = std::mem::take(&mut self.enrolled);
        let devices =
            enrolled.into_iter().map(|device| device.ready(&target)).collect::<Result<Vec<_>, _>>()?;
        let gauge = self.gauge()?;
        let before = gauge.memory()?;
        let begun = now();
        let mut links =
            devices.iter().map(|device| device.session(&target)).collect::<Result<Vec<_>, _>>()?;
        let one_app = links.len();
        links.extend(self.sessions("alone", 1)?);
        let rest = one_app + 1..LIVE_SESSIONS;
        links.extend(self.sessions("crowd", rest.len())?);
        let opening = now() - begun;
        let mut crowd = Crowd::new(links)?;
        self.runtime.block_on(gauge.quiet())?;
        let memory = gauge.memory()?;
        self.api = Some(self.runtime.block_on(access.connect())?);

        let device_path = |id: &str| format!("/api/v1/tenants/{TENANT}/devices/{id}/revoke");
        let app_path = |id: &str| format!("/api/v1/tenants/{TENANT}/apps/{id}/revoke");
        let mut devices = devices.iter().enumerate();
        let mut one_after_another = Vec::with_capacity(REVOKED_DEVICES);
        let (place, first) = devices.next().ok_or(BenchError::Silent("device"))?;
        let device = self.revoke(&mut crowd, device_path(first.id.as_str()), place..place + 1)?;
        let app = self.revoke(&mut crowd, app_path("alone"), one_app..one_app + 1)?;
        for (place, device) in devices {
            one_after_another.push(self.revoke(
                &mut crowd,
                device_path(device.id.as_str()),
                place..place + 1,
            )?);
        }
        let others = rest.len();
        let alive = crowd.ping()?;
        let closed_too = crowd.ended_count() - (one_app + 1);
        let reasons = (0..=one_app).filter(|place| crowd.reason(*place).is_some()).count();
        let all = self.revoke(&mut crowd, app_path("crowd"), rest)?;

        let mut section = Section::new("Revocation, with live sessions");
        section.row(
            format!(
                "live sessions over mutual TLS: {} devices with soft keys, an app with one session, an app with {}; \
                 opened in",
                one_app,
                grouped(others)
            ),
            ms(opening),
        );
        section.row(
            "resident memory of the hub before and with them",
            format!("{}, {}", mib(before.resident_kib), mib(memory.resident_kib)),
        );
        let both = |revoked: &Revoked| format!("{} / {}", ms(revoked.answered), ms(revoked.ended));
        let from =
            "from the call to the answer of the API / to the end of the session, as its client sees it";
        section.row_with_target(format!("one device revoked: {from}"), both(&device), "under 5 s");
        section.row_with_target("one app revoked: the same", both(&app), "under 5 s");
        let sample =
            |time: fn(&Revoked) -> Duration| Sample::new(one_after_another.iter().map(time).collect());
        let (answered, ended) = (sample(|revoked| revoked.answered), sample(|revoked| revoked.ended));
        section.row_with_target(
            format!("{REVOKED_DEVICES} devices revoked one after another: the same, p50"),
            format!("{} / {}", ms(answered.median()), ms(ended.median())),
            "under 5 s",
        );
        section.row_with_target(
            "the same: longest",
            format!("{} / {}", ms(answered.max()), ms(ended.max())),
            "under 5 s",
        );
        section.row(
            "of those sessions: were told why (DISCONNECT with a reason) before the connection closed",
            format!("{reasons} of {}", one_app + 1),
        );
        section.row_with_target(
            format!("of the {} others: closed / answered a ping after that", grouped(others)),
            format!("{closed_too} / {}", grouped(alive)),
            "nobody is closed",
        );
        section.row_with_target(
            format!("the app with {} sessions revoked: answer / end of the last of them", grouped(others)),
            both(&all),
            "under 5 s",
        );
        Ok(section)
    }

    /// Publishes a long list while messages are timed.
    fn list(&mut self, access: &Access) -> Result<Section, BenchError> {
        let csr = signing_request()?;
        let gauge = self.gauge()?;
        let mark = gauge.mark()?;
        self.fill(access, &csr)?;
        let filling = gauge.since(mark)?;
        self.runtime.block_on(gauge.quiet())?;
        let memory = gauge.memory()?;
        let (mut without, mut with) = (Timed::default(), Timed::default());
        for _ in 0..LISTED_ROUNDS {
            self.timed(access, &csr, false, &mut without)?;
            self.timed(access, &csr, true, &mut with)?;
        }
        let mut section = Section::new("Revocation, with a long list");
        section.row(
            format!(
                "{} certificates issued and revoked over the API, {LISTED_AT_ONCE} callers: both, a second",
                grouped(LISTED)
            ),
            rate(LISTED, filling.wall),
        );
        let each = filling.cpu / u32::try_from(LISTED).unwrap_or(u32::MAX);
        section.row("hub processor time for both, with the lists published meanwhile", ms(each));
        section.row("resident memory of the hub after that", mib(memory.resident_kib));
        let took = Sample::new(with.published.iter().map(|published| published.took).collect());
        let listed = with.published.iter().map(|published| published.revoked).min().unwrap_or_default();
        section.row(
            format!(
                "lists and trust object made and put in place, at least {} revoked, {} times: p50 / longest",
                grouped(usize::try_from(listed).unwrap_or(usize::MAX)),
                took.count()
            ),
            format!("{} / {}", ms(took.median()), ms(took.max())),
        );
        let what = format!(
            "PUBLISH to delivery, 50 pairs at {} messages a second, QoS 1, mutual TLS, {LISTED_ROUNDS} times \
             {LISTED_ROUND_S} s",
            grouped(LISTED_RATE as usize)
        );
        section.row(
            format!(
                "{what}, nothing published ({} times): p50 / p99 / p99.9 / longest",
                without.published.len()
            ),
            without.told(),
        );
        section.row_with_target(
            "the same while such a list is published again and again, one certificate more each time",
            with.told(),
            "no stall over 50 ms",
        );
        section.row(
            "the load itself was late by at most, without / with",
            format!("{:.2} ms / {:.2} ms", without.late_ms, with.late_ms),
        );
        section.note(
            "A list is made whole each time, so that one certificate more costs what all of them together would. Medians \
             of the rounds, and the longest of all; rounds with and without in turn.",
        );
        Ok(section)
    }

    fn gauge(&mut self) -> Result<Gauge, BenchError> {
        let process = self.hub.process().ok_or_else(|| BenchError::Odd("the hub does not run".to_owned()))?;
        process.take_lines();
        Ok(Gauge::new(process.id()))
    }

    fn files(&self, app: &str) -> TlsFiles {
        let folder = self.folder.join(app);
        TlsFiles {
            roots: folder.join("ca.pem"),
            identity: Some((folder.join("cert.pem"), folder.join("key.pem"))),
            server_name: "localhost".to_owned(),
        }
    }

    /// Opens sessions of one app.
    fn sessions(&self, app: &str, count: usize) -> Result<Vec<load::link::Link>, BenchError> {
        let address = self.hub.mqtt().parse();
        let address =
            address.map_err(|_| BenchError::Odd(format!("the hub listens on {:?}", self.hub.mqtt())))?;
        let mut dial = Dial::new(address, Some(&self.files(app)), 1)?;
        let mut sessions = Sessions {
            dial: &mut dial,
            version: Version::V5,
            keep_alive_s: KEEP_ALIVE_S,
            opening_max: OPENING_MAX,
        };
        let wanted: Vec<_> = (0..count).map(|number| Wanted::plain(format!("{app}-{number}"))).collect();
        Ok(open_in_order(&mut sessions, &wanted)?)
    }

    /// Calls, and watches until the answer has come and all sessions at these places have ended.
    fn revoke(
        &mut self,
        crowd: &mut Crowd,
        path: String,
        places: std::ops::Range<usize>,
    ) -> Result<Revoked, BenchError> {
        let mut api = self.api.take().ok_or(BenchError::Silent("connection to the API"))?;
        let begun = now();
        let call = self.runtime.spawn(async move {
            let answer = api.post(&path, &json!({})).await;
            (api, now(), answer)
        });
        while !call.is_finished() || places.clone().any(|place| crowd.ended_at(place).is_none()) {
            crowd.look(Duration::from_millis(5))?;
            // The hub writes a line for each session, and must not wait for us to read it.
            self.hub.process().map(Process::take_lines);
            if now() - begun > ANSWER_TIME_MAX {
                return Err(BenchError::Silent("end of a session whose certificate was revoked"));
            }
        }
        let (api, answered, answer) = self.runtime.block_on(call)?;
        let answer = answer?;
        if answer.get("changed") != Some(&Value::Bool(true)) {
            return Err(BenchError::Odd(format!("a revocation changed nothing: {answer}")));
        }
        self.api = Some(api);
        let last = places.filter_map(|place| crowd.ended_at(place)).max().unwrap_or(answered);
        Ok(Revoked {
            answered: answered.saturating_duration_since(begun),
            ended: last.saturating_duration_since(begun),
        })
    }

    /// Issues and revokes as many certificates as the long list has.
    fn fill(&mut self, access: &Access, csr: &str) -> Result<(), BenchError> {
        let process = self.hub.process().ok_or_else(|| BenchError::Odd("the hub does not run".to_owned()))?;
        self.runtime.block_on(async {
            let mut callers = JoinSet::new();
            for _ in 0..LISTED_AT_ONCE {
                let (access, csr) = (access.clone(), csr.to_owned());
                callers.spawn(async move {
                    let mut api = access.connect().await?;
                    for _ in 0..LISTED.div_ceil(LISTED_AT_ONCE) {
                        spend(&mut api, &csr).await?;
                    }
                    Ok::<_, BenchError>(())
                });
            }
            let deadline = now() + LISTING_TIME_MAX;
            while now() < deadline {
                // The hub writes a line for each, and must not wait for us to read it.
                process.take_lines();
                match timeout(Duration::from_millis(50), callers.join_next()).await {
                    Ok(None) => return Ok(()),
                    Ok(Some(caller)) => caller??,
                    Err(_) => {}
                }
            }
            Err(BenchError::TooSlow)
        })
    }

    /// One round of messages at a fixed rate, with or without publications.
    fn timed(
        &mut self,
        access: &Access,
        csr: &str,
        publishing: bool,
        seen: &mut Timed,
    ) -> Result<(), BenchError> {
        let gauge = self.gauge()?;
        self.runtime.block_on(async {
            // What the last round revoked may still be waiting to be published.
            sleep(LISTED_SETTLE_TIME).await;
            gauge.quiet().await
        })?;
        self.gauge()?;
        let line = format!("latency --qos 1 --size 256 --rate {LISTED_RATE} --seconds {LISTED_ROUND_S}");
        let mut options = LoadOptions::read(&line).map_err(BenchError::Odd)?;
        let pid = self.hub.process().map(|process| process.id());
        let pid = pid.ok_or_else(|| BenchError::Odd("the hub does not run".to_owned()))?;
        let address = self.hub.mqtt().parse();
        let address =
            address.map_err(|_| BenchError::Odd(format!("the hub listens on {:?}", self.hub.mqtt())))?;
        options.aim(address, Some(&self.files("timed")), pid);
        let done = Arc::new(AtomicBool::new(!publishing));
        let caller = self.runtime.spawn({
            let (done, access, csr) = (Arc::clone(&done), access.clone(), csr.to_owned());
            async move {
                let mut api = access.connect().await?;
                while !done.load(Ordering::Relaxed) {
                    spend(&mut api, &csr).await?;
                    sleep(LISTED_GAP).await;
                }
                Ok::<_, BenchError>(())
            }
        });
        let report = load::run(&options);
        done.store(true, Ordering::Relaxed);
        self.runtime.block_on(caller)??;
        let report = report?;
        let late = report.to_json();
        let late = late.pointer("/generator_late_ms/max").and_then(Value::as_f64).unwrap_or_default();
        seen.late_ms = seen.late_ms.max(late);
        seen.lost += report.tally.lost;
        seen.quantiles.extend(report.quantiles);
        let lines = self.hub.process().map(|process| process.take_lines()).unwrap_or_default();
        seen.published.extend(lines.iter().filter_map(|line| published(line)));
        Ok(())
    }
}

impl Timed {
    /// Medians of the rounds' quantiles, and the longest of all, in milliseconds.
    fn told(&self) -> String {
        let median = |quantile: fn(&Quantiles) -> f64| {
            let ms =
                self.quantiles.iter().map(|quantiles| Duration::from_secs_f64(quantile(quantiles) / 1e3));
            self::ms(Sample::new(ms.collect()).median())
        };
        let longest = self.quantiles.iter().map(|quantiles| quantiles.max).fold(0.0, f64::max);
        let longest = ms(Duration::from_secs_f64(longest / 1e3));
        let lost = if self.lost > 0 { format!(", {} lost", self.lost) } else { String::new() };
        let [p50, p99, p999] = [median(|q| q.p50), median(|q| q.p99), median(|q| q.p999)];
        format!("{p50} / {p99} / {p999} / {longest}{lost}")
    }
}

/// Has a certificate issued and revokes it: one of an authority whose list the doors load, as apps and services have.
async fn spend(api: &mut Api, csr: &str) -> Result<(), BenchError> {
    let wanted = json!({
        "kind": "service", "tenant": TENANT, "id": "spent", "csr_pem": csr, "replace": true,
    });
    let issued = api.post("/api/v1/ca/certificates", &wanted).await?;
    let serial = issued.get("serial").and_then(Value::as_str).unwrap_or_default();
    api.post(&format!("/api/v1/ca/certificates/{serial}/revoke"), &json!({})).await?;
    Ok(())
}

fn signing_request() -> Result<String, BenchError> {
    let odd = |error: rcgen::Error| BenchError::Odd(format!("failed to make a signing request: {error}"));
    let key = KeyPair::generate().map_err(odd)?;
    CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem()).map_err(odd)
}

/// What a line of the hub's log tells of a publication, if it does.
fn published(line: &str) -> Option<Published> {
    let fields = event(line)?;
    if fields.get("message")?.as_str()? != "revocations published" {
        return None;
    }
    let took = Duration::try_from_secs_f64(fields.get("took_ms")?.as_f64()? / 1e3).ok()?;
    Some(Published { revoked: fields.get("revoked")?.as_u64()?, took })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_read_from_the_log() {
        let line = r#"{"level":"INFO","fields":{"message":"revocations published","number":7,"revoked":3,"took_ms":1.5}}"#;
        let expected = Published { revoked: 3, took: Duration::from_micros(1_500) };
        assert_eq!(published(line), Some(expected));
        assert_eq!(published(&line.replace("published", "kept")), None);
        assert_eq!(published("no log line"), None);
    }

    #[test]
    fn what_was_timed_is_told_in_medians_and_the_longest() {
        let quantiles = [1.0, 3.0, 2.0].map(|ms| Quantiles { p50: ms, p99: ms, p999: ms, max: ms });
        let timed = Timed { quantiles: quantiles.into(), ..Timed::default() };
        assert_eq!(timed.told(), "2.00 ms / 2.00 ms / 2.00 ms / 3.00 ms");
    }
}
