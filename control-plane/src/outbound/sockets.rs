//! Connections that functions open themselves: TCP, and TLS over it.
//!
//! In: operations on one call's connections. Out: what they gave. A connection belongs to its call and closes with it.
//! Reading and writing do not wait for each other; several reads at once are answered one after the other.
//!
//! Not here: listening. Functions connect, they are not connected to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::raw::{RawBson, RawDocumentBuf};
use bson::{Binary, rawdoc, spec::BinarySubtype};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use isolate_pool::services::Refusal;

use super::exchange::{code_of, io_code};
use super::fields::{Fields, refused, wrong};
use super::names::GuardedNames;
use super::tls::{Terms, Tls};
use crate::limits::{SOCKET_READ_BYTES, SOCKET_WRITE_BYTES_MAX, SOCKETS_PER_CALL_MAX};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Boxed = Box<dyn Stream>;

/// One call's connections.
#[derive(Default)]
pub struct Sockets {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, Arc<Socket>>,
    /// Being connected now; they count as open.
    connecting: usize,
    made: u64,
}

struct Socket {
    /// None while it is being secured.
    reader: tokio::sync::Mutex<Option<ReadHalf<Boxed>>>,
    writer: tokio::sync::Mutex<Option<WriteHalf<Boxed>>>,
    /// Becomes true when the connection is closed here.
    closed: watch::Sender<bool>,
    /// Changes when reading has to pause because the connection is being secured.
    paused: watch::Sender<u64>,
    _permit: OwnedSemaphorePermit,
}

/// What connections are made with.
pub struct Way<'a> {
    pub names: &'a GuardedNames,
    pub tls: &'a Tls,
    pub connect: Duration,
    /// The app's connections.
    pub connections: &'a Arc<Semaphore>,
}

impl Sockets {
    pub async fn operate(&self, way: &Way<'_>, fields: &Fields<'_>) -> Result<RawDocumentBuf, Refusal> {
        match fields.text("op")? {
            "connect" => self.connect(way, fields).await,
            "secure" => self.secure(way, fields).await,
            "write" => {
                let data = fields.bytes("data")?.unwrap_or_default();
                if data.len() > SOCKET_WRITE_BYTES_MAX {
                    return Err(wrong(format!("data: more than {SOCKET_WRITE_BYTES_MAX} bytes in one write")));
                }
                self.find(fields)?.write(data).await
            }
            "end" => self.find(fields)?.end().await,
            "close" => {
                let number = fields.number("socket")?.unwrap_or_default();
                if let Some(socket) = self.lock().open.remove(&number) {
                    socket.closed.send_replace(true);
                }
                Ok(RawDocumentBuf::new())
            }
            other => Err(wrong(format!("op: there is no operation '{other}' on a connection"))),
        }
    }

    /// A read, if that is what is asked for. It takes its place at once: what is done to the connection later must find
    /// it there, and tasks do not keep the order in which they were started.
    pub fn read(&self, fields: &Fields<'_>) -> Result<Option<Reading>, Refusal> {
        if fields.text("op")? != "read" {
            return Ok(None);
        }
        let socket = self.find(fields)?;
        Ok(Some(Reading { closed: socket.closed.subscribe(), paused: socket.paused.subscribe(), socket }))
    }

