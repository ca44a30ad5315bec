//! Whether somebody may act, asked by name and without a certificate: for whoever explains, never for whoever admits.

use actix::{Context, Handler, Message};
use muster_schemas::{DeviceId, Kind, TenantId};

use super::{AdmitReason, RegistryActor, admissions::row::Held, core::Registry, row::Device};

/// Asks how a principal stands.
#[derive(Debug, Clone)]
pub struct AskStanding {
    /// Its tenant; for a device, none means whichever has it.
    pub tenant: Option<TenantId>,
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: DeviceId,
}

/// How a principal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The device's row, if it is a device and there is one.
    pub device: Option<Device>,
    /// Its row among those that wait for a person, or were denied.
    pub held: Option<Held>,
    /// Whether it may act now with the certificate it has; else why not.
    pub may_act: Result<(), AdmitReason>,
}

impl Message for AskStanding {
    type Result = Option<Standing>;
}

impl Registry {
    /// How a principal stands; none, for a client whose tenant was not named.
    pub fn standing(&self, now_s: u64, asked: &AskStanding) -> Option<Standing> {
        let AskStanding { tenant, kind, id } = asked;
        let device = (*kind == Kind::Device).then(|| self.device_of(tenant.as_ref(), id)).flatten().cloned();
        let tenant = device.as_ref().map(|device| &device.tenant).or(tenant.as_ref());
        let may_act = match tenant {
            Some(tenant) => self.may_act(tenant, *kind, id).and_then(|certificate| {
                if certificate.is_some() && certificate.not_after_s < now_s {
                    Err(AdmitReason::Expired)
                } else {
                    Ok(())
                }
            }),
            None if *kind == Kind::Device => Err(AdmitReason::Unknown),
            None => return None,
        };
        let held = self.admissions.held_device(id).filter(|held| {
            *kind == Kind::Device && asked.tenant.as_ref().is_none_or(|tenant| held.tenant == *tenant)
        });
        Some(Standing { device, held: held.cloned(), may_act })
    }
}

impl Handler<AskStanding> for RegistryActor {
    type Result = Option<Standing>;

    fn handle(&mut self, asked: AskStanding, _: &mut Context<Self>) -> Self::Result {
        let now_s = self.now_s();
        self.core().standing(now_s, &asked)
    }
}
