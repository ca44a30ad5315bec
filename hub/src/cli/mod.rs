//! The command line. Everything that concerns a running hub goes over its HTTPS API with a client certificate, and `sub`,
//! `pub` and `rr` over MQTT with the same one: there is no side door. Only `init`, `check`, `serve`, `operator`,
//! `ca rotate`, `ca authorities`, `restore`, `seal`, `open`, `completions` and most of `backup` work on this machine.
//!
//! The identity is a directory with `cert.pem`, `key.pem`, `ca.pem` and `hub.toml`. It is, in this order: `--identity`,
//! `MUSTER_IDENTITY`, or the directory `operator` beside the configuration (`--config`, `MUSTER_CONFIG`, or
//! `muster-data/muster.toml`).

mod admission;
mod app;
mod attest;
mod attributes;
mod audit;
mod backup;
mod ca;
mod exit;
mod explain;
mod firmware;
mod hub;
mod identity;
mod influx;
mod inspection;
mod key;
mod life;
mod local;
mod manifest;
mod mqtt;
mod open;
mod password;
mod people;
mod plot;
mod remote;
mod restore;
mod retention;
mod rules;
mod schema;
mod seal;
mod sharing;
mod table;
mod telemetry;
mod time;
mod ways_in;

use std::{
    ffi::OsString,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use muster_schemas::{
    DeviceId, TenantId,
    api::{ErrorBody, ErrorDetail},
};

pub use exit::{Complaint, Exit};
use hub::Hub;
use identity::Identity;
pub(crate) use identity::hub_file;

use crate::registry::ClientKind;

/// Muster: a message bus for fleets of edge devices.
#[derive(Debug, Parser)]
#[command(name = "muster", version, arg_required_else_help = true, after_help = exit::CODES)]
struct Program {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// The hub's configuration.
    #[arg(
        long,
        global = true,
        env = "MUSTER_CONFIG",
        value_name = "FILE",
        default_value = "muster-data/muster.toml"
    )]
    config: PathBuf,
    /// The directory with the certificate to call the hub with [default: `operator` beside the configuration].
    #[arg(long, global = true, env = "MUSTER_IDENTITY", value_name = "DIR")]
    identity: Option<PathBuf>,
    /// Where the hub's API answers [default: `api` in hub.toml of the identity].
    #[arg(long, global = true, env = "MUSTER_HUB", value_name = "URL")]
    hub: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl Common {
    /// The identity that the command acts with.
    fn identity(&self) -> Result<Identity, Complaint> {
        let dir = match &self.identity {
            Some(dir) => dir.clone(),
            None => self.config.parent().unwrap_or(Path::new("")).join("operator"),
        };
        Identity::read(&dir, self.hub.as_deref())
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a person.
    #[value(alias = "text")]
    Table,
    /// For a program.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new hub: authorities, certificates, configuration, and your own identity.
    Init(local::Init),
    /// Run the hub.
    Serve(local::Serve),
    /// Look at configuration, files and certificates, and change nothing.
    Check(local::Settings),
    /// Look after the operator's own identity, on the machine of the hub.
    #[command(subcommand)]
    Operator(Operator),
    /// Create, list, suspend and resume tenants.
    #[command(subcommand)]
    Tenant(remote::Tenants),
    /// Create claims: single-use codes that tie an unknown chip to a tenant.
    #[command(subcommand)]
    Claim(remote::Claims),
    /// List and show devices, and rule over their lives.
    #[command(subcommand)]
    Device(remote::Devices),
    /// Accept measurements: what devices may run.
    #[command(subcommand)]
    Measurement(admission::Measurements),
    /// List what has to be looked at, and say that you have looked.
    #[command(subcommand)]
    Alarms(life::AlarmCommand),
    /// Create, list and remove apps of a tenant, suspend, resume and revoke them.
    #[command(subcommand)]
    App(people::Clients),
    /// Create, list and remove users: people of a tenant, or operators of the hub.
    #[command(subcommand)]
    User(people::Clients),
    /// Approve firmware, and say whose approvals count.
    #[command(subcommand)]
    Firmware(firmware::Firmware),
    /// Show keys and make them anew; bring a tenant's own and withdraw it; say which fields are sensitive.
    #[command(subcommand)]
    Key(key::KeyCommands),
    /// Issue, list and revoke certificates of users, apps, services, relays, hubs and software; rotate authorities.
    #[command(subcommand)]
    Ca(ca::Certificates),
    /// Have backups made, and list, check and prune them.
    #[command(subcommand)]
    Backup(backup::Backups),
    /// Put a hub back into an empty directory, or one tenant into a hub that is stopped.
    Restore(restore::Restore),
    /// Read a tenant's telemetry, as an app or user of that tenant; say how long it is kept.
    #[command(subcommand)]
    Telemetry(telemetry::Telemetry),
    /// Say how far a tenant's telemetry has come on its way to InfluxDB.
    #[command(subcommand)]
    Influx(influx::Influx),
    /// Subscribe, as an app of a tenant, and print what comes.
    Sub(mqtt::Sub),
    /// Publish, as an app of a tenant, and print what the hub answers.
    Pub(mqtt::Pub),
    /// Publish a request, as an app of a tenant, and print the reply to it.
    Rr(mqtt::Rr),
    /// Say what a tenant's readings are: units, bounds and kinds, to which telemetry is held.
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Make keys that devices seal their readings to.
    #[command(subcommand)]
    Seal(seal::Seal),
    /// Open what devices sealed to a key of yours.
    Open(open::Open),
    /// List the connected clients, of a tenant or of all.
    Clients(inspection::Clients),
    /// Disconnect a client.
    Kick(inspection::Kick),
    /// List what is retained and what is subscribed to, as an app or user of the tenant.
    Topics(inspection::Topics),
    /// Print the packets of a client or on a topic as they come and go, as an app or user of the tenant.
    Trace(inspection::Trace),
    /// List what was refused to whom, and why; an operator sees it without topics.
    Audit(audit::Audit),
    /// Say whether somebody may do something, and by which rule.
    Can(explain::Can),
    /// Put, list, show and roll back a tenant's access rules, as a user of the tenant.
    #[command(subcommand)]
    Policy(rules::Policies),
    /// Name parts of what a tenant has, as a user of the tenant.
    #[command(subcommand)]
    Dataset(sharing::DataSets),
    /// Share data sets with other tenants, as a user of the tenant.
    #[command(subcommand)]
    Grant(sharing::Grants),
    /// Print the completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum Operator {
    /// Make a new key and certificate in the directory `operator`. Needs the passphrase, and no running hub.
    Renew(local::Settings),
}

/// What the world gives a command: where to write, and what time it is.
pub struct World<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Why it was not given.
    pub err: &'a mut dyn Write,
    /// What it is fed.
    pub input: Box<dyn Read + Send>,
    /// The variables of the process; those that are not UTF-8 left out.
    pub environment: Vec<(String, String)>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// Runs one command and says how it ended. Everything is written to `world`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, world: &mut World<'_>) -> Exit {
    let program = match Program::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => {
            let to = if error.use_stderr() { &mut world.err } else { &mut world.out };
            // Nobody is left to tell when this cannot be written.
            let _ = write!(to, "{}", error.render());
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let output = program.common.output;
    match carry_out(program, world).and_then(|exit| Ok(world.out.flush().map(|()| exit)?)) {
        Ok(exit) => exit,
        Err(complaint) => {
            let _ = complain(world.err, output, &complaint);
            complaint.exit
        }
    }
}

fn carry_out(program: Program, world: &mut World<'_>) -> Result<Exit, Complaint> {
    let Program { common, command } = program;
    match command {
        Command::Init(init) => local::init(init, common.output, world),
        Command::Serve(settings) => local::serve(&common.config, &settings, world),
        Command::Check(settings) => local::check(&common.config, &settings, common.output, world),
        Command::Operator(Operator::Renew(settings)) => {
            local::renew_operator(&common.config, &settings, world)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Program::command(), "muster", &mut world.out);
            Ok(Exit::Ok)
        }
        Command::Tenant(command) => remote::tenant(command, &mut Call::new(&common, world)?),
        Command::Claim(command) => remote::claim(command, &mut Call::new(&common, world)?),
        Command::Device(command) => remote::device(command, &mut Call::new(&common, world)?),
        Command::Measurement(command) => admission::measurements(command, &mut Call::new(&common, world)?),
        Command::Alarms(command) => life::alarms(command, &mut Call::new(&common, world)?),
        Command::App(command) => people::client(ClientKind::App, command, &mut Call::new(&common, world)?),
        Command::User(command) => people::client(ClientKind::User, command, &mut Call::new(&common, world)?),
        Command::Firmware(command) => firmware::firmware(command, &common, world),
        Command::Key(command) => key::key(command, &common, world),
        Command::Ca(command) => ca::ca(command, &common, world),
        Command::Backup(command) => backup::backups(command, &common, world),
        Command::Restore(command) => restore::restore(&command, &common, world),
        Command::Telemetry(command) => telemetry::telemetry(command, &common, world),
        Command::Schema(command) => schema::schema(command, &mut Call::new(&common, world)?),
        Command::Influx(command) => influx::influx(command, &mut Call::new(&common, world)?),
        Command::Seal(command) => seal::seal(command, &common, world),
        Command::Open(command) => open::open_sealed(&command, &common, world),
        Command::Clients(command) => inspection::clients(command, &mut Call::new(&common, world)?),
        Command::Kick(command) => inspection::kick(command, &mut Call::new(&common, world)?),
        Command::Topics(command) => inspection::topics(command, &mut Call::new(&common, world)?),
        Command::Trace(command) => inspection::trace(command, &mut Call::new(&common, world)?),
        Command::Audit(command) => audit::audit(command, &mut Call::new(&common, world)?),
        Command::Can(command) => explain::can(command, &mut Call::new(&common, world)?),
        Command::Policy(rules::Policies::Check { file }) => rules::check(&file, common.output, world),
        Command::Policy(command) => rules::policies(command, &mut Call::new(&common, world)?),
        Command::Dataset(command) => sharing::data_sets(command, &mut Call::new(&common, world)?),
        Command::Grant(command) => sharing::grants(command, &mut Call::new(&common, world)?),
        Command::Sub(command) => mqtt::sub(&command, &common, world),
        Command::Pub(command) => mqtt::publish(command, &common, world),
        Command::Rr(command) => mqtt::rr(command, &common, world),
    }
}

