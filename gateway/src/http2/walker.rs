//! Sees the head of every frame a peer sends, before HTTP/2 makes anything of it, and says when there are too many of those
//! that carry nothing.
//!
//! In: the bytes as they come, cut anywhere, and the clock. Out: nothing, or the [`Offence`] the peer is sent away for.
//! Nothing is copied but the nine bytes of a frame's head.
//!
//! The h2 crate bounds what frames can make us keep; how often we are made to look at frames for nothing is bounded here.
//! Each kind of such frames has a bucket that is full at first and fills with time. What honest peers send in proportion
//! to their work is paid for by the work: requests pay for priorities, bytes sent to the peer pay for window updates.

use crate::limits;

/// What a peer is sent away for, besides what the h2 crate finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// The first frame is not SETTINGS.
    NoSettings,
    /// RST_STREAM without end.
    Resets,
    /// SETTINGS, PING, PRIORITY, GOAWAY, CONTINUATION, empty DATA and frames of unknown kinds without end.
    Control,
    /// DATA of a few bytes each without end.
    TinyData,
    /// WINDOW_UPDATE without end.
    WindowUpdates,
}

impl Offence {
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSettings => "no-settings",
            Self::Resets => "resets",
            Self::Control => "control-frames",
            Self::TinyData => "tiny-data",
            Self::WindowUpdates => "window-updates",
        }
    }
}

const PREFACE_BYTES: u32 = 24;
const FRAME_HEAD_BYTES: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Where in the peer's bytes we are, and what it may still send.
#[derive(Debug)]
pub struct Walker {
    preface_left: u32,
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    payload_left: u32,
    frames: u64,
    /// When the header block began that has not ended yet.
    block_since_ms: Option<u64>,
    /// Whether the frame at hand is the last of its header block.
    block_ends: bool,
    resets: Bucket,
    control: Bucket,
    tiny_data: Bucket,
    window_updates: Bucket,
    sent_unpaid: usize,
}

impl Walker {
    pub fn new(now_ms: u64) -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            head: [0; FRAME_HEAD_BYTES],
            head_bytes: 0,
            payload_left: 0,
            frames: 0,
            block_since_ms: None,
            block_ends: false,
            resets: Bucket::new(limits::H2_RESETS, now_ms),
            control: Bucket::new(limits::H2_CONTROL_FRAMES, now_ms),
            tiny_data: Bucket::new(limits::H2_TINY_DATA, now_ms),
            window_updates: Bucket::new(limits::H2_WINDOW_UPDATES, now_ms),
            sent_unpaid: 0,
        }
    }

    /// Since when a request's head has been coming without having ended.
    pub fn block_since_ms(&self) -> Option<u64> {
        self.block_since_ms
    }

    /// Whether the peer's preface and its first frame have come.
    pub fn has_begun(&self) -> bool {
        self.frames > 0
    }

    /// So many bytes went to the peer, who may acknowledge them.
    pub fn sent(&mut self, bytes: usize) {
        self.sent_unpaid += bytes;
        self.window_updates.pay((self.sent_unpaid / limits::H2_BYTES_PER_WINDOW_UPDATE) as u32);
        self.sent_unpaid %= limits::H2_BYTES_PER_WINDOW_UPDATE;
    }

    /// Takes what came next.
    pub fn see(&mut self, mut bytes: &[u8], now_ms: u64) -> Result<(), Offence> {
        bytes = skip(bytes, &mut self.preface_left);
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                bytes = skip(bytes, &mut self.payload_left);
            } else {
                let taken = bytes.len().min(FRAME_HEAD_BYTES - self.head_bytes);
                self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
                self.head_bytes += taken;
                bytes = &bytes[taken..];
                if self.head_bytes < FRAME_HEAD_BYTES {
                    break;
                }
                self.head_bytes = 0;
                self.frame(now_ms)?;
            }
            if self.payload_left == 0 && self.block_ends {
                self.block_ends = false;
                self.block_since_ms = None;
            }
        }
        Ok(())
    }

    /// A frame's head is whole.
    fn frame(&mut self, now_ms: u64) -> Result<(), Offence> {
        let [a, b, c, kind, flags, ..] = self.head;
        self.payload_left = u32::from_be_bytes([0, a, b, c]);
        self.frames += 1;
        if self.frames == 1 && kind != SETTINGS {
            return Err(Offence::NoSettings);
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            self.block_since_ms = self.block_since_ms.or(Some(now_ms));
            self.block_ends = flags & END_HEADERS != 0;
        }
        match kind {
            HEADERS => {
                self.control.pay(limits::H2_CONTROL_FRAMES_PER_REQUEST);
                self.window_updates.pay(limits::H2_WINDOW_UPDATES_PER_REQUEST);
                Ok(())
            }
            // A stream has one last frame, however small it is.
            DATA if flags & END_STREAM != 0 => Ok(()),
            DATA if self.payload_left == 0 => self.control.take(now_ms, Offence::Control),
            DATA if self.payload_left < limits::H2_TINY_DATA_BYTES => self.tiny_data.take(now_ms, Offence::TinyData),
            DATA => Ok(()),
            RST_STREAM => self.resets.take(now_ms, Offence::Resets),
            WINDOW_UPDATE => self.window_updates.take(now_ms, Offence::WindowUpdates),
            _ => self.control.take(now_ms, Offence::Control),
        }
    }
}

