//! HTTP/2 before the h2 crate sees it, and after. The first byte of an input says which: frames to be walked over, a head
//! that came decoded, or what streams do with the memory of their connection.
//!
//! Promises: frames are found wherever the bytes are cut, and no kind of frame that carries nothing is let through more
//! often than its allowance. A head that is accepted is the same request in HTTP/1.1, and accepted there. Streams of a
//! connection never wait for each other in a circle.

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use gateway::http1;
use gateway::http2::Allowance;
use gateway::http2::budget::{Body, Budget, Unsent};
use gateway::http2::head::Head;
use gateway::http2::walker::{Offence, Walker};
use gateway::limits;

use crate::dice::cuts;

pub fn run(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    match what % 3 {
        0 => frames(rest),
        1 => head(rest),
        _ => memory(rest),
    }
}

// --- frames ---------------------------------------------------------------------------------------------------------

const PREFACE_BYTES: usize = 24;

fn frames(data: &[u8]) {
    let mut seen = cuts(data).into_iter().map(|pieces| {
        let mut walker = Walker::new(7);
        let outcome = pieces.iter().try_for_each(|piece| walker.see(piece, 7));
        (outcome, outcome.is_ok().then(|| (walker.has_begun(), walker.block_since_ms())))
    });
    let whole = seen.next().expect("there is one piece");
    for other in seen {
        assert_eq!(other, whole, "frames are found wherever the bytes are cut");
    }

    // Time goes by from piece to piece.
    let mut walker = Walker::new(0);
    let mut now_ms = 0;
    let (mut walked, mut offence) = (0, None);
    for piece in cuts(data).swap_remove(1) {
        now_ms += 40 * piece.len() as u64;
        walked += piece.len();
        if let Err(found) = walker.see(piece, now_ms) {
            offence = Some(found);
            break;
        }
    }
    let counts = Counts::of(&data[..walked]);
    let most = |allowance: Allowance, paid: u64| {
        u64::from(allowance.at_once) + u64::from(allowance.per_s) * now_ms / 1_000 + paid
    };
    let paid = |each: u32| counts.headers * u64::from(each);
    let rows = [
        (Offence::Resets, counts.resets, most(limits::H2_RESETS, 0), limits::H2_RESETS),
        (
            Offence::Control,
            counts.control,
            most(limits::H2_CONTROL_FRAMES, paid(limits::H2_CONTROL_FRAMES_PER_REQUEST)),
            limits::H2_CONTROL_FRAMES,
        ),
        (Offence::TinyData, counts.tiny_data, most(limits::H2_TINY_DATA, 0), limits::H2_TINY_DATA),
        (
            Offence::WindowUpdates,
            counts.window_updates,
            most(limits::H2_WINDOW_UPDATES, paid(limits::H2_WINDOW_UPDATES_PER_REQUEST)),
            limits::H2_WINDOW_UPDATES,
        ),
    ];
    for (kind, count, most, allowance) in rows {
        if offence.is_none() {
            assert!(count <= most, "{count} frames of which {most} are allowed were let through: {kind:?}");
        } else if offence == Some(kind) {
            assert!(count > u64::from(allowance.at_once), "after {count} frames nobody is sent away: {kind:?}");
        }
    }
    match offence {
        Some(Offence::NoSettings) => assert_ne!(counts.first, Some(SETTINGS)),
        _ => assert!(counts.first.is_none_or(|kind| kind == SETTINGS), "a peer begins with SETTINGS"),
    }
}

const SETTINGS: u8 = 4;

/// Frames whose heads are whole, counted the simple way.
#[derive(Default)]
struct Counts {
    first: Option<u8>,
    headers: u64,
    resets: u64,
    control: u64,
    tiny_data: u64,
    window_updates: u64,
}

