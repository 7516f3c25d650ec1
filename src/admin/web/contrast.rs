//! The colours of the style sheet can be read: each pair of foreground and background that its rules put together has
//! the contrast that WCAG 2.2 AA asks for (1.4.3, 1.4.11), in both schemes.

use std::collections::BTreeMap;

const CSS: &str = include_str!("assets/base.css");

/// Text: 4.5 to 1.
const TEXT: &[(&str, &str)] = &[
    ("text", "bg"),
    ("text", "surface"),
    ("text", "sunken"),
    ("muted", "bg"),
    ("muted", "surface"),
    ("muted", "sunken"),
    ("link", "bg"),
    ("link", "surface"),
    ("link", "sunken"),
    ("on-accent", "accent"),
    ("on-accent", "accent-hover"),
    ("good", "good-bg"),
    ("bad", "bad-bg"),
    ("bad", "surface"),
    ("bad", "sunken"),
    ("warn", "warn-bg"),
    ("warn", "surface"),
    ("warn", "sunken"),
    ("busy", "busy-bg"),
    ("calm", "calm-bg"),
    ("text", "good-bg"),
    ("text", "bad-bg"),
    ("text", "warn-bg"),
    ("text", "busy-bg"),
    ("text", "calm-bg"),
    ("link", "good-bg"),
    ("link", "bad-bg"),
    ("link", "warn-bg"),
    ("link", "busy-bg"),
    ("link", "calm-bg"),
    ("muted", "calm-bg"),
];

/// What is no text: edges of fields, the ring of the focus, bars: 3 to 1.
const SHAPES: &[(&str, &str)] = &[
    ("edge", "surface"),
    ("edge", "bg"),
    ("focus", "surface"),
    ("focus", "bg"),
    ("focus", "sunken"),
    ("accent", "surface"),
    ("busy-fill", "calm-bg"),
    ("calm", "calm-bg"),
    ("good-fill", "good-bg"),
    ("bad-fill", "bad-bg"),
    ("warn-fill", "warn-bg"),
    ("busy-fill", "busy-bg"),
    ("bad-fill", "surface"),
    ("good-fill", "surface"),
    ("good-fill", "sunken"),
    ("bad-fill", "sunken"),
    ("warn-fill", "sunken"),
    ("busy-fill", "sunken"),
];

/// The tokens, light and dark.
fn tokens() -> BTreeMap<&'static str, [&'static str; 2]> {
    let token = |line: &'static str| {
        let (name, value) = line.trim().strip_prefix("--")?.split_once(": light-dark(#")?;
        let (light, dark) = value.strip_suffix(");")?.split_once(", #")?;
        Some((name, [light, dark]))
    };
    CSS.lines().filter_map(token).collect()
}

/// The relative luminance of `rrggbb`.
fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two hex digits")) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn too_weak(pairs: &[(&str, &str)], least: f64) -> Vec<String> {
    let tokens = tokens();
    let colour =
        |name: &str| tokens.get(name).unwrap_or_else(|| panic!("no token --{name} with two colours"));
    let mut found = Vec::new();
    for (front, back) in pairs {
        for (scheme, index) in [("light", 0), ("dark", 1)] {
            let ratio = contrast(colour(front)[index], colour(back)[index]);
            if ratio < least {
                found.push(format!("{front} on {back}, {scheme}: {ratio:.2}"));
            }
        }
    }
    found
}

#[test]
fn every_text_can_be_read() {
    assert_eq!(too_weak(TEXT, 4.5), Vec::<String>::new());
}

#[test]
fn every_shape_can_be_seen() {
    assert_eq!(too_weak(SHAPES, 3.0), Vec::<String>::new());
}

#[test]
fn the_extremes_are_21_to_1() {
    assert!((contrast("000000", "ffffff") - 21.0).abs() < 0.001);
}
