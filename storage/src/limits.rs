//! The numbers of this crate: unit, default, reason, and what the client sees when one is reached.

use std::time::Duration;

/// Bytes the catalog reads at a time when it lists apps. Large enough that ten thousand apps are a handful of batches;
/// nobody outside sees it.
pub const CATALOG_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Apps whose live deployments are read with one query when a node starts. They come in batches of bytes; this only bounds
/// the list of ids that is sent.
pub const SERVED_READ_AT_ONCE: usize = 1_000;

/// Changes of apps that a shared catalog's ledger names, about twenty bytes each. A node that missed more looks through all
/// apps, which takes seconds where there are ten thousand.
pub const LEDGER_RECENT: usize = 256;

/// Attempts to change the ledger when other nodes were faster each time. Each is a round trip or two; past it a change is
/// refused.
pub const LEDGER_TRIES: usize = 200;

/// Threads that MongoDB's driver runs on. It mostly waits for sockets, and hands replies over without decoding them.
pub const DRIVER_THREADS: usize = 2;

/// Milliseconds until a server of a cluster must be found and connected to. A connection string may ask for less. Past it,
/// callers are told that the database could not be reached.
pub const DATABASE_CONNECT_MS: u64 = 5_000;

/// Milliseconds one operation on a cluster may take, all retries included; also what the server is told, so that it gives
/// up too. Functions may run for minutes, but one that waits this long for a query waits for a lock or a dead network.
pub const DATABASE_OPERATION_MS: u64 = 60_000;

/// Milliseconds that making an index on a cluster may be waited for. It goes on there when nobody waits any more.
pub const DATABASE_BUILD_MS: u64 = 60 * 60_000;

/// Connections to one server of a cluster. A connection string may ask for fewer; more operations than this wait in turn.
pub const DATABASE_CONNECTIONS_MAX: u32 = 64;

/// Milliseconds without use after which a cluster's client and its connections are closed.
pub const DATABASE_IDLE_MS: u64 = 10 * 60_000;

/// Clusters with a client at once. Each costs two connections that watch a server; common limits allow 1,024 descriptors.
/// Past it, operations on a further one are refused until another one is idle.
pub const CLUSTERS_MAX: usize = 200;

/// Change streams open at once on a cluster. Each waits on a connection of its own, which is a descriptor here and memory
/// on the server. More are refused with `TemporarilyUnavailable` (365).
pub const CLUSTER_WATCHERS_MAX: usize = 256;

/// The same for one app, so that a few apps do not take them all.
pub const CLUSTER_APP_WATCHERS_MAX: usize = 64;

/// How long a server waits for a change before it answers that there is none yet. A stream that is closed is noticed on
/// the server after this long at the latest.
pub const CHANGES_WAIT: Duration = Duration::from_secs(1);

/// Documents in one reply of a server that is asked for a cursor's next ones; the server's own bound is 16 MiB. Enough that
/// a round trip is small beside the work, and few enough that open cursors hold little.
pub const CURSOR_BATCH_DOCUMENTS: u32 = 1_000;

/// Bytes of a database's name, as in MongoDB.
pub const DATABASE_NAME_BYTES_MAX: usize = 63;

/// Bytes of a database's name on a cluster that apps share: what the app's id and the underscore leave. A longer one is
/// refused with `InvalidNamespace` (73).
pub const SHARED_DATABASE_NAME_BYTES_MAX: usize = DATABASE_NAME_BYTES_MAX - 25;

/// First and longest pause before Redis is connected to again. The longest is short: what nodes hint to each other is late
/// for so long after Redis comes back, and one attempt costs next to nothing.
pub const REDIS_RETRY_LEAST: Duration = Duration::from_millis(50);
pub const REDIS_RETRY_MOST: Duration = Duration::from_millis(500);

/// Quiet on a connection to Redis after which it is asked whether it is there. `/health` shows the age of its last answer.
pub const REDIS_SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Hints that wait for a node to look at them; more are dropped, since the first makes it look at everything.
pub const REDIS_HINTS_WAITING: usize = 64;

/// Bytes of one hint; a longer message is not one of ours and is not read.
pub const REDIS_HINT_BYTES_MAX: usize = 1_024;

