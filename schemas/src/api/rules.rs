//! Access rules: attributes, policies, data sets and grants.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// `PUT /api/v1/tenants/{t}/devices/{d}/attributes`, and the same of apps, users and services: what is known of it from now
/// on. What is not named stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAttributes {
    /// Names with their texts, in place of those that each name has; none takes the name away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The groups that it is in, in place of those that it has; a device is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
}

/// What is known of a device, an app, a user or a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed {
    /// `device`, `app`, `user` or `service`.
    pub kind: String,
    /// Its id.
    pub id: DeviceId,
    /// Names with their texts.
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// The groups that it is in.
    pub groups: BTreeSet<String>,
}

/// `POST /api/v1/tenants/{t}/policies`: policies in place of those that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPolicies {
    /// The text, in Cedar. None lets every app and user of the tenant read everything, as without any policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The version that they are made from: refused if there is a later one. Any, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// A version of a tenant's policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its number, from 1 on.
    pub version: u64,
    /// Whether it is the one that holds.
    pub holds: bool,
    /// When it was put, Unix seconds.
    pub put_at_s: u64,
    /// Who put it.
    pub put_by: String,
    /// The version whose text this is, if it was rolled back to.
    pub restores: Option<u64>,
    /// The names of its policies, in order; none if there are no policies.
    pub names: Option<Vec<String>>,
    /// The text; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A data set: a named part of what a tenant has. What is left out does not limit it. The body of
/// `PUT /api/v1/tenants/{t}/datasets/{name}`, and what that answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// Its name; in a body it may be left out.
    #[serde(default)]
    pub name: String,
    /// Only of these devices.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub devices: BTreeSet<DeviceId>,
    /// Only of streams of these names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub streams: BTreeSet<String>,
    /// Only items that have one of these texts for each of these attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// Only what was captured at this time or later, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Only what was captured before this time, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_ms: Option<i64>,
}

/// `POST /api/v1/tenants/{t}/grants`: a data set to share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// With whom.
    pub to: TenantId,
    /// Which data set.
    pub data_set: String,
    /// For how long, in seconds.
    pub expires_in_s: u64,
}

/// A data set that one tenant shares with another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its number within the tenant that gave it.
    pub grant: u64,
    /// Who shares.
    pub tenant: TenantId,
    /// With whom.
    pub to: TenantId,
    /// Which data set.
    pub data_set: String,
    /// When it ends, Unix seconds.
    pub expires_at_s: u64,
    /// Who gave it.
    pub given_by: String,
    /// When, Unix seconds.
    pub given_at_s: u64,
}
