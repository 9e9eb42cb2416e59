//! What MongoDB calls its error codes.
//!
//! In: a code, as a server sent it; servers do not send the name beside it in every reply. Out: the name. A code without
//! one is called `Location` and its number, as MongoDB does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::limits::UNNAMED_CODES_MAX;

/// In the order of the codes.
const NAMED: &[(i32, &str)] = &[
    (1, "InternalError"),
    (2, "BadValue"),
    (4, "NoSuchKey"),
    (5, "GraphContainsCycle"),
    (6, "HostUnreachable"),
    (7, "HostNotFound"),
    (8, "UnknownError"),
    (9, "FailedToParse"),
    (10, "CannotMutateObject"),
    (11, "UserNotFound"),
    (12, "UnsupportedFormat"),
    (13, "Unauthorized"),
    (14, "TypeMismatch"),
    (15, "Overflow"),
    (16, "InvalidLength"),
    (17, "ProtocolError"),
    (18, "AuthenticationFailed"),
    (20, "IllegalOperation"),
    (21, "EmptyArrayOperation"),
    (22, "InvalidBSON"),
    (24, "LockTimeout"),
    (26, "NamespaceNotFound"),
    (27, "IndexNotFound"),
    (28, "PathNotViable"),
    (29, "NonExistentPath"),
    (31, "RoleNotFound"),
    (40, "ConflictingUpdateOperators"),
    (43, "CursorNotFound"),
    (46, "LockBusy"),
    (47, "NoMatchingDocument"),
    (48, "NamespaceExists"),
    (50, "MaxTimeMSExpired"),
    (52, "DollarPrefixedFieldName"),
    (53, "InvalidIdField"),
    (54, "NotSingleValueField"),
    (56, "EmptyFieldName"),
    (57, "DottedFieldName"),
    (59, "CommandNotFound"),
    (61, "ShardKeyNotFound"),
    (62, "OplogOperationUnsupported"),
    (64, "WriteConcernFailed"),
    (66, "ImmutableField"),
    (67, "CannotCreateIndex"),
    (68, "IndexAlreadyExists"),
    (70, "ShardNotFound"),
    (71, "ReplicaSetNotFound"),
    (72, "InvalidOptions"),
    (73, "InvalidNamespace"),
    (85, "IndexOptionsConflict"),
    (86, "IndexKeySpecsConflict"),
    (89, "NetworkTimeout"),
    (91, "ShutdownInProgress"),
    (96, "OperationFailed"),
    (112, "WriteConflict"),
    (115, "CommandNotSupported"),
    (117, "ConflictingOperationInProgress"),
    (121, "DocumentValidationFailure"),
    (125, "CommandFailed"),
    (133, "FailedToSatisfyReadPreference"),
    (134, "ReadConcernMajorityNotAvailableYet"),
    (136, "CappedPositionLost"),
    (146, "ExceededMemoryLimit"),
    (148, "ReadConcernMajorityNotEnabled"),
    (165, "ViewDepthLimitExceeded"),
    (166, "CommandNotSupportedOnView"),
    (167, "OptionNotSupportedOnView"),
    (168, "InvalidPipelineOperator"),
    (171, "CannotIndexParallelArrays"),
    (175, "QueryPlanKilled"),
    (188, "IncompatibleServerVersion"),
    (189, "PrimarySteppedDown"),
    (197, "InvalidIndexSpecificationOption"),
    (201, "CannotBuildIndexKeys"),
    (202, "NetworkInterfaceExceededTimeLimit"),
    (215, "DatabaseDropPending"),
    (217, "IncompleteTransactionHistory"),
    (224, "QueryFeatureNotAllowed"),
    (225, "TransactionTooOld"),
    (232, "MaxSubPipelineDepthExceeded"),
    (237, "CursorKilled"),
    (238, "NotImplemented"),
    (241, "ConversionFailure"),
    (246, "SnapshotUnavailable"),
    (248, "TooManyLogicalSessions"),
    (251, "NoSuchTransaction"),
    (256, "TransactionCommitted"),
    (257, "TransactionTooLarge"),
    (260, "InvalidResumeToken"),
    (262, "ExceededTimeLimit"),
    (263, "OperationNotSupportedInTransaction"),
    (267, "PreparedTransactionInProgress"),
    (276, "IndexBuildAborted"),
    (280, "ChangeStreamFatalError"),
    (286, "ChangeStreamHistoryLost"),
    (290, "TransactionExceededLifetimeLimitSeconds"),
    (292, "QueryExceededMemoryLimitNoDiskUseAllowed"),
    (296, "QueryExceededMemoryLimitNoDiskUseAllowed"),
    (322, "APIVersionError"),
    (323, "APIStrictError"),
    (365, "TemporarilyUnavailable"),
    (391, "ReauthenticationRequired"),
    (8000, "AtlasError"),
    (9001, "SocketException"),
    (10003, "CannotGrowDocumentInCappedNamespace"),
    (10058, "LegacyNotPrimary"),
    (10107, "NotWritablePrimary"),
    (10334, "BSONObjectTooLarge"),
    (11000, "DuplicateKey"),
    (11600, "InterruptedAtShutdown"),
    (11601, "Interrupted"),
    (11602, "InterruptedDueToReplStateChange"),
    (12587, "BackgroundOperationInProgressForNamespace"),
    (13113, "MergeStageNoMatchingDocument"),
    (13388, "StaleConfig"),
    (13435, "NotPrimaryNoSecondaryOk"),
    (13436, "NotPrimaryOrSecondary"),
    (14031, "OutOfDiskSpace"),
    (17280, "KeyTooLong"),
    (40333, "IndexBuildAlreadyInProgress"),
];

pub fn name(code: i32) -> &'static str {
    match NAMED.binary_search_by_key(&code, |(code, _)| *code) {
        Ok(at) => NAMED[at].1,
        Err(_) => location(code),
    }
}

/// Names are kept for good, since errors carry them by reference; a server that makes up codes without end gets no more of
/// them after a while.
fn location(code: i32) -> &'static str {
    static MADE: Mutex<Option<HashMap<i32, &'static str>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = made.get_or_insert_default();
    if let Some(name) = made.get(&code) {
        return name;
    }
    if made.len() >= UNNAMED_CODES_MAX {
        return "UnknownError";
    }
    let name: &'static str = format!("Location{code}").leak();
    made.insert(code, name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_have_one_name() {
        assert!(NAMED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!((name(11000), name(2), name(17_419)), ("DuplicateKey", "BadValue", "Location17419"));
        assert_eq!(name(17_419).as_ptr(), name(17_419).as_ptr(), "made once");
    }

    /// An error of the embedded store that went through another process, and the same error of a server, are called by the
    /// name that is found here.
    #[test]
    fn a_code_has_the_name_that_the_embedded_store_gives_it() {
        let given = regex::Regex::new(r#"(?:caller\(|Code\()\s*(\d+),\s*"(\w+)""#).unwrap();
        let (mut folders, mut seen) = (vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                for found in given.captures_iter(&std::fs::read_to_string(&path).unwrap()) {
                    let code = found[1].parse().unwrap();
                    assert_eq!(name(code), &found[2], "{code} in {}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 50, "{seen} errors");
    }
}
