//! Which handler answers which path. [`TABLE`] says it as data: for the answer 405, and for the tests that compare it
//! with the OpenAPI document and try every route with every role.

use actix_web::dev::ResourceDef;
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, web};
use utoipa_actix_web::service_config::ServiceConfig;

use super::problem::{Missing, Problem};
use super::{
    audit, auth, batch, diff, drift, events, failures, files, health, identity, login, openapi, reconcile,
    restores, retries, runs, schedules, session, snapshots, system, tenants, workspaces,
};
use crate::store::Role;

/// The prefix of everything that needs a token.
pub const BASE: &str = "/api/v1";

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// The whole path, parameters in braces.
    pub path: &'static str,
    /// The least role; `None` needs no token.
    pub role: Option<Role>,
}

const fn route(method: &'static str, path: &'static str, role: Option<Role>) -> Route {
    Route { method, path, role }
}

/// Every route.
pub const TABLE: &[Route] = &[
    route("GET", "/healthz", None),
    route("GET", "/readyz", None),
    route("GET", "/metrics", None),
    route("GET", "/api/v1/openapi.json", None),
    route("GET", "/api/v1/runs", Some(Role::Viewer)),
    route("POST", "/api/v1/runs", Some(Role::Operator)),
    route("POST", "/api/v1/runs/batch", Some(Role::Operator)),
    route("GET", "/api/v1/runs/{id}", Some(Role::Viewer)),
    route("GET", "/api/v1/runs/{id}/attempts", Some(Role::Viewer)),
    route("GET", "/api/v1/runs/{id}/items", Some(Role::Viewer)),
    route("POST", "/api/v1/runs/{id}/cancel", Some(Role::Operator)),
    route("POST", "/api/v1/runs/{id}/retry", Some(Role::Operator)),
    route("POST", "/api/v1/runs/{id}/undo", Some(Role::Operator)),
    route("POST", "/api/v1/reconcile", Some(Role::Operator)),
    route("GET", "/api/v1/workspaces", Some(Role::Viewer)),
    route("POST", "/api/v1/workspaces", Some(Role::Admin)),
    route("GET", "/api/v1/tenants", Some(Role::Viewer)),
    route("POST", "/api/v1/tenants", Some(Role::Admin)),
    route("GET", "/api/v1/tenants/{id}", Some(Role::Viewer)),
    route("PATCH", "/api/v1/tenants/{id}", Some(Role::Admin)),
    route("GET", "/api/v1/tenants/{id}/policies", Some(Role::Viewer)),
    route("GET", "/api/v1/tenants/{id}/snapshots", Some(Role::Viewer)),
    route("POST", "/api/v1/tenants/{id}/snapshots/import", Some(Role::Admin)),
    route("GET", "/api/v1/snapshots/{id}", Some(Role::Viewer)),
    route("GET", "/api/v1/snapshots/{id}/export", Some(Role::Viewer)),
    route("POST", "/api/v1/snapshots/{id}/drift", Some(Role::Operator)),
    route("GET", "/api/v1/snapshots/{a}/diff/{b}", Some(Role::Viewer)),
    route("GET", "/api/v1/schedules", Some(Role::Viewer)),
    route("POST", "/api/v1/schedules", Some(Role::Operator)),
    route("GET", "/api/v1/schedules/{id}", Some(Role::Viewer)),
    route("PATCH", "/api/v1/schedules/{id}", Some(Role::Operator)),
    route("DELETE", "/api/v1/schedules/{id}", Some(Role::Operator)),
    route("POST", "/api/v1/identity/explain", Some(Role::Viewer)),
    route("GET", "/api/v1/failures", Some(Role::Viewer)),
    route("POST", "/api/v1/failures/retry", Some(Role::Operator)),
    route("GET", "/api/v1/events", Some(Role::Viewer)),
    route("GET", "/api/v1/system", Some(Role::Viewer)),
    route("GET", "/api/v1/audit", Some(Role::Admin)),
];

