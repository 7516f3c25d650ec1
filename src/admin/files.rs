//! Snapshots as files (docs/snapshots.md): export of one, import into a tenant.
//!
//! An export is streamed part by part, so that its size costs no memory; a connection that breaks before the last
//! byte leaves a file that is no JSON, never a shorter snapshot.

use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpRequest, HttpResponse, get, post, web};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AdminState;
use super::audit;
use super::auth::{Admin, Viewer};
use super::body::{self, BodyTimeout, Query};
use super::problem::{Missing, Problem};
use super::snapshots::visible_snapshot;
use super::tenants::visible_tenant;
use crate::domain::audit::{Action, Change, Object};
use crate::domain::names;
use crate::ids::{SnapshotId, TenantId};
use crate::intake::snapshot_file::{self, SnapshotFile};
use crate::store::{PageRequest, Snapshot, Store};

/// Exports a snapshot as a file: JSON, complete, in the form that the import takes.
#[utoipa::path(
    operation_id = "export_snapshot",
    tag = "snapshots",
    params(("id" = i64, Path, description = "The snapshot")),
    responses(
        (status = 200, body = SnapshotFile, description = "The file",
         headers(("Content-Disposition" = String, description = "A name for the file"))),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "`snapshot.not_finished`"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/snapshots/{id}/export")]
pub(super) async fn export(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<SnapshotId>,
) -> Result<HttpResponse, Problem> {
    let snapshot = visible_snapshot(&state, &caller.0, *id).await?;
    if !snapshot.finished {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "snapshot.not_finished",
            format!("snapshot {} was not read to its end", snapshot.id),
        ));
    }
    let tenant = state.store.tenant(snapshot.tenant_id).await?;
    let tenant = tenant.ok_or_else(|| Problem::not_found(Missing::Snapshot))?;
    let exported_at = state.store.now().await?;
    let opening = snapshot_file::opening(&tenant, &snapshot, exported_at);
    let name = format!("attachment; filename=\"atlasd-snapshot-{}.json\"", snapshot.id);
    let page_items = state.config().http.page_max;
    let parts = Parts { store: state.store.clone(), snapshot, page_items, next: Next::Opening(opening) };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CONTENT_DISPOSITION, name))
        .streaming(stream::try_unfold(parts, Parts::part)))
}

/// An export under way.
struct Parts {
    store: Store,
    snapshot: Snapshot,
    page_items: usize,
    next: Next,
}

/// What is sent next.
enum Next {
    Opening(String),
    Items { cursor: Option<String>, first: bool },
    End,
}

impl Parts {
    /// The next part, and what comes after it. No part is empty: an empty one would end the answer.
    async fn part(mut self) -> Result<Option<(web::Bytes, Self)>, actix_web::Error> {
        let (text, next) = match std::mem::replace(&mut self.next, Next::End) {
            Next::End => return Ok(None),
            Next::Opening(text) => (text, Next::Items { cursor: None, first: true }),
            Next::Items { cursor, first } => self.items(cursor, first).await?,
        };
        self.next = next;
        Ok(Some((web::Bytes::from(text), self)))
    }

    async fn items(&self, cursor: Option<String>, first: bool) -> Result<(String, Next), Problem> {
        let page = PageRequest { limit: self.page_items, cursor };
        let page = self.store.snapshot_items(self.snapshot.id, page).await?;
        let mut text = String::new();
        for (index, item) in page.items.iter().enumerate() {
            if index > 0 || !first {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(item).expect("an item is made of text and JSON"));
        }
        if page.next_cursor.is_some() {
            return Ok((
                text,
                Next::Items { cursor: page.next_cursor, first: first && page.items.is_empty() },
            ));
        }
        // RACE: retention may have removed the snapshot meanwhile, and with it items that were not read yet.
        let still_there = self.store.snapshot(self.snapshot.id).await?;
        still_there.ok_or_else(|| Problem::not_found(Missing::Snapshot))?;
        text.push_str(snapshot_file::CLOSING);
        Ok((text, Next::End))
    }
}

