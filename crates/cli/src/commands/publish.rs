//! `agentmq pub`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use agentmq_client::{Ack, Client, Publish, QoS, ReasonCode};
use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::connection::{ConnectionArgs, parse_pair, parse_qos};
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic name.
    topic: String,
    /// The message; `-` or nothing reads standard input to its end.
    #[arg(conflicts_with_all = ["file", "lines", "empty"])]
    message: Option<String>,
    /// Send a file's content.
    #[arg(long, short = 'f', conflicts_with_all = ["lines", "empty"])]
    file: Option<PathBuf>,
    /// Send each line of standard input as a message.
    #[arg(long, short = 'l', conflicts_with_all = ["empty", "repeat"])]
    lines: bool,
    /// Send an empty message, which with --retain removes the retained one.
    #[arg(long)]
    empty: bool,
    /// Send the message so many times.
    #[arg(long, default_value_t = 1)]
    repeat: u64,
    /// Pause between repetitions.
    #[arg(long, value_parser = duration::parse)]
    interval: Option<Duration>,
    /// Quality of Service: 0, 1 or 2.
    #[arg(long, short = 'q', default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Keep the message for future subscribers.
    #[arg(long, short = 'r')]
    retain: bool,
    /// How long to wait for the broker's acknowledgements.
    #[arg(long, default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    properties: PropertyArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Properties of a message (MQTT 5).
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Properties")]
pub(crate) struct PropertyArgs {
    /// Discard the message after this time: seconds, 1h.
    #[arg(long, value_parser = duration::parse_seconds)]
    expiry: Option<u32>,
    /// User property NAME=VALUE; may repeat.
    #[arg(long = "property", short = 'P', value_name = "NAME=VALUE", value_parser = parse_pair)]
    properties: Vec<(String, String)>,
    /// Content type, such as application/json.
    #[arg(long)]
    content_type: Option<String>,
    /// Topic for answers.
    #[arg(long)]
    response_topic: Option<String>,
    /// Text that an answer repeats.
    #[arg(long)]
    correlation: Option<String>,
}

impl PropertyArgs {
    pub(crate) fn apply(&self, mut publish: Publish) -> Publish {
        if let Some(seconds) = self.expiry {
            publish = publish.expiry(seconds);
        }
        if let Some(kind) = &self.content_type {
            publish = publish.content_type(kind);
        }
        if let Some(topic) = &self.response_topic {
            publish = publish.response_topic(topic);
        }
        if let Some(data) = &self.correlation {
            publish = publish.correlation_data(data.as_bytes());
        }
        for (name, value) in &self.properties {
            publish = publish.user_property(name, value);
        }
        publish
    }
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let payload = match &args.file {
        _ if args.lines || args.empty => Bytes::new(),
        Some(file) => tokio::fs::read(file)
            .await
            .map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", file.display()), "check the path")
            })?
            .into(),
        None => message_or_stdin(args.message.as_deref()).await?,
    };
    let (client, messages) = args.connection.connect_once().await?;
    drop(messages);
    let template = args
        .properties
        .apply(Publish::new(&*args.topic, payload).qos(args.qos).retain(args.retain));
    let mut sender = Sender { client, waiting: VecDeque::new(), sent: 0, without_receiver: 0 };
    let work = async {
        if args.lines {
            sender.lines(&args, &template).await?;
        } else {
            sender.repeat(&args, &template, output).await?;
        }
        sender.settle(0).await?;
        // What has no acknowledgement may still be refused: hear the broker out.
        if args.qos == QoS::AtMostOnce {
            sender.client.flush().await?;
        }
        Ok::<(), Failure>(())
    };
    if args.lines || args.interval.is_some() {
        work.await?; // takes as long as its input
    } else {
        tokio::time::timeout(args.timeout, work).await.map_err(|_| {
            let what = format!("no acknowledgement within {:?}", args.timeout);
            Failure::with(Exit::TimedOut, what, "check the broker, or raise --timeout")
        })??;
    }
    sender.client.disconnect().await;
    if sender.without_receiver > 0 {
        let which = match (sender.without_receiver, sender.sent) {
            (none, all) if none == all => "this topic".to_owned(),
            (some, all) => format!("this topic when {some} of {all} messages came"),
        };
        output.note(&format!("note: nobody subscribes to {which}"));
    }
    let object = json!({
        "topic": args.topic, "qos": args.qos as u8, "published": sender.sent,
        "without_receiver": sender.without_receiver,
    });
    let line = if sender.sent == 1 { String::new() } else { format!("published {}", sender.sent) };
    output.result(&line, &object)
}

/// The message given on the command line, or standard input.
pub(crate) async fn message_or_stdin(message: Option<&str>) -> Result<Bytes, Failure> {
    if let Some(message) = message.filter(|&message| message != "-") {
        return Ok(Bytes::copy_from_slice(message.as_bytes()));
    }
    let mut bytes = Vec::new();
    tokio::io::stdin()
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
    Ok(bytes.into())
}

struct Sender {
    client: Client,
    waiting: VecDeque<Ack>,
    sent: u64,
    without_receiver: u64,
}

impl Sender {
    async fn send(&mut self, publish: Publish) -> Result<(), Failure> {
        self.waiting.push_back(self.client.publish(publish).await?);
        self.sent += 1;
        self.settle(MAX_WAITING).await
    }

    /// Waits until at most `left` acknowledgements are outstanding.
    async fn settle(&mut self, left: usize) -> Result<(), Failure> {
        while self.waiting.len() > left {
            let Some(ack) = self.waiting.pop_front() else { break };
            let reason = ack.await?;
            self.without_receiver += u64::from(reason == ReasonCode::NoMatchingSubscribers);
        }
        Ok(())
    }

    async fn repeat(
        &mut self,
        args: &Args,
        template: &Publish,
        output: &Output,
    ) -> Result<(), Failure> {
        let mut progress = Progress::new(output, args.repeat, "publishing");
        for n in 0..args.repeat {
            if let Some(interval) = args.interval.filter(|_| n > 0) {
                tokio::time::sleep(interval).await;
            }
            self.send(template.clone()).await?;
            progress.at(n + 1);
        }
        self.settle(0).await
    }

    async fn lines(&mut self, args: &Args, template: &Publish) -> Result<(), Failure> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        loop {
            let line = lines
                .next_line()
                .await
                .map_err(|error| Failure::new(format!("cannot read standard input: {error}")))?;
            let Some(line) = line else { return Ok(()) };
            self.send(template.clone().payload(line)).await?;
            if let Some(interval) = args.interval {
                tokio::time::sleep(interval).await;
            }
        }
    }
}

/// Acknowledgements outstanding at most; bounds memory with --repeat and --lines.
const MAX_WAITING: usize = 10_000;
