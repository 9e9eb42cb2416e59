//! The control plane's bounds, each with its unit, its reason and what is seen when it is met.

use std::time::Duration;

/// Bytes of a request body kept in a log entry. Longer bodies are cut and marked `"truncated": true`.
pub const LOGGED_BODY_BYTES_MAX: usize = 64 * 1024;

/// Days a log entry is kept, unless set. App Services' documented retention. Older entries are no longer listed.
pub const LOG_RETENTION_DAYS: i64 = 10;

/// Bytes of log entries waiting to be written, over all apps. A disk that hangs must not fill the memory: past it new
/// entries are dropped and counted.
pub const LOG_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long log entries gather before they are written. Readers do not wait for it: reading flushes first.
pub const LOG_GATHER: Duration = Duration::from_millis(200);

/// Most entries one page of the log answer holds; a larger `limit` is lowered to it, as App Services did.
pub const LOG_PAGE_MAX: usize = 100;

/// Bytes of log entries one app may keep. Past it its oldest segments are removed, whatever their age: one app's talk must
/// not fill everybody's disk.
pub const LOG_APP_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Bytes of one segment of an app's log; a new one is begun past it. Retention removes whole segments.
pub const LOG_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of log lines that one index record describes: what a search reads at once. Smaller blocks mean more records to
/// look through, larger ones more lines to read for one that is found.
pub const LOG_BLOCK_BYTES: usize = 128 * 1024;

/// Apps whose newest segment the log's writer remembers, with the block at its end: about five kilobytes each. For another
/// app it looks at the files again, which takes a fraction of a millisecond.
pub const LOG_APPS_REMEMBERED: usize = 2_000;

/// Bytes of a block's Bloom filter. Eight bits for each of the four thousand different triples that a block of talkative
/// entries has.
pub const LOG_BLOOM_BYTES: usize = 4 * 1024;

/// Pieces of a download, each about a block, that may wait for a slow client.
pub const LOG_DOWNLOAD_PIECES: usize = 4;

/// Lines that wait for somebody who watches an app's log. Past it lines are left out for them; they are in the files.
pub const LOG_WATCHED_LINES_MAX: usize = 4_096;

/// Longest line of a log file that is read back, bytes. Holds an entry of the largest body and console; a longer line is
/// not one of ours and is skipped.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Shortest secret whose occurrences are hidden in console lines, bytes. Shorter ones would hide ordinary words.
pub const REDACTED_SECRET_BYTES_MIN: usize = 6;

/// Body of an ordinary Admin API request, bytes. Past it: 413.
pub const ADMIN_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of documents that an export reads at a time.
pub const EXPORT_BATCH_BYTES: usize = 1024 * 1024;

/// Lines of an import's part that are told to be wrong; of more only the number is told.
pub const IMPORT_LINE_ERRORS_MAX: usize = 100;

/// Disk an app's documents may take, MiB. Enough for any app that is not the machine's only one; the operator sets what is
/// right for theirs. Past it, writes that may add something are refused with `StorageQuotaExceeded`.
pub const STORAGE_MIB: u32 = 64 * 1024;

/// Body of an import or push, bytes: a whole app with its sources. Past it: 413.
pub const IMPORT_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a multipart form adds to the file it carries, bytes: its parts' heads, and a lock file beside a `package.json`.
pub const MULTIPART_OVERHEAD_BYTES: usize = 3 * 1024 * 1024;

/// Bytes of packages that are exported as one archive, unpacked. It is made in memory. Past it: 400 that says to export
/// `package.json` instead.
pub const EXPORTED_MODULES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of all sources and settings of one app. A deployment is one record with its code cache beside it, and both
/// must fit in a 16 MiB document. Past it: 400 naming the limit.
pub const CONFIG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of V8 code cache kept with a deployment; functions whose cache does not fit are compiled when first called.
pub const CODE_CACHE_BYTES_MAX: usize = 6 * 1024 * 1024;
const _: () = assert!(CONFIG_BYTES_MAX + CODE_CACHE_BYTES_MAX < 16 * 1024 * 1024, "a deployment fits in one document");

/// Source of one function, bytes, unless the operator says otherwise. App Services took 100,000 characters. Past it: 400
/// naming the function.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(SOURCE_BYTES_MAX < CONFIG_BYTES_MAX, "the largest function fits in an app");

