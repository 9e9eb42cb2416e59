//! Resume tokens: `{_data: "…"}`, the place of an event in a log as hexadecimal digits. Tokens of one log sort as its
//! events do.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use crate::error::StoreError;

/// A place in a log: behind its event of this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Which log: numbers begin anew in another.
    pub log: u64,
    pub number: u64,
}

const VERSION: u8 = 1;

impl Token {
    pub fn write(self) -> RawDocumentBuf {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.log.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        rawdoc! { "_data": hex::encode_upper(bytes) }
    }

    pub fn read(token: &RawDocument) -> Result<Self, StoreError> {
        let Ok(Some(RawBsonRef::String(data))) = token.get("_data") else { return Err(invalid()) };
        let mut bytes = [0; 17];
        hex::decode_to_slice(data, &mut bytes).map_err(|_| invalid())?;
        let [version, rest @ ..] = bytes;
        let (log, number) = rest.split_at(8);
        match (version, <[u8; 8]>::try_from(log), <[u8; 8]>::try_from(number)) {
            (VERSION, Ok(log), Ok(number)) => {
                Ok(Self { log: u64::from_be_bytes(log), number: u64::from_be_bytes(number) })
            }
            _ => Err(invalid()),
        }
    }
}

fn invalid() -> StoreError {
    StoreError::caller(260, "InvalidResumeToken", "the resume token is not one that a change stream gave")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_were_written_and_nothing_else_is() {
        let token = Token { log: u64::MAX - 7, number: 300 };
        assert_eq!(Token::read(&token.write()).unwrap(), token);
        for strange in [
            rawdoc! {},
            rawdoc! { "_data": 1 },
            rawdoc! { "_data": "" },
            rawdoc! { "_data": "zz" },
            rawdoc! { "_data": "00".repeat(17) },
            rawdoc! { "_data": "01".repeat(18) },
        ] {
            assert_eq!(Token::read(&strange).unwrap_err().code, 260, "{strange:?}");
        }
    }
}
