//! Reads a policy as Cedar writes it in JSON: one key for each kind of expression.

use serde_json::Value;

/// The kind of an expression, and what it is made of.
pub(crate) fn kind(expression: &Value) -> Option<(&str, &Value)> {
    let map = expression.as_object()?;
    let (kind, inner) = map.iter().next()?;
    (map.len() == 1).then_some((kind.as_str(), inner))
}

/// The two sides of an operator.
pub(crate) fn sides(inner: &Value) -> Option<(&Value, &Value)> {
    Some((inner.get("left")?, inner.get("right")?))
}

/// `resource.district`: the variable and the attribute.
pub(crate) fn attribute(expression: &Value) -> Option<(&str, &str)> {
    let (".", inner) = kind(expression)? else { return None };
    let ("Var", variable) = kind(inner.get("left")?)? else { return None };
    Some((variable.as_str()?, inner.get("attr")?.as_str()?))
}

/// Calls `visit` with an expression and, as long as it says so, with those within, from the outside to the inside. Policies
/// nest to a bounded depth.
pub(crate) fn walk(expression: &Value, visit: &mut dyn FnMut(&Value) -> bool) {
    if !visit(expression) {
        return;
    }
    match expression {
        Value::Object(map) => map.values().for_each(|inner| walk(inner, visit)),
        Value::Array(all) => all.iter().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
}

/// The bodies of a policy's conditions.
pub(crate) fn conditions(policy: &Value) -> impl Iterator<Item = &Value> {
    let all = policy.get("conditions").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|condition| condition.get("body"))
}

/// The parts of a conjunction, in order.
pub(crate) fn conjuncts<'a>(expression: &'a Value, parts: &mut Vec<&'a Value>) {
    if let Some(("&&", inner)) = kind(expression)
        && let Some((left, right)) = sides(inner)
    {
        conjuncts(left, parts);
        conjuncts(right, parts);
    } else {
        parts.push(expression);
    }
}