/// Functions of one app, and endpoints likewise. Past it: 400.
pub const ENTITIES_MAX: usize = 2_000;

/// Entries of any one list of an import: values, triggers, rules of a data source. As many files as a directory may have.
/// Reading compares lists with each other, so a longer one is refused before that. Past it: 400 naming the list.
pub const LISTED_MAX: usize = DIRECTORY_FILES_MAX;
const _: () = assert!(ENTITIES_MAX <= LISTED_MAX, "a list that may be deployed may be read");

/// Characters of a value's, secret's, service's or function's name.
pub const NAME_LENGTH_MAX: usize = 64;

/// Characters of an app's name.
pub const APP_NAME_LENGTH_MAX: usize = 32;

/// Characters of a route. Longer ones do not fit in logs and metrics.
pub const ROUTE_LENGTH_MAX: usize = 512;

/// Characters of a secret's content. App Services' documented limit. Past it: 400.
pub const SECRET_LENGTH_MAX: usize = 500;

/// Data sources of one app. App Services' documented limit.
pub const DATA_SOURCES_MAX: usize = 100;

/// Problems named in one refused change; a person mends the first ones first.
pub const PROBLEMS_MAX: usize = 50;

/// Deployments kept per app for rollback. App Services' documented number; the oldest are forgotten.
pub const DEPLOYMENTS_KEPT: usize = 25;

/// Server API keys of one app. App Services' documented limit. Past it: 400.
pub const API_KEYS_MAX: usize = 100;

/// Shortest API key a caller may bring along, characters: long enough that it cannot be guessed.
pub const API_KEY_LENGTH_MIN: usize = 20;

/// Longest API key, characters.
pub const API_KEY_LENGTH_MAX: usize = 256;

/// Header names an app may add to what pages send, and likewise to what they read. They are sent with every preflight.
pub const CORS_HEADERS_MAX: usize = 64;

/// How old a signed request may be at most, seconds: a day. Beyond it a recorded one could be sent again at leisure.
pub const SIGNATURE_TOLERANCE_S_MAX: u32 = 86_400;

/// Entries of one access list.
pub const ACCESS_LIST_MAX: usize = 200;

/// Life of an admin access token. App Services' documented number; clients refresh at `InvalidSession`.
pub const ACCESS_TOKEN_SECONDS: i64 = 30 * 60;

/// Life of an admin refresh token. A developer who pushes once a month stays logged in.
pub const REFRESH_TOKEN_SECONDS: i64 = 60 * 24 * 3600;

/// How long the compiler may take for one deployment. Past it the deployment fails and says so.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(60);

/// Places at which a trial's calling line is split into statements and a last expression, at most. A console's line is
/// short; of a longer text the value is not found and the trial gives `undefined`.
pub const EVAL_SPLITS_MAX: usize = 16;

/// Encoded bundles kept in memory, bytes over all apps. One costs milliseconds to make again.
pub const BUNDLE_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a replaced bundle can still be asked for: calls admitted before a deploy may start a host that needs it.
/// Longer than the longest call.
pub const OLD_BUNDLE_LIFE: Duration = Duration::from_secs(600);

/// Apps loaded at once when the control plane opens.
pub const OPENING_APPS_MAX: usize = 16;

/// Documents one read may return to a function. App Services' documented limit; the read ends there with an error that
/// names it.
pub const READ_DOCUMENTS_MAX: u64 = 50_000;

/// Sessions in which one call may have had transactions and that it has not ended. Past it: an error that says so.
pub const SESSIONS_MAX: usize = 64;

/// Cursors one call may have open. Past it: an error that names the number.
pub const OPEN_CURSORS_MAX: usize = 64;

/// Largest file of an app's directory that is read, bytes. App Services took functions of 100,000 characters; a bundled
/// one may be a few megabytes. Past it: the file is named and nothing is pushed.
pub const DIRECTORY_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most files listed in one place of an app's directory, and most functions. Past it somebody pointed us at the wrong
/// directory, and we say so instead of reading a disk.
pub const DIRECTORY_FILES_MAX: usize = 10_000;

