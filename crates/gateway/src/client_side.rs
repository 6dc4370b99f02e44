//! What we are to MCP servers, whether they are programs or on the bus: a client that offers them
//! nothing.

use std::sync::Arc;

use rmcp::RoleClient;
use rmcp::model::{
    ClientCapabilities, ClientResult, ErrorCode, ErrorData, Implementation,
    InitializeRequestParams, ProtocolVersion, ServerNotification, ServerRequest,
};
use rmcp::service::{NotificationContext, RequestContext, Service};

/// Our side of a session with a server. Clones hear as one.
#[derive(Clone)]
pub(crate) struct OurSide(Arc<dyn Fn(ServerNotification) + Send + Sync>);

impl OurSide {
    /// `hear` gets what the server tells by itself.
    pub(crate) fn new(hear: impl Fn(ServerNotification) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(crate) fn hear(&self, notification: ServerNotification) {
        (self.0)(notification);
    }
}

impl Service<RoleClient> for OurSide {
    async fn handle_request(
        &self,
        request: ServerRequest,
        _: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        answer_server(&request)
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        self.hear(notification);
        Ok(())
    }

    fn get_info(&self) -> InitializeRequestParams {
        our_info()
    }
}

/// What we say when a session begins.
fn our_info() -> InitializeRequestParams {
    let us = Implementation::new("agentmq", env!("CARGO_PKG_VERSION"));
    InitializeRequestParams::new(ClientCapabilities::default(), us)
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

/// The answer to a server's request. We have said that we offer none of what servers may ask for:
/// a program behind the bus has many clients and could not say which of them it asks, and a host's
/// abilities are the host's.
fn answer_server(request: &ServerRequest) -> Result<ClientResult, ErrorData> {
    match request {
        ServerRequest::PingRequest(_) => Ok(ClientResult::empty(())),
        _ => Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "not offered to servers", None)),
    }
}
