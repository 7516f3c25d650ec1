//! The fuzz targets without a fuzzer: their corpus, and mutations of it by a seeded generator.
//!
//! `ATLASD_TEST_SEED` replays the seed that a failed run has printed, `ATLASD_TEST_FUZZ` multiplies the tries.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::path::Path;

/// xorshift64*: enough to choose bytes.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).expect("31 bits") % limit.max(1)
    }
}

/// What breaks readers: limits, ends, other types, escapes.
const WORDS: &[&str] = &[
    "null",
    "-1",
    "1e999",
    "9007199254740993",
    "\"",
    "\\u0000",
    "{}",
    "[]",
    "true",
    "\u{feff}",
    "\u{202e}",
    "\n",
    "0",
    "{\"a\":",
    "]",
    "}",
    "\\ud800",
    "99999999999999999999",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    " ",
    "=",
    "@",
    "..",
    "%40",
];

fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut data = corpus[chance.below(corpus.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(data.len() + 1);
        match chance.below(5) {
            0 => data.truncate(at),
            1 if at < data.len() => data[at] = chance.below(256) as u8,
            2 => {
                let until = (at + chance.below(16)).min(data.len());
                data.drain(at..until);
            }
            3 => {
                let other = &corpus[chance.below(corpus.len())];
                let from = chance.below(other.len() + 1);
                let part = other[from..(from + chance.below(64)).min(other.len())].to_vec();
                data.splice(at..at, part);
            }
            _ => {
                let word = WORDS[chance.below(WORDS.len())].bytes();
                data.splice(at..at, word);
            }
        }
    }
    data
}

fn fuzz(target: &str, tries: usize, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> =
        files.iter().map(|file| std::fs::read(file).expect("a file of the corpus")).collect();
    assert!(corpus.len() >= 3, "{target} has a corpus");
    corpus.iter().for_each(|data| body(data));
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ATLASD_TEST_SEED").unwrap_or_else(|| atlasd::ids::fresh_uuid().as_u64_pair().0) | 1;
    println!("{target}: ATLASD_TEST_SEED={seed}");
    let mut chance = Chance(seed);
    for _ in 0..tries
        * number("ATLASD_TEST_FUZZ").map_or(1, |times| usize::try_from(times).expect("a small number"))
    {
        let data = mutated(&corpus, &mut chance);
        let caught = std::panic::catch_unwind(|| body(&data));
        assert!(caught.is_ok(), "{target} broke on {:?}", String::from_utf8_lossy(&data));
    }
}

#[test]
fn configuration() {
    fuzz("configuration", 1500, bodies::configuration);
}

#[test]
fn inputs() {
    fuzz("inputs", 3000, bodies::inputs);
}

#[test]
fn assignments() {
    fuzz("assignments", 2000, bodies::assignments);
}

#[test]
fn requests() {
    fuzz("requests", 1000, bodies::requests);
}

#[test]
fn graph_answers() {
    fuzz("graph_answers", 100, bodies::graph_answers);
}