impl Counts {
    fn of(data: &[u8]) -> Self {
        let mut counts = Self::default();
        let mut rest = data.get(PREFACE_BYTES..).unwrap_or_default();
        while let Some(([a, b, c, kind, flags, ..], _)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, *a, *b, *c]);
            counts.first = counts.first.or(Some(*kind));
            match (kind, length) {
                (0, _) if flags & 1 != 0 => {}
                (0, 0) => counts.control += 1,
                (0, length) if length < limits::H2_TINY_DATA_BYTES => counts.tiny_data += 1,
                (0, _) => {}
                (1, _) => counts.headers += 1,
                (3, _) => counts.resets += 1,
                (8, _) => counts.window_updates += 1,
                _ => counts.control += 1,
            }
            rest = rest.get(9 + length as usize..).unwrap_or_default();
        }
        counts
    }
}

// --- heads ----------------------------------------------------------------------------------------------------------

/// A line `METHOD scheme authority path`, then lines `name:value`.
fn head(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first: Vec<&[u8]> = lines.next().unwrap_or_default().splitn(4, |byte| *byte == b' ').collect();
    let [method, scheme, authority, path] = first[..] else { return };
    let mut uri = http::Uri::builder();
    if !authority.is_empty() {
        uri = uri.scheme(scheme).authority(authority);
    }
    let Ok(uri) = uri.path_and_query(path).build() else { return };
    let mut request = http::Request::builder().method(method).uri(uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        // What the h2 crate has refused before.
        let of_a_connection: [&[u8]; 5] =
            [b"connection", b"transfer-encoding", b"keep-alive", b"proxy-connection", b"upgrade"];
        if of_a_connection.contains(&name)
            || name.iter().any(u8::is_ascii_uppercase)
            || (name == b"te" && value != b"trailers")
        {
            return;
        }
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return };
    let Ok(head) = Head::read(request.into_parts().0, limits::HEAD_BYTES_MAX) else { return };

    let target = head.query().map_or(head.path().to_owned(), |query| format!("{}?{query}", head.path()));
    let text = [head.method().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n", head.lines()].concat();
    assert_eq!(head.head_bytes, text.len(), "a head is as long as it would be in HTTP/1.1");
    let mut fields = http1::Fields::default();
    let same = http1::Head::parse(&text, &mut fields);
    let same = match same {
        Ok(Some(same)) => same,
        other => panic!("HTTP/1.1 takes what HTTP/2 takes: {other:?} for {}", text.escape_ascii()),
    };
    assert_eq!(same.head_bytes, text.len());
    assert_eq!(same.method_name.of(&text), head.method().as_bytes());
    assert_eq!(same.path(&text), head.path().as_bytes());
    assert_eq!(same.query(&text), head.query().map(str::as_bytes));
    assert_eq!(same.host.of(&text), head.host().as_bytes());
    let headers = head.headers();
    let ours = headers.iter().map(|(name, value)| (name.as_bytes(), *value));
    assert!(fields.iter(&text).eq(ours), "the lines come apart where they were put together");
    match (same.framing, head.length) {
        (http1::Framing::Length(length), Some(said)) => assert_eq!(length, said),
        (http1::Framing::Empty, None | Some(0)) => {}
        (framing, said) => panic!("{framing:?} is not a body of {said:?}"),
    }
}

// --- memory ---------------------------------------------------------------------------------------------------------

/// The largest piece of a body that comes at once: seventy of them are more than a connection may hold.
static PIECE: [u8; 512 * 1024] = [0; 512 * 1024];

/// Each byte is something that a stream does: the low bits say which and how much, the high ones to what.
fn memory(data: &[u8]) {
    const STEPS_MAX: usize = 120;
    let budget = Rc::new(Budget::default());
    let mut bodies: Vec<(Body, bool)> = Vec::new();
    let mut unsent: Vec<(Unsent, usize)> = Vec::new();
    for step in data.iter().take(STEPS_MAX) {
        let which = usize::from(step >> 4);
        match step & 0xf {
            0 | 1 => bodies.push((Body::new(&budget), false)),
            2..=5 => {
                let size = PIECE.len() >> (step & 3);
                if let Some((body, false)) = bodies.get_mut(which) {
                    // As streams do: not before there is room.
                    if is_ready(body.room()) {
                        let before = body.bytes().len();
                        body.push(&PIECE[..size], Some(1 << 24));
                        assert_eq!(body.bytes().len(), before + size);
                    }
                }
            }
            6 | 7 => {
                if let Some((body, running)) = bodies.get_mut(which)
                    && !*running
                {
                    body.run();
                    *running = true;
                }
            }
            8 | 9 if which < bodies.len() => drop(bodies.remove(which)),
            10..=12 => {
                let bytes = (200 * 1024) << (step & 3);
                let held: usize = unsent.iter().map(|(_, left)| left).sum();
                match Unsent::hold(&budget, bytes) {
                    Some(answer) => unsent.push((answer, bytes)),
                    None => assert!(held > 0 && held + bytes > limits::H2_UNSENT_BYTES_MAX),
                }
            }
            13 | 14 => {
                if let Some((answer, left)) = unsent.get_mut(which) {
                    answer.sent(*left / 2);
                    *left -= *left / 2;
                }
            }
            _ if which < unsent.len() => drop(unsent.remove(which)),
            _ => {}
        }
        let bytes = |running: bool| -> usize {
            bodies.iter().filter(|body| body.1 == running).map(|(body, _)| body.bytes().len()).sum()
        };
        let all = bytes(true) + bytes(false);
        assert!(all < limits::H2_BODIES_BYTES_MAX + STEPS_MAX * PIECE.len());
        let gathering: Vec<&Body> = bodies.iter().filter(|body| !body.1).map(|(body, _)| body).collect();
        let free = all < limits::H2_BODIES_BYTES_MAX;
        for (place, body) in gathering.iter().enumerate() {
            let eldest = place == 0 && bytes(true) == 0;
            assert_eq!(is_ready(body.room()), free || eldest, "somebody goes on, or something runs");
        }
        let held: usize = unsent.iter().map(|(_, left)| left).sum();
        assert_eq!(is_ready(budget.answers_taken()), held <= limits::H2_UNSENT_BYTES_PAUSE);
    }
    bodies.clear();
    unsent.clear();
    assert!(is_ready(Body::new(&budget).room()) && is_ready(budget.answers_taken()), "everything was let go");
}

fn is_ready<T>(future: impl Future<Output = T>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

// --- seeds ----------------------------------------------------------------------------------------------------------

pub fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1][..], payload].concat()
    };
    let begun = [&[0][..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, &[0; 6])].concat();
    let request = [frame(1, 0, b"abc"), frame(9, 4, b"defg"), frame(0, 1, b"body")].concat();
    let floods = [frame(3, 0, &[0; 4]), frame(0, 0, b"x"), frame(8, 0, &[0, 0, 0, 1]), frame(6, 0, &[0; 8])];
    let mut seeds = vec![[begun.clone(), request].concat()];
    seeds.extend(floods.map(|one| [begun.clone(), one.repeat(210)].concat()));
    let heads: [&[u8]; 5] = [
        b"\x01POST https Name.example:80 /a/b?c=d\ncookie:a=1\nx:\ncookie:b=2\ncontent-length:7\nexpect:100-Continue",
        b"\x01GET http [::1]:443 /\nhost:[::1]:443\nte:trailers",
        b"\x01OPTIONS http h *\norigin:https://x",
        b"\x01GET   /%20?\nhost:h\ncontent-length:0",
        b"\x01PATCH https h /a{b}\"c\xc3\xa9\nx:\xff\ty",
    ];
    seeds.extend(heads.map(<[u8]>::to_vec));
    seeds.push([&[2][..], &[0, 0, 0, 2, 0x12, 0x22, 6, 0x18, 10, 11, 12, 13, 0x1d, 15]].concat());
    seeds.push([&[2][..], &[0].repeat(3), &[2, 0x12].repeat(40), &[6, 0x16, 8, 8]].concat());
    seeds
}