/// Error codes without a name of their own that are remembered with the name made for them. MongoDB has some hundreds; past
/// it an error has its code and is called `UnknownError`.
pub const UNNAMED_CODES_MAX: usize = 4_096;

/// Bytes of one document, as in MongoDB. A larger one is refused with `BSONObjectTooLarge` (10334).
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one part of a blob; with its id it fits in a document twice, and a commit does not wait long for it.
pub const BLOB_PART_BYTES: usize = 4 * 1024 * 1024;
const _: () = assert!(BLOB_PART_BYTES < DOCUMENT_BYTES_MAX);

/// Levels of nesting of one document, filter or update, as in MongoDB; it bounds every recursion over documents. Deeper
/// ones are refused with `Overflow` (15).
pub const NESTING_MAX: usize = 100;

/// Nulls an update may put between the end of an array and the index it writes to, as in MongoDB; without it one small
/// update makes an array of any length. More is refused with `Location17419`.
pub const ARRAY_PADDING_MAX: usize = 1_500_000;

/// Threads of the embedded store that scan. Two, so that one long scan leaves the other to everybody else; scans take
/// turns after each slice besides.
pub const READER_THREADS: usize = 2;

/// Threads of the embedded store that write. They mostly wait for the disk, so more than cores: four files can be synced
/// at once.
pub const WRITER_THREADS: usize = 4;

/// Files of apps open at once. Each costs a file descriptor and its cache; common limits allow 1,024 descriptors. An app
/// beyond this number waits some milliseconds while its file is opened and another is closed.
pub const OPEN_FILES_MAX: usize = 256;

/// Bytes of pages cached per open app file. The kernel's page cache stands behind it, so a small one is enough, and 256
/// of them stay within 512 MiB.
pub const APP_CACHE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of pages cached of the catalog, which is read for every app at start and for every deployment.
pub const CATALOG_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Writes that share one commit, at most: bounds how long the first of them waits for the last.
pub const GROUP_WRITES_MAX: usize = 1024;

/// Bytes of documents in one commit, about, for the same reason.
pub const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes that may wait for one file. More are refused with a store error that asks to send fewer at once.
pub const WAITING_WRITES_MAX: usize = 16 * 1024;

/// Bytes of documents that may wait for one file; a single write may be larger. Refused as above.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the disk that writes leave free, for deletes and for everybody else on the machine. With less, writes other
/// than deletes are refused with `OutOfDiskSpace` (14031); reads go on.
pub const DISK_RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes a commit may need for one write beside its documents: the pages from the root of the tree to the leaf are
/// written anew. Counted when the end of the disk is near.
pub const COMMIT_BYTES_PER_WRITE: usize = 16 * 1024;

/// Bytes that one update or delete may change, since it is planned in memory before it is applied. Refused with
/// `ExceededMemoryLimit` (146).
pub const UPDATE_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes of documents and keys that one query may sort in memory, as in MongoDB. Refused with
/// `QueryExceededMemoryLimitNoDiskUseAllowed` (292).
pub const SORT_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes one stage of a pipeline may hold: the groups of a `$group`, the documents of a `$sort`, the others of a
/// `$lookup`. As in MongoDB without its use of the disk. More are refused with
/// `QueryExceededMemoryLimitNoDiskUseAllowed` (292).
pub const STAGE_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes of documents a pipeline takes from a scan at a time: enough that taking them costs little each, and few enough
/// that those behind a `$limit` were not read for nothing.
pub const PIPELINE_BATCH_BYTES: usize = 32 * 1024;

/// Bytes of documents that one `$out` or `$merge` writes: they are held until all are there, and are written in one
/// commit. More are refused with `ExceededMemoryLimit` (146).
pub const OUTPUT_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Stages of one pipeline, as in MongoDB. More are refused with `Location7749501`.
pub const STAGES_MAX: usize = 1000;

/// Pipelines inside pipelines, as in MongoDB; it bounds the recursion over them. Deeper ones are refused with
/// `MaxSubPipelineDepthExceeded` (232).
pub const PIPELINES_DEEP_MAX: usize = 20;

/// Documents one `$densify` makes, as in MongoDB. More are refused with `Location5897900`.
pub const DENSIFIED_DOCUMENTS_MAX: u64 = 500_000;

