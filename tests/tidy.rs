//! The rules of the house that a machine can check. Each finding names file, line, the rule and its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

// --- walls between modules -------------------------------------------------------------------------------------

/// Names that may not occur in the code (comments and strings apart) of some files.
struct Wall {
    /// Where the rule holds: a file, or a folder with a slash at its end.
    inside: &'static str,
    /// Files and folders in it where it does not.
    but_for: &'static [&'static str],
    /// Paths as they stand in code.
    names: &'static [&'static str],
    /// Modules of this crate.
    modules: &'static [&'static str],
    reason: &'static str,
}

const WALLS: &[Wall] = &[
    Wall {
        inside: "src/domain/",
        but_for: &[],
        names: &["std::net", "std::fs", "tokio", "actix", "actix_rt", "actix_web", "diesel", "reqwest"],
        modules: &["store", "graph", "actors", "admin", "sandbox", "execution", "daemon", "cli"],
        reason: "the domain is pure: no I/O, no async, nothing of the outside; that makes it testable by values",
    },
    Wall {
        inside: "src/",
        but_for: &["src/store/"],
        names: &[
            "diesel",
            "diesel_async",
            "diesel_migrations",
            "deadpool",
            "tokio_postgres",
            "libsqlite3_sys",
        ],
        modules: &[],
        reason: "the store is the one door to the database",
    },
    Wall {
        inside: "src/",
        but_for: &["src/graph/", "src/cli/client.rs"],
        names: &["reqwest"],
        modules: &[],
        reason: "src/graph is the one door to Microsoft Graph, src/cli/client.rs the one client of the daemon",
    },
    Wall {
        inside: "src/",
        but_for: &["src/graph/", "src/sandbox/"],
        names: &["oauth2", "jsonwebtoken"],
        modules: &[],
        reason: "sign-in to Microsoft Graph stays behind its door (the sandbox is the other side of it)",
    },
    Wall {
        inside: "src/",
        but_for: &["src/admin/", "src/sandbox/"],
        names: &["actix_web", "utoipa_actix_web"],
        modules: &[],
        reason: "HTTP is spoken by the admin endpoint and the sandbox alone",
    },
    Wall {
        inside: "src/sandbox/",
        but_for: &[],
        names: &[],
        modules: &["store", "actors", "admin", "execution", "graph"],
        reason: "the sandbox plays a foreign service: what it shared with the daemon, it could not find wrong",
    },
    Wall {
        inside: "src/store/",
        but_for: &[],
        names: &["actix"],
        modules: &["actors", "admin", "graph", "sandbox", "execution", "daemon", "cli"],
        reason: "the store serves all and knows none of them",
    },
    Wall {
        inside: "src/graph/",
        but_for: &[],
        names: &["actix", "crate::store::Store"],
        modules: &["actors", "admin", "sandbox", "execution", "daemon", "cli"],
        reason: "the door to Graph reads and reports; what becomes of it is decided elsewhere",
    },
    Wall {
        inside: "src/events/",
        but_for: &[],
        names: &["actix"],
        modules: &["store", "graph", "actors", "admin", "sandbox", "execution", "daemon", "cli", "intake"],
        reason: "events are told by others, who know of them; the stream knows nobody",
    },
    Wall {
        inside: "src/admin/",
        but_for: &[],
        names: &[],
        modules: &["graph", "sandbox", "execution", "daemon", "cli"],
        reason: "the admin endpoint asks actors and store, never the outside",
    },
    Wall {
        inside: "src/",
        but_for: &["src/actors/death_watch.rs"],
        names: &["do_send"],
        modules: &[],
        reason: "do_send ignores the mailbox's limit: work passes the admission gate",
    },
];

/// What may stand nowhere.
const BANS: &[Wall] = &[
    Wall {
        inside: "",
        but_for: &[],
        names: &["todo!", "unimplemented!", "dbg!"],
        modules: &[],
        reason: "unfinished code is not committed",
    },
    Wall {
        inside: "",
        but_for: &[],
        names: &["use crate::{", "use std::{"],
        modules: &[],
        reason: "one line per module, so that a search for a path finds every use of it",
    },
    Wall {
        inside: "",
        // A helper that several test programs share is used by each in part: an expectation would not hold in all.
        but_for: &["tests/support/"],
        names: &["#[allow", "#![allow"],
        modules: &[],
        reason: "#[expect(lint, reason = \"…\")] tells why, and when it is no longer needed",
    },
];

#[test]
fn no_module_imports_what_it_must_not_know() {
    check(WALLS);
}

#[test]
fn nothing_banned_stands_anywhere() {
    check(BANS);
}