/// What to call an imported snapshot.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// What to call it; 1 to 200 characters.
    #[param(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    label: Option<String>,
}

/// Imports a snapshot for a tenant: the file of an export, of this tenant or of another one.
#[utoipa::path(
    operation_id = "import_snapshot",
    tag = "snapshots",
    params(("id" = i64, Path, description = "The tenant"), ImportQuery),
    request_body = SnapshotFile,
    responses(
        (status = 201, body = Snapshot, description = "Imported"),
        (status = 400, body = super::problem::Problem, content_type = "application/problem+json",
         description = "It is no JSON; the detail names line and column"),
        (status = 413, body = super::problem::Problem, content_type = "application/problem+json",
         description = "It is larger than `http.import_bytes_max`"),
        (status = 422, body = super::problem::Problem, content_type = "application/problem+json",
         description = "It is no snapshot; `field` names the place of the mistake"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/tenants/{id}/snapshots/import")]
pub(super) async fn import(
    caller: Admin,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
    query: Query<ImportQuery>,
    file: FileBytes,
) -> Result<HttpResponse, Problem> {
    let label = query.0.label;
    if let Some(label) = &label {
        names::name(label).map_err(|error| Problem::invalid("label", &error.to_string()))?;
    }
    let tenant = visible_tenant(&state, &caller.0, *id).await?;
    // A file of this size takes a second to parse, which no other request is to wait for.
    let checked = web::block(move || -> Result<_, Problem> {
        let file: SnapshotFile = body::parse(&file.0)?;
        Ok(file.check(label.as_deref())?)
    });
    let checked =
        checked.await.map_err(|_| Problem::broken_invariant("expected the check of a file to end"))??;
    let batch_max = state.config().database.import_batch_max;
    let snapshot = state.store.import_snapshot(tenant.id, checked, batch_max).await?;
    tracing::info!(
        by = %caller.0.name, tenant.id = tenant.id.0, snapshot.id = snapshot.id.0, "snapshot imported"
    );
    let change = Change::new(Action::SnapshotImported).of(Object::Snapshot, snapshot.id.0);
    let change = change.in_workspace(Some(tenant.workspace_id)).with("tenant_id", tenant.id.0);
    audit::note(&state, change).await;
    Ok(HttpResponse::Created().json(snapshot))
}

/// The bytes of a file: at most `http.import_bytes_max`, and one MiB in each `http.client_timeout` at the least.
pub(super) struct FileBytes(web::BytesMut);

impl FromRequest for FileBytes {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let state = request.app_data::<web::Data<AdminState>>().cloned();
        let patience = request.app_data::<BodyTimeout>().copied().unwrap_or_default().0;
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let payload = payload.take();
        Box::pin(async move {
            let state = state.ok_or_else(|| Problem::broken_invariant("expected a state"))?;
            let bytes_max = state.config().http.import_bytes_max;
            if announced.is_some_and(|length| length > bytes_max) {
                return Err(Problem::too_large("http.import_bytes_max"));
            }
            read(payload, bytes_max, patience).await.map(Self)
        })
    }
}

async fn read(mut payload: Payload, bytes_max: usize, patience: Duration) -> Result<web::BytesMut, Problem> {
    let began = Instant::now();
    let mut bytes = web::BytesMut::new();
    loop {
        let mebibytes_begun = u32::try_from((bytes.len() >> 20) + 1).unwrap_or(u32::MAX);
        let left = patience.saturating_mul(mebibytes_begun).saturating_sub(began.elapsed());
        let part = tokio::time::timeout(left, payload.next()).await.map_err(|_| Problem::too_slow())?;
        let Some(part) = part else { return Ok(bytes) };
        let part =
            part.map_err(|_| Problem::malformed("the body ended early or broke the transfer coding"))?;
        if bytes.len() + part.len() > bytes_max {
            return Err(Problem::too_large("http.import_bytes_max"));
        }
        bytes.extend_from_slice(&part);
    }
}
