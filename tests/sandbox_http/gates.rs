//! Gates hold a call at a step until they are told otherwise; portal edits happen at theirs.

use std::time::Duration;

use atlasd::sandbox::{Edit, Fault, FaultKind, Gate, GateState, On, ScheduledEdit, Step, When};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{COMPLIANCE, COMPLIANCE_LIST, Client, holding, tenant, to_group};

const PATIENCE: Duration = Duration::from_secs(10);

async fn client() -> Client {
    Client::start(holding(&[(COMPLIANCE, 3), ("roleAssignment", 2)])).await
}

fn gate(step: Step, id: &str) -> Gate {
    Gate::at(step).tenant(tenant()).policy(COMPLIANCE, id)
}

#[tokio::test]
async fn a_write_is_held_before_and_after_it_is_applied() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    let (before, set) = (client.live(COMPLIANCE, &id), [to_group(&client.group(5))]);
    let received = control.place_gate(gate(Step::WriteReceived, &id));
    let applied = control.place_gate(gate(Step::WriteApplied, &id));
    let looking_on = async {
        assert_eq!(control.gate_reached(received, PATIENCE).await, Ok(GateState::Holding));
        assert_eq!(client.live(COMPLIANCE, &id), before, "nothing was done yet");
        assert_eq!(client.get(COMPLIANCE_LIST).await.status, 200, "everything else goes on");
        control.release_gate(received).expect("it is there");
        assert_eq!(control.gate_reached(applied, PATIENCE).await, Ok(GateState::Holding));
        assert_ne!(client.live(COMPLIANCE, &id), before, "it was done");
        control.release_gate(applied).expect("it is there");
    };
    let (got, ()) = tokio::join!(client.assign(&id, &set), looking_on);
    assert_eq!(got.expect("it is answered").status, 200);
    let again = client.assign(&id, &set).await.expect("a gate holds one call only");
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn a_held_write_arrives_also_when_its_client_has_gone() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    let received = control.place_gate(gate(Step::WriteReceived, &id));
    {
        let set = [to_group(&client.group(5))];
        let write = client.assign(&id, &set);
        tokio::select! {
            _ = write => panic!("it is held"),
            reached = control.gate_reached(received, PATIENCE) => assert_eq!(reached, Ok(GateState::Holding)),
        }
    }
    control.release_gate(received).expect("it is there");
    // Another connection may overtake the task that was released.
    for _ in 0..1000 {
        if control.writes_of(tenant()).iter().any(|write| write.applied) {
            break;
        }
        tokio::task::yield_now().await;
        client.get(COMPLIANCE_LIST).await;
    }
    assert_eq!(client.live(COMPLIANCE, &id)[0]["target"]["groupId"], client.group(5).as_str());
}

#[tokio::test]
async fn a_discarded_write_never_happens_and_is_never_answered() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    let before = client.live(COMPLIANCE, &id);
    let received = control.place_gate(gate(Step::WriteReceived, &id));
    let discarding = async {
        control.gate_reached(received, PATIENCE).await.expect("the write comes");
        control.discard_gate(received).expect("it is there");
    };
    let (got, ()) = tokio::join!(client.assign(&id, &[]), discarding);
    assert!(got.is_err(), "the connection is closed");
    assert_eq!(client.live(COMPLIANCE, &id), before);
    assert!(control.writes_of(tenant()).is_empty());
    assert_eq!(control.gates()[0].state, GateState::Discarded);
}

#[tokio::test]
async fn the_nth_read_and_the_reading_back_are_told_apart() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    let second = control.place_gate(gate(Step::Read, &id).nth(2));
    let back = control.place_gate(gate(Step::ReadBack, &id));
    client.assignments(&id).await;
    client.assignments(&client.policy(COMPLIANCE, 1)).await;
    assert_eq!(control.gates()[0].state, GateState::Waiting);
    let release = |number| {
        let control = &control;
        async move {
            control.gate_reached(number, PATIENCE).await.expect("the read comes");
            control.release_gate(number).expect("it is there");
        }
    };
    // A list that shows assignments is a read of each.
    let list = format!("{COMPLIANCE_LIST}?$expand=assignments");
    let (listed, ()) = tokio::join!(client.get(&list), release(second));
    assert_eq!(listed.status, 200);
    assert_eq!(control.gates()[1].state, GateState::Waiting, "nothing was written yet");
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200);
    let (read, ()) = tokio::join!(client.assignments(&id), release(back));
    assert!(read.is_empty());
}

#[tokio::test]
async fn a_write_in_a_batch_is_held_too() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    let received = control.place_gate(gate(Step::WriteReceived, &id));
    let item = json!({"id": "1", "method": "POST", "url": format!("{COMPLIANCE_LIST}/{id}/assign"),
        "headers": {"Content-Type": "application/json"}, "body": {"assignments": []}});
    let batch = json!({"requests": [item]});
    let looking_on = async {
        control.gate_reached(received, PATIENCE).await.expect("the write comes");
        assert!(control.writes_of(tenant()).is_empty());
        control.release_gate(received).expect("it is there");
    };
    let (got, ()) = tokio::join!(client.post("/$batch", &batch), looking_on);
    assert_eq!(got.json()["responses"][0]["status"], 200);
    let writes = control.writes_of(tenant());
    assert!(writes[0].applied && writes[0].in_batch);
}

