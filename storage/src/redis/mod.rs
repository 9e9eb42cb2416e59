//! Redis, where there is one: what nodes of a fleet share because it is quick, never because it is true.
//!
//! In: where it is, and commands. Out: its answers, or that there is none in time. One connection carries everything, and
//! is made anew by a task of its own when it breaks. Nobody waits for that: while there is no connection, commands fail at
//! once, and each waits a bounded time for its answer. A command that was not answered in time breaks the connection, so
//! that a server that hangs costs one wait and not one for every command.
//!
//! What Redis answers is hostile input: whoever asks must check it. Answers that are not of Redis' protocol break the
//! connection.
//!
//! Not here: what is kept there (`control-plane::fleet` keeps apps, the gateway counts requests), and TLS: this build's
//! client has none, so `rediss://` is refused where the settings are read.

mod hints;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, ServerErrorKind};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::limits;
use crate::model::SecretText;

pub use ::redis as client;
pub use hints::{Hint, Hints};

/// Where Redis is and how long it may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: SecretText,
    /// What the names of all keys and channels begin with, so that several installations can share a server.
    pub prefix: String,
    /// Until a connection is made.
    pub connect: Duration,
    /// Until one command is answered.
    pub answer: Duration,
}

/// Whether a URL can be used; the text says why not, without repeating it, since it may hold a password.
pub fn check_url(url: &str) -> Result<(), String> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("redis") => {
            url.into_connection_info().map(drop).map_err(|error| format!("is not a URL of Redis: {error}"))
        }
        Some("rediss") => Err("TLS to Redis is not part of this build: use redis:// on a private network".to_owned()),
        _ => Err("is not a URL of Redis, such as redis://127.0.0.1:6379/0".to_owned()),
    }
}

/// Why a command has no answer.
#[derive(Debug, Clone)]
pub enum NoAnswer {
    /// There is no connection now, or it broke meanwhile. Whether the command took place is not known.
    Down(String),
    /// Redis answered that it will not: it is full, read-only, or does not know the command.
    Refused(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(why) => write!(f, "Redis is not to be reached: {why}"),
            Self::Refused(why) => write!(f, "Redis refuses: {why}"),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// How Redis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is wrong; `None` when commands are being answered.
    pub down: Option<String>,
    /// Since it last answered anything; `None` when it never did.
    pub age: Option<Duration>,
}

/// One Redis. Cheap to clone; every clone is the same connection. It ends with its last clone.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    client: Client,
    settings: Settings,
    runtime: Handle,
    link: Mutex<Link>,
    /// Rung when the connection broke.
    broke: Notify,
    started: Instant,
    /// Milliseconds from the start to the last answer, and one more; 0: none yet.
    answered: AtomicU64,
}

