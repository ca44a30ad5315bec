use muster_trust::Tenants;

use super::*;

const WHOLE: &str = r#"
data_dir = "data"
trust_domain = "muster.example"
node = "hub-1"
passphrase_file = "/etc/muster/passphrase"
server_names = ["localhost", "127.0.0.1"]
tpm_roots = [{ file = "tpm-roots/vendor.pem", class = "hardware" }]
tpm_crls = ["tpm-roots/vendor.crl"]

[listeners.mqtt_tls]
bind = "127.0.0.1:0"

[listeners.https]
bind = "[::1]:8443"

[listeners.mqtt_wss]
bind = "0.0.0.0:8084"
origins = ["https://dashboard.example"]

[listeners.mqtt_plain]
bind = "10.0.0.7:1884"
tenant = "acme"
app = "bench"

[listeners.mqtt_unix]
path = "run/mqtt.sock"
mode = "0660"
tenant = "acme"
app = "gateway"

[certificates]
device_validity_s = 3600

[limits]
connections_max = 5
packet_bytes_max = 2048
"#;

const LEAST: &str = "trust_domain = \"muster.example\"\nserver_names = [\"localhost\"]\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/srv/muster/muster.toml"), text, [], &[])
}

fn refused(text: &str) -> String {
    parse(text).expect_err("refused").to_string()
}

#[test]
fn every_key_of_the_whole_file_is_taken() {
    let config = parse(WHOLE).expect("valid");
    assert_eq!(config.data_dir, Path::new("/srv/muster/data"));
    assert_eq!(config.passphrase_file, Path::new("/etc/muster/passphrase"));
    assert_eq!(config.trust_domain.as_str(), "muster.example");
    assert_eq!(config.node.as_str(), "hub-1");
    assert_eq!(config.server_names.len(), 2);
    assert_eq!(
        config.tpm_roots,
        [TpmRoot { file: "/srv/muster/tpm-roots/vendor.pem".into(), class: TpmClass::Hardware }]
    );
    assert_eq!(config.tpm_crls, [PathBuf::from("/srv/muster/tpm-roots/vendor.crl")]);
    assert_eq!(config.listeners.mqtt_tls.to_string(), "127.0.0.1:0");
    assert_eq!(config.listeners.https.to_string(), "[::1]:8443");
    let wss = config.listeners.mqtt_wss.expect("on");
    assert_eq!((wss.bind.port(), wss.origins), (8084, vec!["https://dashboard.example".to_owned()]));
    let app = |id: &str| LocalApp { tenant: "acme".parse().expect("id"), id: id.parse().expect("id") };
    let plain = MqttPlain { bind: "10.0.0.7:1884".parse().expect("address"), app: app("bench") };
    assert_eq!(config.listeners.mqtt_plain, Some(plain));
    let unix = MqttUnix { path: "/srv/muster/run/mqtt.sock".into(), mode: 0o660, app: app("gateway") };
    assert_eq!(config.listeners.mqtt_unix, Some(unix));
    assert_eq!(config.certificates, Certificates { device_validity_s: 3600, tenants: Tenants::All });
    assert_eq!(config.limits, Limits { connections_max: 5, packet_bytes_max: 2048 });
    assert_eq!(config.bus.sys_interval_s, 10);
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = parse(LEAST).expect("valid");
    assert_eq!(config.node.as_str(), "hub");
    assert_eq!(config.listeners.mqtt_tls.to_string(), "127.0.0.1:8883");
    assert_eq!(config.listeners.https.to_string(), "127.0.0.1:8443");
    assert_eq!(config.listeners.mqtt_wss, None);
    assert_eq!(config.listeners.mqtt_plain, None);
    assert_eq!(config.listeners.mqtt_unix, None);
    assert_eq!(config.certificates.device_validity_s, DEVICE_VALIDITY_S);
    assert!(config.tpm_roots.is_empty() && config.tpm_crls.is_empty());
}

#[test]
fn a_way_in_without_certificates_needs_a_tenant_and_nothing_else() {
    let config =
        parse(&format!("{LEAST}[listeners]\nmqtt_plain.tenant = \"acme\"\nmqtt_unix.tenant = \"acme\""));
    let listeners = config.expect("valid").listeners;
    let plain = listeners.mqtt_plain.expect("on");
    assert_eq!((plain.bind.to_string().as_str(), plain.app.id.as_str()), ("127.0.0.1:1883", "plain"));
    let unix = listeners.mqtt_unix.expect("on");
    assert_eq!((unix.path.as_path(), unix.mode), (Path::new("/srv/muster/mqtt.sock"), 0o600));
    assert_eq!(unix.app.id.as_str(), "local");
    let flag =
        Config::parse(Path::new("muster.toml"), LEAST, [], &["listeners.mqtt_plain.tenant=acme".to_owned()]);
    assert!(flag.expect("valid").listeners.mqtt_plain.is_some());
}

