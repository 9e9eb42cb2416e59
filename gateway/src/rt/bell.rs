//! Messages to a core from other threads. The core sleeps in its driver; the first message after it fell asleep rings
//! (one byte through a socket pair), those that follow before it wakes do not.
//!
//! monoio's own cross-thread wake was measured at several times the cost, and it wakes once per message.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::stream::{LinkReader, split_link};

struct Shared<M> {
    queue: Mutex<Queue<M>>,
    ring: UnixStream,
}

struct Queue<M> {
    messages: Vec<M>,
    asleep: bool,
}

/// The senders' end.
pub struct Bell<M>(Arc<Shared<M>>);

impl<M> Clone for Bell<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The core's end, before the core runs.
pub struct Inbox<M> {
    shared: Arc<Shared<M>>,
    rung: UnixStream,
}

pub fn bell<M>() -> io::Result<(Bell<M>, Inbox<M>)> {
    let (ring, rung) = UnixStream::pair()?;
    ring.set_nonblocking(true)?;
    let queue = Mutex::new(Queue { messages: Vec::new(), asleep: false });
    let shared = Arc::new(Shared { queue, ring });
    Ok((Bell(shared.clone()), Inbox { shared, rung }))
}

impl<M> Bell<M> {
    pub fn send(&self, message: M) {
        let ring = {
            let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.messages.push(message);
            std::mem::replace(&mut queue.asleep, false)
        };
        if ring {
            // A full socket means that it is rung already; a closed one that the core is gone and nobody listens.
            let _ = (&self.0.ring).write(&[1]);
        }
    }
}

impl<M: 'static> Inbox<M> {
    /// Calls `take` with every message, for ever.
    pub async fn listen(self, mut take: impl FnMut(M)) -> io::Result<()> {
        let (mut reader, _writer): (LinkReader, _) = split_link(self.rung)?;
        let mut messages = Vec::new();
        let mut byte = Vec::with_capacity(16);
        loop {
            {
                let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut queue.messages, &mut messages);
                queue.asleep = messages.is_empty();
            }
            if messages.is_empty() {
                let (read, back) = reader.read(byte).await;
                byte = back;
                byte.clear();
                if read? == 0 {
                    return Ok(());
                }
            } else {
                messages.drain(..).for_each(&mut take);
            }
        }
    }
}
