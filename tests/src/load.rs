//! Callers that never stop calling, and remember every answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::{Answer, Connection, Request};
use crate::wait_for;

/// One request and what came of it.
#[derive(Debug)]
pub struct Sample {
    pub connection: usize,
    pub sent: Instant,
    pub answered: Instant,
    /// How often it was asked again because the server had said that it was not carried out, which only HTTP/2 can say.
    pub asked_again: usize,
    /// `Err` when the connection failed: no answer, or one that is not HTTP.
    pub answer: Result<Answer, String>,
}

impl Sample {
    pub fn latency(&self) -> Duration {
        self.answered - self.sent
    }

    pub fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status)
    }
}

/// Some keep-alive connections, each sending its next request when the last is answered.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// `request` makes the request number `n` of a connection; `None` ends that connection's calls.
    pub fn start(
        address: SocketAddr,
        connections: usize,
        request: impl Fn(usize, usize) -> Option<Request> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(move |_| Connection::try_open(address), connections, request)
    }

    /// The same for callers whose connection number `n` is opened by `open`.
    pub fn start_with(
        open: impl Fn(usize) -> io::Result<Connection> + Send + Sync + 'static,
        connections: usize,
        request: impl Fn(usize, usize) -> Option<Request> + Send + Sync + 'static,
    ) -> Self {
        let calls = Arc::new((open, request));
        Self::spawn(connections, move |connection, stop, answered| {
            let (open, request) = &*calls;
            caller(|| open(connection), connection, &stop, &answered, |number| request(connection, number))
        })
    }

    /// So many threads that call until told to stop, and count answers.
    pub(crate) fn spawn(
        threads: usize,
        caller: impl Fn(usize, Arc<AtomicBool>, Arc<AtomicUsize>) -> Vec<Sample> + Clone + Send + 'static,
    ) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..threads).map(|number| {
            let (stop, answered, caller) = (stop.clone(), answered.clone(), caller.clone());
            std::thread::Builder::new()
                .stack_size(1024 * 1024)
                .spawn(move || caller(number, stop, answered))
                .expect("a thread")
        });
        let callers = callers.collect();
        Self { stop, answered, callers }
    }

    /// The same request from every connection, until stopped.
    pub fn of(address: SocketAddr, connections: usize, request: Request) -> Self {
        Self::start(address, connections, move |_, _| Some(request.clone()))
    }

    /// Answers received so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for so many more answers.
    pub fn wait_for_more(&self, answers: usize) {
        let goal = self.answered() + answers;
        wait_for("the load is answered", Duration::from_secs(30), || (self.answered() >= goal).then_some(()));
    }

    /// Asks for no more calls than those in progress.
    pub fn calm_down(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the calls and gives all samples, in the order they were sent.
    pub fn stop(self) -> Vec<Sample> {
        self.calm_down();
        self.join()
    }

    /// Waits until every connection has ended by itself.
    pub fn join(self) -> Vec<Sample> {
        let mut samples: Vec<Sample> =
            self.callers.into_iter().flat_map(|caller| caller.join().expect("a caller does not panic")).collect();
        samples.sort_by_key(|sample| sample.sent);
        samples
    }
}

fn caller(
    open_one: impl Fn() -> io::Result<Connection>,
    connection: usize,
    stop: &AtomicBool,
    answered: &AtomicUsize,
    next: impl Fn(usize) -> Option<Request>,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut open: Option<Connection> = None;
    for number in 0.. {
        let Some(request) = next(number).filter(|_| !stop.load(Ordering::Relaxed)) else { break };
        let sent = Instant::now();
        let answer = match open.take().map_or_else(&open_one, Ok) {
            Ok(mut connection) => {
                let answer = connection.call(&request).map_err(|error| error.to_string());
                if answer.as_ref().is_ok_and(|answer| answer.header("connection") != Some("close")) {
                    open = Some(connection);
                }
                answer
            }
            Err(error) => Err(format!("cannot connect: {error}")),
        };
        if answer.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
        samples.push(Sample { connection, sent, answered: Instant::now(), asked_again: 0, answer });
        if samples.last().is_some_and(|sample| sample.answer.is_err()) {
            // A server that is gone would be asked a million times.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    samples
}
