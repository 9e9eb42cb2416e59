//! Messages on a channel of Redis, as hints: a connection of its own listens, and is made anew when it breaks.
//!
//! In: a channel's name. Out: its messages, and word of every time that listening began, since messages before that are
//! lost. When nobody takes them, later ones are dropped: whoever looks after the first that waits sees everything.

use std::time::Duration;

use futures_util::StreamExt;
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Settings;
use crate::limits;

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Listening began, or began again: whatever was said before is not known.
    Listening,
    Message(Vec<u8>),
}

/// What is heard on one channel. Listening ends when this is dropped.
#[derive(Debug)]
pub struct Hints(mpsc::Receiver<Hint>);

impl Hints {
    /// The next one.
    pub async fn next(&mut self) -> Hint {
        match self.0.recv().await {
            Some(hint) => hint,
            // The listener ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    /// One that is there already.
    pub fn at_hand(&mut self) -> Option<Hint> {
        self.0.try_recv().ok()
    }
}

pub(super) fn listen(client: Client, settings: Settings, channel: String, runtime: &Handle) -> Hints {
    let (heard, hints) = mpsc::channel(limits::REDIS_HINTS_WAITING);
    runtime.spawn(async move {
        let mut pause = limits::REDIS_RETRY_LEAST;
        while !heard.is_closed() {
            if let Some((sink, stream)) = subscribe(&client, &settings, &channel).await {
                pause = limits::REDIS_RETRY_LEAST;
                say(&heard, Hint::Listening);
                hear(sink, stream, &heard, settings.answer).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::REDIS_RETRY_MOST);
        }
    });
    Hints(hints)
}

/// The connection's own task says why Redis cannot be reached; saying it twice helps nobody.
async fn subscribe(client: &Client, settings: &Settings, channel: &str) -> Option<(PubSubSink, PubSubStream)> {
    let made = tokio::time::timeout(settings.connect, client.get_async_pubsub()).await;
    let mut made = made.ok()?.ok()?;
    tokio::time::timeout(settings.answer, made.subscribe(channel)).await.ok()?.ok()?;
    Some(made.split())
}

/// Until the connection breaks, or does not answer any more, or nobody listens.
async fn hear(mut sink: PubSubSink, mut stream: PubSubStream, heard: &mpsc::Sender<Hint>, answer: Duration) {
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(message) if message.get_payload_bytes().len() <= limits::REDIS_HINT_BYTES_MAX => {
                    say(heard, Hint::Message(message.get_payload_bytes().to_vec()));
                }
                Some(_) => {}
                None => return,
            },
            () = heard.closed() => return,
            () = tokio::time::sleep(limits::REDIS_SIGN_OF_LIFE) => {
                match tokio::time::timeout(answer, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                }
            }
        }
    }
}

fn say(heard: &mpsc::Sender<Hint>, hint: Hint) {
    // One that is full holds hints enough.
    drop(heard.try_send(hint));
}
