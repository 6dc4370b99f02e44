//! `agentmq sub`.

use std::time::Duration;

use agentmq_client::{
    Client, Event, PropertiesBuf, Publish, QoS, RetainHandling, SubscriptionOptions, Will,
};

use serde_json::json;

use crate::connection::{ConnectionArgs, parse_qos};
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::interruption::interrupted;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic filters; + stands for one level, # for the rest.
    #[arg(required = true)]
    filters: Vec<String>,
    /// End after so many messages.
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// End after this time; with --count a failure (exit code 5) unless all came.
    #[arg(long, value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Maximum Quality of Service: 0, 1 or 2.
    #[arg(long, short = 'q', default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Print payloads only, each with a line end.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Do not print retained messages that existed before.
    #[arg(long)]
    no_retained: bool,
    /// Show live messages as retained if they were published so (MQTT 5).
    #[arg(long)]
    retain_as_published: bool,
    /// Do not receive what this client id publishes (MQTT 5).
    #[arg(long)]
    no_local: bool,
    /// Topic of a message that the broker publishes if this command dies.
    #[arg(long)]
    will_topic: Option<String>,
    /// That message.
    #[arg(long, requires = "will_topic", default_value = "")]
    will_message: String,
    /// Its Quality of Service: 0, 1 or 2.
    #[arg(long, requires = "will_topic", default_value = "0", value_parser = parse_qos)]
    will_qos: QoS,
    /// Keep it for future subscribers.
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// How long the broker waits for us to come back before it publishes it (MQTT 5); needs
    /// --session-expiry.
    #[arg(long, requires_all = ["will_topic", "session_expiry"])]
    #[arg(value_parser = duration::parse_seconds)]
    will_delay: Option<u32>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let mut options = args.connection.options()?;
    let v5 = options.version.is_v5();
    if let Some(topic) = &args.will_topic {
        options.will = Some(Will {
            qos: args.will_qos,
            retain: args.will_retain,
            delay: args.will_delay.unwrap_or_default(),
            ..Will::new(&**topic, args.will_message.clone())
        });
    }
    let (client, mut messages) = Client::connect(options).await?;
    report_events(&client, output.json);
    let retain_handling =
        if args.no_retained { RetainHandling::DoNotSend } else { RetainHandling::Send };
    let subscription = SubscriptionOptions {
        qos: args.qos,
        no_local: args.no_local && v5,
        retain_as_published: args.retain_as_published && v5,
        retain_handling,
    };
    let filters = args.filters.iter().map(|filter| (filter.clone(), subscription));
    let reasons = client.subscribe_all(filters, PropertiesBuf::new()).await?;
    for (filter, reason) in args.filters.iter().zip(reasons) {
        if reason.is_error() {
            let what = format!("the broker refused {filter}: {reason}");
            return Err(Failure::with(Exit::Refused, what, "ask for the right to this filter"));
        }
    }
    let mut left = args.count;
    let print_all = async {
        while left != Some(0) {
            let Some(message) = messages.next().await else {
                return Err(client.ending().into());
            };
            // Before version 5 the broker cannot be told.
            if args.no_retained && !v5 && message.retain {
                continue;
            }
            if args.raw {
                output.raw(&[&message.payload, &b"\n"[..]].concat())?;
            } else {
                output.message(&message)?;
            }
            left = left.map(|left| left - 1);
        }
        Ok::<(), Failure>(())
    };
    let timeout = async {
        match args.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        biased;
        result = print_all => result,
        result = interrupted() => result,
        () = timeout => timed_out(&args),
    };
    // However it ends: a command that has ended is no client that has died.
    client.disconnect().await;
    ended
}

fn timed_out(args: &Args) -> Result<(), Failure> {
    let Some(count) = args.count else { return Ok(()) };
    let after = args.timeout.unwrap_or_default();
    let what = format!("not all of {count} came within {after:?}");
    Err(Failure::with(Exit::TimedOut, what, "wait longer, or check the filter"))
}

/// Tells on standard error when the connection breaks and returns.
pub(crate) fn report_events(client: &Client, json: bool) {
    let mut events = client.events();
    let output = Output::new(json);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let (line, object) = match event {
                Event::Disconnected { why, retry_in: Some(pause), .. } => (
                    format!("disconnected: {why}; trying again in {pause:.1?}"),
                    json!({ "event": "disconnected", "why": why,
                        "retry_in_ms": pause.as_millis() }),
                ),
                Event::Disconnected { why, .. } => {
                    let object = json!({ "event": "disconnected", "why": why });
                    (format!("disconnected: {why}"), object)
                }
                Event::Connected => {
                    let object = json!({ "event": "connected", "resumed": false });
                    ("connected again".to_owned(), object)
                }
                Event::Resumed => {
                    let object = json!({ "event": "connected", "resumed": true });
                    ("connected again, session continued".to_owned(), object)
                }
                _ => continue,
            };
            output.event(&line, &object);
        }
    });
}

/// An answer to a request, with the request's correlation data.
pub(crate) fn answer(request: &agentmq_client::Message, payload: Vec<u8>) -> Option<Publish> {
    let mut publish = Publish::new(request.response_topic()?, payload).qos(request.qos);
    if let Some(data) = request.correlation_data() {
        publish = publish.correlation_data(data);
    }
    Some(publish)
}
