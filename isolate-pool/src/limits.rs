//! Every bound of the room where strangers' code runs, with its unit, its reason and what is seen when it is met.

/// Wall time of one call, milliseconds. App Services' documented limit. Past it: `execution time limit exceeded`.
pub const RUN_TIME_MS: u32 = 300_000;

/// V8 heap of one isolate, MiB. App Services' documented limit. Past it: `memory limit exceeded`, and the isolate is
/// replaced.
pub const HEAP_MIB: u32 = 350;

/// Asynchronous operations one call may have in progress or queued. App Services' documented limit; the error text is
/// grepped for, so it names the number.
pub const ASYNC_OPERATIONS_MAX: usize = 1_000;

/// Longest frame on a link, bytes. Carries the largest request (18 MB) or document batch with room for its head. A host
/// that announces a longer one is ended.
pub const FRAME_BYTES_MAX: usize = 40 * 1024 * 1024;

/// Largest request an operator may let an app take, bytes: its head and its body.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(REQUEST_BYTES_MAX < FRAME_BYTES_MAX, "a request fits in a frame");

/// Most bytes of documents one answer carries; the rest comes through `getMore`.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
const _: () = assert!(BATCH_BYTES_MAX * 2 < FRAME_BYTES_MAX, "a batch, and the one document past it, fit in a frame");

/// Largest answer of a function, bytes. Past it the call fails with a message that names the limit.
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(RESPONSE_BYTES_MAX < FRAME_BYTES_MAX, "an answer fits in a frame");

/// Console lines kept per call. App Services kept 25; its users asked for more. Further lines are counted, not kept.
pub const CONSOLE_LINES_MAX: usize = 1_000;

/// Bytes kept of one console line.
pub const CONSOLE_LINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of console lines kept per call, so that lines × length cannot fill the gateway.
pub const CONSOLE_BYTES_MAX: usize = 256 * 1024;

/// How long one invocation may keep a host's thread before new work of others goes elsewhere, milliseconds.
pub const HOG_MS: u64 = 10;

/// How long before the host is given to that app alone and another takes its place, milliseconds. Longer than a cold
/// load, so that a large app's first call does not count as a hog.
pub const HOG_DEMOTE_MS: u64 = 100;
const _: () = assert!(HOG_DEMOTE_MS > HOG_MS);

/// Links one host may serve: the gateway's cores and one for the control plane.
pub const LINKS_MAX: usize = 64;

/// Pause before a host that died young is replaced, milliseconds; doubled with each in a row, up to 64 times.
pub const RESTART_BACKOFF_MS: u64 = 50;

/// A host that dies within this time of its start died young, milliseconds.
pub const HOST_YOUNG_MS: u64 = 1_000;

/// Hosts that may be given to single apps because those keep the thread. Past it, hogs share with their neighbours until
/// their time limit ends them.
pub const HEAVY_HOSTS_MAX: usize = 4;

/// How long a heavy host must have had nothing to do before its app goes home, milliseconds.
pub const HEAVY_CALM_MS: u64 = 30_000;

/// How long a call waits for a host to come up, milliseconds. Past it: 503.
pub const HOST_WAIT_MS: u64 = 2_000;

/// How long compiling one deployment may take, milliseconds. Past it the deployment fails with a text that says so.
pub const COMPILE_MS: u64 = 30_000;

/// How long the packages that functions require may run when they are deployed, so that V8's code of them can be kept,
/// milliseconds. Past it none is kept and the first call of each isolate compiles.
pub const WARM_PACKAGES_MS: u64 = 5_000;
const _: () = assert!(WARM_PACKAGES_MS < COMPILE_MS);

/// How long the compile host is kept without work, milliseconds. It costs memory, and starting it costs about 50 ms.
pub const COMPILE_HOST_IDLE_MS: u64 = 30_000;

/// Isolates without an app that a host keeps ready, so that a cold call does not wait for one to be made (4 ms).
pub const BLANK_ISOLATES: usize = 4;

/// Memory the isolates of one host may hold before those idle longest are given up, MiB. Their apps load anew.
pub const HOST_MEMORY_MIB: u64 = 1_024;

/// How long an isolate may have nothing to do before it is given up, milliseconds.
pub const ISOLATE_IDLE_MS: u64 = 600_000;

/// How long an isolate of a superseded deployment is kept without work, milliseconds. Gateway cores switch to a new
/// deployment one after the other, so the old one may be asked for once more.
pub const SUPERSEDED_IDLE_MS: u64 = 1_000;

