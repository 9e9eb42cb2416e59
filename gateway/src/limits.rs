//! Every number the edge holds a stranger to, with its unit, its reason and what the stranger sees.
//!
//! Nothing here is tuned for speed; these are the sizes past which a request is no longer a request. Relationships
//! between them are checked when the program is compiled.

use crate::http2::Allowance;
use std::time::Duration;

// --- HTTP/1.1 heads ---------------------------------------------------------------------------------------------

/// Longest request head we hold, in bytes, from the first byte of the request line to the empty line. Known clients send
/// under 4 KiB; 32 KiB leaves room for large cookies and tokens. Past it: 431, and the connection closes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Longest request target, in bytes. Long enough for every query string a browser will send, short enough to log.
/// Past it: 414, and the connection closes.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Header lines in one request. Browsers behind two proxies send about 40. Past it: 431, and the connection closes.
pub const HEADER_COUNT_MAX: usize = 100;

/// Header lines that room is made for at a time. Most clients send fewer.
pub const HEADER_COUNT_USUAL: usize = 24;

/// Longest method name, in bytes. The longest registered one (`UPDATEREDIRECTREF`) has 17. Past it: 501.
pub const METHOD_BYTES_MAX: usize = 32;

/// Longest `Host` value, in bytes: a DNS name of 253, a colon and five digits. Past it: 400.
pub const HOST_BYTES_MAX: usize = 259;

/// Decimal digits in `Content-Length`. Nineteen always fit in 64 bits, so the sum can never overflow. Past it: 400.
pub const LENGTH_DIGITS_MAX: usize = 19;

const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize, "positions inside a head are kept in 16 bits");
const _: () =
    assert!(TARGET_BYTES_MAX + METHOD_BYTES_MAX < HEAD_BYTES_MAX, "a long target must leave room for headers");
const _: () =
    assert!(HEADER_COUNT_MAX < u8::MAX as usize, "header numbers are kept in 8 bits, the highest means absent");
const _: () = assert!(LENGTH_DIGITS_MAX <= 19, "twenty digits may overflow 64 bits");

// --- HTTP/1.1 bodies --------------------------------------------------------------------------------------------

/// Largest request an endpoint takes unless the operator set another number, in bytes: its head, and its body after chunks
/// are removed. App Services took 18 MB. Past it: 413, and the connection closes without reading the rest.
pub const REQUEST_BYTES_MAX: u32 = 18 * 1024 * 1024;
const _: () = assert!(REQUEST_BYTES_MAX as usize <= isolate_pool::limits::REQUEST_BYTES_MAX);

/// Hexadecimal digits in one chunk size. Sixteen always fit in 64 bits. Past it: 400.
pub const CHUNK_SIZE_DIGITS_MAX: u32 = 16;

/// Bytes of chunk extensions in one body, all chunks together. They mean nothing to us and nobody sends them honestly.
/// Past it: 400.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 4 * 1024;

/// Bytes of trailer fields after a chunked body; they are read and thrown away. Past it: 431.
pub const TRAILER_BYTES_MAX: u32 = 8 * 1024;

const _: () = assert!(CHUNK_SIZE_DIGITS_MAX <= 16, "seventeen hexadecimal digits overflow 64 bits");

// --- connections --------------------------------------------------------------------------------------------------

/// What is kept for a connection that waits (its task, its deadline, its places), in bytes, so that with what the allocator
/// and the runtime add, an idle, slow or silent client costs less than 4 KiB beside the bytes it has sent. A test adds it up.
pub const CONNECTION_BYTES_MAX: usize = 1536;

/// What a connection's buffers begin with, in bytes. A common request and its answer fit; larger ones grow them while
/// they last.
pub const BUFFER_BYTES: usize = 8 * 1024;

