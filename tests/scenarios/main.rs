//! The broker as a whole process: one file a scenario, each against the real binary on a free port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helper functions too")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading in a passing test too")]

mod audit;
mod authority;
mod chaos;
mod connect_rate;
mod connect_storm;
mod devices;
mod drain;
mod durability;
mod evidence;
mod fd_exhaustion;
mod flapping;
mod handoff;
mod hook;
mod hook_service;
mod http_client;
mod identity_stamp;
mod idle_memory;
mod issuer_keys;
mod kill_nine;
mod kill_nine_agents;
mod kill_nine_shards;
mod load;
mod malformed;
mod malformed_inputs;
mod mcp_agents;
mod mcp_both;
mod mcp_bridge;
mod mcp_conformance;
mod mcp_elsewhere;
mod mcp_expose;
mod mcp_expose_http;
mod mcp_fickle_server;
mod mcp_http;
mod mcp_links;
mod mcp_listening;
mod mcp_program;
mod mcp_recording;
mod mcp_replicas;
mod mcp_rights;
mod mcp_stateless;
mod mcp_stateless_parts;
mod mcp_traces;
mod mischief;
mod never_acking;
mod newcomer_burst;
mod offline_memory;
mod organizations;
mod passwords;
mod path_matrix;
mod pause;
mod policy;
mod program;
mod proxy;
mod publish_rate;
mod quotas;
mod readme;
mod refusal_log;
mod reload;
mod reply_topics;
mod reset_storm;
mod retain_source;
mod revocation;
mod security;
mod shards;
mod shards_agents;
mod slow_connect;
mod slow_reader;
mod suback_before_retained;
mod sys_topics;
mod takeover_race;
mod tls;
mod token_service;
mod tokens;
mod tools_calls;
mod tools_elsewhere;
mod tools_links;
mod tools_parts;
mod tools_registry;
mod topic_prefix;
mod unix;
mod websocket;

use agentmq_testkit::Broker;

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_agentmq");

/// A plain listener on a free port of loopback.
const TCP: &str = "[[listeners]]\nurl = \"mqtt://127.0.0.1:0\"\n";

/// A broker with a plain listener and these settings beside it.
fn broker(settings: &str) -> Broker {
    Broker::start(BINARY, &format!("{TCP}{settings}"))
}
