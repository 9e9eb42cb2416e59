//! What can go wrong with stored documents, and whose fault it is.

use std::fmt;

/// Whose fault a failure is, and so who should hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for something impossible; the text is for them.
    Caller,
    /// The store is at its limits or broken; the caller may try again, the operator should look.
    Store,
    /// A database that is somebody else's server cannot be reached or does not answer. Whoever gave its address (the
    /// operator, or the tenant for a URI of their own) should look; the text names neither hosts nor credentials, and is for
    /// the caller too.
    Database,
}

/// A failed operation, in MongoDB's terms.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreError {
    pub fault: Fault,
    /// MongoDB's error code where one is known, such as 11000; 0 where there is none.
    pub code: i32,
    /// MongoDB's name of the code, such as `DuplicateKey`.
    pub code_name: &'static str,
    /// For the caller. Names the operator, field or key that was wrong.
    pub message: String,
    /// For an ordered or unordered batch of writes: which element failed.
    pub index: Option<usize>,
    /// For what failed in a transaction: what may be tried again.
    pub label: Option<Label>,
}

/// What MongoDB calls an error label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Nothing of the transaction was kept. The whole of it, run again, may succeed.
    TransientTransaction,
    /// Whether the commit took place is not known. It can be asked for again.
    UnknownCommitResult,
}

impl Label {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransientTransaction => "TransientTransactionError",
            Self::UnknownCommitResult => "UnknownTransactionCommitResult",
        }
    }
}

/// A code of MongoDB's with its name, where tables hold one; written `code!(16020)` for those that are named by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i32, pub &'static str);

/// A [`Code`] that is named by its number, `Location16020`.
macro_rules! code {
    ($number:literal) => {
        $crate::error::Code($number, concat!("Location", $number))
    };
}
pub(crate) use code;

/// The caller's fault, with a code that is named by its number: `location!(16020, "{name} takes …")`.
macro_rules! location {
    ($number:literal, $($text:tt)+) => {
        $crate::error::StoreError::coded($crate::error::code!($number), format!($($text)+))
    };
}
pub(crate) use location;

impl StoreError {
    pub fn coded(code: Code, message: impl Into<String>) -> Self {
        Self::caller(code.0, code.1, message)
    }

    /// An operand of a type the operator cannot work with.
    pub fn type_mismatch(message: impl Into<String>) -> Self {
        Self::caller(14, "TypeMismatch", message)
    }

    pub fn caller(code: i32, code_name: &'static str, message: impl Into<String>) -> Self {
        Self { fault: Fault::Caller, code, code_name, message: message.into(), index: None, label: None }
    }

    /// Bad value: an operand or option of the wrong form.
    pub fn bad_value(message: impl Into<String>) -> Self {
        Self::caller(2, "BadValue", message)
    }

    /// An operator or option that MongoDB has and this store does not (yet); the message names it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::caller(115, "CommandNotSupported", message)
    }

    pub fn duplicate_key(message: impl Into<String>) -> Self {
        Self::caller(11000, "DuplicateKey", message)
    }

    /// The store itself failed. The text goes to the operator's log as well.
    pub fn store(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Store,
            code: 8,
            code_name: "UnknownError",
            message: message.into(),
            index: None,
            label: None,
        }
    }

    pub fn labelled(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// The disk is full. The words are for whoever wrote as well, who may delete something or wait.
    pub fn out_of_disk_space() -> Self {
        let text = "the disk of the document store is full: reads go on, and writes when there is space again";
        Self { code: 14031, code_name: "OutOfDiskSpace", ..Self::store(text) }
    }

    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {}
