//! What a server waits for while it serves: a signal to end, or a wish for a restart without notice.
//!
//! In: signals (SIGTERM and SIGINT end it, a second one at once; SIGUSR2 restarts it) and requests at the control socket. Out:
//! how it is to end. One restart at a time; one that fails changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::Server;
use super::handover::control::Watcher;
use super::handover::old::{self, Estate, Heir};
use crate::config::Config;
use crate::core::Message;

/// Why a server ends.
pub enum End {
    /// Somebody wants it to.
    Asked,
    /// Another process serves.
    Succeeded(Heir),
}

/// The first SIGTERM or SIGINT. A second one ends the process at once.
pub async fn signalled() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    at_once_next_time(term, int);
}

/// The next signal ends the process.
fn at_once_next_time(mut term: SignalStream, mut int: SignalStream) {
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(130);
    });
}

pub fn until_the_end(server: &Server, config: &Config) -> End {
    server.runtime.block_on(wait(server, config.drain_notice))
}

async fn wait(server: &Server, notice: Duration) -> End {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::user_defined2()].map(signal);
    let [Ok(mut term), Ok(mut int), Ok(mut restart)] = signals else {
        tracing::error!("signals cannot be waited for; only a kill ends this process");
        return std::future::pending().await;
    };
    let mut asks = server.asks.lock().unwrap_or_else(PoisonError::into_inner).take();
    let stopping = Arc::new(AtomicBool::new(false));
    let mut restarting: Option<JoinHandle<Result<Heir, String>>> = None;
    loop {
        let watcher = tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = restart.recv() => Watcher::default(),
            watcher = asking(&mut asks) => watcher,
            ended = ending(&mut restarting) => {
                restarting = None;
                match ended {
                    Ok(heir) => return End::Succeeded(heir),
                    Err(_) => continue,
                }
            }
        };
        if restarting.is_some() {
            watcher.refused("a restart is in progress already");
            continue;
        }
        match estate(server, stopping.clone()) {
            Ok(estate) => {
                restarting = Some(tokio::task::spawn_blocking(move || old::hand_over(&estate, &watcher)));
            }
            Err(error) => watcher.failed(&error),
        }
    }
    at_once_next_time(term, int);
    stopping.store(true, Ordering::Relaxed);
    if restarting.is_some()
        && let Ok(heir) = ending(&mut restarting).await
    {
        // The wish came while the server was passed on, and is meant for whoever has it.
        if let Some(pid) = Pid::from_raw(heir.pid as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        return End::Succeeded(heir);
    }
    if !notice.is_zero() {
        tracing::info!(seconds = notice.as_secs(), "/health says that this server is about to end");
        server.bells.iter().for_each(|bell| bell.send(Message::Announce));
        tokio::time::sleep(notice).await;
    }
    End::Asked
}

/// Who asks next; nobody ever, when nobody can.
async fn asking(asks: &mut Option<UnboundedReceiver<Watcher>>) -> Watcher {
    if let Some(asks) = asks
        && let Some(watcher) = asks.recv().await
    {
        return watcher;
    }
    std::future::pending().await
}

/// How the restart in progress ends; never, when there is none.
async fn ending(restarting: &mut Option<JoinHandle<Result<Heir, String>>>) -> Result<Heir, String> {
    match restarting {
        Some(restarting) => restarting.await.unwrap_or_else(|_| Err("the restart broke off".to_owned())),
        None => std::future::pending().await,
    }
}

fn estate(server: &Server, stopping: Arc<AtomicBool>) -> Result<Estate, String> {
    // The path it was started from: there the new version lies.
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))?;
    let program = match program.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        // The kernel says so when the file has been replaced.
        Some(path) => path.into(),
        None => program,
    };
    Ok(Estate {
        program,
        arguments: std::env::args_os().skip(1).collect(),
        runtime: server.runtime.handle().clone(),
        control: server.control.clone(),
        data: server.data.clone(),
        lock: server.lock.clone(),
        sockets: server.sockets.clone(),
        store: server.store.clone(),
        stopping,
    })
}
