//! Names that people give: what the ledger takes of them.

use super::problem::Problem;

/// LIMIT: characters of a name.
const NAME_CHARS_MAX: usize = 200;

/// LIMIT: characters of a slug; it is part of every identity.
const SLUG_CHARS_MAX: usize = 63;

/// Checks a name for people: one line, not blank.
pub fn check_name(field: &str, name: &str) -> Result<(), Problem> {
    let well_formed = name.chars().count() <= NAME_CHARS_MAX
        && !name.chars().any(char::is_control)
        && !name.trim().is_empty();
    if well_formed {
        return Ok(());
    }
    Err(Problem::invalid(
        field,
        &format!("expected 1 to {NAME_CHARS_MAX} characters, not all blank, no control characters"),
    ))
}

/// Checks a slug: lower-case letters, digits and single hyphens between them.
pub fn check_slug(slug: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let well_formed = (1..=SLUG_CHARS_MAX).contains(&slug.len())
        && slug.split('-').all(|part| !part.is_empty() && part.chars().all(allowed));
    if well_formed {
        return Ok(());
    }
    Err(Problem::invalid(
        "slug",
        &format!(
            "expected 1 to {SLUG_CHARS_MAX} lower-case letters and digits, with single hyphens between them"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_plain() {
        for good in ["a", "contoso", "contoso-group", "a1-b2", "9"] {
            assert!(check_slug(good).is_ok(), "{good}");
        }
        for bad in ["", "-", "-a", "a-", "a--b", "A", "a_b", "a b", "\u{e9}", "a\0", &"a".repeat(64)] {
            assert!(check_slug(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_one_line_that_says_something() {
        assert!(check_name("name", "Contoso \u{00dc}bersee").is_ok());
        assert!(check_name("name", &"\u{e9}".repeat(200)).is_ok());
        for bad in ["", "  ", "a\nb", "a\0", &"a".repeat(201)] {
            assert!(check_name("name", bad).is_err(), "{bad:?}");
        }
    }
}
