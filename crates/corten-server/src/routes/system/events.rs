use std::sync::Arc;
use std::time::Duration;

use corten_api::events::{Actor, Message};
use corten_engine::events::{Event, Past};
use tokio::sync::broadcast::error::RecvError;

use crate::http::JsonLines;
use crate::{ApiError, ApiVersion, Request, Response};

pub(super) async fn events(req: Request) -> Result<Response, ApiError> {
    let query = req.query();
    let past = Past { since: instant(query.text("since"))?, until: instant(query.text("until"))? };
    if let (Some(since), Some(until)) = (past.since, past.until)
        && until < since
    {
        let (since, until) = (query.text("since").unwrap_or(""), query.text("until").unwrap_or(""));
        let message = format!("`since` time ({since}) cannot be after `until` time ({until})");
        return Err(ApiError::invalid(message));
    }
    let filters = query.filters()?;
    let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let rest = past.until.map(|until| Duration::from_nanos(u64::try_from(until - now).unwrap_or(0)));
    let (history, mut stream) = req.engine().events.follow(past);
    let version = req.version();
    let (mut lines, response) = Response::json_lines();
    tokio::spawn(async move {
        let read = tokio::task::spawn_blocking(move || (history.read(&filters), filters)).await;
        let Ok((old, filters)) = read else { return };
        let wanted = move |event: &Event| shown(event, version) && event.passes(&filters);
        if send(&mut lines, old.into_iter().filter(|e| wanted(e))).await.is_err()
            || rest == Some(Duration::ZERO)
        {
            return;
        }
        let end = async {
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            let received = tokio::select! {
                received = stream.recv() => received,
                () = &mut end => return,
                () = lines.closed() => return,
            };
            match received {
                Ok(event) if wanted(&event) => {
                    if send(&mut lines, [event]).await.is_err() {
                        return;
                    }
                }
                // A client that reads too slowly misses events; what comes next is still worth telling.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    Ok(response)
}

/// Events of images being created are told since 1.46.
fn shown(event: &Event, version: ApiVersion) -> bool {
    version.at_least(46) || event.r#type != "image" || event.action != "create"
}

async fn send(lines: &mut JsonLines, events: impl IntoIterator<Item = Arc<Event>>) -> std::io::Result<()> {
    for event in events {
        lines.send(&message(&event)).await?;
    }
    Ok(())
}

/// The event on the wire, with the members that older clients read.
fn message(event: &Event) -> Message {
    let (container, image) = (event.r#type == "container", event.r#type == "image");
    let legacy = |text: &str| if container || image { text.to_owned() } else { String::new() };
    let attributes = event.actor.attributes.clone();
    Message {
        status: legacy(&event.action),
        id: legacy(&event.actor.id),
        from: if container { attributes.get("image").cloned().unwrap_or_default() } else { String::new() },
        r#type: event.r#type.to_owned(),
        action: event.action.clone(),
        actor: Actor { id: event.actor.id.clone(), attributes },
        scope: "local".into(),
        time: event.time_nano.div_euclid(1_000_000_000),
        time_nano: event.time_nano,
    }
}

/// `seconds[.fraction]` as nanoseconds; absent and empty are none.
fn instant(text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Ok(None) };
    let invalid =
        |part: &str| ApiError::invalid(format!("strconv.ParseInt: parsing \"{part}\": invalid syntax"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| invalid(seconds))?;
    let nanoseconds = if fraction.is_empty() {
        0
    } else {
        let digits = fraction.bytes().all(|b| b.is_ascii_digit());
        let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
        if digits { nine.parse().unwrap_or(0) } else { return Err(invalid(fraction)) }
    };
    Ok(Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_as_clients_write_them() {
        assert_eq!(instant(None).unwrap(), None);
        assert_eq!(instant(Some("")).unwrap(), None);
        assert_eq!(instant(Some("5")).unwrap(), Some(5_000_000_000));
        assert_eq!(instant(Some("1795526300.844809527")).unwrap(), Some(1_795_526_300_844_809_527));
        assert_eq!(instant(Some("1.5")).unwrap(), Some(1_500_000_000));
        assert_eq!(
            instant(Some("x")).unwrap_err().message(),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
    }

    #[test]
    fn containers_and_images_have_the_old_members() {
        let event = |r#type| Event {
            r#type,
            action: "start".into(),
            actor: corten_engine::events::Actor {
                id: "abc".into(),
                attributes: [("image".to_owned(), "busybox".to_owned())].into(),
            },
            time_nano: 1_500_000_000,
        };
        assert_eq!(
            serde_json::to_string(&message(&event("container"))).unwrap(),
            r#"{"status":"start","id":"abc","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"image":"busybox"}},"scope":"local","time":1,"timeNano":1500000000}"#
        );
        assert!(
            serde_json::to_string(&message(&event("volume"))).unwrap().starts_with(r#"{"Type":"volume","#)
        );
    }
}
