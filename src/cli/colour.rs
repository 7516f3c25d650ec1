//! Whether to colour what is printed: only on a terminal, and as the conventions NO_COLOR and CLICOLOR say.

use std::io::IsTerminal;

/// What the environment says.
#[derive(Clone, Debug, Default)]
struct Wishes {
    no_color: Option<String>,
    clicolor: Option<String>,
    clicolor_force: Option<String>,
    term: Option<String>,
}

/// Whether to colour what goes to `stream`.
pub fn on(stream: &impl IsTerminal) -> bool {
    let variable = |name: &str| std::env::var(name).ok();
    let wishes = Wishes {
        no_color: variable("NO_COLOR"),
        clicolor: variable("CLICOLOR"),
        clicolor_force: variable("CLICOLOR_FORCE"),
        term: variable("TERM"),
    };
    wishes.allow(stream.is_terminal())
}

impl Wishes {
    fn allow(&self, is_terminal: bool) -> bool {
        let is_set = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
        let is_zero = |value: &Option<String>| value.as_deref() == Some("0");
        if is_set(&self.no_color) {
            return false;
        }
        if is_set(&self.clicolor_force) && !is_zero(&self.clicolor_force) {
            return true;
        }
        is_terminal && !is_zero(&self.clicolor) && self.term.as_deref() != Some("dumb")
    }
}

/// The colour of a word that says how something is; none for other words.
pub fn of(word: &str) -> Option<comfy_table::Color> {
    use comfy_table::Color;
    match word {
        "succeeded" | "accepted" | "verified" | "ok" => Some(Color::Green),
        "failed" | "error" | "broken" => Some(Color::Red),
        "running" | "active" | "sent" => Some(Color::Cyan),
        "queued" | "cooldown" | "paused" => Some(Color::Yellow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(is_terminal: bool, variables: &[(&str, &str)]) -> bool {
        let variable =
            |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let wishes = Wishes {
            no_color: variable("NO_COLOR"),
            clicolor: variable("CLICOLOR"),
            clicolor_force: variable("CLICOLOR_FORCE"),
            term: variable("TERM"),
        };
        wishes.allow(is_terminal)
    }

    #[test]
    fn colours_are_for_terminals_and_for_those_who_want_them() {
        assert!(allow(true, &[]) && !allow(false, &[]));
        assert!(allow(true, &[("NO_COLOR", ""), ("CLICOLOR", "1"), ("TERM", "xterm")]));
        for no in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
            assert!(!allow(true, &[no]), "{no:?}");
        }
        assert!(allow(false, &[("CLICOLOR_FORCE", "1")]) && !allow(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!allow(true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    }
}