/// Bytes of the values one `distinct` gives, as in MongoDB, whose answer is one document. More are refused with
/// `Location17217`.
pub const DISTINCT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Documents a scan looks at before others have a turn: about a millisecond's work.
pub const SLICE_DOCUMENTS: usize = 1024;

/// Bytes of the batch a query brings along when it is opened. Most answers are smaller and so take one hop.
pub const FIRST_BATCH_BYTES: usize = 256 * 1024;

/// Bytes one compiled regular expression may take. Counted repetitions make small patterns large: without a bound one
/// filter could take all memory. Refused with `Location51091`.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of documents and keys one transaction may have written at its commit: they wait in memory, and go into one
/// commit of the file. Twice the largest document, so that a change of one always fits beside others. MongoDB's own limit
/// was 16 MB, one entry of its log, until it could split them. Refused with `TransactionTooLarge` (257).
pub const TRANSACTION_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX;

/// The same for all transactions of one app that are open at once, as many as plain writes may wait with. Refused with
/// `TemporarilyUnavailable` (365) and the label that asks to run the transaction again.
pub const TRANSACTIONS_BYTES_MAX: usize = 64 * 1024 * 1024;
const _: () = assert!(TRANSACTION_BYTES_MAX <= TRANSACTIONS_BYTES_MAX);

/// Transactions of one app open at once. Each pins the pages of its snapshot, so the file grows by what is written while
/// the oldest is open. Refused as above.
pub const OPEN_TRANSACTIONS_MAX: usize = 256;

/// How long a transaction may stay open, as MongoDB's `transactionLifetimeLimitSeconds`: it bounds how long pages stay
/// pinned. Past it the transaction is aborted, and what comes next in it is answered with `NoSuchTransaction` (251).
pub const TRANSACTION_LIFETIME: Duration = Duration::from_secs(60);

/// Bytes of one value that an expression makes on its way, and of all it holds at once: four times what a document may
/// hold, since what grows is often cut down again. Without it a few words (`$range`, `$reduce`) take all memory. Refused
/// with `ExceededMemoryLimit` (146).
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of arrays, documents and texts that the operators of one stage may look at for one document; a round of `$map`,
/// `$filter` or `$reduce` counts as [`EXPRESSION_ROUND_BYTES`]. Loops in loops are a few words long and would keep one of
/// the few reading threads for years; this is some ten seconds at most. Refused with `MaxTimeMSExpired` (50).
pub const EXPRESSION_WORK_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;

/// What a round costs besides the bytes it looks at: about as much as reading so many.
pub const EXPRESSION_ROUND_BYTES: usize = 2 * 1024;

/// Rounds of a `$reduce` between two looks at how deeply its value is nested. Each round may add as many levels as the
/// expression has itself, so recursion over a value stays within a thousand levels; more than [`NESTING_MAX`] are refused
/// with `Overflow` (15).
pub const REDUCE_ROUNDS: usize = 8;

/// Indexes of one collection, that of `_id` among them, as in MongoDB: every write keeps all of them up. More are refused
/// with `CannotCreateIndex` (67).
pub const INDEXES_MAX: usize = 64;

/// Fields of one index, as in MongoDB. More are refused with `Location13103`.
pub const INDEX_PARTS_MAX: usize = 32;

/// Bytes of an index's name. It is part of the name of a table; longer ones are refused with `CannotCreateIndex` (67).
pub const INDEX_NAME_BYTES_MAX: usize = 1024;

/// Bytes of one key of an index. The inner pages of a tree hold whole keys, so that keys much longer than a page (4 KiB)
/// make it deep. A document with a longer one is refused with `KeyTooLong` (17280).
pub const INDEX_KEY_BYTES_MAX: usize = 16 * 1024;

/// Keys one document may have in an index, as in MongoDB: each is an entry to keep up. A document with more is refused
/// with `CannotBuildIndexKeys` (201).
pub const INDEX_KEYS_MAX: usize = 100_000;

/// Stretches of one index that a query may be cut into by several sets of values. When there would be more, the later
/// fields narrow nothing; nobody sees it but by the time it takes.
pub const PLAN_RANGES_MAX: usize = 4096;

/// Entries counted in each of several indexes to find out which one a query should use: a few pages each.
pub const PLAN_PROBE_ENTRIES: usize = 256;

/// Branches of an `$or` that are looked up one by one. With more the collection is scanned once.
pub const PLAN_BRANCHES_MAX: usize = 64;

