//! Every target with its seeds, and with each seed changed here and there: a little of what `tests/fuzz/run` does for longer,
//! the same each time.

use std::panic::catch_unwind;
use std::thread;

use portico_fuzz::dice::Dice;
use portico_fuzz::{TARGETS, Target};

/// Inputs per target. More take longer and find little: the same bytes come each time.
const INPUTS: usize = 3_000;

/// Longer ones are tried as they are.
const CHANGED_BYTES_MAX: usize = 4_096;

#[test]
fn every_promise_holds_for_the_seeds_and_what_is_like_them() {
    thread::scope(|scope| {
        let started: Vec<_> = TARGETS.iter().map(|target| (target.name, scope.spawn(|| replay(target)))).collect();
        for (name, thread) in started {
            let inputs = thread.join().unwrap_or_else(|_| panic!("{name}: see above"));
            assert!(inputs >= INPUTS, "{name}: only {inputs} inputs");
        }
    });
}

fn replay(target: &Target) -> usize {
    let seeds = target.seeds();
    assert!(seeds.len() >= 5, "{}: a handful of seeds", target.name);
    seeds.iter().for_each(|seed| attempt(target, seed));
    let small: Vec<&Vec<u8>> = seeds.iter().filter(|seed| (1..=CHANGED_BYTES_MAX).contains(&seed.len())).collect();
    let mut inputs = seeds.len();
    for round in 0.. {
        for seed in &small {
            if inputs >= INPUTS {
                return inputs;
            }
            let other = small[(round * 7 + inputs) % small.len()];
            attempt(target, &changed(seed, other, round));
            inputs += 1;
        }
    }
    inputs
}

fn attempt(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        panic!("{} is broken by {}", target.name, input.escape_ascii());
    }
}

/// A seed with a few bytes changed, dropped, doubled, or taken from another.
fn changed(seed: &[u8], other: &[u8], round: usize) -> Vec<u8> {
    const SPICE: &[u8] = b"\r\n\t \0:;,#%/?*$.\"{}[]0159afAFxX+-_\x7f\x80\xff";
    let mut dice = Dice::of(&[seed, &round.to_le_bytes()].concat());
    let mut bytes = seed.to_vec();
    for _ in 0..1 + dice.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 => bytes[at] = SPICE[dice.below(SPICE.len())],
            1 => bytes.insert(at, SPICE[dice.below(SPICE.len())]),
            2 => drop(bytes.remove(at)),
            3 => bytes[at] ^= 1 << dice.below(8),
            4 => bytes.truncate(at),
            5 => {
                let end = at + dice.below(bytes.len() - at).min(64);
                bytes.extend_from_within(at..end);
            }
            _ => {
                let from = dice.below(other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
    }
    bytes
}
