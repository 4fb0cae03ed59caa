//! `image copy`

use std::cell::{Cell, RefCell};

use corten_api::transfer::{Begin, Begun, Commit, Content};
use corten_client::{Body, Client, Request};
use corten_types::Digest;
use futures_util::{StreamExt, TryStreamExt};

use crate::command::{Arity, Command};
use crate::each;
use crate::error::{Failure, Outcome};
use crate::flag::{Flag, switch};
use crate::output;
use crate::parse::{Matches, Order};
use crate::progress::{Display, Message, Sink};
use crate::session::Session;

/// How many blobs are on their way at once.
const AT_ONCE: usize = 3;
/// After how many bytes a bar moves.
const STEP: u64 = 256 << 10;

static FLAGS: &[Flag] = &[switch("quiet", "Show only the image's name").short('q')];

/// The command.
pub static COPY: Command = Command {
    usage: "[OPTIONS] IMAGE HOST",
    usage_also: None,
    about: "Copy an image to another daemon (ssh://, unix://, tcp:// or a context's name)",
    spellings: &["image copy"],
    flags: &[FLAGS],
    arity: Arity::Exactly(2),
    order: Order::Anywhere,
    run: |session, m| Box::pin(run(session, m)),
};

async fn run(session: &Session, m: &Matches) -> Outcome {
    let (name, host) = (&m.args[0], &m.args[1]);
    let from = session.client()?;
    let to = session.client_of(host)?;
    let image: Content = from.get(format!("/corten{}", each::image(name, "/content"))).await?;
    let digests: Vec<Digest> = image.content.iter().map(|part| part.digest).collect();
    let begun: Begun = to.post("/corten/transfers", &Begin { content: digests }).await.map_err(|error| {
        match error {
            // Docker's daemons, and ours from before, have no such path.
            corten_client::Error::Response { status: 404, .. } => {
                Failure::new(format!("the daemon at {host} is no Corten daemon that takes images directly"))
            }
            error => error.into(),
        }
    })?;
    let sink = if m.on("quiet") { Sink::Quiet } else { Sink::Out };
    let done = copy(from, &to, &image, &begun, sink).await;
    if done.is_err() {
        // What the other side cannot be told it finds out: the transfer expires.
        let _ = to.done(Request::delete(format!("/corten/transfers/{}", begun.id))).await;
    }
    done?;
    match &image.name {
        Some(name) => output::line(name),
        None => output::line(&image.target.digest.to_string()),
    }
    Ok(())
}

async fn copy(from: &Client, to: &Client, image: &Content, begun: &Begun, sink: Sink) -> Outcome {
    let display = RefCell::new(Display::of(sink));
    let say = |digest: &Digest, status: &str, progress: Option<(u64, u64)>| {
        let message = Message::of(&digest.hex()[..12], status, progress);
        display.borrow_mut().show(&message, sink);
    };
    for part in &image.content {
        let there = !begun.missing.contains(&part.digest);
        say(&part.digest, if there { "Already exists" } else { "Waiting" }, None);
    }
    let missing = image.content.iter().filter(|part| begun.missing.contains(&part.digest));
    futures_util::stream::iter(missing.map(|part| async {
        let (sender, body) = Body::channel();
        let request = Request::put(format!("/corten/transfers/{}/{}", begun.id, part.digest)).body(body);
        let received = to.done(request.header("Content-Length", &part.size.to_string()));
        let sent = async {
            let mut blob = from.send(Request::get(format!("/corten/content/{}", part.digest))).await?;
            let (current, shown) = (Cell::new(0), Cell::new(0));
            while let Some(chunk) = blob.chunk().await? {
                current.set(current.get() + chunk.len() as u64);
                if !sender.send(chunk).await {
                    break;
                }
                if current.get() - shown.get() >= STEP {
                    shown.set(current.get());
                    say(&part.digest, "Copying", Some((current.get(), part.size)));
                }
            }
            drop(sender);
            Ok::<(), corten_client::Error>(())
        };
        let (received, sent) = tokio::join!(received, sent);
        received.and(sent).map_err(Failure::from)?;
        say(&part.digest, "Copied", None);
        Ok::<(), Failure>(())
    }))
    .buffer_unordered(AT_ONCE)
    .try_collect::<()>()
    .await?;
    let commit = Commit { name: image.name.clone(), target: image.target.clone() };
    let path = format!("/corten/transfers/{}/commit", begun.id);
    to.post::<serde_json::Value>(path, &commit).await?;
    Ok(())
}
