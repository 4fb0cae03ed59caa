use corten_api::system::{CheckReport, Damage};
use corten_engine::store::{Checked, Damaged, Repair};

use crate::{ApiError, Request, Response};

/// Corten's own: compares the whole store with what it should be, and with `repair=1` mends what can be mended.
pub(super) async fn check(req: Request) -> Result<Response, ApiError> {
    let repair = if req.query().bool("repair") { Repair::Yes } else { Repair::No };
    Ok(Response::json(&report(req.engine().store.check(repair).await?)))
}

fn report(checked: Checked) -> CheckReport {
    let damaged = checked.damaged.into_iter().map(|damage| Damage {
        kind: match damage.what {
            Damaged::Blob => "blob".into(),
            Damaged::Layer => "layer".into(),
        },
        id: damage.id.to_string(),
        reason: damage.reason,
        repaired: damage.repaired,
    });
    CheckReport {
        blobs: checked.blobs,
        layers: checked.layers,
        unchecked: checked.unchecked,
        damaged: damaged.collect(),
    }
}