fn skip<'b>(bytes: &'b [u8], left: &mut u32) -> &'b [u8] {
    let skipped = bytes.len().min(*left as usize);
    *left -= skipped as u32;
    &bytes[skipped..]
}

/// How many frames of a kind a peer may send: at once, and per second after that.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    pub at_once: u32,
    pub per_s: u32,
}

#[derive(Debug)]
struct Bucket {
    allowance: Allowance,
    left: u32,
    /// When it was last filled.
    at_ms: u64,
}

impl Bucket {
    fn new(allowance: Allowance, now_ms: u64) -> Self {
        Self { allowance, left: allowance.at_once, at_ms: now_ms }
    }

    fn pay(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(self.allowance.at_once);
    }

    fn take(&mut self, now_ms: u64, offence: Offence) -> Result<(), Offence> {
        if self.left == 0 {
            let due = now_ms.saturating_sub(self.at_ms) * u64::from(self.allowance.per_s) / 1_000;
            self.pay(due.min(u64::from(u32::MAX)) as u32);
            self.at_ms = now_ms;
        }
        self.left = self.left.checked_sub(1).ok_or(offence)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn begun() -> Walker {
        let mut walker = Walker::new(0);
        walker.see(&[PREFACE, &frame(SETTINGS, 0, &[0; 6])].concat(), 0).unwrap();
        walker
    }

    fn flood(walker: &mut Walker, bytes: &[u8], frames: u32, now_ms: u64) -> Result<(), Offence> {
        (0..frames).try_for_each(|_| walker.see(bytes, now_ms))
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_are_cut() {
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, &[0; 6]), &frame(HEADERS, 0, b"abc")].concat();
        bytes.extend(frame(CONTINUATION, END_HEADERS, b"defg"));
        let whole = bytes.len();
        bytes.extend(frame(DATA, END_STREAM, b"body"));
        for cut in 0..bytes.len() {
            let mut walker = Walker::new(0);
            walker.see(&bytes[..cut], 5).unwrap();
            let in_block = (PREFACE.len() + 15 + FRAME_HEAD_BYTES..whole).contains(&cut);
            assert_eq!(walker.block_since_ms(), in_block.then_some(5), "cut at {cut}");
            walker.see(&bytes[cut..], 6).unwrap();
            assert_eq!((walker.frames, walker.payload_left, walker.head_bytes), (4, 0, 0), "cut at {cut}");
            assert_eq!(walker.block_since_ms(), None);
        }
    }

    #[test]
    fn each_kind_that_carries_nothing_has_an_end() {
        let (tiny, empty) = (frame(DATA, 0, b"x"), frame(DATA, 0, b""));
        for (bytes, allowance, offence) in [
            (frame(RST_STREAM, 0, &[0; 4]), limits::H2_RESETS, Offence::Resets),
            (frame(SETTINGS, 0, &[]), limits::H2_CONTROL_FRAMES, Offence::Control),
            (frame(0x6, 0, &[0; 8]), limits::H2_CONTROL_FRAMES, Offence::Control),
            (frame(0x2, 0, &[0; 5]), limits::H2_CONTROL_FRAMES, Offence::Control),
            (frame(0x7f, 0, b"?"), limits::H2_CONTROL_FRAMES, Offence::Control),
            (frame(CONTINUATION, 0, b""), limits::H2_CONTROL_FRAMES, Offence::Control),
            (empty, limits::H2_CONTROL_FRAMES, Offence::Control),
            (tiny, limits::H2_TINY_DATA, Offence::TinyData),
            (frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]), limits::H2_WINDOW_UPDATES, Offence::WindowUpdates),
        ] {
            let mut walker = begun();
            let at_once = match allowance.at_once {
                // The first SETTINGS is one of them.
                all if offence == Offence::Control => all - 1,
                all => all,
            };
            assert_eq!(flood(&mut walker, &bytes, at_once, 0), Ok(()), "{offence:?}");
            assert_eq!(walker.see(&bytes, 0), Err(offence));
            let mut walker = begun();
            assert_eq!(flood(&mut walker, &bytes, at_once, 0), Ok(()), "{offence:?}");
            // A second later it may send what a second allows, and no more.
            assert_eq!(flood(&mut walker, &bytes, allowance.per_s, 1_000), Ok(()), "{offence:?}");
            assert_eq!(walker.see(&bytes, 1_000), Err(offence));
        }
    }

    #[test]
    fn work_pays_for_the_frames_that_go_with_it() {
        let mut walker = begun();
        let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
        for _ in 0..limits::H2_WINDOW_UPDATES.at_once {
            walker.sent(limits::H2_BYTES_PER_WINDOW_UPDATE);
            assert_eq!(flood(&mut walker, &update, 1, 0), Ok(()));
        }
        let request = frame(HEADERS, END_HEADERS, b"abc");
        let ping = frame(0x6, 0, &[0; 8]);
        for _ in 0..limits::H2_CONTROL_FRAMES.at_once {
            walker.see(&request, 0).unwrap();
            assert_eq!(flood(&mut walker, &ping, limits::H2_CONTROL_FRAMES_PER_REQUEST, 0), Ok(()));
        }
    }

    #[test]
    fn whoever_does_not_begin_with_settings_is_no_peer() {
        let mut walker = Walker::new(0);
        let bytes = [PREFACE, &frame(HEADERS, END_HEADERS, b"abc")].concat();
        assert_eq!(walker.see(&bytes, 0), Err(Offence::NoSettings));
    }
}
