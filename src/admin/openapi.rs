//! The OpenAPI 3.1 document, generated from the handlers and the types that they answer with.
//!
//! What is the same for many calls is written once, here: the problems (`problems`), the limits that are
//! configuration (`limits`), and the examples, which are recorded answers (`examples`).

mod examples;
mod limits;
mod problems;

use actix_web::http::header;
use actix_web::{App, HttpResponse, get, web};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_actix_web::AppExt;

use super::{AdminState, routes};
use crate::config::Config;

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

/// The document as it is served. Clones share it.
#[derive(Clone)]
pub struct Document(web::Bytes);

impl Document {
    /// Generates it, with the limits of a configuration.
    pub fn generate(config: &Config) -> Self {
        Self(generate(config).to_string().into())
    }
}

/// The document, from the same registrations that the server is made of.
pub fn generate(config: &Config) -> Value {
    let (_, document) = App::new()
        .into_utoipa_app()
        .openapi(Base::openapi())
        .configure(routes::open)
        .service(utoipa_actix_web::scope(routes::BASE).configure(routes::behind_the_door))
        .split_for_parts();
    let mut document =
        serde_json::to_value(document).expect("the document consists of strings, numbers and maps");
    for (_, operation) in operations_mut(&mut document) {
        tell_in_one_sentence(operation);
    }
    problems::declare(&mut document);
    limits::declare(&mut document, config);
    examples::declare(&mut document);
    document
}

/// Every operation, with its place.
#[cfg(test)]
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().into_iter().flatten().flat_map(|(path, methods)| {
        methods
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    })
}

/// The same, to change them.
fn operations_mut(document: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    document["paths"]
        .as_object_mut()
        .into_iter()
        .flat_map(|paths| paths.values_mut())
        .flat_map(|methods| methods.as_object_mut().into_iter().flatten())
}

/// A handler's first paragraph is its summary: what goes beyond its first sentence is the description.
fn tell_in_one_sentence(operation: &mut Value) {
    let Some(told) = operation["summary"].as_str() else { return };
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, rest) = match told.split_once(". ") {
        Some((first, rest)) => (format!("{first}."), rest.to_owned()),
        None => (told, String::new()),
    };
    let more = operation["description"].as_str().map(str::to_owned);
    let rest: Vec<_> = [Some(rest), more].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    operation["summary"] = first.into();
    if !rest.is_empty() {
        operation["description"] = rest.join("\n\n").into();
    }
}

/// Serves the OpenAPI document.
#[utoipa::path(
    path = "/api/v1/openapi.json",
    operation_id = "openapi",
    tag = "health",
    security(()),
    responses((status = 200, body = serde_json::Value, description = "This document"))
)]
#[get("/api/v1/openapi.json")]
pub(super) async fn serve(state: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(state.document().0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::identity::Inputs;
    use crate::domain::operation::Operation;

    fn json() -> Value {
        generate(&Config::default())
    }

    #[test]
    fn it_is_openapi_3_1() {
        assert_eq!(json()["openapi"], "3.1.0");
    }

    #[test]
    fn every_operation_says_what_it_is_and_what_it_answers() {
        let json = json();
        let mut ids = BTreeSet::new();
        for (place, operation) in operations(&json) {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{place}: no operationId"));
            assert!(ids.insert(id), "{place}: another operation is {id}, too: give it an `operation_id`");
            let summary = operation["summary"].as_str().unwrap_or_else(|| panic!("{place}: no summary"));
            assert!(!summary.contains('\n') && summary.ends_with('.'), "{place}: {summary}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{place}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().all(|status| status != "default"), "{place}: `default` says nothing");
            let problems = responses.iter().filter(|(status, _)| status.as_str() >= "400");
            for (status, response) in problems.filter(|_| place != "GET /readyz") {
                assert!(
                    response["description"].as_str().is_some_and(|said| said.contains("`: ")),
                    "{place}: {status} names no code: {response}"
                );
            }
        }
    }

    #[test]
    fn every_answer_that_is_json_has_an_example() {
        let json = json();
        // The document does not hold itself.
        let without = ["openapi"];
        for (place, operation) in operations(&json) {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let well = operation["responses"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(status, _)| status.starts_with('2'))
                .filter_map(|(_, response)| response["content"].get("application/json"))
                .collect::<Vec<_>>();
            let shown = well.is_empty() || well.iter().any(|media| media.get("examples").is_some());
            assert!(
                shown || without.contains(&id),
                "{place}: tests/http/examples.rs records no answer of {id}"
            );
        }
    }

    #[test]
    fn reason_codes_are_named_as_the_ledger_names_them() {
        let codes = json()["components"]["schemas"]["Code"]["enum"].clone();
        let known: Vec<_> = crate::domain::failure::Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes, serde_json::json!(known));
    }

    #[test]
    fn the_limits_are_those_of_the_configuration() {
        let mut config = Config::default();
        (config.http.page_max, config.admission.bulk_max) = (77, 55);
        let document = generate(&config);
        let limit = document["paths"]["/api/v1/runs"]["get"]["parameters"]
            .as_array()
            .and_then(|all| all.iter().find(|parameter| parameter["name"] == "limit"));
        assert_eq!(limit.unwrap()["schema"]["maximum"], 77);
        let requests = &document["components"]["schemas"]["BatchRequest"]["properties"]["requests"];
        assert_eq!(requests["maxItems"], 55);
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
