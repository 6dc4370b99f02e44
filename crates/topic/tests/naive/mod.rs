//! The rules of MQTT 5 section 4.7 written down as plainly as possible, on lists of levels and by
//! recursion: the model that the crate is compared with. It shares no code with it.

/// Whether `filter` matches `topic`.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    if topic[0].starts_with('$') && (filter[0] == "+" || filter[0] == "#") {
        return false;
    }
    levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        ([], _) | (_, []) => false,
        ([first, filter @ ..], [text, topic @ ..]) => {
            (*first == "+" || first == text) && levels_match(filter, topic)
        }
    }
}

/// Whether `filter` is one.
#[allow(dead_code, reason = "each test binary compiles its own copy and uses a part")]
pub(crate) fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let whole = |level: &&str| !level.contains(['+', '#']) || *level == "+" || *level == "#";
    !filter.is_empty()
        && !filter.contains('\0')
        && levels.iter().all(whole)
        && !levels[..levels.len() - 1].contains(&"#")
}

/// Whether `topic` is a topic name.
#[allow(dead_code, reason = "each test binary compiles its own copy and uses a part")]
pub(crate) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['\0', '+', '#'])
}
