//! Style sheet, script and icon: part of the program, each under a name that holds the hash of its content, so that a
//! browser may keep it for ever and a new program brings new names.

use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, get, web};
use sha2::{Digest, Sha256};

use crate::admin::problem::{Missing, Problem};

/// One file.
struct Asset {
    /// Its name in addresses, such as `atlasd-0123456789ab.css`.
    name: String,
    content_type: &'static str,
    content: &'static str,
}

/// The style sheet, in the order in which rules go before each other.
const CSS: &str = concat!(
    include_str!("assets/base.css"),
    include_str!("assets/parts.css"),
    include_str!("assets/views.css")
);

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::new("css", "text/css; charset=utf-8", CSS),
        Asset::new("js", "text/javascript; charset=utf-8", include_str!("assets/atlasd.js")),
        Asset::new("svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ]
});

impl Asset {
    fn new(extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let hash = hex::encode(&Sha256::digest(content)[..6]);
        Self { name: format!("atlasd-{hash}.{extension}"), content_type, content }
    }
}

fn address(index: usize) -> String {
    format!("/assets/{}", ASSETS[index].name)
}

/// Where the style sheet is.
pub fn css() -> String {
    address(0)
}

/// Where the script is.
pub fn script() -> String {
    address(1)
}

/// Where the icon is.
pub fn icon() -> String {
    address(2)
}

/// Serves one of the files.
#[get("/assets/{name}")]
pub async fn serve(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == *name);
    let asset = asset.ok_or_else(|| Problem::not_found(Missing::Route))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, asset.content_type))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(asset.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_embedded_names_another_host() {
        for asset in ASSETS.iter() {
            let text = asset.content.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "url(", "@import", "//cdn"] {
                assert!(!text.contains(foreign), "{} holds {foreign}", asset.name);
            }
        }
    }

    #[test]
    fn the_script_evaluates_no_text_as_code_or_markup() {
        let script = ASSETS[1].content;
        for word in
            ["eval(", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "new Function"]
        {
            assert!(!script.contains(word), "the script has {word}");
        }
    }
}