    /// Closes everything.
    pub fn close(&self) {
        for (_, socket) in self.lock().open.drain() {
            socket.closed.send_replace(true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, fields: &Fields<'_>) -> Result<Arc<Socket>, Refusal> {
        let number = fields.number("socket")?.unwrap_or_default();
        let found = self.lock().open.get(&number).cloned();
        found.ok_or_else(|| refused("ERR_SOCKET_CLOSED", "Socket is closed"))
    }

    async fn connect(&self, way: &Way<'_>, fields: &Fields<'_>) -> Result<RawDocumentBuf, Refusal> {
        let host = fields.text("host")?;
        let port = fields.number("port")?.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let port = port.ok_or_else(|| wrong("port: not a number from 1 to 65535"))?;
        let terms = if fields.flag("tls")? { Some(terms(fields, host)?) } else { None };
        let permit = way.connections.clone().try_acquire_owned().map_err(|_| {
            refused("TooManyConnections", "this app has as many connections open as it may; close some or try again")
        })?;
        let place = Connecting::begin(self)?;
        let addresses = way.names.permitted(host).await;
        let addresses = addresses.map_err(|error| refused(code_of(&error), error.to_string()))?;
        let mut last = None;
        for address in addresses {
            let peer = SocketAddr::new(address, port);
            match tokio::time::timeout(way.connect, TcpStream::connect(peer)).await {
                Ok(Ok(stream)) => return place.connected(way, stream, terms, permit).await,
                Ok(Err(error)) => {
                    let code = io_code(&error).map_or("ECONNFAILED", |(code, _)| code);
                    last = Some(refused(code, format!("connect {code} {peer}")));
                }
                Err(_) => last = Some(refused("ETIMEDOUT", format!("connect ETIMEDOUT {peer}"))),
            }
        }
        Err(last.unwrap_or_else(|| refused("ENOTFOUND", format!("getaddrinfo ENOTFOUND {host}"))))
    }

    /// TLS over a connection that is already open, as mail and database protocols do.
    async fn secure(&self, way: &Way<'_>, fields: &Fields<'_>) -> Result<RawDocumentBuf, Refusal> {
        let socket = self.find(fields)?;
        let terms = terms(fields, fields.optional_text("servername")?.unwrap_or_default())?;
        let in_use = || refused("ERR_SOCKET_BUSY", "the connection is already being secured");
        // Whoever reads now lets go of the reading half without having taken anything.
        socket.paused.send_modify(|times| *times += 1);
        let reader = socket.reader.lock().await.take().ok_or_else(in_use)?;
        let writer = socket.writer.lock().await.take().ok_or_else(in_use)?;
        let stream = reader.unsplit(writer);
        let secured = tokio::time::timeout(way.connect, way.tls.secure(stream, &terms)).await;
        let secured = secured.map_err(|_| refused("ETIMEDOUT", format!("TLS with {} took too long", terms.name)))??;
        let agreed = secured.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        let (reader, writer) = tokio::io::split(Box::new(secured) as Boxed);
        *socket.reader.lock().await = Some(reader);
        *socket.writer.lock().await = Some(writer);
        Ok(match agreed {
            Some(agreed) => rawdoc! { "alpn": agreed },
            None => RawDocumentBuf::new(),
        })
    }
}

fn terms(fields: &Fields<'_>, host: &str) -> Result<Terms, Refusal> {
    /// More names than anybody offers.
    const ALPN_MAX: usize = 16;
    Ok(Terms {
        name: fields.optional_text("servername")?.filter(|name| !name.is_empty()).unwrap_or(host).to_owned(),
        alpn: fields.texts("alpn", ALPN_MAX)?.into_iter().map(str::to_owned).collect(),
        insecure: fields.flag("insecure")?,
    })
}

/// A connection in the making has its place among the open ones.
struct Connecting<'a>(&'a Sockets);

impl<'a> Connecting<'a> {
    fn begin(sockets: &'a Sockets) -> Result<Self, Refusal> {
        let mut table = sockets.lock();
        if table.open.len() + table.connecting >= SOCKETS_PER_CALL_MAX {
            let words = format!("a call may have {SOCKETS_PER_CALL_MAX} sockets open at a time, and all of them are");
            return Err(refused("TooManyConnections", words));
        }
        table.connecting += 1;
        drop(table);
        Ok(Self(sockets))
    }

