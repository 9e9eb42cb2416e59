//! What is known of a segment's lines without reading them: one record for each block of about
//! [`LOG_BLOCK_BYTES`](crate::limits::LOG_BLOCK_BYTES), beside the segment in a file of the same name ending in `.idx`.
//!
//! In: lines on their way into a segment, with what their writer knows of them, or lines that lie in one. Out: where each block lies, when its entries started, whether it holds errors, and a
//! Bloom filter of its ids and of every three letters that follow one another in its messages and errors. A search for a
//! word reads the blocks whose filters have all of the word's triples, which of a rare word are few.
//!
//! All of it follows from the segment, so nothing here has to survive a crash: a record that was cut short, or does not
//! fit what lies in the segment, ends the index, and what follows is read line by line until it is indexed again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::limits::{LOG_BLOCK_BYTES, LOG_BLOOM_BYTES, LOG_LINE_BYTES_MAX};

const MAGIC: u32 = 0x3249_4c50;

/// Bytes of a record before its filter.
const HEAD_BYTES: usize = 40;

const RECORD_BYTES: usize = HEAD_BYTES + LOG_BLOOM_BYTES + 8;

/// Bits set per item. With a filter half full, one item in eight that is not there looks as if it were; a word has
/// several.
const PROBES: u64 = 3;

/// What kinds of entries a block holds, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts(pub u32);

impl Facts {
    pub const ERROR: Self = Self(1);
    pub const ENDPOINT: Self = Self(1 << 8);
    pub const FUNCTION: Self = Self(1 << 9);
    pub const OTHER_TYPE: Self = Self(1 << 10);

    /// `4xx` is class 4.
    pub fn status(status: u64) -> Self {
        Self(1 << (1 + (status / 100).min(6)))
    }

    pub fn of_type(kind: &[u8]) -> Self {
        match kind {
            b"ENDPOINT" => Self::ENDPOINT,
            b"FUNCTION" => Self::FUNCTION,
            _ => Self::OTHER_TYPE,
        }
    }

    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A block, as its record describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub offset: u64,
    pub length: u32,
    /// Earliest and latest `started` in it, epoch milliseconds.
    pub min_started: i64,
    pub max_started: i64,
    pub facts: Facts,
}

/// Ids that entries are looked up by. A record cannot tell whether two of them belong to the same entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Token {
    CoId = 1,
    UserId = 2,
    EndpointId = 3,
    FunctionId = 4,
    Route = 5,
}

impl Token {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"co_id" => Self::CoId,
            b"user_id" => Self::UserId,
            b"endpoint_id" => Self::EndpointId,
            b"function_id" => Self::FunctionId,
            b"endpoint_route" => Self::Route,
            _ => return None,
        })
    }

    /// What stands before its value in a line.
    pub fn key(self) -> &'static [u8] {
        match self {
            Self::CoId => b"\"co_id\":\"",
            Self::UserId => b"\"user_id\":\"",
            Self::EndpointId => b"\"endpoint_id\":\"",
            Self::FunctionId => b"\"function_id\":\"",
            Self::Route => b"\"endpoint_route\":\"",
        }
    }

    /// The item a filter has for this value, which is written as in the line, escapes and all.
    pub fn item(self, value: &[u8]) -> u64 {
        mixed(checksum(value) ^ u64::from(self as u8) << 56)
    }
}

/// The items of a text: every three bytes that follow one another, without regard to the case of ASCII letters.
pub fn triples(text: &[u8]) -> impl Iterator<Item = u64> {
    text.windows(3).map(|three| {
        let lower = |at: usize| u64::from(three[at].to_ascii_lowercase());
        mixed(lower(0) | lower(1) << 8 | lower(2) << 16 | 1 << 32)
    })
}

fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// A set that may say yes wrongly and never no.
pub struct Bloom<'a>(&'a [u8]);

impl Bloom<'_> {
    pub fn may_hold(&self, item: u64) -> bool {
        places(item).all(|bit| self.0[bit / 8] & 1 << (bit % 8) != 0)
    }
}

fn places(item: u64) -> impl Iterator<Item = usize> {
    let (first, step) = (item & 0xffff_ffff, (item >> 32) | 1);
    (0..PROBES).map(move |probe| (first.wrapping_add(probe.wrapping_mul(step)) % (LOG_BLOOM_BYTES as u64 * 8)) as usize)
}

// ------------------------------------------------------------------------------------------------- lines, at a glance

/// The text behind `key` up to its closing quote, as it stands in the line. Values of ours hold no quote that is not
/// escaped, so a key found this way is a key; an argument that looks like one stands behind all of ours.
pub fn text_after<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memmem::find(line, key)? + key.len();
    string_at(line, at)
}

