//! What a bridge has to offer its hosts: the lists of all servers, under names of the host's kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentmq_sdk::mcp::Session;
use agentmq_sdk::tools::ToolClient;
use rmcp::model::{Prompt, Resource, ResourceTemplate, ServerNotification, Tool};
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::agent_tools::AgentTool;
use crate::host_name::Names;
use crate::host_uri::{host_uri, server_uri};
use crate::list_room::{Reading, Share, of_connection};
use crate::listening::Wanted;
use crate::listing::Listing;
use crate::registrar::Registrar;
use crate::resource_subscriptions::ResourceSubscriptions;
use crate::room::Room;

/// All servers' lists. Bounded by the servers that are followed, what is taken of each, and the
/// room that all have together.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) registrar: Registrar,
    room: Room,
    inner: Mutex<Inner>,
    state: watch::Sender<State>,
    notices: broadcast::Sender<ServerNotification>,
    /// Until when a question waits for the first lists.
    settled_by: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    servers: BTreeMap<Arc<str>, Offer>,
    tools: Names,
    prompts: Names,
    followed: ResourceSubscriptions,
    agents: Agents,
}

/// Tools of MQTT.Agent, by their names for hosts. MCP's servers come first: neither their names nor
/// their tools stand here once more, unless the broker does not allow us to see these.
#[derive(Debug, Default)]
struct Agents {
    alone: bool,
    client: Option<ToolClient>,
    online: Vec<AgentTool>,
    /// What these take.
    share: Option<Arc<Share>>,
    offered: BTreeMap<String, AgentTool>,
}

/// What one server offers, under names of the host's kind.
#[derive(Debug)]
struct Offer {
    session: Option<Arc<Session>>,
    listing: Listing,
    /// What the lists take.
    share: Arc<Share>,
}

impl Offer {
    fn new(room: &Room) -> Self {
        Self { session: None, listing: Listing::default(), share: Share::new(room) }
    }
}

/// Counts changes, so that whoever waits for one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) tools: u64,
    pub(crate) prompts: u64,
    pub(crate) resources: u64,
    pub(crate) sessions: u64,
    pub(crate) subscriptions: u64,
    /// The lists of all servers that were there at first are in.
    pub(crate) ready: bool,
    /// The tools of MQTT.Agent that were there at first are in, or there are none.
    pub(crate) agents_ready: bool,
    /// The broker is connected.
    pub(crate) connected: bool,
    /// The broker has been tried.
    pub(crate) tried: bool,
}

/// A server, and what it calls the thing that was asked for.
pub(crate) type Found = (Arc<str>, String);

impl Catalogue {
    /// An empty one, whose lists take of this room.
    pub(crate) fn new(room: Room) -> Self {
        Self::with(Registrar::off(), room)
    }

    /// An empty one, with a registry that tells what changes.
    pub(crate) fn with_registrar() -> Self {
        Self::with(Registrar::new(), of_connection())
    }

    fn with(registrar: Registrar, room: Room) -> Self {
        Self {
            registrar,
            room,
            inner: Mutex::default(),
            state: watch::channel(State::default()).0,
            notices: broadcast::channel(NOTICES).0,
            settled_by: Instant::now() + FIRST_LISTS,
        }
    }

    /// What servers tell from now on, for [`Catalogue::concerns`] to be asked about.
    pub(crate) fn notices(&self) -> broadcast::Receiver<ServerNotification> {
        self.notices.subscribe()
    }

    /// Waits for the lists of the servers that were there at first, but not for long, and not for a
    /// broker that cannot be reached: a host gets what there is, and hears of changes from then on.
    pub(crate) async fn settled(&self) -> State {
        let mut state = self.watch();
        let ready =
            state.wait_for(|it| (it.ready && it.agents_ready) || (it.tried && !it.connected));
        let _ = tokio::time::timeout_at(self.settled_by, ready).await;
        *state.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.state.send_if_modified(|state| {
            std::mem::replace(&mut state.connected, connected) != connected
        });
    }

    /// Whether the broker is connected by either binding.
    pub(crate) fn is_connected(&self) -> bool {
        self.state.borrow().connected || self.lock().agents.client.is_some()
    }