fn check(walls: &[Wall]) {
    let mut findings = Findings::default();
    for file in sources() {
        let code = code_only(&file.text);
        for wall in walls {
            let applies = file.name.starts_with(wall.inside)
                && !wall.but_for.iter().any(|exempt| file.name.starts_with(exempt));
            if !applies {
                continue;
            }
            for (index, line) in code.lines().enumerate() {
                for name in wall.names.iter().filter(|name| has_name(line, name)) {
                    findings.add(&file.name, index + 1, &format!("`{name}` may not stand here"), wall.reason);
                }
                let through = ["crate", "super"];
                let named =
                    wall.modules.iter().flat_map(|module| through.map(|from| format!("{from}::{module}")));
                for name in named.filter(|name| has_name(line, name)) {
                    findings.add(
                        &file.name,
                        index + 1,
                        &format!("`{name}` may not be used here"),
                        wall.reason,
                    );
                }
            }
        }
    }
    findings.report();
}

// --- form ------------------------------------------------------------------------------------------------------

const LINES_MAX: usize = 700;
/// One table, long by its nature.
const LONG_FILES: &[&str] = &["src/domain/policy_types.rs"];

#[test]
fn no_source_file_is_too_long_to_read() {
    let mut findings = Findings::default();
    for file in sources() {
        let lines = file.text.lines().count();
        if lines > LINES_MAX && !LONG_FILES.contains(&file.name.as_str()) {
            findings.add(
                &file.name,
                lines,
                &format!("expected at most {LINES_MAX} lines, got {lines}"),
                "a file holds one idea: split it by nouns",
            );
        }
    }
    findings.report();
}

#[test]
fn every_module_says_what_it_is() {
    let mut findings = Findings::default();
    for file in sources() {
        // The tests of a module stand beside it and need no words of their own.
        if !file.text.starts_with("//!") && !file.name.ends_with("/tests.rs") {
            findings.add(
                &file.name,
                1,
                "expected a module doc (`//! …`) in the first line",
                "a reader learns first what a file is, and what it is not",
            );
        }
    }
    findings.report();
}

#[test]
fn every_open_end_has_an_issue() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut findings = Findings::default();
    for file in texts() {
        for (index, line) in file.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| has_name(line, mark)) {
                let numbered =
                    line.split('#').skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                if !numbered {
                    findings.add(
                        &file.name,
                        index + 1,
                        &format!("{mark} without an issue number such as #12"),
                        "what nobody tracks is never done",
                    );
                }
            }
        }
    }
    findings.report();
}

#[test]
fn nothing_names_a_person_or_a_machine() {
    let mut findings = Findings::default();
    for file in texts() {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(address) = e_mail_address(line) {
                findings.add(
                    &file.name,
                    index + 1,
                    &format!("`{address}` looks like an e-mail address (example domains are fine)"),
                    "personal data stays out of the repository",
                );
            }
            if let Some(path) = home_path(line) {
                findings.add(
                    &file.name,
                    index + 1,
                    &format!("`{path}` is somebody's home"),
                    "the repository works in every place",
                );
            }
        }
    }
    findings.report();
}

// --- migrations and configuration ------------------------------------------------------------------------------

#[test]
fn every_migration_exists_for_both_engines_and_can_be_undone() {
    let reason = "both engines have the same history, and down undoes up";
    let mut findings = Findings::default();
    let [sqlite, postgres] = ["sqlite", "postgres"].map(|engine| {
        let folder = root().join("migrations").join(engine);
        let names: BTreeSet<String> = entries(&folder).iter().map(|path| last_part(path)).collect();
        for name in &names {
            for direction in ["up.sql", "down.sql"] {
                let script = folder.join(name).join(direction);
                if fs::read_to_string(&script).map_or(true, |sql| sql.trim().is_empty()) {
                    findings.add(&relative(&script), 1, "missing or empty", reason);
                }
            }
        }
        if names.is_empty() {
            findings.add(&relative(&folder), 1, "no migrations", reason);
        }
        names
    });
    for name in sqlite.symmetric_difference(&postgres) {
        findings.add(&format!("migrations/*/{name}"), 1, "exists for one engine only", reason);
    }
    findings.report();
}

#[test]
fn every_configuration_key_is_documented() {
    let reason = "an operator finds every limit, its unit and its default";
    let config = read("src/config.rs");
    let manual = fs::read_to_string(root().join("docs/configuration.md")).unwrap_or_default();
    let keys = configuration_keys(&config.text);
    assert!(keys.len() > 30, "the keys of src/config.rs are no longer found: {keys:?}");
    let mut findings = Findings::default();
    for Key { name, line, has_doc } in keys {
        if !has_doc {
            findings.add(&config.name, line, &format!("`{name}` has no doc comment"), reason);
        }
        if !manual.contains(&format!("`{name}`")) {
            findings.add(
                &config.name,
                line,
                &format!("docs/configuration.md does not name `{name}`"),
                reason,
            );
        }
    }
    findings.report();
}

