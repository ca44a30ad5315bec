//! The sockets of a hub: all are bound before anything else starts, so that an address in use is found first; they open
//! when there is something behind them.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use muster_actors::Supervised;
use muster_broker::{Access, Admitted, Bound, Bus, Listener, Protocol, bind, bind_unix};
use tracing::{field, info, warn};

use crate::{
    assembly::ServeError,
    config::{Config, LocalApp, MqttPlain, MqttUnix},
};

/// What is bound and not yet open.
pub(crate) struct Doors {
    mqtt_tls: (TcpListener, SocketAddr),
    https: (TcpListener, SocketAddr),
    mqtt_wss: Option<(TcpListener, SocketAddr)>,
    mqtt_plain: Option<(TcpListener, SocketAddr)>,
    mqtt_unix: Option<Bound>,
}

/// What is spoken behind them.
pub(crate) struct Behind {
    pub(crate) mqtt_tls: Vec<Arc<dyn Protocol>>,
    pub(crate) mqtt_wss: Vec<Arc<dyn Protocol>>,
    pub(crate) https: Vec<Arc<dyn Protocol>>,
}

impl Doors {
    /// Binds what the configuration names.
    pub(crate) fn bind(config: &Config) -> Result<Self, ServeError> {
        let listeners = &config.listeners;
        let wss = listeners.mqtt_wss.as_ref().map(|wss| listen_on(wss.bind, "mqtt_wss"));
        let plain = listeners.mqtt_plain.as_ref().map(|plain| listen_on(plain.bind, "mqtt_plain"));
        Ok(Self {
            mqtt_tls: listen_on(listeners.mqtt_tls, "mqtt_tls")?,
            https: listen_on(listeners.https, "https")?,
            mqtt_wss: wss.transpose()?,
            mqtt_plain: plain.transpose()?,
            mqtt_unix: listeners.mqtt_unix.as_ref().map(listen_in).transpose()?,
        })
    }

    /// Opens them, and says that the hub is ready.
    pub(crate) fn open(self, config: &Config, bus: &Bus, behind: Behind) -> Vec<Supervised<Listener>> {
        let ((mqtt_tls, mqtt), (https, api)) = (self.mqtt_tls, self.https);
        let mut open = vec![bus.listen(mqtt_tls, behind.mqtt_tls), bus.listen(https, behind.https)];
        let admitted = |app: &LocalApp| Admitted {
            principal: app.principal(&config.trust_domain),
            access: Arc::new(Access::app()),
            expires: None,
            quarantine: None,
        };
        let mut wss = None;
        if let Some((socket, address)) = self.mqtt_wss {
            wss = Some(address);
            open.push(bus.listen(socket, behind.mqtt_wss));
        }
        let mut plain = None;
        if let (Some((socket, address)), Some(MqttPlain { app, .. })) =
            (self.mqtt_plain, &config.listeners.mqtt_plain)
        {
            let LocalApp { tenant, id } = app;
            warn!(%address, %tenant, app = %id, "MQTT without TLS and without certificates: for a lab only");
            plain = Some(address);
            open.push(bus.listen_plain(Bound::Tcp(socket), admitted(app)));
        }
        let unix = config.listeners.mqtt_unix.as_ref();
        if let (Some(socket), Some(MqttUnix { app, .. })) = (self.mqtt_unix, unix) {
            open.push(bus.listen_plain(socket, admitted(app)));
        }
        info!(
            mqtt = %mqtt,
            https = %api,
            mqtt_wss = wss.map(field::display),
            mqtt_plain = plain.map(field::display),
            mqtt_unix = unix.map(|unix| field::display(unix.path.display())),
            "ready"
        );
        open
    }
}

/// Takes the socket of a hub that ends out of the file system. One that is left is replaced at the next start.
pub(crate) fn close(config: &Config) {
    if let Some(unix) = &config.listeners.mqtt_unix {
        let _ = std::fs::remove_file(&unix.path);
    }
}

fn listen_on(address: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bound = bind(address).and_then(|socket| socket.local_addr().map(|address| (socket, address)));
    bound.map_err(|why| ServeError::Bind { address: address.to_string(), key, setting: "bind", why })
}

fn listen_in(unix: &MqttUnix) -> Result<Bound, ServeError> {
    let bound = bind_unix(&unix.path, unix.mode).map(Bound::Unix);
    let address = shown(&unix.path);
    bound.map_err(|why| ServeError::Bind { address, key: "mqtt_unix", setting: "path", why })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::causes::causes;

    #[test]
    fn an_address_that_is_taken_is_told_once_with_what_to_do() {
        // A socket belongs to a runtime.
        actix_rt::System::new().block_on(async {
            let (_taken, address) = listen_on((Ipv4Addr::LOCALHOST, 0).into(), "https").expect("a free port");
            let error = listen_on(address, "https").expect_err("taken");
            let told = causes(&error);
            assert_eq!(told.matches("in use").count(), 1, "{told}");
            assert!(told.ends_with("set another with listeners.https.bind"), "{told}");
        });
    }
}
