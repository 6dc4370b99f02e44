use std::sync::Arc;
use agentmq_net::*;
use agentmq_shard::*;
fn main() {
    let ls = ["mqtt://127.0.0.1:28830", "ws://127.0.0.1:28831/mqtt"].iter().map(|u| Listener::bind(&ListenerOptions::new(u.parse().unwrap())).unwrap()).collect();
    let (shard, _h) = Shard::new(ShardOptions { number: 0, listeners: ls, settings: Default::default(), authenticator: Arc::new(agentmq_identity::Open), commit: Box::new(agentmq_session::MemoryEngine), clock: Clock::new(), entropy: 7, board: Arc::new(ReportBoard::new(1)), sys_interval_secs: 10, version: "agentmq 0.1.0".into() }).unwrap();
    shard.run().unwrap();
}
