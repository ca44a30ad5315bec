//! The tree: what the program consists of and who may speak to whom, in one place.
//!
//! ```text
//!   one tokio runtime with two workers
//!     main thread (arbiter):  Enrolment ⇄ Uplink ⇄ Sensors        each supervised; over budget ends the program
//!     workers:                TLS, relay, MQTT client              may block while the TPM signs
//!     thread "tpm":           the keys
//!     thread "firmware":      the slots, if the configuration has some
//! ```

use std::{
    io,
    process::{Command, Stdio},
    rc::Rc,
    sync::Arc,
};

use data_encoding::HEXLOWER;
use muster_actors::{Child, Plan, Supervised, SystemClock};
use muster_tpm::{
    device::{FirmwareBinding, TpmThread},
    keys::KeyError,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::timeout,
};
use tracing::{error, info};

use crate::{
    backoff::Backoff,
    chip,
    config::Config,
    enrolment::{Enrolment, EnrolmentParts, ExchangeError, Lifecycle, own_hash, own_id},
    firmware::{self, Firmware, NoFirmware},
    hub::Hub,
    introduction::{Introduction, IntroductionError},
    limits::{CLOSE_TIME_MAX, FLUSH_TIME_MAX, REFUSED_RETRY_FIRST, REFUSED_RETRY_MAX},
    line::Line,
    recovery::Recovery,
    relay::runtime_folder,
    sensors::{Machine, Schedule, Sensors},
    state::{StateDir, StateError},
    tls::{Credentials, Dialects, TlsError, read_roots},
    trust::TrustKeeper,
    uplink::{Core, Finish, SealKeyError, Sealing, Settings, Uplink, UplinkParts},
};

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder for the state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys are there and show something odd.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// What this device is to say of itself.
    #[error(transparent)]
    Introduction(#[from] IntroductionError),
    /// The hub's root, or TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Whom readings are sealed to.
    #[error(transparent)]
    SealKey(#[from] SealKeyError),
    /// Slots, or the tenant's root. Only a check ends with it.
    #[error(transparent)]
    Firmware(#[from] NoFirmware),
    /// The system gives no thread, signal or random number.
    #[error("get {what} from the system: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// A part failed more often than it may.
    #[error("keep {0} running: it failed too often; its log says why")]
    OverBudget(String),
}

/// What can be looked at without a hub.
#[derive(Debug)]
pub struct Checked {
    /// This device.
    pub device: String,
    /// SHA-256 of the chip's endorsement key, hex: what a purchase list names it by.
    pub ek_hash: String,
    /// What kind of keys it has.
    pub keys: &'static str,
    /// How many root certificates it trusts.
    pub roots: usize,
    /// The keys that readings are sealed to, by stream.
    pub sealed_to: Vec<String>,
    /// What would be installed into, and under which root, if anything is.
    pub firmware: Option<String>,
}

/// Looks whether the agent could run: the root, the state folder, the TPM.
///
/// # Errors
/// The first thing that is not in order.
pub fn check(config: &Config) -> Result<Checked, RunError> {
    let roots = read_roots(&config.root)?.len();
    let state = Arc::new(StateDir::open(&config.state_dir)?);
    Introduction::read(&config.introduction)?;
    let sealed_to = Sealing::read(&config.seal_to)?.keys();
    let firmware = config.firmware.as_ref().map(|settings| firmware::look(settings, &state)).transpose()?;
    let tpm = chip::open(&config.tpm, None, config.firmware_bound.clone(), &state)?;
    let (device, ek_hash, keys) = tpm.call(|keys| Ok((own_id(keys), own_hash(keys), keys.class_hint())))?;
    Ok(Checked {
        device: device?.to_string(),
        ek_hash: HEXLOWER.encode(&ek_hash?),
        keys,
        roots,
        sealed_to,
        firmware,
    })
}

/// Why the agent ended, when nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// The machine is to start again, and the command for that was run, or there is none: whoever started the agent
    /// does it then.
    Restart,
}

/// Runs the agent until it is told to end (SIGTERM, SIGINT), or until firmware wants the machine to start again.
///
/// # Errors
/// Something it cannot do without is not there, or failed for good.
pub fn run(config: Config) -> Result<Ended, RunError> {
    let reboot = config.firmware.as_ref().map(|firmware| firmware.reboot.clone()).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|source| RunError::System { what: "a runtime", source })?;
    let system = actix::System::with_tokio_rt(|| runtime);
    let ended = system.block_on(live(config))?;
    if let (Ended::Restart, [program, arguments @ ..]) = (ended, reboot.as_slice()) {
        match Command::new(program).args(arguments).stdin(Stdio::null()).status() {
            Ok(status) if status.success() => info!(program, "the command to start again was run"),
            Ok(status) => error!(program, %status, "the command to start again failed"),
            Err(error) => error!(program, %error, "the command to start again does not start"),
        }
    }
    Ok(ended)
}

