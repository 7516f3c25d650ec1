//! The OpenAPI 3.1 document, generated from the handlers and the types that they answer with.

use actix_web::http::header;
use actix_web::{App, HttpResponse, get, web};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_actix_web::AppExt;

use super::routes;

/// What is not said at a handler.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "atlasd",
        description = "Runs Intune assignment operations for many Microsoft 365 tenants and keeps one canonical \
                       ledger of them. Every list is answered in parts: give `next_cursor` as `cursor` for the next. \
                       Errors are problems (RFC 9457) with a stable `code`."
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags(
        (name = "runs", description = "Ask for runs, look at them, cancel, retry"),
        (name = "reconcile", description = "Repair the ledger of a workspace"),
        (name = "workspaces", description = "Organisations"),
        (name = "tenants", description = "Microsoft 365 directories"),
        (name = "snapshots", description = "What fetches have read"),
        (name = "schedules", description = "Requests that come by the clock"),
        (name = "identity", description = "What makes two requests the same"),
        (name = "failures", description = "What failed, how often, and what to do next"),
        (name = "events", description = "What happens, as it happens"),
        (name = "audit", description = "Who changed what"),
        (name = "system", description = "The daemon itself"),
        (name = "health", description = "For monitors; no token"),
    )
)]
struct Base;

/// Adds the one way to authenticate.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `atlasd token create`: viewer, operator or admin"))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The document as it is served.
pub struct Document(web::Bytes);

impl Document {
    /// Generates it once; workers share it.
    pub fn generate() -> Self {
        let json = generate().to_json().expect("the document consists of strings, numbers and maps");
        Self(json.into())
    }
}

/// The document, from the same registrations that the server is made of.
pub fn generate() -> utoipa::openapi::OpenApi {
    let (_, document) = App::new()
        .into_utoipa_app()
        .openapi(Base::openapi())
        .configure(routes::open)
        .service(utoipa_actix_web::scope(routes::BASE).configure(routes::behind_the_door))
        .split_for_parts();
    document
}

/// Serves the OpenAPI document.
#[utoipa::path(
    path = "/api/v1/openapi.json",
    tag = "health",
    security(()),
    responses((status = 200, body = serde_json::Value, description = "This document"))
)]
#[get("/api/v1/openapi.json")]
pub(super) async fn serve(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(document.0.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::domain::identity::Inputs;
    use crate::domain::operation::Operation;

    fn json() -> Value {
        serde_json::to_value(generate()).unwrap()
    }

    #[test]
    fn it_is_openapi_3_1() {
        assert_eq!(json()["openapi"], "3.1.0");
    }

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let json = json();
        let mut documented = BTreeSet::new();
        for (path, methods) in json["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                documented.insert((method.to_uppercase(), path.clone()));
            }
        }
        let routes: BTreeSet<_> =
            routes::TABLE.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        assert_eq!(documented, routes);
    }

    #[test]
    fn exactly_the_open_routes_need_no_token() {
        let json = json();
        assert_eq!(json["security"][0]["bearer"], serde_json::json!([]));
        assert_eq!(json["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        for route in routes::TABLE {
            let operation = &json["paths"][route.path][route.method.to_lowercase()];
            let open = operation["security"] == serde_json::json!([{}]);
            assert_eq!(
                open,
                route.role.is_none(),
                "{} {}: {}",
                route.method,
                route.path,
                operation["security"]
            );
        }
    }

    #[test]
    fn every_reference_points_at_a_schema() {
        let json = json();
        let schemas = json["components"]["schemas"].as_object().unwrap();
        let mut references = BTreeSet::new();
        collect_references(&json, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{reference}");
        }
    }

    fn collect_references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    into.insert(reference.clone());
                }
                object.values().for_each(|value| collect_references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
            _ => {}
        }
    }

    #[test]
    fn the_example_of_a_request_is_a_valid_one() {
        let json = json();
        let example = &json["components"]["schemas"]["RunRequest"]["example"];
        let request: crate::intake::RunRequest = serde_json::from_value(example.clone()).unwrap();
        let operation: Operation = request.operation.parse().unwrap();
        assert!(Inputs::normalise(operation, &request.inputs).is_ok(), "{example}");
    }

    #[test]
    fn every_parameter_of_a_path_is_described() {
        let json = json();
        for route in routes::TABLE {
            let named: BTreeSet<_> =
                route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            let operation = &json["paths"][route.path][route.method.to_lowercase()];
            let described: BTreeSet<_> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            assert_eq!(described, named, "{} {}", route.method, route.path);
        }
    }
}
