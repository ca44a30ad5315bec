//! Bounds of the access rules, unit last.

/// Longest text of a tenant's policies, in bytes.
pub const POLICY_TEXT_BYTES_MAX: usize = 32 * 1_024;
/// Most policies of a tenant. A decision looks at all that speak of who asks: 100 of them take about 0.2 ms.
pub const POLICIES_MAX: usize = 100;
/// Most operators (`&&`, `||`, `+`...) in one policy, and deepest nesting of brackets: what parses and evaluates it calls
/// itself once for each.
pub const POLICY_OPERATORS_MAX: usize = 128;
/// Deepest nesting of brackets in one policy.
pub const POLICY_NESTING_MAX: usize = 32;
/// Longest name of a policy, in bytes.
pub const POLICY_NAME_BYTES_MAX: usize = 64;
/// Most faults of a text that are told at once.
pub const FAULTS_TOLD_MAX: usize = 20;
/// Longest name of an attribute, in bytes.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 32;
/// Most attributes of one principal.
pub const ATTRIBUTES_MAX: usize = 16;
/// Most texts of one attribute.
pub const ATTRIBUTE_TEXTS_MAX: usize = 32;
/// Longest text of an attribute, in bytes.
pub const ATTRIBUTE_TEXT_BYTES_MAX: usize = 64;
/// Most groups of one principal.
pub const GROUPS_MAX: usize = 32;
/// Most decisions that a view remembers; then it forgets all of them and decides anew.
pub const VIEW_DECISIONS_MAX: usize = 65_536;
/// Most instants at which the decision on an item may change, as far as a view tells them apart; policies that compare with
/// more are asked for every instant anew.
pub const VIEW_BOUNDARIES_MAX: usize = 256;
/// How long a decision on what is published now is good if it depends on the time in a way that is not understood, in
/// milliseconds.
pub const LIVE_DECISION_MS: i64 = 1_000;
/// Most devices, streams or attributes that a data set names.
pub const DATA_SET_NAMES_MAX: usize = 1_000;
