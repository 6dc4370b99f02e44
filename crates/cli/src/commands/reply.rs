//! `agentmq reply`.

use std::process::Stdio;
use std::time::Duration;

use agentmq_client::{Client, Message, QoS, SubscriptionOptions};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::commands::subscribe::{answer, report_events};
use crate::connection::{ConnectionArgs, parse_qos};
use crate::duration;
use crate::failure::Failure;
use crate::interruption::interrupted;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic filter of the requests; $share/GROUP/FILTER shares them among several of us.
    filter: String,
    /// Answer every request with this text.
    #[arg(required_unless_present_any = ["echo", "command"])]
    message: Option<String>,
    /// Answer with the request itself.
    #[arg(long, conflicts_with_all = ["message", "command"])]
    echo: bool,
    /// Answer with the output of a shell command, which reads the request on standard input and
    /// finds its topic in AGENTMQ_TOPIC.
    #[arg(long, short = 'c', conflicts_with = "message")]
    command: Option<String>,
    /// How long that command may take.
    #[arg(long, default_value = "30s", value_parser = duration::parse)]
    command_timeout: Duration,
    /// End after so many requests.
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Maximum Quality of Service: 0, 1 or 2.
    #[arg(long, short = 'q', default_value = "1", value_parser = parse_qos)]
    qos: QoS,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let (client, mut messages) = Client::connect(args.connection.options()?).await?;
    report_events(&client, output.json);
    client.subscribe(&*args.filter, SubscriptionOptions::at(args.qos)).await?;
    output.note(&format!("answering requests to {}", args.filter));
    let mut left = args.count;
    let serve = async {
        while left != Some(0) {
            let Some(request) = messages.next().await else {
                return Err(client.ending().into());
            };
            output.message(&request)?;
            left = left.map(|left| left - 1);
            let payload = match reply(&args, &request).await {
                Ok(payload) => payload,
                Err(why) => {
                    output.note(&format!("no answer: {why}"));
                    continue;
                }
            };
            match answer(&request, payload) {
                Some(publish) => drop(client.publish(publish).await?.await?),
                None => output.note("no answer: the request has no response topic"),
            }
        }
        Ok::<(), Failure>(())
    };
    let ended = tokio::select! {
        biased;
        result = serve => result,
        result = interrupted() => result,
    };
    client.disconnect().await;
    ended
}

async fn reply(args: &Args, request: &Message) -> Result<Vec<u8>, String> {
    let Some(command) = &args.command else {
        return Ok(match &args.message {
            Some(message) => message.clone().into_bytes(),
            None => request.payload.to_vec(),
        });
    };
    let work = async {
        let mut child = Command::new("sh")
            .args(["-c", command])
            .env("AGENTMQ_TOPIC", &request.topic)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let feed = async {
            if let Some(mut input) = input {
                // A command need not read its input.
                let _ = input.write_all(&request.payload).await;
            }
        };
        let (result, ()) = tokio::join!(child.wait_with_output(), feed);
        result
    };
    let result = tokio::time::timeout(args.command_timeout, work)
        .await
        .map_err(|_| format!("command took longer than {:?}", args.command_timeout))?
        .map_err(|error| format!("cannot run the command: {error}"))?;
    if result.status.success() {
        Ok(result.stdout)
    } else {
        Err(format!("command ended with {}", result.status))
    }
}
