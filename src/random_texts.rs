//! For tests of parsers of foreign text: samples with random damage, to which any answer is right, but a panic or an
//! endless loop is not. The seed changes every day; a failing test prints it, and `TEXTS_SEED` repeats it.

#[allow(dead_code, reason = "this needs only some of it")]
#[path = "../compat-tests/random.rs"]
mod random;

use std::time::{SystemTime, UNIX_EPOCH};

use random::{Random, setting};

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// Texts that break parsers.
const ODD: [&[u8]; 16] = [
    b"\0",
    b"\n",
    b" ",
    b"\xff",
    b"\\",
    b"=",
    b":",
    b";",
    b")",
    b"-1",
    b"0",
    b"+1",
    b"\xc3",
    b"4294967296",
    b"18446744073709551615",
    b"340282366920938463463374607431768211456",
];

/// Calls `read` with each of some thousand texts.
pub(crate) fn each_damaged(samples: &[&[u8]], mut read: impl FnMut(&[u8])) {
    let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / SECONDS_OF_A_DAY);
    let seed = setting("TEXTS_SEED", today);
    println!("TEXTS_SEED={seed} repeats this");
    let mut random = Random::new(seed);
    for _ in 0..setting("TEXTS_CASES", 3000) {
        let mut text = random.choose(samples).to_vec();
        for _ in 0..=random.below(4) {
            damage(&mut text, samples, &mut random);
        }
        read(&text);
    }
}

fn damage(text: &mut Vec<u8>, samples: &[&[u8]], random: &mut Random) {
    let begin = random.below(text.len() + 1);
    let end = (begin + random.below(9)).min(text.len());
    let others: Vec<u8> = match random.below(6) {
        0 => Vec::new(),
        1 => text[begin..end].repeat(2),
        2 => text[begin..end].iter().map(|byte| byte ^ 1 << random.below(8)).collect(),
        3 => random.choose(samples).to_vec(),
        4 => {
            text.truncate(begin);
            return;
        }
        _ => random.choose(&ODD).to_vec(),
    };
    text.splice(begin..end, others);
}
