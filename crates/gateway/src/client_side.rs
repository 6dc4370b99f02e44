//! What we are to MCP servers, whether they are programs or on the bus: a client that offers them
//! nothing.

use rmcp::model::{
    ClientCapabilities, ClientResult, ErrorCode, ErrorData, Implementation,
    InitializeRequestParams, ProtocolVersion, ServerRequest,
};

/// What we say when a session begins.
pub(crate) fn our_info() -> InitializeRequestParams {
    let us = Implementation::new("agentmq", env!("CARGO_PKG_VERSION"));
    InitializeRequestParams::new(ClientCapabilities::default(), us)
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

/// The answer to a server's request. We have said that we offer none of what servers may ask for:
/// a program behind the bus has many clients and could not say which of them it asks, and a host's
/// abilities are the host's.
pub(crate) fn answer_server(request: &ServerRequest) -> Result<ClientResult, ErrorData> {
    match request {
        ServerRequest::PingRequest(_) => Ok(ClientResult::empty(())),
        _ => Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "not offered to servers", None)),
    }
}