/// Answers to pipelined requests that are gathered before they are sent, in bytes. More would save few system calls, and a
/// buffer full of requests for a large answer would be worth gigabytes.
pub const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// Connections one listener holds unless the operator says otherwise. Past it a new one is closed at once. Bounded by
/// descriptors in practice.
pub const CONNECTIONS_MAX: usize = 100_000;

/// Pause of a listener that cannot accept: no descriptors are left, or those that are left are set aside. The kernel's queue
/// holds what comes meanwhile.
pub const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Descriptors that connections never get, of an eighth of the process's limit: isolate hosts are started through sockets,
/// stores open files, functions call out.
pub const DESCRIPTORS_ASIDE_MIN: usize = 64;
pub const DESCRIPTORS_ASIDE_MAX: usize = 4_096;

/// Connections that are let in however few descriptors there are; with fewer a server could not even be asked how it is.
pub const CONNECTIONS_MIN: usize = 8;

/// How long a connection must have been idle to be closed so that another can be let in, when there are no places left, in
/// milliseconds. A client that is about to send its next request has done so by then.
pub const SHED_IDLE_MS: u64 = 1_000;

/// How long a read may keep its buffer while nothing comes, in milliseconds, and a write the room beside what is left to
/// send. Past it the memory is taken back, which costs the connection's next step one more operation. Noticed within a turn
/// of the wheel.
pub const HOLD_MS: u64 = 500;

/// What may wait on one core for clients that have not taken any of it for [`HOLD_MS`], in bytes, in HTTP/1.1. Past it
/// the answers that have waited longest are given up, and their connections closed.
pub const UNREAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of an unfinished request from which on more are believed to be coming at once, so that the next read is begun with
/// a buffer at hand. Who sends less at a time is waited for without one.
pub const STEADY_BYTES: usize = 4 * 1024;
const _: () = assert!(STEADY_BYTES < BUFFER_BYTES);

/// Longest PROXY protocol header, in bytes, its extensions included. Balancers send under 300; version 2 could name 64 KiB.
/// Past it: closed without a word.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;

/// How long a balancer may take for its PROXY protocol header, in milliseconds. It sends one as soon as it connects. Past
/// it: closed without a word.
pub const PROXY_HEADER_MS: u64 = 5_000;

/// How long a connection may lie idle between requests unless the listener says otherwise, in milliseconds. Longer than
/// the 60 s at which common proxies give theirs up, so that it is they who close. Past it: closed without a word.
pub const IDLE_MS: u64 = 75_000;

/// From the first byte of a head to its last unless the listener says otherwise, in milliseconds. Past it: 408 and closed.
pub const HEAD_MS: u64 = 15_000;

/// How long the first byte of a body may take unless the listener says otherwise, in milliseconds. Past it: 408 and closed.
pub const BODY_MS: u64 = 20_000;

/// Slowest body and slowest reader we bear with, in bytes per second; each that many bytes buy another second.
pub const BODY_BYTES_PER_S_MIN: u64 = 4 * 1024;

/// How long a peer may take none of an answer unless the listener says otherwise, in milliseconds. Past it: closed.
pub const SEND_MS: u64 = 20_000;

/// After a refusal: how long, and how much, of what the peer still sends is taken in so that it can read the answer.
pub const LINGER_MS: u64 = 2_000;
pub const LINGER_BYTES: usize = 256 * 1024;

/// How long an open connection that waits for its next request is borne with when the server ends, in milliseconds. A
/// request that comes in time is answered with `Connection: close`, so a client that is busy notices nothing. Past it: closed.
pub const DRAIN_IDLE_MS: u64 = 1_000;

/// So long before a drain's grace is over, in milliseconds, connections that still wait for their next request are closed,
/// so that it is done in peace: that the end comes is sent, and what still comes is taken in.
pub const DRAIN_CLOSE_MS: u64 = DRAIN_IDLE_MS + LINGER_MS + 1_000;

/// How long the queue of a listening socket must have been empty before the socket is closed, in milliseconds, when the
/// server ends. Clients in the queue believe that they are connected.
pub const DRAIN_ACCEPT_MS: u64 = 100;

