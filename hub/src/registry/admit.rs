//! Whether a peer may act, by its certificate, its rows and the time: asked after every handshake, and by whoever explains.

use muster_schemas::{DeviceId, Kind, Principal, TenantId};

use super::{
    core::{Effect, Registry},
    message::{Admit, AdmitReason, AdmitRefusal, Admitted},
    row::{Certificate, ClientKind, Device, Row, State},
};
use crate::authority::Leaf;

impl Registry {
    /// Says whether a peer may act, after its handshake. The first connection with a renewed certificate ends the one
    /// before it.
    ///
    /// # Errors
    /// The peer may not act; the refusal says why.
    pub fn admit(
        &mut self,
        now_s: u64,
        command: Admit,
        effects: &mut Vec<Effect>,
    ) -> Result<Admitted, AdmitRefusal> {
        let Admit(leaf) = command;
        let settled = self.admission(now_s, &leaf).map_err(|reason| AdmitRefusal { reason })?;
        if let Some(device) = settled {
            self.put(Row::Device(device), effects);
        }
        if leaf.principal.kind == Kind::Device {
            self.count_connection(&leaf.principal.id);
        }
        let left_s = leaf.not_after_s.saturating_sub(now_s);
        Ok(Admitted { tenant: leaf.principal.tenant.clone(), principal: leaf.principal, left_s })
    }

    /// The row to write when the peer may act and thereby ends its previous certificate.
    fn admission(&self, now_s: u64, leaf: &Leaf) -> Result<Option<Device>, AdmitReason> {
        let principal = &leaf.principal;
        if leaf.not_after_s < now_s {
            return Err(AdmitReason::Expired);
        }
        if self.is_revoked(leaf.authority, leaf.serial) {
            return Err(self.why_revoked(principal));
        }
        let certificate = self.may_act(&principal.tenant, principal.kind, &principal.id)?;
        if principal.kind != Kind::Device {
            return if certificate.is(leaf) { Ok(None) } else { Err(AdmitReason::NotCurrent) };
        }
        let row = self.device_of(Some(&principal.tenant), &principal.id).ok_or(AdmitReason::Unknown)?;
        let current = row.certificate.is(leaf);
        if !current && !row.previous.as_ref().is_some_and(|previous| previous.is(leaf)) {
            return Err(AdmitReason::NotCurrent);
        }
        let settles = current && row.previous.is_some();
        Ok(settles.then(|| Device { previous: None, ..row.clone() }))
    }

    /// The current certificate of a principal that may act, as far as its rows say.
    pub(super) fn may_act(
        &self,
        tenant: &TenantId,
        kind: Kind,
        id: &DeviceId,
    ) -> Result<&Certificate, AdmitReason> {
        if *tenant != Principal::operator_tenant() {
            let tenant = self.tenants.get(tenant).ok_or(AdmitReason::TenantUnknown)?;
            check_active(tenant.state, AdmitReason::TenantSuspended)?;
        }
        let (state, certificate) = if kind == Kind::Device {
            let row = self.device_of(Some(tenant), id).ok_or(AdmitReason::Unknown)?;
            (row.state, &row.certificate)
        } else {
            let kind = ClientKind::of(kind).ok_or(AdmitReason::Kind)?;
            let row = self.clients.get(&(tenant.clone(), kind, id.clone())).ok_or(AdmitReason::Unknown)?;
            (row.state, &row.certificate)
        };
        check_active(state, AdmitReason::Suspended)?;
        Ok(certificate)
    }

    /// The row of a device, of that tenant or of whichever has it.
    pub(super) fn device_of(&self, tenant: Option<&TenantId>, id: &DeviceId) -> Option<&Device> {
        self.devices.get(id).filter(|row| tenant.is_none_or(|tenant| row.tenant == *tenant))
    }
}

fn check_active(state: State, suspended: AdmitReason) -> Result<(), AdmitReason> {
    match state {
        State::Active => Ok(()),
        State::Suspended => Err(suspended),
        State::Revoked => Err(AdmitReason::Revoked),
        State::Retired => Err(AdmitReason::Retired),
    }
}
