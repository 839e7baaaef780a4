//! Our own additions: looking over what is stored, and changing how layers are kept.

use std::{collections::BTreeMap, sync::Arc};

use ferry_api::{
    ConvertReport, Damage, ProgressMessage, ScrubFinding, ScrubReport,
    query::{ConvertLayersQuery, ScrubQuery},
};
use ferry_engine::{RepairOutcome, ScrubEvent, ScrubOutcome, ScrubRequest};
use ferry_oci::reference::Reference;
use ferry_store::{DamagedThing, LayerStoreKind};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::{
    convert::{shown::signed, transfers::credentials},
    http::{error::Failure, reply::Reply, service::Target},
    routes::progress::{self, QUEUED_MESSAGES},
};

/// Looks over what is stored; it ends when the client hangs up.
pub(super) fn scrub(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ScrubQuery::from_query)?;
    let auth = call.registry_auth();
    let request = ScrubRequest {
        repair: query.repair,
        registry: registry_of(&auth.serveraddress),
        credentials: credentials(auth),
    };
    let cancel = call.app.closing.child_token();
    let guard = cancel.clone().drop_guard();
    let app = Arc::clone(&call.app);
    Ok(answer(call, Some(guard), |told| async move {
        app.engine.scrub(request, told, cancel).await.map(|outcome| aux(&report(outcome)))
    }))
}

/// Changes how layers are kept; it is finished even if the client hangs up.
pub(super) fn convert(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ConvertLayersQuery::from_query)?;
    let to = match query.driver.as_deref() {
        Some("erofs") => LayerStoreKind::Erofs,
        Some("directories" | "overlay2") => LayerStoreKind::Directories,
        other => {
            let driver = other.unwrap_or_default();
            return Err(Failure::invalid(format!(
                "unknown driver {driver:?}: there are erofs and directories"
            )));
        }
    };
    let app = Arc::clone(&call.app);
    Ok(answer(call, None, |told| async move {
        let converted = app.engine.convert_layers(to, told).await?;
        let count = |list: &[_]| i64::try_from(list.len()).unwrap_or(i64::MAX);
        Ok(aux(&ConvertReport {
            converted: count(&converted.converted),
            in_use: count(&converted.in_use),
            damaged: count(&converted.damaged),
        }))
    }))
}

/// The registry that an address of a login is about, as names have it.
fn registry_of(address: &str) -> String {
    let host = address.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    match Reference::parse(&format!("{host}/x/x")) {
        Ok(name) if !host.is_empty() => name.domain().to_owned(),
        _ => String::new(),
    }
}

/// Answers with what is told, and with the last message or the failure at the end.
fn answer<F>(
    call: &Target,
    guard: Option<DropGuard>,
    work: impl FnOnce(mpsc::Sender<ScrubEvent>) -> F,
) -> Reply
where
    F: Future<Output = ferry_engine::Result<ProgressMessage>> + Send + 'static,
{
    let (told, mut events) = mpsc::channel(QUEUED_MESSAGES);
    let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
    let task = call.app.handlers.spawn(work(told));
    call.app.handlers.spawn(async move {
        // Dropped when the client is gone.
        let guard = guard;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => break,
            };
            let Some(event) = event else { break };
            if sender.send(message(event)).await.is_err() {
                break;
            }
        }
        drop(events);
        if sender.is_closed() {
            drop(guard);
            return;
        }
        let last = match task.await {
            Ok(Ok(last)) => last,
            Ok(Err(error)) => ProgressMessage::failure(error.to_string()),
            Err(error) => ProgressMessage::failure(format!("a task failed: {error}")),
        };
        // A client that hung up meanwhile misses it.
        sender.send(last).await.ok();
    });
    Reply::stream("application/json", progress::lines(receiver))
}

fn message(event: ScrubEvent) -> ProgressMessage {
    match event {
        ScrubEvent::Checking { digest, current, total } => {
            progress::step("Checking", digest.short().to_owned(), current, total)
        }
        ScrubEvent::Found { damage, repair } => {
            let ferry_store::Damage { what, digest, problem, needed_by } = damage;
            let digest = match &what {
                DamagedThing::Leak(path) => path.display().to_string(),
                _ => digest.to_string(),
            };
            let images = needed_by.iter().map(ToString::to_string).collect();
            let (kind, repair) = (kind(&what).to_owned(), repair_word(repair).to_owned());
            aux(&ScrubFinding { damage: Some(Damage { kind, digest, problem, images, repair }) })
        }
        ScrubEvent::NotConverted(digest) => {
            ProgressMessage::status(format!("layer {digest} is damaged and stays as it is"))
        }
    }
}

fn kind(what: &DamagedThing) -> &'static str {
    match what {
        DamagedThing::Blob => "blob",
        DamagedThing::Manifest => "manifest",
        DamagedThing::Config => "config",
        DamagedThing::Layer => "layer",
        DamagedThing::Index => "index",
        DamagedThing::Row => "row",
        DamagedThing::Leak(_) => "leak",
    }
}

fn repair_word(repair: RepairOutcome) -> &'static str {
    match repair {
        RepairOutcome::NotTried => "none",
        RepairOutcome::Done => "done",
        RepairOutcome::Pulled => "pulled",
        RepairOutcome::NeedsPull => "needs-pull",
        RepairOutcome::InUse => "in-use",
    }
}

fn report(outcome: ScrubOutcome) -> ScrubReport {
    let ScrubOutcome { blobs, layers, damaged, repaired } = outcome;
    let checked = [("blobs", blobs), ("layers", layers)];
    ScrubReport {
        checked: checked
            .map(|(kind, count)| (kind.to_owned(), signed(count)))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        damaged: signed(damaged),
        repaired: signed(repaired),
    }
}

fn aux(value: &impl Serialize) -> ProgressMessage {
    ProgressMessage { aux: serde_json::to_value(value).ok(), ..ProgressMessage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_the_registry_of_their_address() {
        for (address, expect) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://registry.example/v2/", "registry.example"),
            ("", ""),
        ] {
            assert_eq!(registry_of(address), expect, "{address}");
        }
    }
}