/// How long that is waited for at a busy address.
pub const DRAIN_ACCEPT_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a start waits for a data directory that another process has: one that was killed may be about to end. Past it:
/// the server does not start, and says so.
pub const HOLD_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Connections that wait in the kernel to be accepted, per socket; the kernel cuts it to `net.core.somaxconn`. Past it: the
/// kernel lets clients try again.
pub const BACKLOG: i32 = 4096;

/// How often the store's files are counted for the metrics: there may be ten thousand, and they grow slowly.
pub const STORE_FIGURES_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

// --- restarts without notice ----------------------------------------------------------------------------------------

/// Bytes of a next request that go along with a connection to the process that takes over. One that has more read ahead of
/// it is served to its end by the old process.
pub const PASSED_BYTES_MAX: usize = 16 * 1024;

/// Bytes of one message between the two processes: those above as text, and the words around them. The kernel's bound for a
/// packet is about 200 KiB.
pub const HANDOVER_PACKET_BYTES: usize = 64 * 1024;
const _: () = assert!(PASSED_BYTES_MAX * 4 / 3 + 1024 < HANDOVER_PACKET_BYTES);

/// Descriptors with one message. The kernel's bound is 253.
pub const HANDOVER_DESCRIPTORS: usize = 64;

/// How long the new process may take to say its first word. It has read its settings by then. Past it: it is ended.
pub const HANDOVER_HELLO: std::time::Duration = std::time::Duration::from_secs(15);

/// How long the new process may take until it could serve; a first start makes the V8 snapshot, and apps are read. The old
/// one serves meanwhile. Past it: the new one is ended.
pub const HANDOVER_PREPARE: std::time::Duration = std::time::Duration::from_secs(120);

/// How long the process before this one may write to its own segments of the logs: the longest drain that can be set, and a
/// little. Until then they are not joined with ours.
pub const HANDOVER_LOGS_APART: std::time::Duration = std::time::Duration::from_secs(3600 + 60);

/// How long a moment is waited for in which no cursor and no transaction is open, so that the store moves without anybody
/// noticing. Past it, it moves all the same.
pub const HANDOVER_CALM: std::time::Duration = std::time::Duration::from_secs(2);

/// How long writes that have begun may keep others waiting when the store is to move. Past it, they are let go on, and it
/// is tried again.
pub const HANDOVER_HOLD: std::time::Duration = std::time::Duration::from_millis(25);

/// Between two tries.
pub const HANDOVER_RETRY: std::time::Duration = std::time::Duration::from_millis(50);

/// How long that is tried. Past it: the restart is given up and the old process goes on.
pub const HANDOVER_HOLD_ALL: std::time::Duration = std::time::Duration::from_secs(30);

/// How long the new process may take to open the store. Callers wait meanwhile. Past it: it is ended, and the old process
/// opens the store again.
pub const HANDOVER_OPEN: std::time::Duration = std::time::Duration::from_secs(10);

/// How often whoever waits for the other process looks whether it is still there, or whether the server is to end.
pub const HANDOVER_LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// How long somebody who connects to the control socket may take to say what they want.
pub const CONTROL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Largest request body of the control plane, in bytes: an import with its sources. Past it: 413 and closed.
pub const ADMIN_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Largest body where none is expected, in bytes. Past it: 413 and closed.
pub const OTHER_BODY_BYTES_MAX: u64 = 64 * 1024;

const _: () = assert!(BUFFER_BYTES <= HEAD_BYTES_MAX);

// --- HTTP/2 -----------------------------------------------------------------------------------------------------------

/// Streams of one connection in progress at once. What RFC 9113 calls the least that does not slow a client down. Past it:
/// REFUSED_STREAM, also for streams whose predecessors were reset but whose work goes on.
pub const H2_STREAMS_MAX: usize = 100;