#[test]
fn an_unknown_key_names_its_path_its_file_and_what_it_may_have_meant() {
    let text = refused(&format!("{LEAST}[listeners.mqtt_tls]\nbnid = \"127.0.0.1:1\"\n"));
    assert_eq!(
        text,
        "understand /srv/muster/muster.toml: there is no key \"listeners.mqtt_tls.bnid\"; \
         did you mean \"listeners.mqtt_tls.bind\"?"
    );
    let text = refused(&format!("{LEAST}[listener.https]\nbind = \"127.0.0.1:1\"\n"));
    assert!(text.ends_with("no key \"listener\"; did you mean \"listeners\"?"), "{text}");
    let text =
        refused(&format!("{LEAST}tpm_roots = [{{ file = \"a\", class = \"hardware\", klass = 1 }}]\n"));
    assert!(text.contains("\"tpm_roots[0].klass\"; did you mean \"tpm_roots[0].class\""), "{text}");
    let text = refused(&format!("{LEAST}zzz = 1\n"));
    assert!(text.ends_with("no key \"zzz\""), "{text}");
}

#[test]
fn a_wrong_value_says_what_would_be_right() {
    for (text, wanted) in [
        (LEAST.replace("muster.example", "Muster"), "trust_domain must be a lower-case DNS name"),
        ("server_names = [\"localhost\"]".to_owned(), "trust_domain is missing"),
        (LEAST.replace("[\"localhost\"]", "[]"), "server_names must be a list of 1 to 32"),
        (LEAST.replace("\"localhost\"", "\"no name\""), "server_names must be a list of 1 to 32"),
        (LEAST.replace("\"localhost\"", "7"), "server_names must be a list of texts, and is 7"),
        (format!("{LEAST}[limits]\nconnections_max = 0"), "a whole number from 1 to 1000000, and is 0"),
        (format!("{LEAST}[limits]\nconnections_max = \"5\""), "and is \"5\""),
        (
            format!("{LEAST}[listeners.https]\nbind = \"localhost\""),
            "listeners.https.bind must be an address",
        ),
        (format!("{LEAST}[listeners]\nhttps = 1"), "listeners.https must be a section, and is 1"),
        (format!("{LEAST}tpm_roots = [{{ file = \"a\", class = \"real\" }}]"), "tpm_roots[0].class must be"),
        ("trust_domain = ".to_owned(), "line 1"),
        (format!("{LEAST}[listeners.mqtt_wss]\norigins = [\"*\"]"), "at most 64 of the form"),
        (
            format!("{LEAST}[listeners.mqtt_wss]\nbind = \"127.0.0.1:8883\""),
            "listeners.mqtt_tls does not have",
        ),
        (format!("{LEAST}[listeners.mqtt_plain]"), "listeners.mqtt_plain.tenant is missing"),
        (format!("{LEAST}[listeners]\nmqtt_plain.tenant = \"A B\""), "must be the id of a tenant"),
        (
            format!("{LEAST}[listeners]\nmqtt_plain = {{ tenant = \"acme\", bind = \"127.0.0.1:8443\" }}"),
            "listeners.https does not have",
        ),
        (
            format!("{LEAST}[listeners]\nmqtt_unix = {{ tenant = \"acme\", mode = \"0777\" }}"),
            "listeners.mqtt_unix.mode must be \"0600\", \"0660\" or \"0666\", and is \"0777\"",
        ),
        (
            format!("{LEAST}[listeners]\nhttps.bind = \"1.1.1.1:1\"\nmqtt_tls.bind = \"1.1.1.1:1\""),
            "does not have",
        ),
    ] {
        let said = refused(&text);
        assert!(said.contains(wanted), "{said:?} does not say {wanted:?}");
    }
}