/// The children, and the lines between them.
struct Tree {
    enrolment: Supervised<Enrolment>,
    uplink: Supervised<Uplink>,
    sensors: Supervised<Sensors>,
    finish: Line<Finish>,
    finished: Rc<Notify>,
    firmware: Option<Firmware>,
}

async fn live(config: Config) -> Result<Ended, RunError> {
    let signals = |source| RunError::System { what: "signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let tree = plant(config)?;
    let ended = tokio::select! {
        _ = terminate.recv() => Ended::Told,
        _ = interrupt.recv() => Ended::Told,
        () = tree.wants_restart() => Ended::Restart,
        name = tree.first_end() => {
            error!(name, "a part of the agent has ended");
            return Err(RunError::OverBudget(name));
        }
    };
    tree.fell().await;
    Ok(ended)
}

fn plant(config: Config) -> Result<Tree, RunError> {
    let roots = read_roots(&config.root)?;
    let state = Arc::new(StateDir::open(&config.state_dir)?);
    let introduction = Introduction::read(&config.introduction)?;
    let sealing = Sealing::read(&config.seal_to)?;
    let tpm = chip::open(&config.tpm, Some(&config.measure), config.firmware_bound.clone(), &state)?;
    let (device, keys) = tpm.call(|keys| Ok((own_id(keys), keys.class_hint())))?;
    let device = device?;
    info!(%device, keys, hub = config.hub, version = env!("CARGO_PKG_VERSION"), "muster-edge starts");

    let clock = SystemClock::shared();
    let credentials = Arc::new(Credentials::default());
    let dialects = Dialects::new(&roots, &credentials)?;
    let hub = Hub { address: config.hub.clone(), server_name: config.server_name.clone() };
    let seed = random()?;
    let keeper = TrustKeeper {
        hub: hub.clone(),
        config: Arc::clone(&dialects.trust),
        roots,
        trust: Arc::clone(credentials.trust()),
        state: Arc::clone(&state),
    };
    keeper.load();
    // It needs no actor: nobody addresses it, and it owns nothing but a file.
    let jitter = f64::from(u16::try_from(seed & 0xffff).unwrap_or_default()) / f64::from(u16::MAX);
    tokio::spawn(keeper.keep(jitter));
    let (retry_first, retry_max) = (config.retry_first, config.retry_max);
    let finished = Rc::new(Notify::new());

    let (certificates, reports, readings, openings, finish) =
        (Line::new(), Line::new(), Line::new(), Line::new(), Line::new());

    let recovery = recovery(&config, &hub, &dialects, &tpm)?;
    let firmware = config.firmware.as_ref().and_then(|settings| {
        let variable = |name: &str| std::env::var(name).ok();
        let started = Firmware::start(settings, device.clone(), &state, Arc::clone(&clock), variable);
        // A device that cannot be reached cannot be helped: the agent goes on. A new image does not stay so.
        started
            .inspect_err(|error| error!(%error, "no firmware is installed: failed to read what it takes"))
            .ok()
    });
    let uplink_parts = UplinkParts {
        device: device.clone(),
        hub: hub.clone(),
        config: Arc::clone(&dialects.session),
        tpm: tpm.clone(),
        recovery: recovery.clone(),
        sealing,
        runtime: runtime_folder(|name| std::env::var(name).ok()),
        clock: Arc::clone(&clock),
        enrolment: Line::clone(&reports),
        sensors: Line::clone(&openings),
        finished: Rc::clone(&finished),
        firmware: firmware.as_ref().map(|firmware| Arc::clone(&firmware.inbox)),
    };
    let uplink = Child::new("uplink", Plan::ESCALATE, move |_| {
        let backoff = Backoff::new(retry_first, retry_max, seed);
        Uplink::new(uplink_parts.clone(), Core::new(Settings { backoff }))
    })
    .on_started({
        let (certificates, readings, finish) =
            (Line::clone(&certificates), Line::clone(&readings), Line::clone(&finish));
        let outlet = firmware.as_ref().map(|firmware| Arc::clone(&firmware.outlet));
        move |address| {
            if let Some(outlet) = &outlet {
                outlet.connect(address.clone().recipient());
            }
            certificates.connect(address.clone().recipient());
            readings.connect(address.clone().recipient());
            finish.connect(address.recipient());
        }
    })
    .start();

    let sensors = Child::new("sensors", Plan::ESCALATE, {
        let (device, clock, readings) = (device.clone(), Arc::clone(&clock), Line::clone(&readings));
        let (labels, interval, state) = (config.labels.clone(), config.interval, Arc::clone(&state));
        move |_| {
            let schedule = Schedule::new(interval, clock.now());
            let machine = Machine::new(state.path());
            Sensors::new(
                device.clone(),
                labels.clone(),
                machine,
                schedule,
                Arc::clone(&clock),
                Line::clone(&readings),
            )
        }
    })
    .on_started(move |address| openings.connect(address.recipient()))
    .start();

    let enrolment_parts = EnrolmentParts {
        device,
        claim: config.claim,
        model: config.model,
        introduction,
        hub,
        dialects,
        credentials,
        tpm,
        recovery,
        state,
        clock,
        uplink: certificates,
    };
    let enrolment = Child::new("enrolment", Plan::ESCALATE, move |_| {
        let failures = Backoff::new(retry_first, retry_max, seed.rotate_left(16));
        let refusals = Backoff::new(REFUSED_RETRY_FIRST, REFUSED_RETRY_MAX, seed.rotate_left(32));
        Enrolment::new(enrolment_parts.clone(), Lifecycle::new(failures, refusals))
    })
    .on_started(move |address| reports.connect(address.recipient()))
    .start();

    Ok(Tree { enrolment, uplink, sensors, finish, finished, firmware })
}

/// The way back, if keys are bound to firmware.
fn recovery(
    config: &Config,
    hub: &Hub,
    dialects: &Dialects,
    tpm: &TpmThread,
) -> Result<Option<Arc<Recovery>>, KeyError> {
    let Some(bound) = config.firmware_bound.clone() else { return Ok(None) };
    let folder = bound.policies.clone();
    let FirmwareBinding { authority, class, .. } = bound.binding()?;
    let (hub, config, tpm) = (hub.clone(), Arc::clone(&dialects.enrolment), tpm.clone());
    Ok(Some(Arc::new(Recovery { hub, config, tpm, authority, class, folder })))
}

impl Tree {
    /// Waits until a child is gone for good: the agent is nothing without any of them.
    async fn first_end(&self) -> String {
        let name = tokio::select! {
            _ = self.enrolment.ended() => self.enrolment.name(),
            _ = self.uplink.ended() => self.uplink.name(),
            _ = self.sensors.ended() => self.sensors.name(),
        };
        name.to_owned()
    }

    async fn wants_restart(&self) {
        match &self.firmware {
            Some(firmware) => firmware.reboot.notified().await,
            None => std::future::pending().await,
        }
    }

    /// No more readings; what there is goes out, and the session is closed.
    async fn fell(self) {
        info!("muster-edge ends");
        // Its thread is not waited for: it may be writing an image, and power may go at any time as well.
        if let Some(firmware) = &self.firmware {
            firmware.inbox.end();
        }
        self.sensors.stop().await;
        self.finish.say(Finish);
        if timeout(FLUSH_TIME_MAX + CLOSE_TIME_MAX * 2, self.finished.notified()).await.is_err() {
            error!("the session did not close in time");
        }
        self.uplink.stop().await;
        self.enrolment.stop().await;
    }
}

/// What jitter follows from, so that the devices of a fleet differ.
fn random() -> Result<u64, RunError> {
    getrandom::u64()
        .map_err(|error| RunError::System { what: "a random number", source: io::Error::other(error) })
}
