//! The sanitiser: what a message must lose before anybody sees it (SPEC section 7).
//!
//! It errs on the side of redacting. What it keeps on purpose: reason codes, names of permissions and properties, and
//! UUIDs (a request id is what a Microsoft ticket asks for). Applying it again changes nothing, so that a message
//! that has been through it stays as it is wherever it passes.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use super::MESSAGE_CHARS_MAX;

/// LIMIT: how much of a message is looked at, in characters. What is behind it is dropped, never shown.
const INPUT_CHARS_MAX: usize = 4096;
/// LIMIT: passes until a message must have settled; see [`sanitise`].
const PASSES_MAX: usize = 8;
/// Runs of this many characters may be secrets.
const OPAQUE_CHARS_MIN: usize = 32;

const REDACTED: &str = "[redacted]";

/// One line without secrets, tokens, e-mail addresses, user principal names and URLs, at most
/// [`MESSAGE_CHARS_MAX`] characters (SPEC section 7).
pub fn sanitise(message: &str) -> String {
    let mut text = pass(&within_limit(message));
    // A cut or a marker can bring together what looks like a secret again, so passes are made until nothing changes.
    for _ in 0..PASSES_MAX {
        let next = pass(&text);
        if next == text {
            return text;
        }
        text = next;
    }
    REDACTED.to_owned()
}

/// Cuts to `chars_max` characters, between words where there is a gap near, and says so with an ellipsis.
pub(super) fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let head: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    let cut = head.rfind(' ').filter(|gap| *gap * 2 > head.len()).unwrap_or(head.len());
    format!("{}…", head[..cut].trim_end())
}

/// The part of a message that is looked at. A word at the cut is dropped: half an address is no address to a pattern.
fn within_limit(message: &str) -> String {
    let head: String = message.chars().take(INPUT_CHARS_MAX).collect();
    if head.len() == message.len() {
        return head;
    }
    let cut = head.rfind(char::is_whitespace).unwrap_or(0);
    head[..cut].to_owned()
}

fn pass(text: &str) -> String {
    shorten(&one_line(&redact(&one_line(text))), MESSAGE_CHARS_MAX)
}

/// Drops invisible characters (they could split a token), turns control characters and line ends into spaces, and
/// leaves one space between words.
fn one_line(text: &str) -> String {
    let visible: String = text
        .chars()
        .filter(|char| !is_invisible(*char))
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Soft hyphens, zero-width characters and marks of direction.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e01ef}')
}

/// ORDER: from what explains a value (a header, a key, a URL) to what only looks like one.
fn redact(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, marker) in RULES.iter() {
        text = pattern.replace_all(&text, *marker).into_owned();
    }
    OPAQUE.replace_all(&text, |run: &Captures<'_>| opaque(&run[0])).into_owned()
}

static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    const SCHEME: &str = r#"(?:[\\"']*(?:bearer|basic|digest|negotiate|ntlm|pop|sharedkey)\s+)?"#;
    const KEYS: &str = "(?:secret|passw(?:or)?d|passphrase|pwd|token|assertion|signature|cookie|credential\
        |code_verifier|(?:account|access|api|shared|private|subscription|function)[_-]?key)";
    // Quoted (perhaps within JSON that is itself quoted, perhaps cut off) or up to the next gap. What looks like the
    // value may be the next key, so that its value goes too.
    let value = r#"(?:\[redacted\]|\\?"[^"]*"?|\\?'[^']*'?|[^\s&"']*[^\s&"':=])"#;
    let value = format!(r#"{value}(?:[\\"']*\s*[:=]+\s*{value})*[:=]*"#);
    let rules = [
        // A PEM block, also one whose end is missing.
        (r"-----BEGIN[^-]*-----.*?(?:-----END[^-]*-----|$)".to_owned(), "[secret]"),
        // key=value, "key": "value", where the key says that the value is none of anybody's business.
        (
            format!(r#"(?i)([a-z0-9_.$-]*{KEYS}[a-z0-9_-]*|\bsig)[\\"']*\s*[:=]\s*{SCHEME}{value}"#),
            "$1=[redacted]",
        ),
        // An `Authorization` header with any scheme.
        (format!(r#"(?i)\b((?:proxy-)?authorization)[\\"']*\s*[:=]\s*{SCHEME}{value}"#), "$1: [redacted]"),
        (format!(r#"(?i)\b(bearer)(?:[\\"']*\s*[:=]\s*[\\"']*|\s+){value}"#), "$1 [redacted]"),
        (r"\b([Bb]asic)\s+[A-Za-z0-9+/_-]*[0-9A-Z+/][A-Za-z0-9+/_-]{3,}={0,2}".to_owned(), "$1 [redacted]"),
        // A JSON web token: its header is an object, `{"`, which base64 writes as `eyJ`.
        (r"eyJ[A-Za-z0-9_=+/-]{8,}(?:\.[A-Za-z0-9_=+/-]*)*".to_owned(), "[token]"),
        // A URL with any scheme, also percent-encoded.
        (r#"(?i)[a-z0-9+.-]*(?:://|%3a%2f%2f)[^\s"<>\\]*"#.to_owned(), "[url]"),
        // An e-mail address or user principal name, also a guest's (`#EXT#`), a quoted or a percent-encoded one.
        (
            r#"(?i)(?:"[^"@]{1,64}"|[^\s@＠"<>()\[\],;:\\…]+)(?:(?:@|＠|%40)[^\s@＠"<>()\[\],;:\\…]+)+"#
                .to_owned(),
            "[e-mail]",
        ),
        (r#"(?i)[^\s"<>()\[\],;:\\…]*#EXT#[^\s"<>()\[\],;:\\…]*"#.to_owned(), "[e-mail]"),
        // A client secret of Entra: three characters, a digit, `Q~`.
        (r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{20,}".to_owned(), "[secret]"),
    ];
    let compile = |(pattern, marker): (String, _)| {
        (Regex::new(&pattern).expect("the patterns are constant and a test compiles them"), marker)
    };
    rules.map(compile).into()
});

static OPAQUE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!("[A-Za-z0-9_~+/%-]{{{OPAQUE_CHARS_MIN},}}={{0,2}}"))
        .expect("the pattern is constant and a test compiles it")
});

static UUID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
        .expect("the pattern is constant and a test compiles it")
});

/// A long run of base64 or hex is kept only when it is made of UUIDs, or of words.
fn opaque(run: &str) -> String {
    let rest = UUID.replace_all(run, "");
    if rest.chars().count() < OPAQUE_CHARS_MIN || is_words(&rest) {
        return run.to_owned();
    }
    "[secret]".to_owned()
}

/// Letters alone that change between upper and lower case as seldom as `deviceConfigurationAssignment` does. Random
/// letters change at every second place.
fn is_words(text: &str) -> bool {
    let letters: Vec<char> = text.chars().filter(char::is_ascii_alphabetic).collect();
    let digits = text.chars().any(|char| char.is_ascii_digit());
    let changes =
        letters.windows(2).filter(|pair| pair[0].is_ascii_uppercase() != pair[1].is_ascii_uppercase());
    !digits && changes.count() * 3 < letters.len()
}
