//! Every vector that any implementation of the identity must reproduce (SPEC section 3).

use atlasd::domain::identity::{Inputs, ScopeIds, canonical, hash};
use atlasd::domain::operation::Operation;
use serde_json::Value;

#[test]
fn every_vector_is_reproduced() {
    let file: Value =
        serde_json::from_str(include_str!("data/identity_vectors.json")).expect("the file is JSON");
    let vectors = file["vectors"].as_array().expect("the file has vectors");
    assert_eq!(vectors.len(), 15, "the file has all its vectors");
    for vector in vectors {
        let name = vector["name"].as_str().expect("a vector has a name");
        let operation: Operation =
            vector["operation"].as_str().and_then(|text| text.parse().ok()).expect("a known operation");
        let scope = ScopeIds {
            workspace: vector["workspace"].as_str().expect("a slug").to_owned(),
            tenant: vector["tenant"].as_str().map(|text| text.parse().expect("a UUID")),
        };
        let inputs = Inputs::normalise(operation, &vector["inputs"]).expect("the inputs are right");
        let text = String::from_utf8(canonical(operation, &scope, &inputs)).expect("JSON is UTF-8");
        assert_eq!(text, vector["canonical"].as_str().expect("a canonical text"), "{name}");
        assert_eq!(hash(operation, &scope, &inputs).to_string(), vector["sha256"], "{name}");
    }
}
