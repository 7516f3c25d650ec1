//! The daemon itself: its actors as the tree that they are, the instances that share the ledger, versions, readiness.

use actix_web::{get, web};
use maud::{Markup, html};

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::{figures, notes, times};
use super::{Html, Visit};
use crate::actors::{ActorReport, Readiness, SystemReport};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::problem::Problem;
use crate::admin::system::{tenant_of, visible_system};
use crate::clock::Instant;
use crate::ids::TenantId;
use crate::store::Instance;

/// The page is fetched anew so often: no event tells of the actors.
const EVERY_S: u32 = 3;

/// LIMIT: tenants' actors on the page.
const TENANTS_MAX: usize = 200;

/// What the page shows.
struct SystemView {
    report: SystemReport,
    names: std::collections::BTreeMap<TenantId, String>,
    instances: Vec<Instance>,
    readiness: Readiness,
    readers: usize,
    now: Instant,
}

/// Shows the daemon.
#[get("/system")]
pub async fn page(visit: Visit, caller: Viewer, state: web::Data<AdminState>) -> Result<Html, Problem> {
    let (report, instances) = visible_system(&state, &caller.0).await?;
    let tenants = report.actors.iter().filter_map(|actor| tenant_of(&actor.name)).take(TENANTS_MAX);
    let view = SystemView {
        names: state.store.tenant_names(tenants.collect()).await?,
        report,
        instances,
        readiness: state.handle.readiness(),
        readers: state.handle.events().readers(),
        now: state.store.now().await?,
    };
    let shell = visit.shell("System", Tab::System).following(view.now, "?event=run.completed").every(EVERY_S);
    Ok(Html(layout::page(shell, content(&view))))
}

fn content(view: &SystemView) -> Markup {
    html! {
        div.head {
            h1 { "System" }
            p.lead { "The instance that answered this page, and those that share its ledger." }
        }
        div #system data-part {
            div.stack {
                (readiness(&view.readiness))
                div.columns {
                    (actors(view))
                    (process(view))
                }
                (instances(view))
            }
        }
    }
}

fn readiness(readiness: &Readiness) -> Markup {
    match &readiness.reason {
        None => {
            notes::note(Tone::Good, html! { strong { "Ready." } " It admits work, and its ledger answers." })
        }
        Some(reason) => notes::note(Tone::Bad, html! { strong { "Not ready." } " " (reason) }),
    }
}