/// Largest list of header fields, in bytes as HTTP/2 counts them: as many as HTTP/1.1 takes, and the 32 bytes it adds for
/// each. A little past it: 431; four times past it: GOAWAY.
pub const H2_HEADER_LIST_BYTES_MAX: usize = HEAD_BYTES_MAX + 32 * HEADER_COUNT_MAX;

/// What a peer may send on one stream before we have taken it in, in bytes. Bodies are taken in as they come, so more would
/// only help uploads over long distances, at the price of memory whenever we cannot.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The same for all streams of a connection. Never what stops a stream, or streams that wait for room could stop one that
/// has room.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = H2_STREAMS_MAX as u32 * H2_STREAM_WINDOW_BYTES;

/// What may lie between an answer and the socket, per stream, in bytes.
pub const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bodies that the streams of one connection may hold together before the next pieces wait, in bytes. A lone body may be
/// larger.
pub const H2_BODIES_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(H2_BODIES_BYTES_MAX > REQUEST_BYTES_MAX as usize, "the largest request never waits for itself");

/// Answers that wait for a connection's peer, in bytes, past which its next requests wait; and past which an answer is
/// given up and its stream reset, unless it is alone.
pub const H2_UNSENT_BYTES_PAUSE: usize = 1024 * 1024;
pub const H2_UNSENT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Streams that were reset before we had looked at them. Past it: GOAWAY.
pub const H2_RESETS_PENDING_MAX: usize = 20;

/// Streams that we reset or refuse, per connection and for good. Honest clients make no errors, but one that does not wait
/// for our SETTINGS may open some hundreds of streams and have most refused. Each costs us one frame; the work that was
/// begun keeps its place. Past it: GOAWAY.
pub const H2_STREAM_ERRORS_MAX: usize = 500;

/// Streams we reset that are remembered, so that frames which were on their way are not taken for errors; and how long.
pub const H2_RESETS_REMEMBERED: usize = 50;
pub const H2_RESET_REMEMBERED: std::time::Duration = std::time::Duration::from_secs(1);

/// What the keeping of small DATA frames that nobody has taken yet may cost beyond their bytes, in bytes. Past it: GOAWAY.
pub const H2_DATA_OVERHEAD_BYTES_MAX: usize = 128 * 1024;

/// RST_STREAM: someone who leaves a page resets what it was loading, up to a hundred at once. Past it: GOAWAY.
pub const H2_RESETS: Allowance = Allowance { at_once: 200, per_s: 100 };

/// SETTINGS, PING, PRIORITY, CONTINUATION, empty DATA and unknown kinds, together. Clients ping a few times a second and
/// some send a priority with each request, which is why requests pay for some. Past it: GOAWAY.
pub const H2_CONTROL_FRAMES: Allowance = Allowance { at_once: 500, per_s: 100 };
pub const H2_CONTROL_FRAMES_PER_REQUEST: u32 = 2;

/// DATA frames of fewer than so many bytes, the last of each stream not counted. Past it: GOAWAY.
pub const H2_TINY_DATA: Allowance = Allowance { at_once: 2_000, per_s: 500 };
pub const H2_TINY_DATA_BYTES: u32 = 64;

/// WINDOW_UPDATE: clients send two for every frame they have read, or fewer. Requests pay for some, and so does every so
/// many bytes that we send. Past it: GOAWAY.
pub const H2_WINDOW_UPDATES: Allowance = Allowance { at_once: 1_000, per_s: 200 };
pub const H2_WINDOW_UPDATES_PER_REQUEST: u32 = 4;
pub const H2_BYTES_PER_WINDOW_UPDATE: usize = 512;

/// What is read of one connection before the core's others have their turn, in bytes, and how long it then waits at the
/// least.
pub const H2_TURN_BYTES: usize = 128 * 1024;
pub const H2_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

// --- calls --------------------------------------------------------------------------------------------------------

/// How long a browser may go by what a preflight told it, seconds. Every method and header an app may ever take is told at
/// once, so nothing much changes meanwhile.
pub const PREFLIGHT_AGE_S: u32 = 600;