    pub(crate) fn set_tried(&self) {
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.tried, true));
    }

    pub(crate) fn set_ready(&self) {
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.ready, true));
    }

    pub(crate) fn set_agents_ready(&self) {
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.agents_ready, true));
    }

    /// The broker does not allow MCP's binding, or it does.
    pub(crate) fn set_agents_alone(&self, alone: bool) {
        let mut inner = self.lock();
        inner.agents.alone = alone;
        let changed = inner.offer_agents();
        drop(inner);
        self.tell((changed, false, false));
    }

    /// Who calls tools of MQTT.Agent, while it is connected.
    pub(crate) fn set_agent_client(&self, client: Option<ToolClient>) {
        self.lock().agents.client = client;
    }

    /// The tools of MQTT.Agent that are online.
    pub(crate) fn set_agent_tools(&self, mut online: Vec<AgentTool>) {
        let share = self.lock().agents.share.get_or_insert_with(|| Share::new(&self.room)).clone();
        let room = share.reading();
        online.retain_mut(|tool| {
            tool.card = Value::Null; // nobody asks for it here
            room.fits(&serde_json::to_vec(&tool.tool).unwrap_or_default())
        });
        let mut inner = self.lock();
        inner.agents.online = online;
        room.keep("MQTT.Agent");
        let changed = inner.offer_agents();
        drop(inner);
        self.tell((changed, false, false));
    }

    /// A tool of MQTT.Agent, and who calls it; `None` in `Some` when nobody can at the moment.
    pub(crate) fn find_agent_tool(&self, name: &str) -> Option<(AgentTool, Option<ToolClient>)> {
        let inner = self.lock();
        let tool = inner.agents.offered.get(name)?.clone();
        Some((tool, inner.agents.client.clone()))
    }

    /// A server has a session, or has lost it.
    pub(crate) fn set_session(&self, server: &Arc<str>, session: Option<Arc<Session>>) {
        let mut inner = self.lock();
        let offer = inner.servers.entry(server.clone());
        offer.or_insert_with(|| Offer::new(&self.room)).session = session;
        drop(inner);
        self.state.send_modify(|state| state.sessions += 1);
    }

    /// Room for the lists of a server, which are to be read now.
    pub(crate) fn room_for(&self, server: &Arc<str>) -> Reading {
        let mut inner = self.lock();
        let offer = inner.servers.entry(server.clone());
        offer.or_insert_with(|| Offer::new(&self.room)).share.reading()
    }

    /// What a server offers, in its own words.
    pub(crate) fn set_listing(&self, server: &Arc<str>, listing: Listing) {
        self.registrar.set_tools(server, &listing.tools);
        let mut inner = self.lock();
        inner.tools.release(server);
        inner.prompts.release(server);
        let listing = inner.in_words_of_the_host(server, listing);
        let offer = inner.servers.entry(server.clone());
        let offer = offer.or_insert_with(|| Offer::new(&self.room));
        let before = std::mem::replace(&mut offer.listing, listing);
        let after = &offer.listing;
        let changed = (
            before.tools != after.tools,
            before.prompts != after.prompts,
            before.resources != after.resources || before.templates != after.templates,
        );
        let agents = inner.offer_agents();
        drop(inner);
        self.tell((changed.0 || agents, changed.1, changed.2));
    }

    /// Only these servers are there.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let gone: Vec<Arc<str>> = {
            let inner = self.lock();
            inner.servers.keys().filter(|name| !is_there(name)).cloned().collect()
        };
        gone.iter().for_each(|name| self.remove(name));
    }

    /// A server is gone.
    pub(crate) fn remove(&self, server: &str) {
        self.registrar.set_instances(server, 0);
        let mut inner = self.lock();
        inner.tools.release(server);
        inner.prompts.release(server);
        let Some(Offer { listing, .. }) = inner.servers.remove(server) else { return };
        let agents = inner.offer_agents();
        drop(inner);
        self.tell((
            agents || !listing.tools.is_empty(),
            !listing.prompts.is_empty(),
            !listing.resources.is_empty() || !listing.templates.is_empty(),
        ));
    }

    fn tell(&self, (tools, prompts, resources): (bool, bool, bool)) {
        self.state.send_modify(|state| {
            state.tools += u64::from(tools);
            state.prompts += u64::from(prompts);
            state.resources += u64::from(resources);
        });
    }

    pub(crate) fn tools(&self) -> Vec<Tool> {
        let mut tools = self.all(|listing| &listing.tools);
        let inner = self.lock();
        tools.extend(inner.agents.offered.values().map(|offered| offered.tool.clone()));
        tools
    }

    pub(crate) fn prompts(&self) -> Vec<Prompt> {
        self.all(|listing| &listing.prompts)
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        self.all(|listing| &listing.resources)
    }

    pub(crate) fn templates(&self) -> Vec<ResourceTemplate> {
        self.all(|listing| &listing.templates)
    }

    fn all<T: Clone>(&self, of: impl Fn(&Listing) -> &Vec<T>) -> Vec<T> {
        self.lock().servers.values().flat_map(|offer| of(&offer.listing)).cloned().collect()
    }

    pub(crate) fn find_tool(&self, name: &str) -> Option<Found> {
        self.lock().tools.find(name).cloned()
    }

    /// Whether a server says of a tool that to call it twice does no more than to call it once.
    pub(crate) fn is_repeatable(&self, server: &str, name: &str) -> bool {
        let inner = self.lock();
        let mut tools = inner.servers.get(server).into_iter().flat_map(|it| &it.listing.tools);
        tools.find(|tool| tool.name == name).and_then(|tool| tool.annotations.as_ref()).is_some_and(
            |hints| hints.idempotent_hint == Some(true) || hints.read_only_hint == Some(true),
        )
    }

    pub(crate) fn find_prompt(&self, name: &str) -> Option<Found> {
        self.lock().prompts.find(name).cloned()
    }

    /// The session with a server, if there is one now; `None` in `Some` when it is known but has
    /// none at the moment.
    pub(crate) fn session(&self, server: &str) -> Option<Option<Arc<Session>>> {
        self.lock().servers.get(server).map(|offer| offer.session.clone())
    }

    /// A host wants to know of changes of this resource. `false` when there are too many wishes.
    pub(crate) fn follow(&self, host: &Arc<str>, uri: &str) -> bool {
        let mut inner = self.lock();
        let followed = &mut inner.followed;
        let has_room = followed.has_room();
        if has_room {
            followed.add(uri, host);
        }
        drop(inner);
        self.tell_followed();
        has_room
    }

    /// A host does not want to know of it any more; `true` when nobody else does either.
    pub(crate) fn unfollow(&self, host: &str, uri: &str) -> bool {
        let is_last = self.lock().followed.remove(uri, host);
        if is_last {
            self.tell_followed();
        }
        is_last
    }

    /// A host has gone. Returns the resources of which nobody wants to know changes now.
    pub(crate) fn forget(&self, host: &str) -> Vec<String> {
        let unwanted = self.lock().followed.remove_client(host);
        if !unwanted.is_empty() {
            self.tell_followed();
        }
        unwanted
    }

    fn tell_followed(&self) {
        self.state.send_modify(|state| state.subscriptions += 1);
    }

    /// The resources of a server of which hosts want to know changes, in its own words.
    pub(crate) fn followed_of(&self, server: &str) -> Wanted {
        let own = |uri: &String| server_uri(uri).filter(|(of, _)| of == server).map(|it| it.1);
        self.lock().followed.uris().filter_map(own).collect()
    }

    /// Whether anybody wants to know of changes of this resource.
    pub(crate) fn is_followed(&self, uri: &str) -> bool {
        self.lock().followed.has(uri)
    }

    /// Whether a host wants to hear what a server tells.
    pub(crate) fn concerns(&self, host: &str, notification: &ServerNotification) -> bool {
        match notification {
            ServerNotification::ResourceUpdatedNotification(update) => {
                self.lock().followed.is_one_of(&update.params.uri, host)
            }
            _ => true,
        }
    }

    /// Tells the hosts what a server tells.
    pub(crate) fn notify(&self, server: &str, mut notification: ServerNotification) {
        if let ServerNotification::ResourceUpdatedNotification(update) = &mut notification {
            update.params.uri = host_uri(server, &update.params.uri);
        }
        // Nobody listens: nobody is told.
        let _ = self.notices.send(notification);
    }

    /// No code that holds this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Which tools of MQTT.Agent are offered beside those of MCP's servers; whether that is new.
    fn offer_agents(&mut self) -> bool {
        let Self { tools, agents, .. } = self;
        let mut offered = BTreeMap::new();
        for tool in &agents.online {
            let is_there = tool.is_served && !agents.alone;
            let name = tool.tool.name.to_string();
            if !is_there && tools.find(&name).is_none() {
                offered.entry(name).or_insert_with(|| tool.clone());
            }
        }
        let shown = |all: &BTreeMap<String, AgentTool>| -> Vec<Tool> {
            all.values().map(|offered| offered.tool.clone()).collect()
        };
        let changed = shown(&offered) != shown(&agents.offered);
        agents.offered = offered;
        changed
    }

    fn in_words_of_the_host(&mut self, server: &Arc<str>, mut listing: Listing) -> Listing {
        listing.tools.retain_mut(|tool| {
            let name = self.tools.assign(server, &tool.name);
            name.map(|name| tool.name = name.into()).is_some()
        });
        listing.prompts.retain_mut(|prompt| {
            let name = self.prompts.assign(server, &prompt.name);
            name.map(|name| prompt.name = name).is_some()
        });
        for resource in &mut listing.resources {
            resource.uri = host_uri(server, &resource.uri);
        }
        for template in &mut listing.templates {
            template.uri_template = host_uri(server, &template.uri_template);
        }
        listing
    }
}

/// Notifications that wait for the hosts. Who is further behind misses the oldest.
const NOTICES: usize = 256;

/// How long after the start questions wait for the lists of the servers.
const FIRST_LISTS: Duration = Duration::from_secs(3);