/// Documents and bytes that one step of building an index takes in. Writes of the same app wait for a step at most:
/// some ten milliseconds.
pub const INDEX_STEP_DOCUMENTS: usize = 2048;
pub const INDEX_STEP_BYTES: usize = 2 * 1024 * 1024;

/// How often expired documents are looked for. A document goes at most this long after it expired, and the time its
/// removal takes.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// Expired documents removed in one step, so that the writes of the same app hardly wait.
pub const EXPIRY_STEP_DOCUMENTS: usize = 128;

/// For patterns that look around or refer back, and so may try exponentially often: how often they may go back in a text
/// of up to so many bytes. One try may read the whole text, so tries times bytes is about a second's work at most. More,
/// or a longer text, is refused with `Location51156`.
pub const REGEX_TRIES: [(usize, usize); 4] =
    [(4 << 10, 50_000), (16 << 10, 25_000), (64 << 10, 6_000), (1 << 20, 1_000)];

/// Time one search with such a pattern may take in a long text, and `$regexFindAll` with any. Refused as above.
pub const REGEX_TIME_MAX: Duration = Duration::from_secs(1);

/// Compiled patterns of `$regexMatch` and its kin that each scanning thread keeps. A pipeline has a few, and each takes up to
/// [`REGEX_BYTES_MAX`]; with more in turn, each document compiles them anew.
pub const PATTERNS_KEPT: usize = 16;

/// How long a change of documents is kept for those who watch, and how long changes are recorded after the last of them
/// has gone: long enough for a client to come back after its network did. A stream that asks for older ones fails with
/// `ChangeStreamHistoryLost` (286).
pub const CHANGES_KEPT: Duration = Duration::from_secs(60 * 60);

/// Bytes of changes that are kept in the file of one app; more push out the oldest, with the same error for who needs them.
pub const CHANGES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Change streams of one app open at once: each reads every event. More are refused with `TemporarilyUnavailable` (365).
pub const WATCHERS_MAX: usize = 1_000;

/// Collections and databases of one app that are watched: each write looks through them. Refused as above.
pub const WATCHED_MAX: usize = 100;

/// Bytes of documents copied in one transaction of a backup or a compaction, which holds them in memory until it ends.
pub const COPY_LOT_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of pages cached of a file that a backup or a compaction makes.
pub const COPY_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Buckets of users, addresses and administrators that are kept unless the operator says otherwise, 32 bytes each. One is
/// needed for everybody who asked within the time their bucket takes to fill; more drive out those with most left.
pub const RATE_CELLS: usize = 256 * 1024;

/// Bytes of an IPv6 address that count as one caller: a subscriber is given a /64 at least, with 2^64 addresses.
pub const ADDRESS_V6_PREFIX: usize = 8;

/// How often nodes tell each other what was taken from shared buckets. One command each time, and what is taken unseen
/// meanwhile is two hundredths of a second's rate per other node at most.
pub const RATE_SHARE_EVERY: Duration = Duration::from_millis(20);

/// How often a node says that it is there, and after how long without a word it is not.
pub const RATE_NODES_EVERY: Duration = Duration::from_secs(1);
pub const RATE_NODE_LIFE: Duration = Duration::from_secs(5);

/// Buckets told of in one command, some tens of kilobytes; the others follow in the next.
pub const RATE_SHARED_AT_ONCE: usize = 512;

/// Buckets that wait to be told of, some megabytes. While Redis is slow and there are more, what is taken from the others is
/// told with the next request after there is room.
pub const RATE_NOTED_MAX: usize = 64 * 1024;

/// How much more than its whole depth a bucket may owe, when nodes took at the same time what was there once.
pub const RATE_SHARED_DEBT: Duration = Duration::from_secs(2);

/// Bytes of one question or answer between two processes of which one uses the other's store: the most documents that an
/// insert or a batch holds, and room around them. A larger one ends the connection.
pub const RELAY_FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that open cursors may still have to give when the store moves to another process, all together. They are read out
/// in the pause in which nobody can ask the store for anything. A cursor that has more fails with `CursorKilled` (237).
pub const RELAY_CURSOR_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long that may take, for the same reason and with the same end.
pub const RELAY_CURSOR_TIME: Duration = Duration::from_millis(250);