/// The supervisor and its children. Parents come first in the report.
fn actors(view: &SystemView) -> Markup {
    let (root, children) = match view.report.actors.split_first() {
        Some((root, children)) => (Some(root), children),
        None => (None, &[][..]),
    };
    let tenants = children.iter().filter(|actor| tenant_of(&actor.name).is_some()).count();
    html! {
        section.panel aria-labelledby="actors" {
            header { h2 #actors { "Actors" } span.muted.small { (figures::counted(tenants as u64, "tenant actor", "tenant actors")) } }
            div.body {
                ul.tree {
                    @match root {
                        None => li { p.muted { "The supervisor does not answer: the daemon is stopping." } },
                        Some(root) => li {
                            (node(root, view))
                            ul {
                                @for actor in children.iter().take(TENANTS_MAX + 2) { li { (node(actor, view)) } }
                                @if tenants == 0 { li { div.node { span.muted { "No tenant has work: an actor is made when one gets some." } } } }
                                @if children.len() > TENANTS_MAX + 2 { li { div.node { span.muted { "and " (children.len() - TENANTS_MAX - 2) " more" } } } }
                            }
                        },
                    }
                }
            }
        }
    }
}

fn node(actor: &ActorReport, view: &SystemView) -> Markup {
    let tenant = tenant_of(&actor.name);
    html! {
        div.node {
            span.name {
                @match tenant {
                    Some(id) => a href={ "/tenants/" (id) } { (view.names.get(&id).map_or(actor.name.as_str(), String::as_str)) },
                    None => (actor.name),
                }
            }
            (badges::badge(tone(&actor.state), &actor.state))
            @if actor.queue > 0 { span.detail { (actor.queue) " waiting" } }
            @if actor.restarts > 0 { (badges::badge(Tone::Warn, &format!("restarted {}", figures::counted(u64::from(actor.restarts), "time", "times")))) }
            @if let Some(pass) = &actor.last_pass { span.detail { (linked(pass)) } }
            @if let Some(at) = actor.last_pass_at { span.detail { "last pass " (times::relative(at, view.now)) } }
        }
    }
}

/// What an actor says of its last pass; a run that it names as a link.
fn linked(pass: &str) -> Markup {
    let named = pass.split_once(" run ").filter(|(_, id)| id.parse::<i64>().is_ok());
    match named {
        Some((before, id)) => html! { (before) " run " a href={ "/runs/" (id) } { "#" (id) } },
        None => html! { (pass) },
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "serving" | "idle" => Tone::Good,
        "writing" | "executing" | "busy" => Tone::Busy,
        "absent" | "gone" => Tone::Bad,
        "draining" | "restarting" => Tone::Warn,
        _ => Tone::Calm,
    }
}

fn process(view: &SystemView) -> Markup {
    let report = &view.report;
    html! {
        section.panel aria-labelledby="process" {
            header { h2 #process { "This instance" } }
            div.body {
                dl.facts {
                    dt { "Version" } dd { (report.version) }
                    dt { "Instance" } dd { span.mono { (report.instance_id) } }
                    dt { "Started" } dd { (times::at(report.started_at)) }
                    dt { "Up for" } dd { (times::running_since(report.started_at, view.now)) }
                    dt { "Open event streams" } dd { (view.readers) }
                    dt { "For monitors" } dd { a href="/healthz" { "/healthz" } " " a href="/readyz" { "/readyz" } " " a href="/metrics" { "/metrics" } }
                    dt { "For programs" } dd { a href="/api/v1/openapi.json" { "OpenAPI document" } }
                }
            }
        }
    }
}

fn instances(view: &SystemView) -> Markup {
    html! {
        section.panel aria-labelledby="instances" {
            header { h2 #instances { "Instances" } span.muted.small { "seen in the last day" } }
            table.table.cards {
                caption.hidden-visually { "Processes that share the ledger, newest first" }
                thead { tr {
                    th scope="col" { "Instance" }
                    th scope="col" { "State" }
                    th scope="col" { "Machine" }
                    th scope="col" { "Version" }
                    th scope="col" { "Started" }
                    th scope="col" { "Heartbeat" }
                } }
                tbody { @for instance in &view.instances { (instance_line(instance, view)) } }
            }
        }
    }
}

fn instance_line(instance: &Instance, view: &SystemView) -> Markup {
    let id = instance.id.to_string();
    let (tone, word) = life(instance, view.now);
    html! {
        tr id={ "instance-" (id) } {
            th.nowrap scope="row" {
                span.mono title=(id) { (id.chars().take(8).collect::<String>()) }
                @if instance.id == view.report.instance_id { " " span.muted.small { "this one" } }
            }
            td data-label="State" { (badges::badge(tone, word)) }
            td.wrap data-label="Machine" { span { (instance.hostname) " " span.muted.small { "pid " (instance.pid) } } }
            td.nowrap data-label="Version" { (instance.version) }
            td.nowrap data-label="Started" { (times::relative(instance.started_at, view.now)) }
            td.nowrap data-label="Heartbeat" { (times::relative(instance.heartbeat_at, view.now)) }
        }
    }
}

/// Whether an instance lives.
fn life(instance: &Instance, now: Instant) -> (Tone, &'static str) {
    if instance.stopped_at.is_some() {
        (Tone::Calm, "stopped")
    } else if instance.lost_at.is_some() {
        (Tone::Bad, "lost")
    } else if instance.lease_until < now {
        (Tone::Warn, "lease over")
    } else {
        (Tone::Good, "alive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::InstanceId;

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000).unwrap()
    }

    fn actor(name: &str, state: &str, restarts: u32) -> ActorReport {
        ActorReport {
            name: name.to_owned(),
            state: state.to_owned(),
            queue: 0,
            restarts,
            last_pass_at: None,
            last_pass: None,
        }
    }

    fn view(actors: Vec<ActorReport>) -> SystemView {
        let id = InstanceId(uuid::Uuid::nil());
        SystemView {
            report: SystemReport { version: "1".to_owned(), instance_id: id, started_at: at(0), actors },
            names: [(TenantId(4), "Contoso <b>".to_owned())].into(),
            instances: vec![],
            readiness: Readiness { ready: false, reason: Some("draining".to_owned()) },
            readers: 1,
            now: at(10),
        }
    }

    #[test]
    fn the_tree_has_the_supervisor_at_its_root() {
        let actors = vec![
            actor("supervisor", "serving", 0),
            actor("registry", "serving", 0),
            actor("tenant:4", "executing", 3),
        ];
        let text = content(&view(actors)).into_string();
        let (root, child) = (text.find("supervisor").unwrap(), text.find("Contoso &lt;b&gt;").unwrap());
        assert!(root < child && text[root..child].contains("<ul>"), "{text}");
        assert!(text.contains("restarted 3 times") && text.contains("Not ready."), "{text}");
    }

    #[test]
    fn a_run_of_a_last_pass_is_a_link() {
        assert_eq!(linked("executed run 3").into_string(), "executed run <a href=\"/runs/3\">#3</a>");
        assert_eq!(linked("wrote 1 run; 3 identities held").into_string(), "wrote 1 run; 3 identities held");
    }

    #[test]
    fn without_an_answer_of_the_supervisor_the_page_still_stands() {
        assert!(content(&view(vec![])).into_string().contains("does not answer"));
    }

    #[test]
    fn an_instance_is_alive_while_its_lease_lasts() {
        let alive = Instance {
            id: InstanceId(uuid::Uuid::nil()),
            hostname: "a".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            started_at: at(0),
            heartbeat_at: at(8),
            lease_until: at(18),
            stopped_at: None,
            lost_at: None,
        };
        assert_eq!(life(&alive, at(10)).1, "alive");
        assert_eq!(life(&alive, at(19)).1, "lease over");
        assert_eq!(life(&Instance { lost_at: Some(at(9)), ..alive.clone() }, at(10)).1, "lost");
        assert_eq!(life(&Instance { stopped_at: Some(at(9)), ..alive }, at(10)).1, "stopped");
    }
}