/// Largest archive of npm packages in an app's directory, bytes. A server takes as much as its operator allows, and none
/// more than this. Past it: the file is named and nothing is pushed.
pub const PACKED_MODULES_BYTES_MAX: usize = 60 * 1024 * 1024;

/// Deepest nesting of function directories. A name has at most 64 characters, so no real app comes near.
pub const DIRECTORY_DEPTH_MAX: usize = 32;

/// How deep documents of a command may nest. MongoDB's own limit; deeper ones are refused before anything recurses into
/// them.
pub const DOCUMENT_DEPTH_MAX: usize = 100;

/// Characters of a database's or collection's name in a command.
pub const NAMESPACE_NAME_LENGTH_MAX: usize = 120;

/// Furthest a page of the log may begin behind its `end_date`, entries. Further back one goes by date.
pub const LOG_SKIP_MAX: usize = 1_000;

/// Changes of lines that a diff of two sources looks for. The search costs its square, in time and in memory; past it
/// the sources are shown as one replaced block.
pub const DIFF_CHANGES_MAX: usize = 500;

/// Bytes of all files of static hosting that travel with an app, before Base64. They are kept for export beside the
/// sources, in the same document. Past it they are left out, and the command line says so.
pub const HOSTED_BYTES_MAX: usize = 3 * 1024 * 1024;
const _: () = assert!(HOSTED_BYTES_MAX / 3 * 4 <= CONFIG_BYTES_MAX / 2, "sources need room too");

/// Signing keys of one custom-token provider. App Services' documented limit.
pub const SIGNING_KEYS_MAX: usize = 3;

/// Characters of the name under which a user's metadata is kept. App Services' documented limit.
pub const METADATA_FIELD_LENGTH_MAX: usize = 64;

/// Characters of the subject of a mail that confirms or resets. App Services' documented limit.
pub const SUBJECT_LENGTH_MAX: usize = 256;

/// Characters of a role's name. App Services' documented limit.
pub const ROLE_NAME_LENGTH_MAX: usize = 100;

/// How deep permissions of fields may nest: as deep as documents do.
pub const ROLE_DEPTH_MAX: usize = DOCUMENT_DEPTH_MAX;

/// Characters of a claim's value that becomes a user's metadata. App Services' documented bound. A token with a longer
/// value is not accepted, and the log says which.
pub const METADATA_VALUE_LENGTH_MAX: usize = 4096;

/// Bytes of a token that somebody else signed. App Services' documented bound; a request's head is shorter anyway.
pub const TOKEN_BYTES_MAX: usize = 1024 * 1024;

/// How far an issuer's clock may be ahead of ours, seconds. Applies to `nbf` and `iat`; a token that has expired has
/// expired.
pub const CLOCK_SKEW_SECONDS: i64 = 60;

/// How long an issuer's keys are used before they are fetched again.
pub const ISSUER_KEYS_LIFE: Duration = Duration::from_secs(600);

/// How long they are used when they cannot be fetched.
pub const ISSUER_KEYS_STALE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// After a fetch, successful or not, an issuer is left alone for this long, whatever tokens say.
pub const ISSUER_LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Keys taken from one issuer, and issuers remembered. Real ones have two or three keys.
pub const ISSUER_KEYS_MAX: usize = 100;
pub const ISSUERS_MAX: usize = 1_000;

/// Bytes of an issuer's document, and how long it may take to come.
pub const ISSUER_DOCUMENT_BYTES_MAX: usize = 256 * 1024;
pub const ISSUER_FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// Characters of an email address and of a password. App Services' documented bounds.
pub const EMAIL_LENGTH_MAX: usize = 128;
pub const PASSWORD_LENGTH_MIN: usize = 6;
pub const PASSWORD_LENGTH_MAX: usize = 128;

/// Threads that hash passwords, at most; never more than half the processor's. Each takes 19 MiB and some twenty
/// milliseconds for one password.
pub const PASSWORD_THREADS_MAX: usize = 4;

/// Passwords that wait to be hashed. The last of them waits a few seconds; past it: 429, to be tried again.
pub const PASSWORD_QUEUE_MAX: usize = 128;

/// How long a credential that was found good is taken for good without another look. A changed or deleted user, key or
/// password acts at once all the same; this bounds what another process changed.
pub const KNOWN_USER_LIFE: Duration = Duration::from_secs(60);

