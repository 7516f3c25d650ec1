//! The web page (`/`): server-rendered, embedded in the program, complete without a script.
//!
//! Each page is one file with a handler, a view (what the page shows, as values) and templates, which are pure functions
//! of the view. [`layout`] is the frame around all of them, `parts/` what they are made of, `assets/` style sheets and
//! the one script.
//!
//! ```text
//! open        GET   /assets/{name}          assets
//! viewer      GET   /                       overview
//!             GET   /runs                   runs
//!             GET   /runs/{id}              run
//!             GET   /failures               failures
//!             GET   /system                 system
//!             GET   /tenants                tenants
//!             GET   /tenants/{id}           tenant
//!             GET   /tenants/{id}/policies  policies
//!             GET   /tenants/{id}/snapshots snapshot
//!             GET   /snapshots/{id}         snapshot
//!             GET   /snapshots/{a}/diff/{b} diff
//!             GET   /snapshots/{id}/drift/{run}       drift
//!             GET   /restore                restore
//!             GET   /restore/new            restore::choose
//!             GET   /restore/{run}          restore::follow
//!             GET   /schedules              schedules
//! operator    POST  /runs/{id}/cancel       run
//!             POST  /runs/{id}/retry        run
//!             POST  /failures/retry         failures
//!             POST  /tenants/{id}/fetch     tenant
//!             POST  /snapshots/{id}/drift   drift
//!             POST  /restore/new            restore::choose
//!             POST  /restore/plan           restore::choose
//!             GET, POST /restore/{run}/confirm        restore::confirm
//!             POST  /restore/{run}/undo     restore::confirm
//!             POST  /schedules              schedules
//!             POST  /schedules/{id}/{what}  schedules
//! admin       GET   /audit                  audit
//! ```
//!
//! Live updates: an element with an `id` and `data-part` is fetched anew, with the whole page, when an event comes, and
//! put in place where it differs; an element with `data-progress="RUN"` is moved by `run.progress` itself. What a part
//! holds must be a function of the page's address alone, and no input field may stand in one.
//!
//! Invariants: `html!` escapes every value, and nothing here goes around that; no style or script stands in a page (the
//! content security policy forbids it); a page holds no address of another host; what the caller may not see is 404.

pub mod assets;
pub mod failures;
pub mod layout;
pub mod parts;
pub mod run;
pub mod runs;
pub mod system;
pub mod theme;
pub mod visit;

mod audit;
mod diff;
mod drift;
mod overview;
mod policies;
mod restore;
mod schedules;
mod snapshot;
mod tenant;
mod tenants;

mod problem_page;

#[cfg(test)]
mod contrast;

pub use problem_page::{as_page, as_pages, wants_html};
pub use visit::Visit;

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpRequest, HttpResponse, Responder, web};
use maud::Markup;

/// Registers the pages that need a session.
pub(super) fn configure(pages: &mut web::ServiceConfig) {
    pages
        .service(overview::show)
        .service(tenants::list)
        .service(policies::list)
        .service(snapshot::list)
        .service(tenant::show)
        .service(tenant::fetch)
        .service(snapshot::show)
        .service(theme::choose)
        .service(runs::page)
        .service(run::page)
        .service(run::cancel)
        .service(run::retry)
        .service(failures::page)
        .service(failures::retry)
        .service(system::page)
        .service(diff::show)
        .service(drift::submit)
        .service(drift::show)
        .service(restore::start)
        // ORDER: before what takes any word in the same place.
        .service(restore::choose::show)
        .service(restore::choose::narrow)
        .service(restore::choose::submit)
        .service(restore::follow::show)
        .service(restore::confirm::show)
        .service(restore::confirm::submit)
        .service(restore::confirm::submit_undo)
        .service(schedules::list)
        .service(schedules::add)
        .service(schedules::update)
        .service(audit::list);
}

/// A page as an answer; nobody keeps it.
pub struct Html(pub Markup);

impl Responder for Html {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.insert_header(ContentType::html()).insert_header((CACHE_CONTROL, "no-store"));
        // A message is told once.
        if request.cookie(parts::flash::COOKIE).is_some() {
            response.cookie(parts::flash::Flash::told());
        }
        response.body(self.0.into_string())
    }
}
