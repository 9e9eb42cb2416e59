//! The control plane's bounds, each with its unit, its reason and what is seen when it is met.

use std::time::Duration;

/// Bytes of a request body kept in a log entry. Longer bodies are cut and marked `"truncated": true`.
pub const LOGGED_BODY_BYTES_MAX: usize = 64 * 1024;

/// Days a log entry is kept. App Services' documented retention. Older entries are no longer listed.
pub const LOG_RETENTION_DAYS: i64 = 10;

/// Bytes of log entries waiting to be written, over all apps. A disk that hangs must not fill the memory: past it new
/// entries are dropped and counted.
pub const LOG_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long log entries gather before they are written. Readers do not wait for it: reading flushes first.
pub const LOG_GATHER: Duration = Duration::from_millis(200);

/// Most entries one page of the log answer holds; a larger `limit` is lowered to it, as App Services did.
pub const LOG_PAGE_MAX: usize = 100;

/// Longest line of a log file that is read back, bytes. Holds an entry of the largest body and console; a longer line is
/// not one of ours and is skipped.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Shortest secret whose occurrences are hidden in console lines, bytes. Shorter ones would hide ordinary words.
pub const REDACTED_SECRET_BYTES_MIN: usize = 6;

/// Body of an ordinary Admin API request, bytes. Past it: 413.
pub const ADMIN_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Body of an import or push, bytes: a whole app with its sources. Past it: 413.
pub const IMPORT_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

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

/// Cursors one call may have open. Past it: an error that names the number.
pub const OPEN_CURSORS_MAX: usize = 64;

/// Largest file of an app's directory that is read, bytes. App Services took functions of 100,000 characters; a bundled
/// one may be a few megabytes. Past it: the file is named and nothing is pushed.
pub const DIRECTORY_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most files listed in one place of an app's directory, and most functions. Past it somebody pointed us at the wrong
/// directory, and we say so instead of reading a disk.
pub const DIRECTORY_FILES_MAX: usize = 10_000;

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