/// Credentials remembered like that. About a kilobyte each; the oldest make room.
pub const KNOWN_USERS_MAX: usize = 16 * 1024;

/// A login is written down when the last one is at least this long ago, seconds, so that a device which sends its
/// password with every call does not cause a write with every call.
pub const SEEN_AGAIN_SECONDS: i64 = 60;

/// API keys of one user. App Services' documented limit. Past it: 400.
pub const USER_KEYS_MAX: usize = 20;

/// Bytes of a user's custom data document: any document fits.
pub const CUSTOM_DATA_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Users listed at once, unless a request asks for another number, and at most.
pub const USERS_PAGE: u64 = 50;
pub const USERS_PAGE_MAX: u64 = 1_000;

/// Characters of an imported user's id. Those of App Services have 24.
pub const USER_ID_LENGTH_MAX: usize = 128;

/// Life of a user's refresh token unless the app sets another. App Services' default; it allowed half an hour to five years.
pub const USER_SESSION_SECONDS: i64 = 60 * 24 * 3600;
pub const USER_SESSION_SECONDS_MIN: i64 = 30 * 60;
pub const USER_SESSION_SECONDS_MAX: i64 = 5 * 365 * 24 * 3600;

/// Life of an anonymous user's refresh token: as good as endless, since nobody can log in as that user again.
pub const ANONYMOUS_SESSION_SECONDS: i64 = 50 * 365 * 24 * 3600;
/// Largest body of a request that a function sends, bytes. App Services' documented limit on input, used both ways. Past
/// it: an error that names the limit.
pub const OUTBOUND_REQUEST_BYTES_MAX: usize = 18 * 1024 * 1024;

/// Largest body a function receives, decoded, bytes: it crosses to the host whole. Past it: `ResponseTooLarge`.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () =
    assert!(ANSWER_BYTES_MAX + 1024 * 1024 < isolate_pool::limits::FRAME_BYTES_MAX, "an answer fits in a frame");

/// Bodies being received for functions at one time, bytes over the whole node. Past it: an error that says to try again.
pub const ANSWERS_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Headers of one request of a function.
pub const OUTBOUND_HEADERS_MAX: usize = 500;

/// Bytes of all headers of one request of a function; servers refuse more than a fraction of it.
pub const OUTBOUND_HEADER_BYTES_MAX: usize = 256 * 1024;

/// Longest URL a function asks for, bytes.
pub const OUTBOUND_URL_BYTES_MAX: usize = 64 * 1024;

/// Most redirects that are followed for one request, as browsers have it. Past it: `TooManyRedirects`.
pub const REDIRECTS_MAX: usize = 20;

/// How long a connection of a function may take to come about, unless the operator says otherwise. Past it: `ETIMEDOUT`.
pub const OUTBOUND_CONNECT: Duration = Duration::from_secs(10);

/// How long one exchange of a function may take, unless the operator says otherwise: as long as the longest call.
pub const OUTBOUND_TIMEOUT: Duration = Duration::from_secs(300);

/// Exchanges of one call that are on the wire at a time; the others wait for their turn. App Services' documented number
/// of sockets.
pub const EXCHANGES_PER_CALL_MAX: usize = 25;

/// Connections one call may open itself at a time. App Services' documented number of sockets. Past it: an error that
/// names the number.
pub const SOCKETS_PER_CALL_MAX: usize = 25;

/// Connections one app may have at a time over all its calls, unless the operator says otherwise. Exchanges past it wait,
/// connections of its own are refused.
pub const CONNECTIONS_PER_APP: usize = 1_000;
const _: () = assert!(CONNECTIONS_PER_APP > SOCKETS_PER_CALL_MAX + EXCHANGES_PER_CALL_MAX);

/// How long a connection is kept for the next exchange with the same server. Servers commonly close theirs after a minute.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(55);

/// Connections kept per server.
pub const IDLE_CONNECTIONS_PER_HOST: usize = 32;

/// Most bytes one read from a connection gives.
pub const SOCKET_READ_BYTES: usize = 64 * 1024;

/// Most bytes of one write to a connection.
pub const SOCKET_WRITE_BYTES_MAX: usize = 18 * 1024 * 1024;