/// Bytes of one host's standard error that are passed on to our log. V8's last words take under 4 KiB.
pub const STDERR_BYTES_MAX: u64 = 64 * 1024;

/// Deepest nesting of a value that crosses between a function and the platform, as BSON servers have it. Deeper: an
/// error that says so.
pub const DEPTH_MAX: usize = 100;

/// Largest BSON a value of a function may become, bytes. Past it: a `TypeError` that names the number.
pub const ENCODED_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(ENCODED_BYTES_MAX < FRAME_BYTES_MAX, "an operation fits in a frame");

/// Encoded operations one isolate may start in one turn, bytes. They wait in the host until the turn ends. Past it: a
/// `TypeError` that names the number.
pub const STARTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most random bytes at once, as `crypto.getRandomValues` has it. Past it: a `TypeError`.
pub const RANDOM_BYTES_MAX: u32 = 65_536;

/// Most headers of an answer. Past it the call fails with a message that names the number.
pub const RESPONSE_HEADERS_MAX: u32 = 1_000;

/// Longest message of a failure, and longest stack, bytes. They are read by people; the rest is cut.
pub const FAILURE_BYTES_MAX: usize = 16 * 1024;

/// Rejections without a listener that are logged per entry. More of them say nothing new.
pub const REJECTIONS_MAX: usize = 32;

/// Smallest heap an isolate is given, MiB: the runtime itself needs one or two.
pub const HEAP_MIB_MIN: u32 = 8;

/// Young generation of one isolate, bytes: large enough that a request's garbage dies there, small enough that a
/// thousand isolates fit.
pub const YOUNG_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Between two looks of the watchdog while there is work, milliseconds. A call is stopped at most this long after its
/// deadline.
pub const WATCH_MS: u64 = 5;

/// What JavaScript has after it was told to stop, milliseconds. Some builtins look up late; past this the host ends,
/// which costs the calls in flight in it.
pub const STOP_GRACE_MS: u64 = 1_000;

/// Output waiting on a link past which the host does not read from it, bytes. What is asked for is then bounded by what
/// is answered.
pub const LINK_OUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Buffers larger than this are given back once they are empty.
pub const KEPT_BYTES: usize = 256 * 1024;

/// Most bytes read from one link in one turn, before its frames are handled and others get theirs.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;

/// An entry into JavaScript that takes longer than this keeps the answers of others waiting, nanoseconds; the watchdog sends
/// them meanwhile.
pub const LONG_ENTRY_NS: u64 = 2_000_000;

/// Time in JavaScript after which answers are sent before the next call of the same turn is begun, nanoseconds. Small calls
/// share a write; those that take long do not wait for one another.
pub const UNSENT_NS_MAX: u64 = 200_000;

/// Timers fired in one turn before links are read again.
pub const TIMERS_PER_TURN_MAX: usize = 256;

/// Longest name of a service, database, collection or operation, characters. Servers allow 255 bytes of namespace. Past
/// it: an error that says which is no name.
pub const NAME_LENGTH_MAX: usize = 1_024;

/// Step of the clock that Node's modules read, nanoseconds. As coarse as browsers have it where pages of several origins
/// share a process: a finer one would let code of one app measure the caches it shares with another's.
pub const CLOCK_STEP_NS: u64 = 100_000;

/// Most bytes that go into one compression or come out of one decompression. They are made at once and cannot be
/// interrupted; this many take a second or two. Past it: an error that names the number.
pub const ZLIB_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest input that brotli compresses at its most thorough levels, bytes; they take seconds per megabyte.
pub const BROTLI_THOROUGH_BYTES_MAX: usize = 256 * 1024;

/// Most rounds of PBKDF2 in one call, counted per block of output. A derivation cannot be interrupted; this many take one
/// or two seconds. Past it: an error that names the number.
pub const PBKDF2_ROUNDS_MAX: u64 = 2_000_000;

/// Most memory of one scrypt, bytes, and most work: memory times parallel runs. Node allows 32 MiB unless told otherwise.
/// Past either: an error that names the number.
pub const SCRYPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
pub const SCRYPT_WORK_MAX: u64 = 256 * 1024 * 1024;

/// Longest key that is derived at once, bytes. Past it: an error that names the number.
pub const DERIVED_BYTES_MAX: usize = 64 * 1024;