/// Calls of one app in progress at once. App Services' documented limit for an app. Past it: 429.
pub const CALLS_MAX: u32 = 10_000;

/// How long a caller is asked to wait whose app has too many calls in progress, or whom the server has no room for now,
/// seconds. Most calls take milliseconds; a second is the least that can be said.
pub const RETRY_AFTER_S: u64 = 1;

/// How often an app's log says that a request came too soon or found no room, milliseconds. Whoever floods an app would
/// flood its log otherwise, and writing an entry costs more than refusing.
pub const LIMITED_LOG_EVERY_MS: u64 = 1_000;

/// How often the operator's log says which app an unknown id may have meant, per core, milliseconds. Looking costs a pass
/// over all apps, and anybody can send unknown ids.
pub const NEAR_MISS_EVERY_MS: u64 = 1_000;

/// Ids named in such a line.
pub const NEAR_MISSES_MAX: usize = 5;

/// Headers named in the log of a request whose credentials are none of those known.
pub const NEAR_CREDENTIALS_MAX: usize = 5;

// --- overload -------------------------------------------------------------------------------------------------------

/// How much work a host is sent ahead of what it does, as time, and as calls. It must bridge the way back and forth (under
/// 0.1 ms), and what was sent can no longer be passed by; a host that takes 15 µs a call is sent thirty, one that takes a
/// millisecond is sent one, which lies there when the one before it ends.
pub const SENT_AHEAD: Duration = Duration::from_micros(500);
pub const CALLS_SENT_AHEAD_MIN: usize = 1;
pub const CALLS_SENT_AHEAD_MAX: usize = 128;

/// A wait for a host's thread that tells of more work than can be done, when it goes on for [`STANDING_FOR`]; unless the
/// operator says otherwise. Longer than what a burst of a thousand small calls causes. Past it new calls of the app get
/// 503 with `Retry-After`, until nothing had to be refused for [`CALM_AFTER`].
pub const OVERLOAD_STANDING: Duration = Duration::from_millis(250);
pub const STANDING_FOR: Duration = Duration::from_millis(100);
pub const CALM_AFTER: Duration = Duration::from_millis(1_000);

/// Calls in a row that such a wait must be worth: a few that take long each are no flood.
pub const STANDING_CALLS_MIN: u32 = 32;

/// How long calls wait that are let in meanwhile, at the host too, unless the operator says otherwise, and how many may
/// wait at least: with one, a host that takes a millisecond or more a call is never without work, and a call that is let in
/// takes twice as long as it would alone.
pub const OVERLOAD_TARGET: Duration = Duration::from_millis(1);
pub const ROOM_MIN: usize = 1;

// --- compression ----------------------------------------------------------------------------------------------------

/// Smallest body that is compressed, bytes. Below it the head and the packet are most of what is sent.
pub const COMPRESS_BYTES_MIN: usize = 1024;

/// Largest body compressed on the core that answers, bytes: about 0.1 ms, which is what a small call takes anyway and what
/// handing the body to another thread and waking for it would cost beside the work. Larger ones are compressed elsewhere.
pub const COMPRESS_INLINE_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(COMPRESS_BYTES_MIN < COMPRESS_INLINE_BYTES_MAX);

/// Log entries, lines of the access log or traced requests that a core gathers before it hands them over; fewer are handed
/// over at its next tick.
pub const BATCH: usize = 256;

/// One request in so many has its steps timed: eight readings of the clock are 0.3 µs, which only some need to pay.
pub const TIMED_EVERY: u32 = 16;

/// Batches of access-log lines that may wait for the disk; more are dropped and counted. A batch is a tick's, or
/// [`BATCH`] lines.
pub const ACCESS_BATCHES_MAX: usize = 256;

/// How long the end of the server waits for the last lines to be written. Past it they are lost.
pub const ACCESS_FLUSH: std::time::Duration = std::time::Duration::from_secs(5);