struct Link {
    /// Grows with every connection, so that an old one's failure does not break the next.
    generation: u64,
    state: Result<MultiplexedConnection, String>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Redis {
    /// Begins to connect, on `runtime`, and returns at once. `Err` says what is wrong with the URL.
    pub fn start(settings: Settings, runtime: &Handle) -> Result<Self, String> {
        check_url(settings.url.reveal())?;
        let client = Client::open(settings.url.reveal()).map_err(|error| error.to_string())?;
        let link = Mutex::new(Link { generation: 0, state: Err("not connected yet".to_owned()) });
        let shared = Arc::new(Shared {
            client,
            settings,
            runtime: runtime.clone(),
            link,
            broke: Notify::new(),
            started: Instant::now(),
            answered: AtomicU64::new(0),
        });
        metrics::describe_gauge!("portico_redis_up", "1 while Redis answers, 0 while it does not.");
        metrics::describe_counter!("portico_redis_commands_total", "Commands that were sent to Redis, by outcome.");
        metrics::gauge!("portico_redis_up").set(0.0);
        runtime.spawn(keep_connected(Arc::downgrade(&shared)));
        Ok(Self(shared))
    }

    /// A key's or channel's whole name.
    pub fn name(&self, rest: impl fmt::Display) -> String {
        format!("{}{rest}", self.0.settings.prefix)
    }

    /// Runs commands on the connection. The future may be awaited on any executor; dropping it does not recall the
    /// commands. It takes as long as one answer may, and fails at once while there is no connection.
    pub fn ask<T, F, W>(&self, work: W) -> impl Future<Output = Result<T, NoAnswer>> + Send + 'static + use<T, F, W>
    where
        T: Send + 'static,
        F: Future<Output = RedisResult<T>> + Send + 'static,
        W: FnOnce(MultiplexedConnection) -> F + Send + 'static,
    {
        let started = self.0.connection().map(|(connection, generation)| {
            let shared = Arc::clone(&self.0);
            let (reply, answer) = oneshot::channel();
            self.0.runtime.spawn(async move {
                let outcome = tokio::time::timeout(shared.settings.answer, work(connection)).await;
                // Nobody waits any more when this cannot be sent.
                drop(reply.send(shared.judge(generation, outcome.map_err(drop))));
            });
            answer
        });
        async move {
            let outcome = match started {
                Ok(answer) => answer.await.unwrap_or_else(|_| Err(NoAnswer::Down("the server is stopping".to_owned()))),
                Err(why) => Err(NoAnswer::Down(why)),
            };
            metrics::counter!("portico_redis_commands_total", "outcome" => match &outcome {
                Ok(_) => "answered",
                Err(NoAnswer::Refused(_)) => "refused",
                Err(NoAnswer::Down(_)) => "down",
            })
            .increment(1);
            outcome
        }
    }

    pub fn health(&self) -> Health {
        let shared = &self.0;
        let age = match shared.answered.load(Ordering::Relaxed) {
            0 => None,
            at => Some(shared.started.elapsed().saturating_sub(Duration::from_millis(at - 1))),
        };
        Health { down: shared.link().state.as_ref().err().cloned(), age }
    }

    /// Messages on a channel, named without the prefix. Some may be missing: they are hints.
    pub fn hints(&self, channel: &str) -> Hints {
        hints::listen(self.0.client.clone(), self.0.settings.clone(), self.name(channel), &self.0.runtime)
    }
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<(MultiplexedConnection, u64), String> {
        let link = self.link();
        link.state.clone().map(|connection| (connection, link.generation))
    }

    /// What an outcome says about the connection, and what the caller hears of it.
    fn judge<T>(&self, generation: u64, outcome: Result<RedisResult<T>, ()>) -> Result<T, NoAnswer> {
        match outcome {
            Ok(Ok(answer)) => {
                self.answered();
                Ok(answer)
            }
            Ok(Err(error)) if refuses(&error) => {
                self.answered();
                Err(NoAnswer::Refused(error.to_string()))
            }
            Ok(Err(error)) => Err(self.break_off(generation, error.to_string())),
            Err(()) => {
                let why = format!("no answer within {} ms", self.settings.answer.as_millis());
                Err(self.break_off(generation, why))
            }
        }
    }

    fn answered(&self) {
        self.answered.store(self.started.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    fn break_off(&self, generation: u64, why: String) -> NoAnswer {
        let mut link = self.link();
        if link.generation == generation && link.state.is_ok() {
            tracing::warn!(why, "the connection to Redis is broken off");
            metrics::gauge!("portico_redis_up").set(0.0);
            link.state = Err(why.clone());
            self.broke.notify_one();
        }
        NoAnswer::Down(why)
    }

    /// A connection that has answered.
    async fn connect(&self) -> Result<MultiplexedConnection, String> {
        let Settings { connect, answer, .. } = self.settings;
        // Every wait is bounded here, by what each command may take.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(connect)).set_response_timeout(None);
        let made = tokio::time::timeout(connect, self.client.get_multiplexed_async_connection_with_config(&config));
        let mut connection = match made.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no connection within {} ms", connect.as_millis())),
        };
        match tokio::time::timeout(answer, redis::cmd("PING").query_async::<String>(&mut connection)).await {
            Ok(Ok(pong)) if pong == "PONG" => Ok(connection),
            Ok(Ok(_)) => Err("it does not answer PING with PONG".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", answer.as_millis())),
        }
    }
}

/// Whether a server that is well would not do what was asked. What else it may say means that it cannot serve now.
fn refuses(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => {
            !matches!(kind, ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown)
        }
        ErrorKind::Extension | ErrorKind::UnexpectedReturnType | ErrorKind::Client => true,
        _ => false,
    }
}

/// Makes the connection whenever there is none, and asks for a sign of life when nobody else asked for anything.
async fn keep_connected(shared: Weak<Shared>) {
    let mut pause = limits::REDIS_RETRY_LEAST;
    loop {
        let Some(redis) = shared.upgrade() else { return };
        if redis.link().state.is_ok() {
            let wait = tokio::time::timeout(limits::REDIS_SIGN_OF_LIFE, redis.broke.notified());
            if wait.await.is_err() && Arc::strong_count(&redis) > 1 {
                let ping =
                    |mut connection| async move { redis::cmd("PING").query_async::<String>(&mut connection).await };
                // A failure breaks the connection off, which is all there is to do about it.
                drop(Redis(redis).ask(ping).await);
            }
            continue;
        }
        match redis.connect().await {
            Ok(connection) => {
                pause = limits::REDIS_RETRY_LEAST;
                redis.answered();
                let mut link = redis.link();
                link.generation += 1;
                link.state = Ok(connection);
                tracing::info!("connected to Redis");
                metrics::gauge!("portico_redis_up").set(1.0);
            }
            Err(why) => {
                {
                    let mut link = redis.link();
                    if link.state.as_ref().err() != Some(&why) {
                        tracing::warn!(why, "Redis is not to be reached; everything goes on without it");
                        link.state = Err(why);
                    }
                }
                drop(redis);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(limits::REDIS_RETRY_MOST);
            }
        }
    }
}

#[cfg(test)]
mod tests;
