//! `agentmq req`.

use std::time::{Duration, Instant};

use agentmq_client::{Publish, QoS};

use crate::commands::publish::{PropertyArgs, message_or_stdin};
use crate::connection::{ConnectionArgs, parse_qos};
use crate::duration;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic name.
    topic: String,
    /// The request; `-` or nothing reads standard input to its end.
    message: Option<String>,
    /// How long to wait for the answer.
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
    /// Quality of Service: 0, 1 or 2.
    #[arg(long, short = 'q', default_value = "1", value_parser = parse_qos)]
    qos: QoS,
    /// Print the answer's payload only.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    properties: PropertyArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let payload = message_or_stdin(args.message.as_deref()).await?;
    let (client, messages) = args.connection.connect_once().await?;
    drop(messages);
    let publish = args.properties.apply(Publish::new(&*args.topic, payload).qos(args.qos));
    let started = Instant::now();
    let answer = client.request_with(publish, args.timeout).await?;
    let took = started.elapsed();
    if args.raw {
        output.raw(&[&answer.payload, &b"\n"[..]].concat())?;
    } else {
        output.message(&answer)?;
        output.note(&format!("answered in {took:.1?}"));
    }
    client.disconnect().await;
    Ok(())
}
