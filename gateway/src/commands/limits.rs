//! The command line's bounds. They stand apart from the gateway's since they hold in another process: a client that
//! waits, and gives up, by itself.

use std::time::Duration;

/// How long a connection may take. A server that is there accepts in milliseconds, one across the world in one second.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long one Admin API call may take. An import compiles nothing; the slowest is an export of a large app.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(60);

/// How long an answer may take that is written to a file as it arrives, such as an export of documents.
pub const DOWNLOAD_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest answer that is read, bytes. The largest is an export. Past it: the command fails and says so.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most bytes an export may unpack to. A small archive that unpacks to a full disk is an old trick.
pub const UNPACKED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most files an export may hold.
pub const UNPACKED_FILES_MAX: usize = 20_000;

/// Bytes of lines sent at once by an import of documents. The server takes 16 MiB, and a line may be as long as one document.
pub const IMPORT_PART_BYTES: usize = 1024 * 1024;

/// Longest line of such an import, so that a part with one more line than it should have is still taken.
pub const IMPORT_LINE_BYTES_MAX: usize = 14 * 1024 * 1024;

/// How often a backup is asked how far it is.
pub const BACKUP_POLL: Duration = Duration::from_millis(250);

/// How often a deployment is asked whether it is done.
pub const DEPLOYMENT_POLL: Duration = Duration::from_millis(250);

/// How long a deployment may stay undecided before the command stops waiting. The server compiles for at most a minute.
pub const DEPLOYMENT_TIME_MAX: Duration = Duration::from_secs(120);

/// How often `logs --tail` asks for new entries. Half a second is soon for a person and little for the server, which looks
/// into its newest lines only.
pub const TAIL_POLL: Duration = Duration::from_millis(500);

/// How often an index that is being built is asked how far it has come.
pub const INDEX_POLL: Duration = Duration::from_millis(500);

/// How often an install of npm packages is asked whether it is done.
pub const INSTALL_POLL: Duration = Duration::from_millis(250);

/// How long an install may stay undecided before the command stops waiting. The server gives it five minutes.
pub const INSTALL_TIME_MAX: Duration = Duration::from_secs(330);

/// How far back `logs --tail` asks again, since an entry is dated by the start of its call and appears at its end.
/// Calls that take longer than this can be missed by a tail; they are in the list.
pub const TAIL_OVERLAP: Duration = Duration::from_secs(30);

/// How many parents are searched for an app's root file; realm-cli looks as far.
pub const PARENTS_MAX: usize = 8;

/// Entries per page of `GET …/logs`; the server allows no more.
pub const LOG_PAGE_MAX: usize = 100;

/// Users asked for at once; the server allows as many.
pub const USERS_PAGE: usize = 1_000;

/// Users sent at once. A user with a password takes the server some twenty milliseconds, and a call may take a minute.
pub const USERS_PER_IMPORT: usize = 200;
