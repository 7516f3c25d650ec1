//! Names that people give: what the ledger takes of them, whichever way they come in.

/// LIMIT: characters of a name.
pub const NAME_CHARS_MAX: usize = 200;

/// LIMIT: characters of a slug.
pub const SLUG_CHARS_MAX: usize = 63;

/// A text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No name for people.
    #[error("expected 1 to {NAME_CHARS_MAX} characters on one line, without spaces at its ends")]
    Name,
    /// No slug.
    #[error(
        "expected 1 to {SLUG_CHARS_MAX} lower-case letters and digits, with single hyphens between them, such as contoso-group"
    )]
    Slug,
}

/// A name for people, of a workspace, a tenant or a token: shown in tables and logs, so one line of printable text.
///
/// # Errors
/// [`NameError::Name`].
pub fn name(text: &str) -> Result<String, NameError> {
    let well_formed = (1..=NAME_CHARS_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && text.trim() == text;
    well_formed.then(|| text.to_owned()).ok_or(NameError::Name)
}

/// A slug: part of every identity and of URLs, so lower-case words with hyphens between them.
///
/// # Errors
/// [`NameError::Slug`].
pub fn slug(text: &str) -> Result<String, NameError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let well_formed = text.len() <= SLUG_CHARS_MAX
        && text.split('-').all(|word| !word.is_empty() && word.chars().all(allowed));
    well_formed.then(|| text.to_owned()).ok_or(NameError::Slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_printable_line() {
        for good in ["ci pipeline", "Contoso \u{dc}bersee", &"\u{e9}".repeat(200)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for wrong in ["", "  ", " x", "x ", "a\nb", "a\0", &"x".repeat(201)] {
            assert_eq!(name(wrong), Err(NameError::Name), "{wrong:?}");
        }
    }

    #[test]
    fn a_slug_is_lower_case_words_with_hyphens() {
        for good in ["a", "contoso", "contoso-group", "a1-b2", "9"] {
            assert_eq!(slug(good).as_deref(), Ok(good));
        }
        for wrong in ["", "-", "-a", "a-", "a--b", "A", "a_b", "a b", "\u{e9}", "a\0", &"a".repeat(64)] {
            assert_eq!(slug(wrong), Err(NameError::Slug), "{wrong:?}");
        }
    }
}