/// Wrong passwords of one account that are looked at within [`WRONG_PASSWORDS_LIFE`]. Past it: 429 until that is over, the
/// right one comes from a caller who is known already, or another one is set.
pub const WRONG_PASSWORDS_MAX: u32 = 10;
pub const WRONG_PASSWORDS_LIFE: Duration = Duration::from_secs(15 * 60);

/// Accounts whose wrong passwords are counted, about fifty bytes each.
pub const WRONG_PASSWORD_ACCOUNTS_MAX: usize = 20_000;

/// How long a request or a deployment waits for an index to be built. Then it is told that the building goes on, well
/// before clients lose patience.
pub const INDEX_WAIT: Duration = Duration::from_secs(5);

/// How long at least a deployment waits for each of its indexes when that time is used up.
pub const INDEX_WAIT_LEAST: Duration = Duration::from_millis(200);

/// Failures of index builds that are remembered for those who ask; then they begin anew.
pub const INDEX_FAILURES_KEPT: usize = 1_000;

/// How long a user's program is asked to wait when no isolate host has room for its call, seconds: the least that can be said.
pub const RETRY_AFTER_S: u64 = 1;

/// How often a node that shares its catalog looks for changes of others, unless set. Two small reads; with Redis this is
/// only for hints that were lost. It bounds how old what a node serves may be.
pub const FLEET_POLL: Duration = Duration::from_secs(1);

/// How long one read of a shared catalog may take while a node follows it. Past it the store counts as gone, until the next
/// look.
pub const FLEET_LOOK: Duration = Duration::from_secs(2);

/// How long a change waits for another node that is changing the same app. Past it: 503.
pub const CHANGE_WAIT: Duration = Duration::from_secs(60);

/// How often it looks meanwhile.
pub const MARK_LOOK: Duration = Duration::from_millis(25);

/// How often a node shows that its changes in progress go on, and how long it may show nothing before others take it for
/// ended and finish them in its place.
pub const MARK_BEAT: Duration = Duration::from_secs(2);
pub const MARK_BELIEVED: Duration = Duration::from_secs(10);
const _: () = assert!(MARK_BELIEVED.as_secs() >= 4 * MARK_BEAT.as_secs(), "a beat may be late");

/// Pause between attempts to end a change while the store is gone.
pub const MARK_RELEASE_RETRY: Duration = Duration::from_secs(1);

/// How far back a node looks for notices: as far as clocks of nodes may differ, and a poll may take.
pub const NOTICES_OVERLAP: Duration = Duration::from_secs(30);

/// How long notices are kept, and how often old ones are removed.
pub const NOTICES_LIFE: Duration = Duration::from_secs(600);
pub const NOTICES_TIDIED: Duration = Duration::from_secs(60);

/// How long what an app is served from lies in Redis after it was written. Other nodes take it from there within a poll. It
/// is no longer there when a catalog that was set back to a backup comes to the same numbers again with other changes.
pub const SHELF_APP_LIFE: Duration = Duration::from_secs(60);

/// The same for code, which is named by what it was made of, and which a node asks for when it first runs it.
pub const SHELF_CODE_LIFE: Duration = Duration::from_secs(3600);

/// How often at most a node that shares its catalog writes what it serves to its own disk: what changed since is missing
/// when it starts while the store is away, unless Redis has it.
pub const KEPT_EVERY: Duration = Duration::from_secs(2);

/// How often it writes down that it has looked, when nothing changed: `/health` says an age that is at most this much too
/// high after such a start.
pub const KEPT_POSITION_EVERY: Duration = Duration::from_secs(10);

/// Apps that are read from the store at a time to be kept. A node that never kept anything reads all of them, and requests'
/// reads go first.
pub const KEPT_READS_AT_ONCE: usize = 4;

/// Bytes of one file of what is kept: an app's configuration is stored in one document, the script of its packages may be
/// larger. A file past it is rubbish and not read.
pub const KEPT_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long each of a starting node's first reads may take when it could start without: past it the store counts as away.
pub const KEPT_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a bundle that is kept in Redis; larger ones are read from the store by each node, which is rare and slow anyway.
pub const SHELF_CODE_BYTES_MAX: usize = 1024 * 1024;
