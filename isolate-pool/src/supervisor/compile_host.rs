//! A host that only compiles. Sources of a deployment go to a process of its own, so that a source which breaks V8's
//! compiler costs that deployment and nothing else.
//!
//! In: sources. Out: code caches or where the sources are wrong. One deployment at a time; the process is started for the
//! first and kept until it has had nothing to do for a while.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::child::{self, SnapshotMemory};
use crate::compiler::{Compile, CompileError, Compiled, Source};
use crate::limits;
use crate::link::frame::{self, Up};

struct Job {
    sources: Vec<Source>,
    done: futures_channel::oneshot::Sender<Compiled>,
}

/// The compile host's handle.
pub struct CompileHost {
    jobs: Sender<Job>,
}

impl CompileHost {
    pub fn start(program: PathBuf, snapshot: &[u8]) -> io::Result<Arc<Self>> {
        let snapshot = SnapshotMemory::new(snapshot)?;
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new().name("compile-host".to_owned()).spawn(move || {
            let mut host: Option<child::Host> = None;
            loop {
                match inbox.recv_timeout(Duration::from_millis(limits::COMPILE_HOST_IDLE_MS)) {
                    Ok(job) => {
                        let answer = compile(&mut host, &program, &snapshot, &job.sources);
                        if answer.is_err() {
                            end(host.take());
                        }
                        let _ = job.done.send(answer);
                    }
                    Err(RecvTimeoutError::Timeout) => end(host.take()),
                    Err(RecvTimeoutError::Disconnected) => return end(host.take()),
                }
            }
        })?;
        Ok(Arc::new(Self { jobs }))
    }
}

impl Compile for CompileHost {
    fn compile(&self, sources: Vec<Source>) -> BoxFuture<'static, Compiled> {
        let (done, answer) = futures_channel::oneshot::channel();
        let sent = self.jobs.send(Job { sources, done });
        async move {
            sent.map_err(|_| "the compile host's thread is gone".to_owned())?;
            answer.await.unwrap_or_else(|_| Err("the compile host's thread is gone".to_owned()))
        }
        .boxed()
    }
}

fn end(host: Option<child::Host>) {
    if let Some(mut host) = host {
        let _ = host.child.kill();
        let _ = host.child.wait();
    }
}

fn compile(
    host: &mut Option<child::Host>,
    program: &std::path::Path,
    snapshot: &SnapshotMemory,
    sources: &[Source],
) -> Compiled {
    let host = match host {
        Some(host) => host,
        None => {
            let started = child::start(program, 0, 1, snapshot);
            let mut started = started.map_err(|error| format!("the compile host did not start: {error}"))?;
            // Its last words are not worth a thread: what went wrong is seen from its end.
            drop(started.child.stderr.take());
            host.insert(started)
        }
    };
    let link = &mut host.links[0];
    let until = Instant::now() + Duration::from_millis(limits::COMPILE_MS);
    let mut received = Vec::new();
    let mut answers = Vec::with_capacity(sources.len());
    // One source at a time: neither side can then wait for the other with full sockets.
    for (id, source) in sources.iter().enumerate() {
        let mut out = Vec::new();
        frame::write_compile(&mut out, id as u64, &source.path, &source.text);
        let broke = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("compiling {} took longer than {} s", source.path, limits::COMPILE_MS / 1_000)
            }
            _ => format!("the compile host ended while compiling {}: {error}", source.path),
        };
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        link.set_write_timeout(Some(left)).map_err(broke)?;
        link.write_all(&out).map_err(broke)?;
        answers.push(loop {
            if let Some(answer) = take_answer(&mut received, id as u64)? {
                break answer;
            }
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            link.set_read_timeout(Some(left)).map_err(broke)?;
            let mut chunk = [0; 64 * 1024];
            match link.read(&mut chunk).map_err(broke)? {
                0 => return Err(broke(io::ErrorKind::UnexpectedEof.into())),
                length => received.extend_from_slice(&chunk[..length]),
            }
        });
    }
    Ok(answers)
}

/// The answer to source `id`, if it has arrived whole.
fn take_answer(received: &mut Vec<u8>, id: u64) -> Result<Option<Result<Vec<u8>, CompileError>>, String> {
    let nonsense = |frame::BadFrame(what)| format!("the compile host sent a frame that makes no sense ({what})");
    loop {
        let Some((body, length)) = frame::split(received).map_err(nonsense)? else { return Ok(None) };
        let answer = match frame::read_up(body).map_err(nonsense)? {
            Up::Compiled { id: answered, result } if answered == id => Some(result.map(<[u8]>::to_vec)),
            _ => None,
        };
        received.drain(..length);
        if answer.is_some() {
            return Ok(answer);
        }
    }
}
