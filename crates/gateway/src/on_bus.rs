//! A server of ours on the bus, by the bindings that are wanted: connected, served, and taken off
//! again.

use std::pin::Pin;
use std::time::Duration;

use agentmq_client::Options;
use agentmq_sdk::mcp::{self, Acceptor, Caller, Server, ServerConfig};
use rmcp::RoleServer;
use rmcp::service::Service;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::agent_side::{AgentSide, Offering, offer_to_agents};
use crate::binding::{Binding, is_refusal};
use crate::happening::Happening;

/// Where a server is offered.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) binding: Binding,
    /// The broker. MQTT.Agent's binding has a connection of its own, with `:tools` at the end of
    /// the client id.
    pub(crate) options: &'a Options,
    /// Where the topics of MQTT.Agent are.
    pub(crate) namespace: &'a str,
}

/// The server. `F` is its work for clients of MQTT.Agent.
pub(crate) struct OnBus<F> {
    server: Option<Server>,
    /// Empty without MCP's binding.
    accepting: JoinSet<mcp::Error>,
    offered: Pin<Box<F>>,
    ending: CancellationToken,
}

/// Connects as a server of MCP, if that is wanted, and serves each client that comes. Nobody comes
/// before the server is said to be online. Where the broker does not allow one binding the other
/// goes on without it; that is reported.
pub(crate) async fn connect<S: Service<RoleServer>, R: Fn(Happening)>(
    place: Place<'_>,
    config: ServerConfig,
    serve: impl FnMut(Caller) -> S + Send + 'static,
    offering: Offering,
    report: &R,
) -> Result<OnBus<impl Future<Output = Result<(), Error>>>, Error> {
    let Place { binding, options, namespace } = place;
    let own_name = config.name.clone();
    let (mcp, refused) = Box::pin(connect_mcp(binding, options, config, report)).await?;
    let mut accepting = JoinSet::new();
    let server = mcp.map(|(server, acceptor)| {
        accepting.spawn(acceptor.run(serve));
        server
    });
    let agent = agent_side(options, namespace, server.as_ref(), own_name);
    let ending = CancellationToken::new();
    let offered = offer_to_agents(binding, agent, offering, refused, ending.clone(), report);
    Ok(OnBus { server, accepting, offered: Box::pin(offered), ending })
}

impl<F: Future<Output = Result<(), Error>>> OnBus<F> {
    /// The server of MCP's binding, if there is one.
    pub(crate) fn server(&self) -> Option<Server> {
        self.server.clone()
    }

    /// Serves until `work` is done, or it is no use to go on: that is an error.
    pub(crate) async fn serve(
        &mut self,
        work: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        tokio::select! {
            done = work => done,
            Some(ended) = self.accepting.join_next() => {
                Err(ended.unwrap_or(mcp::Error::Closed).into())
            }
            ended = &mut self.offered => ended,
        }
    }

    /// Says that it is there no more, so that nobody begins what nobody will end.
    pub(crate) async fn withdraw(&mut self) {
        self.ending.cancel();
        if let Some(server) = &self.server {
            server.offline().await;
        }
    }

    /// Says good-bye. Comes after [`withdraw`](Self::withdraw).
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(FAREWELL, self.offered).await;
        if let Some(server) = self.server {
            server.close().await;
        }
    }
}

/// Where the broker does not allow it and there is another binding, that goes on without this one,
/// and the second part says why.
async fn connect_mcp(
    binding: Binding,
    options: &Options,
    config: ServerConfig,
    report: impl Fn(Happening),
) -> Result<(Option<(Server, Acceptor)>, Option<Error>), Error> {
    if !binding.has_mcp() {
        return Ok((None, None));
    }
    match Server::connect(options.clone(), config).await {
        Ok(connected) => Ok((Some(connected), None)),
        Err(mcp::Error::Mqtt(cause)) if binding.has_agent() && is_refusal(&cause) => {
            report(Happening::Refused { binding: Binding::Mcp, why: cause.to_string() });
            Ok((None, Some(mcp::Error::Mqtt(cause).into())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Where clients of MQTT.Agent find a server: under the name that the broker has given it, if any.
fn agent_side(
    options: &Options,
    namespace: &str,
    server: Option<&Server>,
    own_name: String,
) -> AgentSide {
    let mut options = options.clone();
    if !options.client_id.is_empty() {
        options.client_id.push_str(":tools");
    }
    let served = server.is_some();
    let server = server.map_or(own_name, |server| server.instance().name().to_owned());
    AgentSide { options, namespace: namespace.to_owned(), server, served }
}

/// How long the end of MQTT.Agent's binding may take.
const FAREWELL: Duration = Duration::from_secs(6);
