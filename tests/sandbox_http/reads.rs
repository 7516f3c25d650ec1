//! Lists, pages, assignments, groups: what is read, and that it is the same every time.

use std::collections::{BTreeMap, BTreeSet};

use atlasd::domain::policy_types::{self, Discriminator, Expand, Read};
use atlasd::sandbox::{Policies, SandboxConfig};
use serde_json::Value;

use crate::client::{Client, holding, tenant};

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

fn is_of(row: &policy_types::PolicyType, item: &Value) -> bool {
    let odata_type = item["@odata.type"].as_str().unwrap_or_default();
    match row.discriminator {
        Discriminator::Whole => true,
        Discriminator::Only(types) => types.contains(&odata_type),
        Discriminator::Except(types) => !types.contains(&odata_type),
    }
}

#[tokio::test]
async fn one_seed_answers_the_same_bytes() {
    let (first, second) = (Client::single(120).await, Client::single(120).await);
    for row in policy_types::readable() {
        let path = format!("{}?$expand=assignments&$top=7", row.list_path);
        let body = |client: &Client, text: String| text.replace(&client.sandbox.url(), "");
        let (one, two) = (first.get(&path).await, second.get(&path).await);
        if one.status == 200 {
            assert_eq!(body(&first, one.text), body(&second, two.text), "{}", row.key);
        } else {
            assert_eq!(one.status, two.status, "{}", row.key);
        }
    }
    assert_eq!(first.control().expected(tenant()), second.control().expected(tenant()));
}

#[tokio::test]
async fn another_seed_is_another_world() {
    let other = SandboxConfig { seed: 2, ..SandboxConfig::single(60) };
    let (first, second) = (Client::single(60).await, Client::start(other).await);
    let (one, two) = (first.control().expected(tenant()), second.control().expected(tenant()));
    let both = |truth: &BTreeMap<(String, String), Vec<Value>>| {
        truth.keys().filter(|(key, _)| key != "roleScopeTag").cloned().collect::<BTreeSet<_>>()
    };
    assert!(both(&one).is_disjoint(&both(&two)));
}

#[tokio::test]
async fn every_readable_type_lists_pages_and_gives_its_assignments() {
    let mut config = SandboxConfig::single(0);
    config.tenants[0].policies = Policies::PerType(5);
    config.page_size_max = 2;
    config.page_size = 2;
    config.throttle.calls_max = usize::MAX;
    let client = Client::start(config).await;
    let truth = client.control().expected(tenant());
    assert_eq!(truth.len(), 5 * policy_types::readable().count());
    for row in policy_types::readable() {
        let pages = client.pages(row.list_path).await;
        assert!(pages.len() >= 3, "{}: five items on pages of two", row.key);
        let items = client.items(row.list_path).await;
        let own: Vec<Value> = items.into_iter().filter(|item| is_of(row, item)).collect();
        let wanted: BTreeSet<_> =
            truth.keys().filter(|(key, _)| key == row.key).map(|(_, id)| id.clone()).collect();
        assert_eq!(ids(&own).into_iter().collect::<BTreeSet<_>>(), wanted, "{}", row.key);
        for item in own {
            let id = item["id"].as_str().expect("an id");
            assert!(item[row.name_property].is_string(), "{} has a name", row.key);
            let expected = &truth[&(row.key.to_owned(), id.to_owned())];
            if row.read == Read::Object {
                assert!(item["members"].is_array());
                continue;
            }
            let read = client.items(&format!("{}/{id}/assignments", row.list_path)).await;
            assert_eq!(&read, expected, "{} {id}", row.key);
        }
    }
}

