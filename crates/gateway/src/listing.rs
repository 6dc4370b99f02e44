//! What a server offers.

use agentmq_sdk::mcp::{Call, Fault, call, fault};
use rmcp::RoleClient;
use rmcp::model::{
    ClientRequest, ErrorData, ListPromptsRequest, ListResourceTemplatesRequest,
    ListResourcesRequest, ListToolsRequest, PaginatedRequestParams, ProgressNotificationParam,
    Prompt, Resource, ResourceTemplate, ServerResult, Tool,
};
use rmcp::service::Peer;
use serde::Serialize;

use crate::list_room::Reading;

/// Everything that a server offers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Listing {
    pub(crate) tools: Vec<Tool>,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) templates: Vec<ResourceTemplate>,
}

/// Asks for all lists that the server says it has, at the same time. What has no room is left out.
pub(crate) async fn list(peer: &Peer<RoleClient>, room: &Reading) -> Result<Listing, ErrorData> {
    let has = peer.peer_info().map(|info| info.capabilities.clone()).unwrap_or_default();
    let (tools, prompts, resources, templates) = tokio::join!(
        tools_within(peer, has.tools.is_some(), Some(room)),
        prompts(peer, has.prompts.is_some(), room),
        resources(peer, has.resources.is_some(), room),
        templates(peer, has.resources.is_some(), room),
    );
    // Many servers with resources have no templates, and say so by an error.
    let templates = templates.unwrap_or_default();
    Ok(Listing { tools: tools?, prompts: prompts?, resources: resources?, templates })
}

/// The tools of a server that is asked alone.
pub(crate) async fn tools(peer: &Peer<RoleClient>, has: bool) -> Result<Vec<Tool>, ErrorData> {
    tools_within(peer, has, None).await
}

async fn tools_within(
    peer: &Peer<RoleClient>,
    has: bool,
    room: Option<&Reading>,
) -> Result<Vec<Tool>, ErrorData> {
    pages(
        peer,
        has,
        room,
        |page| ListToolsRequest::with_param(page).into(),
        |result| match result {
            ServerResult::ListToolsResult(it) => Some((it.tools, it.next_cursor)),
            _ => None,
        },
    )
    .await
}

async fn prompts(
    peer: &Peer<RoleClient>,
    has: bool,
    room: &Reading,
) -> Result<Vec<Prompt>, ErrorData> {
    pages(
        peer,
        has,
        Some(room),
        |page| ListPromptsRequest::with_param(page).into(),
        |result| match result {
            ServerResult::ListPromptsResult(it) => Some((it.prompts, it.next_cursor)),
            _ => None,
        },
    )
    .await
}

async fn resources(
    peer: &Peer<RoleClient>,
    has: bool,
    room: &Reading,
) -> Result<Vec<Resource>, ErrorData> {
    pages(
        peer,
        has,
        Some(room),
        |page| ListResourcesRequest::with_param(page).into(),
        |result| match result {
            ServerResult::ListResourcesResult(it) => Some((it.resources, it.next_cursor)),
            _ => None,
        },
    )
    .await
}

async fn templates(
    peer: &Peer<RoleClient>,
    has: bool,
    room: &Reading,
) -> Result<Vec<ResourceTemplate>, ErrorData> {
    let request = |page| ListResourceTemplatesRequest::with_param(page).into();
    pages(peer, has, Some(room), request, |result| match result {
        ServerResult::ListResourceTemplatesResult(it) => {
            Some((it.resource_templates, it.next_cursor))
        }
        _ => None,
    })
    .await
}

/// All pages of a list, up to a bound: a server could go on for ever.
async fn pages<T: Serialize>(
    peer: &Peer<RoleClient>,
    has: bool,
    room: Option<&Reading>,
    request: impl Fn(PaginatedRequestParams) -> ClientRequest,
    page_of: impl Fn(ServerResult) -> Option<(Vec<T>, Option<String>)>,
) -> Result<Vec<T>, ErrorData> {
    let mut all = Vec::new();
    let (mut cursor, mut bytes) = (None, 0);
    if !has {
        return Ok(all);
    }
    for _ in 0..PAGES {
        let page = PaginatedRequestParams::default().with_cursor(cursor);
        let result = plain_call(peer, Call::new(request(page))).await?;
        let Some((items, next)) = page_of(result) else {
            return Err(ErrorData::internal_error("the server's list is none", None));
        };
        for item in items.into_iter().take(ITEMS + 1 - all.len()) {
            // As it came, nearly.
            let text = serde_json::to_vec(&item).unwrap_or_default();
            bytes += text.len();
            if room.is_some_and(|room| !room.fits(&text)) {
                return Ok(all); // whoever keeps the list hears of it
            }
            all.push(item);
        }
        cursor = next.filter(|cursor| !cursor.is_empty());
        if cursor.is_none() || all.len() >= ITEMS || bytes > BYTES {
            break;
        }
    }
    if bytes > BYTES {
        let what = format!("the server's list has more than {BYTES} bytes");
        return Err(fault(Fault::TooLarge, what));
    }
    if cursor.is_some() || all.len() > ITEMS {
        tracing::warn!(taken = ITEMS.min(all.len()), "the server's list is too long");
        all.truncate(ITEMS);
    }
    Ok(all)
}

/// A call of which nobody wants to know how far it is, and that nobody takes back.
pub(crate) async fn plain_call(
    peer: &Peer<RoleClient>,
    request: Call,
) -> Result<ServerResult, ErrorData> {
    let ignore: Option<fn(ProgressNotificationParam) -> std::future::Ready<()>> = None;
    call(peer, request, ignore, std::future::pending()).await
}

/// Items of one list of one server that are taken.
const ITEMS: usize = 5000;

/// Bytes of one list of one server. A longer one is not taken at all.
const BYTES: usize = 8 << 20;

/// Pages of one list that are asked for.
const PAGES: usize = 500;
