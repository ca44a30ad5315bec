//! What tenants, and principals within them, may have and do: the section `[quotas]`.
//!
//! Its own keys hold for every tenant, `[quotas.device]` for each device of one and `[quotas.app]` for each app;
//! `[quotas.tenants.<id>]` has the same keys and sections for one tenant. What a section does not say is as above it,
//! and never more than the tenant as a whole may.

use std::{sync::Arc, time::Duration};

use muster_broker::{PrincipalQuota, Quota, Quotas, Rate, TenantQuotas};
use muster_schemas::TenantId;
use muster_screen::{
    Bounds,
    limits::{SERIES_PER_DEVICE_MAX_MAX, STREAMS_PER_DEVICE_MAX_MAX},
};

use super::reader::{ConfigError, Section};
use crate::limits::{
    LOG_AGE_S_MAX, LOG_AGE_S_MIN, LOG_BYTES_MAX_MAX, LOG_BYTES_MAX_MIN, QUOTA_COUNT_MAX, QUOTA_RATE_MAX,
    TENANTS_QUOTED_MAX,
};
use crate::screening::TenantBounds;

/// A rate that is reached needs so much at once: readers wait for milliseconds, not for less.
const BURST_DIVISOR: u64 = 100;

/// Takes the section.
pub(super) fn read(mut section: Section<'_>) -> Result<(TenantQuotas, TenantBounds), ConfigError> {
    let (usual, usual_bounds) = quotas(&mut section, (&Quotas::default(), Bounds::default()))?;
    let mut tenants = section.section("tenants")?;
    let named = tenants.named_sections()?;
    if named.len() > TENANTS_QUOTED_MAX {
        return Err(section.wrong("tenants", "at most 4096 sections"));
    }
    let mut quoted = TenantQuotas::default();
    let mut bounds = TenantBounds { usual: usual_bounds, ..TenantBounds::default() };
    for (id, mut section) in named {
        let tenant = id
            .parse::<TenantId>()
            .map_err(|_| tenants.wrong(&id, "a section whose name is the id of a tenant"))?;
        let (of, bound) = quotas(&mut section, (&usual, usual_bounds))?;
        quoted.tenants.insert(tenant.clone(), Arc::new(of));
        bounds.tenants.insert(tenant, bound);
        section.finish()?;
    }
    quoted.usual = Arc::new(usual);
    section.finish()?;
    Ok((quoted, bounds))
}

fn quotas(
    section: &mut Section<'_>,
    (above, bounds): (&Quotas, Bounds),
) -> Result<(Quotas, Bounds), ConfigError> {
    let tenant = quota(section, &above.tenant, None)?;
    let mut device = section.section("device")?;
    let mut app = section.section("app")?;
    let log_bytes_max =
        section.number("log_bytes_max", above.log_bytes_max, LOG_BYTES_MAX_MIN..=LOG_BYTES_MAX_MAX)?;
    let quotas = Quotas {
        device: principal(&mut device, &above.device, (&tenant, log_bytes_max))?,
        app: principal(&mut app, &above.app, (&tenant, log_bytes_max))?,
        log_bytes_max,
        log_age_max: Duration::from_secs(section.number(
            "log_age_s_max",
            above.log_age_max.as_secs(),
            LOG_AGE_S_MIN..=LOG_AGE_S_MAX,
        )?),
        tenant,
    };
    let bounds = Bounds {
        device_streams_max: device.size(
            "streams_max",
            bounds.device_streams_max,
            1..=STREAMS_PER_DEVICE_MAX_MAX,
        )?,
        device_series_max: device.size(
            "series_max",
            bounds.device_series_max,
            1..=SERIES_PER_DEVICE_MAX_MAX,
        )?,
        series_max: section.number("series_max", bounds.series_max, 1..=QUOTA_COUNT_MAX as u64)?,
    };
    device.finish()?;
    app.finish()?;
    Ok((quotas, bounds))
}

fn principal(
    section: &mut Section<'_>,
    above: &PrincipalQuota,
    (tenant, log_bytes_max): (&Quota, u64),
) -> Result<PrincipalQuota, ConfigError> {
    Ok(PrincipalQuota {
        quota: quota(section, &above.quota, Some(tenant))?,
        queue_messages_max: section.size(
            "queue_messages_max",
            above.queue_messages_max,
            1..=QUOTA_COUNT_MAX,
        )?,
        queue_bytes_max: section.size(
            "queue_bytes_max",
            above.queue_bytes_max,
            1_024..=QUOTA_RATE_MAX as usize,
        )?,
        log_bytes_max: section.number(
            "log_bytes_max",
            above.log_bytes_max.min(log_bytes_max),
            1_024..=log_bytes_max,
        )?,
    })
}

/// What the tenant and its principals both have. A principal's is at most its tenant's: what it inherits is cut to that,
/// and what is said of it must keep to it.
fn quota(section: &mut Section<'_>, above: &Quota, tenant: Option<&Quota>) -> Result<Quota, ConfigError> {
    let mut size = |key, above: usize, of: fn(&Quota) -> usize, most: usize| {
        let most = tenant.map_or(most, of);
        section.size(key, above.min(most), 0..=most)
    };
    let connections_max =
        size("connections_max", above.connections_max, |q| q.connections_max, QUOTA_COUNT_MAX)?;
    let subscriptions_max =
        size("subscriptions_max", above.subscriptions_max, |q| q.subscriptions_max, QUOTA_COUNT_MAX)?;
    let retained_messages_max = size(
        "retained_messages_max",
        above.retained_messages_max,
        |q| q.retained_messages_max,
        QUOTA_COUNT_MAX,
    )?;
    let retained_bytes_max = size(
        "retained_bytes_max",
        above.retained_bytes_max,
        |q| q.retained_bytes_max,
        QUOTA_RATE_MAX as usize,
    )?;
    let durable_sessions_max = size(
        "durable_sessions_max",
        above.durable_sessions_max,
        |q| q.durable_sessions_max,
        QUOTA_COUNT_MAX,
    )?;
    let will_bytes_max =
        size("will_bytes_max", above.will_bytes_max, |q| q.will_bytes_max, QUOTA_RATE_MAX as usize)?;
    let messages = rate(
        section,
        ["messages_per_s_max", "messages_burst_max"],
        above.messages,
        tenant.map(|q| q.messages),
    )?;
    let bytes = rate(section, ["bytes_per_s_max", "bytes_burst_max"], above.bytes, tenant.map(|q| q.bytes))?;
    Ok(Quota {
        connections_max,
        messages,
        bytes,
        subscriptions_max,
        retained_messages_max,
        retained_bytes_max,
        durable_sessions_max,
        will_bytes_max,
    })
}

fn rate(
    section: &mut Section<'_>,
    [per_s, burst]: [&'static str; 2],
    above: Rate,
    tenant: Option<Rate>,
) -> Result<Rate, ConfigError> {
    let most = tenant.unwrap_or(Rate { per_s_max: QUOTA_RATE_MAX, burst_max: QUOTA_RATE_MAX });
    let per_s_max = section.number(per_s, above.per_s_max.min(most.per_s_max), 1..=most.per_s_max)?;
    let least = per_s_max.div_ceil(BURST_DIVISOR);
    let inherited = above.burst_max.clamp(least, most.burst_max.max(least));
    let burst_max = section.number(burst, inherited, least..=most.burst_max.max(least))?;
    Ok(Rate { per_s_max, burst_max })
}
