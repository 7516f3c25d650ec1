//! Pages and their nextLinks. A link is opaque and must come back byte for byte: that of the settings catalogue
//! carries a doubly percent-encoded token, as in Graph, and is refused when a client has decoded and rebuilt it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer::{self, Answer};
use super::call::Call;
use super::percent;

const SKIP_TOKEN: &str = "$skiptoken";

/// How a collection is paged.
#[derive(Clone, Copy, Debug)]
pub struct Paging {
    /// Items on a page without `$top`.
    pub size: usize,
    /// Items on a page at the most.
    pub size_max: usize,
    /// Whether the second page may come empty, with a nextLink.
    pub empty_pages: bool,
    /// Whether the token is percent-encoded twice.
    pub twice: bool,
}

/// A page of `items`: `value` and `@odata.nextLink`.
///
/// # Errors
/// With the 400 for a `$top` that is no positive number, or a token that is not as it was given.
pub fn page(
    call: &Call,
    paging: Paging,
    items: Vec<Value>,
    name_property: &str,
) -> Result<Map<String, Value>, Box<Answer>> {
    let size = match call.parameter("$top") {
        None => paging.size,
        Some(top) => match top.parse::<usize>() {
            Ok(top) if top > 0 => top.min(paging.size_max),
            _ => return Err(Box::new(answer::plain(call, 400, "BadRequest", "Invalid value for $top."))),
        },
    };
    let at = match call.raw_parameter(SKIP_TOKEN) {
        None => Position { offset: 0, after_empty: false },
        Some(raw) => Position::read(call, raw, paging.twice).ok_or_else(|| {
            Box::new(answer::plain(call, 400, "BadRequest", "Invalid value for $skiptoken: it was altered."))
        })?,
    };
    let mut page = Map::new();
    let give_empty = paging.empty_pages
        && !at.after_empty
        && at.offset == size
        && check(&call.path).starts_with(['0', '3', '6', '9', 'c']);
    let end = if give_empty { at.offset } else { at.offset.saturating_add(size).min(items.len()) };
    if end < items.len() {
        let next = Position { offset: end, after_empty: give_empty };
        let last =
            end.checked_sub(1).and_then(|last| items[last][name_property].as_str()).unwrap_or_default();
        page.insert("@odata.nextLink".to_owned(), next.link(call, last, paging.twice).into());
    }
    let value: Vec<Value> = items.into_iter().take(end).skip(at.offset).collect();
    page.insert("value".to_owned(), value.into());
    Ok(page)
}

#[derive(Clone, Copy, Debug)]
struct Position {
    offset: usize,
    after_empty: bool,
}

impl Position {
    fn link(self, call: &Call, last_name: &str, twice: bool) -> String {
        let rest = call.query.split('&').filter(|pair| !pair.is_empty() && !is_skip_token(pair));
        let token = json!([{
            "compositeToken": {"token": format!("+RID:~{}==#RT:1#TRC:{}", check(&call.path), self.offset)},
            "after": u8::from(self.after_empty),
            "resumeValues": [last_name],
        }]);
        let token = encode(&token.to_string(), twice);
        let query: Vec<String> = rest.map(str::to_owned).chain([format!("{SKIP_TOKEN}={token}")]).collect();
        format!("{}/beta{}?{}", call.base, call.path, query.join("&"))
    }

    fn read(call: &Call, raw: &str, twice: bool) -> Option<Self> {
        let text = percent::decode(raw)?;
        let text = if twice { percent::decode(&text)? } else { text };
        if encode(&text, twice) != raw {
            return None;
        }
        let token: Value = serde_json::from_str(&text).ok()?;
        let (head, offset) = token[0]["compositeToken"]["token"].as_str()?.rsplit_once(':')?;
        let own = head.contains(&check(&call.path));
        let after_empty = token[0]["after"] == 1;
        own.then_some(Self { offset: offset.parse().ok()?, after_empty })
    }
}

fn encode(text: &str, twice: bool) -> String {
    let once = percent::encode(text);
    if twice { percent::encode(&once) } else { once }
}

fn is_skip_token(pair: &str) -> bool {
    let key = pair.split_once('=').map_or(pair, |(key, _)| key);
    percent::decode(key).as_deref() == Some(SKIP_TOKEN)
}

/// Ties a token to its collection.
fn check(path: &str) -> String {
    hex::encode(&Sha256::digest(path)[..4])
}
