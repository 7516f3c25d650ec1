//! What the document says about limits that are configuration: the ones that this daemon has.

use serde_json::{Value, json};

use crate::config::Config;

/// Writes the limits of lists, cursors and batches into the document.
pub(super) fn declare(document: &mut Value, config: &Config) {
    for (_, operation) in super::operations_mut(document) {
        for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            match parameter["name"].as_str() {
                Some("limit") => {
                    parameter["schema"] = json!({
                        "type": "integer", "format": "int32",
                        "minimum": 1, "maximum": config.http.page_max, "default": config.http.page_default,
                    });
                }
                Some("cursor") => {
                    parameter["schema"] =
                        json!({"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[!-~]+$"});
                }
                _ => {}
            }
        }
    }
    document["components"]["schemas"]["BatchRequest"]["properties"]["requests"]["maxItems"] =
        json!(config.admission.bulk_max);
}