#[test]
fn flags_come_over_the_environment_and_that_over_the_file() {
    let path = Path::new("muster.toml");
    let environment = || {
        [
            ("MUSTER__LISTENERS__MQTT_TLS__BIND", "127.0.0.1:1"),
            ("MUSTER__LISTENERS__HTTPS__BIND", "127.0.0.1:2"),
            ("MUSTER__LIMITS__CONNECTIONS_MAX", "77"),
            ("MUSTER__SERVER_NAMES", "hub.example, 10.0.0.1"),
            ("MUSTER__TPM_ROOTS", "[{ file = \"a.pem\", class = \"simulated\" }]"),
            ("MUSTER_IDENTITY", "passed by"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let flags = ["listeners.https.bind=127.0.0.1:3".to_owned()];
    let config = Config::parse(path, WHOLE, environment(), &flags).expect("valid");
    assert_eq!(config.listeners.mqtt_tls.port(), 1);
    assert_eq!(config.listeners.https.port(), 3);
    assert_eq!(config.limits.connections_max, 77);
    assert_eq!(config.server_names.len(), 2);
    assert_eq!(config.tpm_roots.len(), 1);
}

#[test]
fn a_mistake_in_the_environment_or_a_flag_is_named_as_such() {
    let path = Path::new("muster.toml");
    let variable = |name: &str, value: &str| {
        let error = Config::parse(path, LEAST, [(name.to_owned(), value.to_owned())], &[]);
        error.expect_err("refused").to_string()
    };
    let said = variable("MUSTER__LIMITS__CONNECTION_MAX", "5");
    assert!(said.contains("the environment (MUSTER__LIMITS__CONNECTION_MAX)"), "{said}");
    assert!(said.contains("did you mean \"limits.connections_max\""), "{said}");
    let said = variable("MUSTER__LIMITS__CONNECTIONS_MAX", "many");
    assert!(said.contains("the environment (MUSTER__LIMITS__CONNECTIONS_MAX)"), "{said}");
    let flag =
        |text: &str| Config::parse(path, LEAST, [], &[text.to_owned()]).expect_err("refused").to_string();
    assert!(flag("limits.connections_max").contains("section.key=value"));
    assert!(flag("trust_domain.x=1").contains("--set"));
    assert!(flag("node=Hub").contains("--set: node must be"));
}

#[test]
fn a_file_that_is_absent_is_named() {
    let said = Config::read(Path::new("/nowhere/muster.toml"), [], &[]).expect_err("absent").to_string();
    assert_eq!(said, "read /nowhere/muster.toml");
}

#[test]
fn what_a_section_of_quotas_does_not_say_is_as_above_it() {
    let config = parse(&format!(
        "{LEAST}[quotas]\nconnections_max = 20\nlog_age_s_max = 3600\n[quotas.device]\nmessages_per_s_max = 7\n\
         [quotas.tenants.acme]\nconnections_max = 50\n[quotas.tenants.acme.device]\nconnections_max = 40\n"
    ));
    let quotas = config.expect("valid").quotas;
    let usual = &quotas.usual;
    assert_eq!((usual.tenant.connections_max, usual.device.quota.connections_max), (20, 20));
    assert_eq!((usual.device.quota.messages.per_s_max, usual.log_age_max.as_secs()), (7, 3_600));
    assert_eq!((usual.device.log_bytes_max, usual.app.log_bytes_max), (64 << 20, 1 << 30));
    let acme = quotas.of(&"acme".parse().expect("id"));
    assert_eq!((acme.tenant.connections_max, acme.device.quota.connections_max), (50, 40));
    assert_eq!((acme.device.quota.messages.per_s_max, acme.app.quota.connections_max), (7, 20));
    let bounds = parse(&format!(
        "{LEAST}[quotas]\nseries_max = 500\n[quotas.device]\nstreams_max = 9\n[quotas.tenants.acme.device]\n\
         series_max = 7\n"
    ));
    let bounds = bounds.expect("valid").telemetry_bounds;
    let usual_bounds = muster_screen::Bounds { device_streams_max: 9, series_max: 500, ..Default::default() };
    assert_eq!(bounds.of(&"globex".parse().expect("id")), usual_bounds);
    let acme_bounds = muster_screen::Bounds { device_series_max: 7, ..usual_bounds };
    assert_eq!(bounds.of(&"acme".parse().expect("id")), acme_bounds);
    assert_eq!(*parse(LEAST).expect("valid").telemetry_bounds, Default::default());
    assert_eq!(quotas.of(&"globex".parse().expect("id")), *usual);
    assert_eq!(*parse(LEAST).expect("valid").quotas.usual, muster_broker::Quotas::default());
}

#[test]
fn a_principal_gets_no_more_than_its_tenant() {
    for (text, wanted) in [
        (
            "[quotas]\nconnections_max = 20\n[quotas.device]\nconnections_max = 21",
            "quotas.device.connections_max must be a whole number from 0 to 20",
        ),
        (
            "[quotas.tenants.acme]\nbytes_per_s_max = 99\n[quotas.tenants.acme.app]\nbytes_per_s_max = 100",
            "quotas.tenants.acme.app.bytes_per_s_max must be a whole number from 1 to 99",
        ),
        (
            "[quotas]\nmessages_per_s_max = 1000\nmessages_burst_max = 9",
            "quotas.messages_burst_max must be a whole number from 10 to",
        ),
        ("[quotas.tenants.acme]\nconection_max = 1", "did you mean \"quotas.tenants.acme.connections_max\""),
        (
            "[quotas.tenants.Acme]\nconnections_max = 1",
            "quotas.tenants.Acme must be a section whose name is the id of a tenant",
        ),
        ("[quotas]\nlog_bytes_max = 1", "quotas.log_bytes_max must be"),
        (
            "[quotas.device]\nstreams_max = 0",
            "quotas.device.streams_max must be a whole number from 1 to 4096",
        ),
        ("[quotas.app]\nstreams_max = 5", "quotas.app.streams_max"),
        (
            "[quotas]\nlog_bytes_max = 2000000\n[quotas.device]\nlog_bytes_max = 2000001",
            "quotas.device.log_bytes_max must be a whole number from 1024 to 2000000",
        ),
    ] {
        let said = refused(&format!("{LEAST}{text}\n"));
        assert!(said.contains(wanted), "{said:?} does not say {wanted:?}");
    }
}