    async fn connected(
        self,
        way: &Way<'_>,
        stream: TcpStream,
        terms: Option<Terms>,
        permit: OwnedSemaphorePermit,
    ) -> Result<RawDocumentBuf, Refusal> {
        let failed = |error: std::io::Error| refused("ECONNRESET", error.to_string());
        let (local, peer) = (stream.local_addr().map_err(failed)?, stream.peer_addr().map_err(failed)?);
        let _ = stream.set_nodelay(true);
        let mut agreed = None;
        let stream: Boxed = match terms {
            None => Box::new(stream),
            Some(terms) => {
                let secured = tokio::time::timeout(way.connect, way.tls.secure(stream, &terms)).await;
                let secured =
                    secured.map_err(|_| refused("ETIMEDOUT", format!("TLS with {} took too long", terms.name)))??;
                agreed = secured.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                Box::new(secured)
            }
        };
        let (reader, writer) = tokio::io::split(stream);
        let socket = Socket {
            reader: tokio::sync::Mutex::new(Some(reader)),
            writer: tokio::sync::Mutex::new(Some(writer)),
            closed: watch::Sender::new(false),
            paused: watch::Sender::new(0),
            _permit: permit,
        };
        let number = self.open(socket);
        let mut answer = rawdoc! {
            "socket": number as i32,
            "remoteAddress": peer.ip().to_string(),
            "remotePort": i32::from(peer.port()),
            "localAddress": local.ip().to_string(),
            "localPort": i32::from(local.port()),
        };
        if let Some(agreed) = agreed {
            answer.append(bson::raw::cstr!("alpn"), agreed);
        }
        Ok(answer)
    }

    /// The place becomes an open connection's.
    fn open(self, socket: Socket) -> u64 {
        let mut table = self.0.lock();
        // A call cannot make so many that this comes round.
        table.made = (table.made + 1) & 0x7fff_ffff;
        let number = table.made;
        table.open.insert(number, Arc::new(socket));
        table.connecting -= 1;
        drop(table);
        // It has been given up already, in the same moment.
        std::mem::forget(self);
        number
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.lock().connecting -= 1;
    }
}

/// A read that has its place.
pub struct Reading {
    socket: Arc<Socket>,
    closed: watch::Receiver<bool>,
    paused: watch::Receiver<u64>,
}

impl Reading {
    pub async fn done(self) -> Result<RawDocumentBuf, Refusal> {
        let Self { socket, mut closed, mut paused } = self;
        let read = async {
            let mut reader = socket.reader.lock().await;
            // It failed to be secured, and is good for nothing any more.
            let Some(reader) = reader.as_mut() else { return Ok(Vec::new()) };
            let mut bytes = Vec::with_capacity(SOCKET_READ_BYTES);
            reader.read_buf(&mut bytes).await?;
            Ok(bytes)
        };
        let bytes = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return Ok(rawdoc! { "end": true }),
            _ = paused.changed() => return Ok(rawdoc! { "paused": true }),
            read = read => read.map_err(|error: std::io::Error| told("read", &error))?,
        };
        if bytes.is_empty() {
            return Ok(rawdoc! { "end": true });
        }
        let data = RawBson::Binary(Binary { subtype: BinarySubtype::Generic, bytes });
        Ok(rawdoc! { "data": data })
    }
}

impl Socket {
    async fn write(&self, data: &[u8]) -> Result<RawDocumentBuf, Refusal> {
        let mut closed = self.closed.subscribe();
        let write = async {
            let mut writer = self.writer.lock().await;
            let Some(writer) = writer.as_mut() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
            writer.write_all(data).await?;
            writer.flush().await
        };
        tokio::select! {
            _ = closed.wait_for(|closed| *closed) => Err(refused("ERR_SOCKET_CLOSED", "Socket is closed")),
            written = write => written.map(|()| RawDocumentBuf::new()).map_err(|error| told("write", &error)),
        }
    }

    async fn end(&self) -> Result<RawDocumentBuf, Refusal> {
        let mut writer = self.writer.lock().await;
        if let Some(writer) = writer.as_mut() {
            // The other side may have closed already, which comes to the same.
            let _ = writer.shutdown().await;
        }
        Ok(RawDocumentBuf::new())
    }
}

fn told(verb: &str, error: &std::io::Error) -> Refusal {
    match io_code(error) {
        Some((code, _)) => refused(code, format!("{verb} {code}")),
        None => refused("ECONNRESET", error.to_string()),
    }
}
