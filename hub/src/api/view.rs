//! What a caller may be shown of a tenant's telemetry. Every route that reads telemetry asks here, and nowhere else.

use actix_web::http::StatusCode;
use muster_items::View;
use muster_policy::WALL;
use muster_schemas::{Kind, TenantId};

use super::{Api, caller::Caller, error::ApiError};
use crate::rules::{Denial, NotShown, What};

impl Api {
    /// What `caller` may be shown of what `tenant` has, at this instant. To be asked for each question anew.
    ///
    /// # Errors
    /// The caller has no business with that tenant.
    pub(super) fn view(&self, caller: &Caller, tenant: &TenantId, now_ms: i64) -> Result<View, ApiError> {
        self.shown(caller, tenant, None, now_ms)
    }

    /// The same, of one data set if it is named.
    ///
    /// # Errors
    /// The caller has no business with that tenant, or is not let into that data set.
    pub(super) fn view_within(
        &self,
        caller: &Caller,
        tenant: &TenantId,
        data_set: Option<&str>,
        now_ms: i64,
    ) -> Result<View, ApiError> {
        match data_set {
            None => self.view(caller, tenant, now_ms),
            Some(_) => self.shown(caller, tenant, data_set, now_ms),
        }
    }

    fn shown(
        &self,
        caller: &Caller,
        tenant: &TenantId,
        data_set: Option<&str>,
        now_ms: i64,
    ) -> Result<View, ApiError> {
        let principal = caller.principal();
        if principal.tenant == *tenant || principal.is_operator() || principal.kind == Kind::Service {
            let is_member = caller.member(tenant);
            if is_member.is_err() && principal.tenant != *tenant {
                let (from, who) = (&principal.tenant, (principal.kind, &principal.id));
                let (what, topic, rule) = (What::Tenant, None, WALL);
                self.known.note(Denial { tenant, from, who, what, topic, rule, now_ms }, 1);
            }
            is_member?;
        }
        let view = self.known.view(principal, tenant, data_set, now_ms);
        view.map_err(|refusal| match refusal {
            NotShown::Operator | NotShown::Kind | NotShown::Stranger => ApiError::tenant_unknown(tenant),
            NotShown::DataSetUnknown(name) => ApiError::not_found(
                &format!("there is no data set {name:?} for this caller"),
                "`muster dataset list` shows those of your tenant, `muster grant list` what is shared with it",
            ),
            NotShown::Closed { data_set, rule } => ApiError::new(
                StatusCode::FORBIDDEN,
                "denied",
                "the data set was not opened",
                format!("the rule {rule:?} keeps {data_set:?} closed"),
                "`muster policy show` shows the rules; ask whoever administers the tenant",
            ),
        })
    }

    /// What the time is, as rules see it.
    pub(super) fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX)
    }
}