/// Batches of traced requests that may wait for the collector; more are dropped and counted.
pub const TRACE_BATCHES_MAX: usize = 64;

/// Traced requests that are sent together.
pub const TRACE_BATCH: usize = 512;

/// How long the collector may take for a batch before it is dropped.
pub const TRACE_SEND_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// How often a core tells its figures and renews its `Date`.
pub const METRICS_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// Requests waiting for the side runtime. Past it the core waits, and with it only the connection that asks.
pub const CROSSINGS_MAX: usize = 1024;

/// Pieces of one body that may wait for a slow client. Past it the router waits with the rest.
pub const PIECES_MAX: usize = 4;

/// How often one call may be moved. Each time another call kept its host's thread, or the host died. Past it: 503.
pub const ROUNDS_MAX: usize = 64;

/// Largest archive of `node_modules` that may be uploaded unless the operator says otherwise, MiB. App Services took 15,
/// which was complained about; an upload is held in memory while it is unpacked. Past it: 413.
pub const NPM_ARCHIVE_MIB: u64 = 50;
const _: () = assert!(NPM_ARCHIVE_MIB * 1024 * 1024 < ADMIN_BODY_BYTES_MAX, "an archive fits in a request");

// --- peers --------------------------------------------------------------------------------------------------------

/// Shortest secret nodes may know each other by, bytes: what 16 random bytes in hexadecimal have. Shorter: refused at start.
pub const PEER_SECRET_BYTES_MIN: usize = 32;

/// How far the clocks of two nodes may differ, milliseconds, and so how long their claims are good. Machines that
/// keep their time are within one second. Past it: the node refuses what the other sends on, and both say so in their logs.
pub const PEER_CLOCK_MS: u64 = 60_000;

/// Other regions, and URLs of one. App Services had 20 regions. Past it: refused at start.
pub const PEERS_MAX: usize = 64;
pub const PEER_URLS_MAX: usize = 16;

/// How long a connection to a peer may take to be made, name and handshake included. Past it the URL counts as down, and
/// requests go to the next one, or are answered 503 at once until it is found to be back.
pub const PEER_CONNECT: std::time::Duration = std::time::Duration::from_millis(1_000);

/// How often a peer is asked whether it is there, while it is and while it is not. The second is how soon one that came
/// back is used again.
pub const PEER_ASK_UP: std::time::Duration = std::time::Duration::from_secs(5);
pub const PEER_ASK_DOWN: std::time::Duration = std::time::Duration::from_millis(500);

/// How long it may take to answer that question. Past it it is asked once more, and then it is down.
pub const PEER_ASK: std::time::Duration = std::time::Duration::from_secs(1);

/// A connection that lies silent this long is asked for a sign of life, and given up when none comes in time: what was
/// under way on it is answered 502.
pub const PEER_SILENCE: std::time::Duration = std::time::Duration::from_secs(5);
pub const PEER_SIGN: std::time::Duration = std::time::Duration::from_secs(2);

/// Requests on one connection at a time. RFC 9113 advises servers to take at least 100 streams.
pub const PEER_STREAMS_MAX: usize = 64;

/// Connections to one URL that requests take turns on, so that the peer's cores share the work; and how many there can
/// be when those are full. The product with the streams is what may wait for one URL. Past it: 503.
pub const PEER_CONNECTIONS: usize = 4;
pub const PEER_CONNECTIONS_MAX: usize = 32;
const _: () = assert!(PEER_STREAMS_MAX <= 100 && PEER_CONNECTIONS <= PEER_CONNECTIONS_MAX);

/// What a peer may take beyond the run time of the app until its answer begins, milliseconds: its queues and the way there
/// and back. Past it: 504.
pub const PEER_SLACK_MS: u64 = 10_000;

/// How long a peer's answer may pause once it has begun. Past it the answer breaks off.
pub const PEER_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);