#[tokio::test]
async fn expand_is_full_silently_empty_or_refused() {
    let client = Client::single(240).await;
    let truth = client.control().expected(tenant());
    let refused = ["policySet", "termsAndConditions"];
    for row in policy_types::readable().filter(|row| row.read == Read::Navigation) {
        let path = format!("{}?$expand=assignments&$top=1000", row.list_path);
        if refused.contains(&row.key) {
            let got = client.get(&path).await;
            assert_eq!((got.status, got.code().as_str()), (400, "BadRequest"), "{}", row.key);
            continue;
        }
        for item in client.items(&path).await.iter().filter(|item| is_of(row, item)) {
            let id = item["id"].as_str().expect("an id").to_owned();
            let shown = item["assignments"].as_array().expect("an expanded list");
            match row.expand {
                Expand::Works => assert_eq!(shown, &truth[&(row.key.to_owned(), id)], "{}", row.key),
                Expand::Untrusted => assert!(shown.is_empty(), "{}", row.key),
            }
        }
    }
}

#[tokio::test]
async fn the_token_of_the_settings_catalogue_must_come_back_byte_for_byte() {
    let client = Client::start(holding(&[("configurationPolicy", 30)])).await;
    let page = client.get("/deviceManagement/configurationPolicies?$top=10").await.json();
    assert_eq!(page["@odata.count"], 10, "the count is the page's");
    let link = page["@odata.nextLink"].as_str().expect("more pages");
    assert!(link.contains("%25"), "doubly encoded: {link}");
    let rebuilt = link.replace("%25", "%");
    let kept = client.send(reqwest::Method::GET, link, None).await.expect("answers").status;
    let altered = client.send(reqwest::Method::GET, &rebuilt, None).await.expect("answers").status;
    assert_eq!((kept, altered), (200, 400));
}

#[tokio::test]
async fn a_page_may_be_empty_and_still_have_a_next_link() {
    let mut config = SandboxConfig::single(0);
    config.tenants[0].policies = Policies::PerType(5);
    let client = Client::start(config).await;
    let mut empty = 0;
    for row in policy_types::readable() {
        let pages = client.pages(&format!("{}?$top=2", row.list_path)).await;
        let hollow =
            |page: &&Value| page["value"] == serde_json::json!([]) && !page["@odata.nextLink"].is_null();
        empty += pages.iter().filter(hollow).count();
        let all: Vec<Value> =
            pages.iter().flat_map(|page| page["value"].as_array().cloned().unwrap_or_default()).collect();
        assert_eq!(
            ids(&all).into_iter().collect::<BTreeSet<_>>().len(),
            all.len(),
            "{} repeats none",
            row.key
        );
    }
    assert!(empty > 0);
}

