//! What the last change had to say: told once, on the page that follows it. It travels in a cookie that the page's
//! answer takes back, so that a page fetched again does not repeat it.

use actix_web::cookie::{Cookie, SameSite, time::Duration};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, Render, html};

use super::badges::Tone;

/// The cookie.
pub const COOKIE: &str = "atlasd_flash";

/// LIMIT: characters that a page repeats of what a cookie says.
const CHARS_MAX: usize = 600;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Whether it went well.
    pub tone: Tone,
    /// One or two sentences.
    pub text: String,
}

impl Flash {
    /// Something was done.
    pub fn good(text: impl Into<String>) -> Self {
        Self { tone: Tone::Good, text: text.into() }
    }

    /// Something was answered otherwise than hoped for.
    pub fn warn(text: impl Into<String>) -> Self {
        Self { tone: Tone::Warn, text: text.into() }
    }

    /// Something went wrong.
    pub fn bad(text: impl Into<String>) -> Self {
        Self { tone: Tone::Bad, text: text.into() }
    }

    /// What a request's cookie says.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        Self::read(request.cookie(COOKIE)?.value())
    }

    fn read(value: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
        let (tone, text) = text.split_once('|')?;
        let tone = match tone {
            "good" => Tone::Good,
            "warn" => Tone::Warn,
            "bad" => Tone::Bad,
            _ => return None,
        };
        Some(Self { tone, text: text.chars().take(CHARS_MAX).collect() })
    }

    /// 303 to a page that tells it.
    pub fn redirect(self, to: &str) -> HttpResponse {
        let text: String = self.text.chars().take(CHARS_MAX).collect();
        let value = URL_SAFE_NO_PAD.encode(format!("{}|{text}", self.tone.class()));
        HttpResponse::SeeOther()
            .insert_header(("location", to))
            .cookie(cookie(value, Duration::seconds(30)))
            .finish()
    }

    /// What takes the message back.
    pub fn told() -> Cookie<'static> {
        cookie(String::new(), Duration::ZERO)
    }
}

fn cookie(value: String, age: Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, value).path("/").http_only(true).same_site(SameSite::Strict).max_age(age).finish()
}

impl Render for Flash {
    fn render(&self) -> Markup {
        html! { div class={ "note " (self.tone.class()) } role="status" #flash { (self.text) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let flash = Flash::warn("Run 7 is active; \"nothing\" was started. äöü");
        let response = flash.clone().redirect("/runs/7");
        assert_eq!(
            (response.status().as_u16(), response.headers().get("location").map(|to| to.to_str().unwrap())),
            (303, Some("/runs/7"))
        );
        let cookie = response.cookies().next().unwrap();
        assert_eq!(Flash::read(cookie.value()), Some(flash));
        assert!(cookie.http_only() == Some(true) && cookie.same_site() == Some(SameSite::Strict));
    }

    #[test]
    fn what_nobody_sent_says_nothing() {
        for odd in ["", "x", "%%", &URL_SAFE_NO_PAD.encode("loud|hello"), &URL_SAFE_NO_PAD.encode(b"\xff|x")]
        {
            assert_eq!(Flash::read(odd), None, "{odd}");
        }
        let long = URL_SAFE_NO_PAD.encode(format!("good|{}", "x".repeat(5000)));
        assert_eq!(Flash::read(&long).unwrap().text.len(), CHARS_MAX);
    }
}