#[derive(Debug)]
struct Key {
    name: String,
    line: usize,
    has_doc: bool,
}

/// The fields of the configuration's structs: `pub name: Type,` and, in `section!`, `name: Type = default,`.
fn configuration_keys(text: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut in_struct = false;
    let mut above = "";
    for (index, line) in text.lines().enumerate() {
        let code = line.trim();
        let name = code.strip_prefix("pub struct ").unwrap_or(code);
        let opens = name.ends_with("Config {") && name.split(' ').count() == 2;
        in_struct = (in_struct || opens) && code != "}";
        if in_struct && !opens && !code.starts_with(['/', '#']) {
            let field = code.trim_start_matches("pub ");
            if let Some((name, _)) = field.split_once(": ") {
                keys.push(Key { name: name.to_owned(), line: index + 1, has_doc: above.starts_with("///") });
            }
        }
        above = code;
    }
    keys
}

// --- the manual ------------------------------------------------------------------------------------------------

#[test]
fn every_page_of_the_manual_is_in_its_summary() {
    let reason = "a page that nothing leads to is read by nobody";
    let summary = read("docs/SUMMARY.md");
    let mut findings = Findings::default();
    let mut listed = BTreeSet::new();
    for (line, target) in links(&summary.text) {
        if !listed.insert(target.clone()) {
            findings.add(&summary.name, line, &format!("`{target}` is listed twice"), "mdBook refuses that");
        }
    }
    for path in entries(&root().join("docs")) {
        let name = last_part(&path);
        if name.ends_with(".md") && name != "SUMMARY.md" && !listed.contains(&name) {
            findings.add(&relative(&path), 1, "not in docs/SUMMARY.md", reason);
        }
    }
    findings.report();
}

#[test]
fn every_link_of_the_manual_leads_somewhere() {
    let reason = "a reader follows it";
    let mut findings = Findings::default();
    for file in texts().into_iter().filter(|file| file.name.ends_with(".md")) {
        let folder = root().join(&file.name).parent().map(Path::to_path_buf).unwrap_or_default();
        for (line, target) in links(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (page, part) = target.split_once('#').unwrap_or((&target, ""));
            let page = if page.is_empty() { root().join(&file.name) } else { folder.join(page) };
            let text = if page.is_dir() { Some(String::new()) } else { fs::read_to_string(&page).ok() };
            let found = text.is_some_and(|text| part.is_empty() || anchors(&text).contains(part));
            if !found {
                findings.add(&file.name, line, &format!("`{target}` leads nowhere"), reason);
            }
        }
    }
    findings.report();
}

/// The targets of links outside of code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        // Every second part is code.
        for words in line.split('`').step_by(2) {
            for part in words.split("](").skip(1) {
                if let Some((target, _)) = part.split_once(')') {
                    links.push((index + 1, target.to_owned()));
                }
            }
        }
    }
    links
}

/// The places that headings make, as GitHub and mdBook name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        words
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(anchor).collect()
}

// --- the checks are checked ------------------------------------------------------------------------------------

