//! What a resource of a server is called towards a host.

use rmcp::model::{ContentBlock, ResourceContents};

/// Two servers may offer the same URI, so the server's name stands before it.
pub(crate) fn host_uri(server: &str, uri: &str) -> String {
    let mut text = String::from(SCHEME);
    for byte in server.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text.push('/');
    text.push_str(uri);
    text
}

/// The server's name and its own URI; `None` for a URI of another kind.
pub(crate) fn server_uri(uri: &str) -> Option<(String, String)> {
    let (server, uri) = uri.strip_prefix(SCHEME)?.split_once('/')?;
    let mut name = Vec::with_capacity(server.len());
    let mut bytes = server.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    Some((String::from_utf8(name).ok()?, uri.to_owned()))
}

/// A resource in a result has the name by which the host can ask for it.
pub(crate) fn rename(server: &str, block: &mut ContentBlock) {
    match block {
        ContentBlock::ResourceLink(resource) => resource.uri = host_uri(server, &resource.uri),
        ContentBlock::Resource(embedded) => rename_contents(server, &mut embedded.resource),
        _ => {}
    }
}

/// The same for one that stands there whole.
pub(crate) fn rename_contents(server: &str, contents: &mut ResourceContents) {
    match contents {
        ResourceContents::TextResourceContents { uri, .. }
        | ResourceContents::BlobResourceContents { uri, .. } => *uri = host_uri(server, uri),
        _ => {}
    }
}

const SCHEME: &str = "agentmq://";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_stays_one() {
        assert_eq!(host_uri("demo/calc", "file:///{path}"), "agentmq://demo%2Fcalc/file:///{path}");
    }

    #[test]
    fn others_are_not_ours() {
        for uri in ["", "file:///a", "agentmq://", "agentmq://a", "agentmq://%/a", "agentmq://%F/"]
        {
            assert_eq!(server_uri(uri), None, "{uri}");
        }
        assert_eq!(server_uri("agentmq://%FF/a"), None);
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_taken_apart(server in "\\PC{1,20}", uri in "\\PC{0,30}") {
            prop_assert_eq!(server_uri(&host_uri(&server, &uri)), Some((server, uri)));
        }

        #[test]
        fn any_text_is_taken_apart_or_not(uri in "agentmq://[%a-f0-9é/]{0,20}") {
            let _ = server_uri(&uri);
        }
    }
}