/// Bytes of a peer's answer that may wait here for a slow client: for one request, and for all on one connection.
pub const PEER_STREAM_WINDOW: u32 = 1024 * 1024;
pub const PEER_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// When a client that met a region that is down may try again, seconds. The region is looked for more often than that.
pub const PEER_RETRY_AFTER_S: u32 = 1;
// --- TLS ----------------------------------------------------------------------------------------------------------

/// From the accepted connection to the end of its TLS handshake, in milliseconds. Three exchanges over the slowest of
/// links take two seconds. Past it: closed, and counted as `timeout`.
pub const HANDSHAKE_MS: u64 = 10_000;

/// What is left of it, in milliseconds, for a client that has said nothing when the server is told to stop and nobody takes
/// over. A handshake that is under way has all its time.
pub const HANDSHAKE_DRAIN_MS: u64 = 2_000;

/// Handshakes one core has open. What has come of them is kept meanwhile, a few KiB each; past it the oldest is closed, so
/// that somebody who opens connections and says nothing has to open this many within one honest handshake to be noticed.
pub const HANDSHAKES_MAX: usize = 8_192;

/// Handshakes of one core whose turn for arithmetic has not come: about a quarter of a second's worth. Past it a new one is
/// closed at once, and counted as `shed`: its client would not have waited.
pub const HANDSHAKES_WAITING_MAX: usize = 512;

/// A handshake that comes so long after the last one's arithmetic need not wait for the core to turn.
pub const HANDSHAKE_REST: std::time::Duration = std::time::Duration::from_micros(200);

/// What a client's hello is given room for at a time, in bytes. One has 200 to 1800.
pub const HELLO_BYTES: usize = 1024;
/// Longest record that TLS allows without encryption, in bytes. Past it the TLS library refuses: an alert, and closed.
pub const HELLO_RECORD_BYTES_MAX: usize = 16 * 1024;

/// How long a key makes session tickets, in seconds; it is understood for as long again. Half a day after it was made,
/// nobody can resume a session with it any more.
pub const TICKET_KEY_S: i64 = 6 * 60 * 60;
/// How often keys are looked at.
pub const TICKET_KEYS_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
/// Keys taken up from the file of an earlier process. There are never more than three.
pub const TICKET_KEYS_MAX: usize = 4;
/// Longest ticket that is looked at, in bytes. Ours have about 200; the longest name makes them 450.
pub const TICKET_BYTES_MAX: usize = 1024;

/// How often certificate files are looked at. Half of it is what a new certificate waits for on average.
pub const RELOAD_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Largest certificate or key file that is read, in bytes. A chain of four RSA certificates has 8 KiB.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Life of a certificate of our own, in seconds. Some clients refuse longer ones, whoever issued them.
pub const SELF_SIGNED_LIFE_S: i64 = 800 * 24 * 60 * 60;
/// With less left than this, it is made anew at the next start.
pub const SELF_SIGNED_LEFT_S: i64 = 30 * 24 * 60 * 60;
const _: () = assert!(SELF_SIGNED_LEFT_S < SELF_SIGNED_LIFE_S);

/// Longest token of an `http-01` challenge that is answered, in bytes. Authorities use 43.
pub const ACME_TOKEN_BYTES_MAX: usize = 128;
/// How long one request to an authority may take, an order being ready, and a whole order.
pub const ACME_REQUEST: std::time::Duration = std::time::Duration::from_secs(30);
pub const ACME_POLL: std::time::Duration = std::time::Duration::from_secs(90);
pub const ACME_ORDER: std::time::Duration = std::time::Duration::from_secs(300);
/// Pause after the first failed order, in seconds, unless the operator set another; and the longest there is.
pub const ACME_RETRY_S: u32 = 60;
pub const ACME_RETRY_MAX: std::time::Duration = std::time::Duration::from_secs(6 * 60 * 60);
/// How often due dates are looked at; clocks get set.
pub const ACME_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(600);