#[tokio::test]
async fn gates_are_placed_awaited_and_released_over_http() {
    let client = client().await;
    let id = client.policy(COMPLIANCE, 0);
    let wanted =
        json!({"tenant": tenant(), "policy_type": COMPLIANCE, "policy_id": id, "at": "write_applied"});
    let (status, placed) = client.control_call(Method::POST, "/gates", Some(wanted)).await;
    assert_eq!(status, 200);
    let gate = format!("/gates/{}", placed["gate_id"]);
    let waiting = client.control_call(Method::GET, &format!("{gate}?wait_ms=1"), None).await;
    assert_eq!(waiting, (200, json!({"state": "waiting"})));
    let looking_on = async {
        let reached = client.control_call(Method::GET, &format!("{gate}?wait_ms=10000"), None).await;
        assert_eq!(reached, (200, json!({"state": "holding"})));
        assert_eq!(client.control_call(Method::POST, &format!("{gate}/release"), None).await.0, 204);
    };
    let (got, ()) = tokio::join!(client.assign(&id, &[]), looking_on);
    assert_eq!(got.expect("answered").status, 200);
    let list = client.control_call(Method::GET, "/gates", None).await.1;
    assert_eq!(list[0]["state"], "released");
    assert_eq!(client.control_call(Method::DELETE, "/gates/99", None).await.0, 404);
    assert_eq!(client.control_call(Method::POST, "/gates", Some(json!({"at": "lunch"}))).await.0, 400);
}

fn edit(id: &str, when: When, edit: Edit) -> ScheduledEdit {
    let (policy_type, policy_id) = (COMPLIANCE.to_owned(), id.to_owned());
    ScheduledEdit { tenant: tenant(), policy_type, policy_id, when, edit }
}

#[tokio::test]
async fn an_edit_after_the_nth_read_is_seen_by_the_next_one() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    let set = vec![to_group(&client.group(7))];
    control
        .schedule_edit(edit(&id, When::AfterRead(2), Edit::SetAssignments(set)))
        .expect("there is such a policy");
    let reads = [client.assignments(&id).await, client.assignments(&id).await, client.assignments(&id).await];
    assert_eq!(reads[0], reads[1]);
    assert_eq!((reads[2].len(), &reads[2][0]["target"]["groupId"]), (1, &json!(client.group(7))));
    assert!(control.scheduled_edits().is_empty());
    assert!(control.stats().writes_per_policy.is_empty(), "an edit is not the client's write");
}

#[tokio::test]
async fn an_edit_before_a_write_happens_when_the_write_gets_through() {
    let client = client().await;
    let (id, control) = (client.policy(COMPLIANCE, 0), client.control());
    control
        .schedule_edit(edit(&id, When::BeforeWrite(1), Edit::DeletePolicy))
        .expect("there is such a policy");
    let failing = FaultKind::Status { status: 503, retry_after: None };
    client.fault(Fault::new(failing).on(On::Write).times(1));
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 503);
    assert_eq!(control.scheduled_edits().len(), 1, "a write that goes wrong is none");
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 404);
    assert!(control.scheduled_edits().is_empty());
}

#[tokio::test]
async fn edits_are_scheduled_over_http() {
    let client = client().await;
    let (id, group) = (client.policy(COMPLIANCE, 0), client.group(0));
    let base = format!("/tenants/{}/policies/{COMPLIANCE}/{id}/edit", tenant());
    let wanted = json!({"tenant": tenant(), "policy_type": COMPLIANCE, "policy_id": id,
        "when": {"before_write": 1}, "edit": {"delete_group": group}});
    assert_eq!(client.control_call(Method::POST, "/edits", Some(wanted.clone())).await.0, 204);
    assert_eq!(client.control_call(Method::GET, "/edits", None).await.1, json!([wanted]));
    let got = client.assign(&id, &[to_group(&group)]).await.expect("answered");
    assert_eq!(got.status, 400, "the group went just before");
    let rename = json!({"rename": "Twin"});
    assert_eq!(client.control_call(Method::POST, &base, Some(rename)).await.0, 204);
    assert_eq!(client.get(&format!("{COMPLIANCE_LIST}/{id}")).await.json()["displayName"], "Twin");
    assert_eq!(client.control_call(Method::POST, "/edits", Some(json!({"edit": "nothing"}))).await.0, 400);
}

#[tokio::test]
async fn names_may_be_used_twice() {
    let client = client().await;
    let control = client.control();
    let groups = [control.add_group(tenant(), "Twins"), control.add_group(tenant(), "Twins")];
    assert_ne!(groups[0], groups[1]);
    for at in 0..2 {
        let twin = Edit::Rename("Twins".to_owned());
        control.edit(tenant(), COMPLIANCE, &client.policy(COMPLIANCE, at), twin).expect("it is there");
    }
    let named = |items: Vec<Value>| items.iter().filter(|item| item["displayName"] == "Twins").count();
    assert_eq!(named(client.items("/groups").await), 2);
    assert_eq!(named(client.items(COMPLIANCE_LIST).await), 2);
}

#[tokio::test]
async fn a_role_assignment_is_edited_as_an_object() {
    let client = client().await;
    let (id, group) = (client.policy("roleAssignment", 0), client.group(9));
    let edit = Edit::SetAssignments(vec![json!({"members": [group]})]);
    client.control().edit(tenant(), "roleAssignment", &id, edit).expect("it is there");
    let read = client.get(&format!("/deviceManagement/roleAssignments/{id}")).await.json();
    assert_eq!(read["members"], json!([group]));
}