/// A JSON string's inside, from behind its opening quote.
fn string_at(line: &[u8], start: usize) -> Option<&[u8]> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        match line[at] {
            b'"' => return Some(&line[start..at]),
            _ => at += 2,
        }
    }
}

/// The fields of a line in their order, with the inside of a string and the bytes of anything else; the last are the
/// messages, since behind them is what callers wrote, which is long. Every line is indexed, so it is walked once.
fn fields(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = 1;
    std::iter::from_fn(move || {
        if line.get(at) != Some(&b'"') {
            return None;
        }
        let name = string_at(line, at + 1)?;
        let start = at + name.len() + 3;
        if name == b"messages" {
            at = line.len();
            return Some((name, line.get(start..)?));
        }
        let value = match line.get(start)? {
            b'"' => {
                let text = string_at(line, start + 1)?;
                at = start + text.len() + 2;
                text
            }
            b'{' => {
                let length = object_length(&line[start..])?;
                at = start + length;
                &line[start..at]
            }
            _ => {
                at = start + memchr::memchr2(b',', b'}', &line[start..])?;
                &line[start..at]
            }
        };
        at += 1;
        Some((name, value))
    })
}

/// Bytes of the JSON object that `bytes` begin with.
fn object_length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0);
    loop {
        match bytes.get(at)? {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'"' => at += string_at(bytes, at + 1)?.len() + 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

const STARTED_KEY: &[u8] = b"\"started\":\"";
const STATUS_KEY: &[u8] = b"\"status\":";
const MESSAGES_KEY: &[u8] = b"\"messages\":[";
pub const ERROR_KEY: &[u8] = b"\"error\":\"";

/// `started`, epoch milliseconds.
pub fn started(line: &[u8]) -> Option<i64> {
    time(text_after(line, STARTED_KEY)?)
}

fn time(text: &[u8]) -> Option<i64> {
    Some(std::str::from_utf8(text).ok()?.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

pub fn status(line: &[u8]) -> Option<u64> {
    Some(number(&line[memchr::memmem::find(line, STATUS_KEY)? + STATUS_KEY.len()..]))
}

/// The number that bytes begin with.
fn number(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| (number * 10 + u64::from(digit - b'0')).min(99_999))
}

/// Everything a text search looks through: messages, the error, its stack.
pub fn searched(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let messages_at = memchr::memmem::find(line, MESSAGES_KEY);
    let error = text_after(&line[..messages_at.unwrap_or(line.len())], ERROR_KEY);
    let stack = error.and_then(|_| text_after(line, b"\"stack\":\""));
    let mut at = messages_at.map(|at| at + MESSAGES_KEY.len());
    let messages = std::iter::from_fn(move || {
        let start = at?;
        if line.get(start) != Some(&b'"') {
            at = None;
            return None;
        }
        let message = string_at(line, start + 1)?;
        let end = start + message.len() + 2;
        at = (line.get(end) == Some(&b',')).then_some(end + 1);
        Some(message)
    });
    error.into_iter().chain(stack).chain(messages)
}

// -------------------------------------------------------------------------------------------------------------- files

/// The index of a segment.
pub fn path_of(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// Tells `each` of every block the index describes, oldest first, and returns where what it knows ends. `length` is the
/// segment's.
pub fn read(segment: &Path, length: u64, mut each: impl FnMut(Block, Bloom<'_>)) -> u64 {
    let Ok(index) = std::fs::read(path_of(segment)) else { return 0 };
    let mut end = 0;
    for record in index.chunks_exact(RECORD_BYTES) {
        let Some((block, bloom)) = parse(record) else { break };
        if block.offset != end || block.offset + u64::from(block.length) > length {
            break;
        }
        end += u64::from(block.length);
        each(block, bloom);
    }
    end
}

/// Cuts off what is not a good record, so that new ones follow good ones. Gives the end of what is indexed.
pub fn mend(segment: &Path, length: u64) -> io::Result<u64> {
    let mut records = 0;
    let end = read(segment, length, |_, _| records += 1);
    let path = path_of(segment);
    match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file.set_len(records * RECORD_BYTES as u64)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(end)
}

/// Indexes what lies between `indexed` and `length`, in whole blocks, and gives the block after them as far as it is
/// filled. For what was written while nobody was describing it.
pub fn extend(segment: &Path, indexed: u64, length: u64) -> io::Result<Filling> {
    let mut records = Vec::new();
    let mut filling = Filling::at(indexed);
    if length > indexed {
        let file = File::open(segment)?;
        let mut end = indexed;
        while end < length {
            let lines = whole_lines(&file, end, length)?;
            if lines.is_empty() {
                break;
            }
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                filling.take(line, Described::of(line).as_ref(), &mut records);
            }
            end += lines.len() as u64;
        }
    }
    append(segment, &records)?;
    Ok(filling)
}

/// Adds records to a segment's index.
pub fn append(segment: &Path, records: &[u8]) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    OpenOptions::new().append(true).create(true).open(path_of(segment))?.write_all(records)
}

/// About a block's worth of whole lines from `offset` on; nothing when no line ends before `length`.
fn whole_lines(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut wanted = LOG_BLOCK_BYTES;
    loop {
        let size = (length - offset).min(wanted as u64) as usize;
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, offset)?;
        if let Some(newline) = memchr::memrchr(b'\n', &bytes) {
            bytes.truncate(newline + 1);
            return Ok(bytes);
        }
        if size as u64 == length - offset || size > LOG_LINE_BYTES_MAX * 2 {
            return Ok(Vec::new());
        }
        wanted *= 2;
    }
}

/// What the index keeps of one line. Whoever writes the line knows it all; walking the line again would cost as much as
/// writing it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Epoch milliseconds.
    pub started_ms: i64,
    pub facts: Facts,
    /// Whether it has messages or an error, which are searched for words.
    pub texts: bool,
    /// By token; 0 where it has none.
    items: [u64; TOKENS],
}

const TOKENS: usize = 6;

impl Described {
    pub fn begun(started_ms: i64) -> Self {
        Self { started_ms, ..Self::default() }
    }

    /// Notes an id, which is written as in the line.
    pub fn note(&mut self, token: Token, written: &[u8]) {
        self.items[token as usize] = token.item(written);
    }

    /// What a line that lies in a segment says of itself; `None` when it is not one of ours.
    pub fn of(line: &[u8]) -> Option<Self> {
        let mut of_line = Self::default();
        let (mut begun, mut status) = (None, 0);
        for (name, value) in fields(line) {
            match name {
                b"started" => begun = time(value),
                b"status" => status = number(value),
                b"type" => of_line.facts.add(Facts::of_type(value)),
                b"error" => {
                    of_line.facts.add(Facts::ERROR);
                    of_line.texts = true;
                }
                b"messages" => of_line.texts |= value.get(1) == Some(&b'"'),
                name => {
                    if let Some(token) = Token::of(name) {
                        of_line.note(token, value);
                    }
                }
            }
        }
        of_line.facts.add(Facts::status(status));
        of_line.started_ms = begun?;
        Some(of_line)
    }
}

/// A block that is not full yet.
pub struct Filling {
    block: Block,
    bloom: Box<[u8; LOG_BLOOM_BYTES]>,
    /// The items of the line before, which most lines share but for one.
    last: [u64; TOKENS],
}

impl Filling {
    /// An empty one, whose first line will lie at `offset`.
    pub fn at(offset: u64) -> Self {
        let (min_started, max_started) = (i64::MAX, i64::MIN);
        Self {
            block: Block { offset, length: 0, min_started, max_started, facts: Facts::default() },
            bloom: Box::new([0; LOG_BLOOM_BYTES]),
            last: [0; TOKENS],
        }
    }

    /// Takes a line, whatever it is; a block that is full with it gone before goes into `records`.
    pub fn take(&mut self, line: &[u8], described: Option<&Described>, records: &mut Vec<u8>) {
        if self.block.length as usize + line.len() > LOG_BLOCK_BYTES {
            self.seal(records);
        }
        self.block.length += line.len() as u32;
        let Some(described) = described else { return };
        let Block { min_started, max_started, facts, .. } = &mut self.block;
        *min_started = described.started_ms.min(*min_started);
        *max_started = described.started_ms.max(*max_started);
        facts.add(described.facts);
        let bloom = &mut *self.bloom;
        let mut put = |item: u64| places(item).for_each(|bit| bloom[bit / 8] |= 1 << (bit % 8));
        for (item, last) in described.items.iter().zip(&mut self.last) {
            if *item != 0 && item != last {
                put(*item);
                *last = *item;
            }
        }
        if described.texts {
            searched(line).for_each(|text| triples(text).for_each(&mut put));
        }
    }

    /// Where the next line will lie.
    pub fn end(&self) -> u64 {
        self.block.offset + u64::from(self.block.length)
    }

    /// Takes bytes that are no line: what a crash cut short.
    pub fn pass(&mut self, bytes: u64) {
        self.block.length += bytes as u32;
    }

    /// Writes the record of what it has, if it has anything, and begins anew behind it.
    pub fn seal(&mut self, records: &mut Vec<u8>) {
        let Block { offset, length, min_started, max_started, facts } = self.block;
        if length == 0 {
            return;
        }
        let start = records.len();
        records.extend_from_slice(&MAGIC.to_le_bytes());
        records.extend_from_slice(&length.to_le_bytes());
        records.extend_from_slice(&offset.to_le_bytes());
        records.extend_from_slice(&min_started.to_le_bytes());
        records.extend_from_slice(&max_started.to_le_bytes());
        records.extend_from_slice(&facts.0.to_le_bytes());
        records.extend_from_slice(&[0; 4]);
        records.extend_from_slice(&*self.bloom);
        let sum = checksum(&records[start..]);
        records.extend_from_slice(&sum.to_le_bytes());
        *self = Self::at(self.end());
    }
}

fn parse(record: &[u8]) -> Option<(Block, Bloom<'_>)> {
    let (body, sum) = record.split_at(RECORD_BYTES - 8);
    let u32_at = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    if u32_at(0)? != MAGIC || sum != checksum(body).to_le_bytes() {
        return None;
    }
    let block = Block {
        length: u32_at(4)?,
        offset: u64_at(8)?,
        min_started: u64_at(16)? as i64,
        max_started: u64_at(24)? as i64,
        facts: Facts(u32_at(32)?),
    };
    Some((block, Bloom(&body[HEAD_BYTES..])))
}

/// Tells a record that was cut short or written over from a good one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(bytes.len() as u64, |sum, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed(sum.rotate_left(5) ^ u64::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"_id":"1","co_id":"c7","type":"ENDPOINT","request_url":"/x\"started\":\"","started":"2023-11-14T22:13:20.41Z","status":404,"error":"Error: \"odd\"","error_details":{"stack":"at x"},"messages":["one \\","two"],"function_call":{"arguments":[{"messages":["three"],"error":"four"}]}}"#;

    #[test]
    fn a_line_is_read_at_a_glance() {
        assert_eq!(started(LINE), Some(1_700_000_000_410));
        assert_eq!(status(LINE), Some(404));
        assert_eq!(text_after(LINE, Token::CoId.key()), Some(&b"c7"[..]));
        let texts: Vec<&[u8]> = searched(LINE).collect();
        assert_eq!(texts, [&br#"Error: \"odd\""#[..], b"at x", br"one \\", b"two"]);
        let torn = &LINE[..LINE.len() / 2];
        assert!(searched(torn).count() <= 3);
        assert_eq!(searched(b"{\"messages\":[").count(), 0);
        assert_eq!(started(b"{\"started\":\"soon\"}"), None);
    }

    #[test]
    fn a_line_is_walked_field_by_field_up_to_its_messages() {
        let names: Vec<&str> = fields(LINE).map(|(name, _)| std::str::from_utf8(name).unwrap()).collect();
        let expected =
            ["_id", "co_id", "type", "request_url", "started", "status", "error", "error_details", "messages"];
        assert_eq!(names, expected);
        let value = |wanted: &[u8]| fields(LINE).find(|(name, _)| *name == wanted).map(|(_, value)| value);
        assert_eq!(value(b"status"), Some(&b"404"[..]));
        assert_eq!(value(b"error_details"), Some(&br#"{"stack":"at x"}"#[..]));
        assert!(value(b"messages").is_some_and(|value| value.starts_with(b"[\"one")));
        for end in 0..LINE.len() {
            fields(&LINE[..end]).for_each(drop);
        }
    }

    #[test]
    fn a_block_knows_what_is_in_it_and_forgets_nothing() {
        let mut records = Vec::new();
        let lines: Vec<u8> = [LINE, b"\nnot a line of ours\n"].concat();
        let mut filling = Filling::at(10);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            filling.take(line, Described::of(line).as_ref(), &mut records);
        }
        assert!(records.is_empty());
        filling.seal(&mut records);
        filling.seal(&mut records);
        assert_eq!(records.len(), RECORD_BYTES);
        let (block, bloom) = parse(&records).unwrap();
        assert_eq!((block.offset, block.length as usize), (10, lines.len()));
        assert_eq!((block.min_started, block.max_started), (1_700_000_000_410, 1_700_000_000_410));
        assert!(block.facts.intersects(Facts::ERROR) && block.facts.intersects(Facts::status(499)));
        assert!(!block.facts.intersects(Facts::FUNCTION) && !block.facts.intersects(Facts::status(200)));
        assert!(triples(b"ODD").chain(triples(b"TWO")).all(|item| bloom.may_hold(item)));
        assert!(bloom.may_hold(Token::CoId.item(b"c7")));
        assert!(!triples(b"nowhere").all(|item| bloom.may_hold(item)));
        let mut broken = records.clone();
        broken[HEAD_BYTES + 5] ^= 1;
        assert!(parse(&broken).is_none());
    }
}
