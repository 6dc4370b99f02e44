//! Trace context between `_meta` and User Properties.

use rmcp::model::MetaObject;
use serde_json::Value;

use crate::TraceContext;
use crate::trace_context::is_key;

/// What goes out: the context in `_meta`, for the User Properties. What is malformed is taken off.
pub(crate) fn outgoing(meta: &mut MetaObject) -> TraceContext {
    if !meta.keys().any(|key| is_key(key)) {
        return TraceContext::default();
    }
    let texts = meta.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let context = TraceContext::of(texts);
    write(meta, &context);
    context
}

/// What comes in: `_meta` has what the User Properties say, unless it says it itself.
pub(crate) fn incoming(meta: &mut MetaObject, carried: &TraceContext) -> TraceContext {
    let own = outgoing(meta);
    if carried.is_empty() {
        return own;
    }
    // State belongs to its parent: both are taken from the same place.
    let parent = if own.traceparent().is_some() { &own } else { carried };
    let parent = parent.pairs().filter(|(name, _)| *name != "baggage");
    let baggage = own.baggage().or_else(|| carried.baggage()).map(|value| ("baggage", value));
    let pairs: Vec<(&str, &str)> = parent.chain(baggage).collect();
    let context = TraceContext::of(pairs);
    write(meta, &context);
    context
}

fn write(meta: &mut MetaObject, context: &TraceContext) {
    meta.retain(|key, _| !is_key(key));
    for (name, value) in context.pairs() {
        meta.insert(name.to_owned(), Value::from(value));
    }
}