/// A command that calls a hub.
struct Call<'a> {
    identity: Identity,
    hub: Hub,
    output: Output,
    out: &'a mut dyn Write,
    input: &'a mut (dyn Read + Send),
    now_ms: u64,
}

impl<'a> Call<'a> {
    fn new(common: &Common, world: &'a mut World<'_>) -> Result<Self, Complaint> {
        let identity = common.identity()?;
        let hub = Hub::new(&identity)?;
        Ok(Self {
            identity,
            hub,
            output: common.output,
            out: world.out,
            input: &mut *world.input,
            now_ms: world.now_ms,
        })
    }

    /// The tenant that was named, or else the one that the identity belongs to.
    fn tenant(&self, named: Option<TenantId>) -> Result<TenantId, Complaint> {
        match named {
            Some(tenant) => Ok(tenant),
            None if self.identity.principal.tenant.as_str() == "operator" => Err(Complaint::new(
                Exit::Usage,
                "choose a tenant",
                "an operator belongs to none",
                "name one: --tenant <tenant>",
            )),
            None => Ok(self.identity.principal.tenant.clone()),
        }
    }
}

/// Which tenant a command is about.
#[derive(Debug, Args)]
struct OfTenant {
    /// The tenant; an app or user may leave it out.
    #[arg(long, short)]
    tenant: Option<TenantId>,
}

/// Which devices and streams a command is about.
#[derive(Debug, Args)]
struct Selection {
    /// Only this device.
    #[arg(long)]
    device: Option<DeviceId>,
    /// Only this stream: the last level of its topic.
    #[arg(long)]
    stream: Option<String>,
}

fn complain(err: &mut dyn Write, output: Output, complaint: &Complaint) -> std::io::Result<()> {
    let Complaint { code, what, why, next, .. } = complaint;
    if output == Output::Json {
        let (code, what) = (code.clone(), format!("cannot {what}"));
        let error = ErrorDetail { code, what, why: why.clone(), next: next.clone() };
        let body = serde_json::to_string(&ErrorBody { error }).map_err(std::io::Error::other)?;
        return writeln!(err, "{body}");
    }
    writeln!(err, "error: cannot {}", table::printable(what))?;
    for (title, text) in [("why", why), ("next", next)] {
        if !text.is_empty() {
            writeln!(err, "{title:>5}: {}", table::printable(text))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
