//! Who looks at a page, and how: what the frame of every page is made from.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use maud::Markup;

use super::Html;
use super::layout::{self, Shell, Tab};
use super::parts::flash::Flash;
use crate::admin::AdminState;
use crate::admin::auth::Principal;
use crate::admin::session::Csrf;
use crate::store::Role;

/// The cookie that says how pages are to look. The script writes it, too.
pub const THEME_COOKIE: &str = "atlasd_theme";

/// How pages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the browser prefers.
    #[default]
    Auto,
    /// Light, whatever the browser prefers.
    Light,
    /// Dark, whatever the browser prefers.
    Dark,
}

impl Theme {
    /// The word in cookie and attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What the toggle leads to.
    pub const fn next(self) -> Self {
        match self {
            Self::Auto => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::Auto,
        }
    }

    /// The theme that a word names; an unknown one is none.
    pub fn parse(word: &str) -> Self {
        match word {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }
}

/// A look at a page.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// Who looks; `None` before the login.
    pub caller: Option<Arc<Principal>>,
    /// What every form of the page carries.
    pub csrf: String,
    /// How it is to look.
    pub theme: Theme,
    /// What the last change had to say.
    pub flash: Option<Flash>,
    /// The page's address, without the host.
    pub address: String,
    /// Every change is refused.
    pub read_only: bool,
}

impl Visit {
    /// What a request says.
    pub fn of(request: &HttpRequest) -> Self {
        let caller = request.extensions().get::<Arc<Principal>>().cloned();
        let csrf = request.extensions().get::<Csrf>().cloned();
        let theme = request.cookie(THEME_COOKIE).map(|cookie| Theme::parse(cookie.value()));
        let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        Self {
            caller,
            csrf: csrf.map(|csrf| csrf.token().to_owned()).unwrap_or_default(),
            theme: theme.unwrap_or_default(),
            flash: Flash::of(request),
            address,
            read_only: request.app_data::<Data<AdminState>>().is_some_and(|state| state.is_read_only()),
        }
    }

    /// Whether the caller has at least this role.
    pub fn is_at_least(&self, role: Role) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.role >= role)
    }

    /// Whether the caller may change what asks for at least this role; where every change is refused, nobody may.
    pub fn may(&self, role: Role) -> bool {
        !self.read_only && self.is_at_least(role)
    }

    /// The frame of a page.
    pub fn shell<'a>(&'a self, title: &'a str, active: Tab) -> Shell<'a> {
        Shell { active: Some(active), ..Shell::bare(self, title) }
    }

    /// A page of its own frame, that follows no events.
    pub fn page(&self, title: &str, active: Tab, content: Markup) -> Html {
        Html(layout::page(self.shell(title, active), content))
    }
}

impl FromRequest for Visit {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}