#[test]
fn comments_and_strings_are_not_code() {
    let text = "use a; // diesel\n/* tokio\n /* x */ y */ let s = \"reqwest \\\" x\"; let c = '\"'; b\nlet r = r#\"to\"ki\"#; fn f<'a>() {} 'x'";
    let code = code_only(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for gone in ["diesel", "tokio", "reqwest", "ki", "x'"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
    for kept in ["use a;", "let s", "; b", "let r", "fn f<'a>() {}"] {
        assert!(code.contains(kept), "{kept} not in {code}");
    }
}

#[test]
fn a_name_is_found_as_a_whole_word() {
    assert!(has_name("use diesel::prelude::*;", "diesel"));
    assert!(has_name("crate::store::Store", "crate::store"));
    assert!(!has_name("use diesel_async::X;", "diesel"));
    assert!(!has_name("crate::storeroom", "crate::store"));
    assert!(has_name("    todo!()", "todo!"));
}

#[test]
fn addresses_and_homes_are_recognised() {
    let at = |user: &str, domain: &str| format!("mail to <{user}@{domain}>, please");
    assert_eq!(e_mail_address(&at("jane.doe", "corp.io")).as_deref(), Some(concat!("jane.doe", "@corp.io")));
    for fine in
        [at("jane", "example.com"), at("jane", "contoso.com"), at("postgres", "127.0.0.1"), at("pg", "17")]
    {
        assert_eq!(e_mail_address(&fine), None, "{fine}");
    }
    let path = format!("cd {}jane/x", concat!("/ho", "me/"));
    assert!(home_path(&path).is_some());
    assert!(home_path("GET https://graph.example/homes/").is_none());
}

// --- reading the repository ------------------------------------------------------------------------------------

struct File {
    /// From the repository's root, with `/`.
    name: String,
    text: String,
}

#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: &str, line: usize, what: &str, reason: &str) {
        self.0.push(format!("{file}:{line}: {what}: {reason}"));
    }

    fn report(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn last_part(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The entries of a folder but for hidden ones, in order; nothing where there is no folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let mut paths: Vec<PathBuf> = listed.unwrap_or_default();
    paths.retain(|path| !last_part(path).starts_with('.'));
    paths.sort();
    paths
}

fn read(name: &str) -> File {
    let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    File { name: name.to_owned(), text }
}

fn files_below(folder: &Path, found: &mut Vec<File>) {
    for path in entries(folder) {
        if path.is_dir() {
            if last_part(&path) != "target" {
                files_below(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push(File { name: relative(&path), text });
        }
    }
}

/// Every text file of the repository but for the lock file, which cargo writes.
fn texts() -> Vec<File> {
    let mut found = Vec::new();
    files_below(&root(), &mut found);
    files_below(&root().join(".ci"), &mut found);
    found.retain(|file| file.name != "Cargo.lock");
    assert!(found.len() > 20, "the repository's files are no longer found");
    found
}

/// Every Rust file.
fn sources() -> Vec<File> {
    let mut found = texts();
    found.retain(|file| file.name.ends_with(".rs"));
    found
}

// --- reading text ----------------------------------------------------------------------------------------------

/// Whether `name` stands in `line` and no longer name around it.
fn has_name(line: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        let open_end = name.ends_with(part_of_name);
        let open_start = name.starts_with(part_of_name);
        let longer =
            open_start && before.is_some_and(part_of_name) || open_end && after.is_some_and(part_of_name);
        !longer
    })
}

/// The first e-mail address of a line that is no example (RFC 2606, Microsoft's fictitious companies).
fn e_mail_address(line: &str) -> Option<String> {
    let user_part = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
    let domain_part = |c: char| c.is_alphanumeric() || ".-".contains(c);
    line.match_indices('@').find_map(|(at, _)| {
        let user = line[..at].rsplit(|c| !user_part(c)).next().unwrap_or_default();
        let domain = line[at + 1..].split(|c| !domain_part(c)).next().unwrap_or_default();
        let domain = domain.trim_end_matches(['.', '-']);
        let (_, top) = domain.rsplit_once('.')?;
        let is_address = !user.is_empty() && top.len() >= 2 && top.chars().all(|c| c.is_ascii_alphabetic());
        (is_address && !is_example(domain)).then(|| format!("{user}@{domain}"))
    })
}

fn is_example(domain: &str) -> bool {
    let reserved = ["example", "test", "invalid", "example.com", "example.org", "example.net"];
    let reserved = reserved.iter().any(|name| domain == *name || domain.ends_with(&format!(".{name}")));
    let fictitious = domain.contains("contoso") || domain.contains("fabrikam");
    // `assignments@odata.nextLink` is an annotation, and Graph's host may stand behind a user in a URL to be refused.
    let no_mail = domain.starts_with("odata.") || domain == "graph.microsoft.com";
    reserved || fictitious || no_mail
}

/// The first path into somebody's home in a line; a package manager's own prefix is nobody's.
fn home_path(line: &str) -> Option<&str> {
    let homes = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];
    homes.iter().find_map(|home| {
        line.match_indices(home).find_map(|(at, _)| {
            let starts = line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '.');
            let rest = &line[at..];
            (starts && !rest[home.len()..].starts_with("linuxbrew/")).then_some(rest)
        })
    })
}

/// The text with comments, strings and characters replaced by spaces; lines stay where they are.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped_until(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where what begins at `at` ends, when that is a comment, a string or a character; else `at`.
fn skipped_until(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1);
    match chars[at] {
        '/' if next == Some(&'/') => line_end(chars, at),
        '/' if next == Some(&'*') => block_end(chars, at),
        '"' => quoted_end(chars, at),
        'r' if matches!(next, Some('"' | '#')) => raw_end(chars, at),
        '\'' if next == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
            let close = (at + 3..chars.len()).find(|i| chars[*i] == '\'');
            if next == Some(&'\\') { close.map_or(chars.len(), |i| i + 1) } else { at + 3 }
        }
        _ => at,
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

fn block_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..chars.len()).find(|i| closes(*i)).map_or(chars.len(), |i| i + 1 + hashes)
}