/// Registers everything; the open routes first, since the base's scope takes all that begins with it.
pub(super) fn configure(app: &mut web::ServiceConfig) {
    let mut api = ServiceConfig::new(app);
    open(&mut api);
    api.service(
        utoipa_actix_web::scope(BASE)
            .configure(behind_the_door)
            .default_service(web::to(unrouted))
            .wrap(from_fn(auth::door)),
    );
    // Another method of an open path is refused, not asked to sign in.
    for open in TABLE.iter().filter(|route| route.role.is_none()) {
        app.route(open.path, web::to(unrouted));
    }
    // ORDER: what needs no session stands before the pages' scope, which takes everything.
    app.service(login::show).service(login::log_in).service(super::web::assets::serve).service(
        web::scope("")
            .configure(pages)
            .default_service(web::to(unrouted))
            .wrap(from_fn(session::page_door))
            .wrap(from_fn(super::web::as_pages)),
    );
}

/// Pages that need a session.
fn pages(pages: &mut web::ServiceConfig) {
    pages.service(login::log_out).configure(super::web::configure);
}

/// Routes without a token.
pub(super) fn open(app: &mut ServiceConfig) {
    app.service(health::healthz).service(health::readyz).service(health::metrics).service(openapi::serve);
}

/// Routes below [`BASE`] that need a token.
pub(super) fn behind_the_door(base: &mut ServiceConfig) {
    // ORDER: `/runs/batch` is only a POST and `/runs/{id}` only a GET, so neither can hide the other.
    base.service(runs::submit)
        .service(batch::submit)
        .service(runs::list)
        .service(runs::show)
        .service(runs::attempts)
        .service(restores::items)
        .service(runs::cancel)
        .service(runs::retry)
        .service(restores::undo)
        .service(reconcile::submit)
        .service(workspaces::list)
        .service(workspaces::add)
        .service(tenants::list)
        .service(tenants::add)
        .service(tenants::show)
        .service(tenants::update)
        .service(snapshots::policies)
        .service(snapshots::list)
        .service(files::import)
        .service(snapshots::show)
        .service(files::export)
        .service(drift::submit)
        .service(diff::show)
        .service(schedules::list)
        .service(schedules::add)
        .service(schedules::show)
        .service(schedules::update)
        .service(schedules::remove)
        .service(identity::explain)
        .service(failures::show)
        .service(retries::submit)
        .service(events::listen)
        .service(system::show)
        .service(audit::list);
}

/// 405 where another method of the path exists, else 404.
async fn unrouted(request: HttpRequest) -> Result<&'static str, Problem> {
    let allowed = methods_of(request.path());
    if allowed.is_empty() {
        return Err(Problem::not_found(Missing::Route));
    }
    Err(Problem::method_not_allowed(&allowed.join(", ")))
}

/// The methods that a path takes. A path that is written out (`/runs/batch`) is none of those with a parameter.
pub(super) fn methods_of(path: &str) -> Vec<&'static str> {
    let methods = |of: fn(&str, &Route) -> bool| {
        TABLE.iter().filter(|route| of(path, route)).map(|route| route.method).collect::<Vec<_>>()
    };
    let written_out = methods(|path, route| route.path == path);
    if written_out.is_empty() {
        methods(|path, route| ResourceDef::new(route.path).is_match(path))
    } else {
        written_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_knows_its_methods() {
        let methods = methods_of;
        assert_eq!(methods("/api/v1/runs"), ["GET", "POST"]);
        assert_eq!(methods("/api/v1/tenants/7"), ["GET", "PATCH"]);
        assert_eq!(methods("/api/v1/runs/7/cancel"), ["POST"]);
        assert_eq!(methods("/api/v1/runs/batch"), ["POST"]);
        assert_eq!(methods("/healthz"), ["GET"]);
        for unknown in ["/api/v1/runs/", "/api/v1", "/api/v1/run", "//", "/api/v1/runs/7/cancel/now"] {
            assert!(methods(unknown).is_empty(), "{unknown}");
        }
    }
}