#[tokio::test]
async fn assignments_come_twenty_five_to_a_page_and_apps_count_zero() {
    let client = Client::start(holding(&[("configurationPolicy", 1), ("mobileApp", 3)])).await;
    let id = ids(&client.items("/deviceManagement/configurationPolicies").await).remove(0);
    let pages = client.pages(&format!("/deviceManagement/configurationPolicies/{id}/assignments")).await;
    let sizes: Vec<usize> = pages.iter().map(|page| page["value"].as_array().map_or(0, Vec::len)).collect();
    let filled: Vec<usize> = sizes.into_iter().filter(|size| *size > 0).collect();
    assert_eq!(filled, [25, 25, 10]);
    let apps = client.get("/deviceAppManagement/mobileApps").await.json();
    assert_eq!(apps["@odata.count"], 0);
    assert_eq!(apps["value"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_tenant_holds_every_shape_of_assignment() {
    let client = Client::single(300).await;
    let truth = client.control().expected(tenant());
    let all: Vec<&Value> =
        truth.iter().filter(|((key, _), _)| key != "roleAssignment").flat_map(|(_, items)| items).collect();
    let targets: BTreeSet<_> = all.iter().filter_map(|item| item["target"]["@odata.type"].as_str()).collect();
    assert_eq!(targets.len(), 7, "every kind of target: {targets:?}");
    let filters = "deviceAndAppManagementAssignmentFilterType";
    let with = |test: &dyn Fn(&Value) -> bool| all.iter().any(|item| test(item));
    assert!(with(&|item| item["target"][filters] == "include"));
    assert!(with(&|item| item["target"][filters] == "exclude"));
    assert!(with(&|item| item["target"].get(filters).is_none()));
    assert!(with(&|item| item["source"] == "policySets"));
    assert!(with(&|item| item["settings"]["installTimeSettings"].is_object()));
    assert!(with(&|item| item["runSchedule"].is_object()));
    assert!(with(&|item| item["intent"] == "uninstall"));
    assert!(with(&|item| item["installIntent"].is_string()));
    let groups: BTreeSet<String> = client.control().group_ids(tenant()).into_iter().collect();
    assert!(with(&|item| item["target"]["groupId"].as_str().is_some_and(|id| !groups.contains(id))));
    assert!(truth.values().any(Vec::is_empty));
    assert!(truth.values().any(|items| items.len() > 50));
}

#[tokio::test]
async fn cloud_pc_assignments_have_no_parenthesis_form() {
    let client = Client::start(holding(&[("cloudPcUserSetting", 1), ("deviceConfiguration", 1)])).await;
    for (list, in_parentheses) in [
        ("/deviceManagement/virtualEndpoint/userSettings", 404),
        ("/deviceManagement/deviceConfigurations", 200),
    ] {
        let id = ids(&client.items(list).await).remove(0);
        assert_eq!(client.get(&format!("{list}/{id}/assignments")).await.status, 200);
        assert_eq!(client.get(&format!("{list}('{id}')/assignments")).await.status, in_parentheses, "{list}");
    }
}

#[tokio::test]
async fn groups_and_filters_resolve_and_the_missing_do_not() {
    let client = Client::single(10).await;
    let groups = client.control().group_ids(tenant());
    let missing = "00000000-1111-4222-8333-444444444444";
    assert_eq!(client.get(&format!("/groups/{}", groups[0])).await.json()["id"], groups[0].as_str());
    let got = client.get(&format!("/groups/{missing}")).await;
    assert_eq!((got.status, got.code().as_str()), (404, "Request_ResourceNotFound"));
    let body = serde_json::json!({"ids": [groups[0], missing, groups[1]], "types": ["group"]});
    let found = client.post("/directoryObjects/getByIds", &body).await.json();
    assert_eq!(ids(found["value"].as_array().expect("a list")), [groups[0].clone(), groups[1].clone()]);
    let filters = client.items("/deviceManagement/assignmentFilters").await;
    assert_eq!(ids(&filters), client.control().filter_ids(tenant()));
    assert_eq!(client.items("/groups").await.len(), groups.len());
}

#[tokio::test]
async fn select_keeps_what_was_asked_for() {
    let client = Client::start(holding(&[("deviceManagementScript", 1)])).await;
    let list = "/deviceManagement/deviceManagementScripts";
    assert!(client.items(list).await[0]["scriptContent"].is_string());
    let path = format!("{list}?$select=id,displayName&$expand=assignments");
    let item = client.items(&path).await.remove(0);
    let names: Vec<&str> = item.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["@odata.type", "assignments", "assignments@odata.context", "displayName", "id"]);
}

#[tokio::test]
async fn an_unknown_path_or_version_is_an_unknown_segment() {
    let client = Client::single(10).await;
    assert_eq!(client.get("/deviceManagement/nothing").await.status, 400);
    let v1 = format!("{}/v1.0/deviceManagement/deviceConfigurations", client.sandbox.url());
    let got = client.send(reqwest::Method::GET, &v1, None).await.expect("answers");
    assert_eq!(got.status, 400);
    assert!(client.get("/deviceManagement/deviceConfigurations/none/assignments").await.status == 404);
}

#[tokio::test]
async fn a_next_link_may_be_good_for_once_only() {
    for (once, second) in [(false, 200), (true, 400)] {
        let mut config = holding(&[("compliancePolicy", 3)]);
        (config.page_size, config.one_time_links) = (2, once);
        let client = Client::start(config).await;
        let page = client.get("/deviceManagement/deviceCompliancePolicies").await.json();
        let link = page["@odata.nextLink"].as_str().expect("a second page");
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let got = client.send(reqwest::Method::GET, link, None).await.expect("Graph answers");
            statuses.push(got.status);
        }
        assert_eq!(statuses, [200, second]);
    }
}
