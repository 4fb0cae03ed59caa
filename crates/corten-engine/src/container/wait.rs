use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::watch;

use super::state::State;
use super::validate::Invalid;
use super::{ContainerError, Containers, View};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// It does not run; also true at once.
    #[default]
    NotRunning,
    /// It exits from now on.
    NextExit,
    /// It is removed.
    Removed,
}

impl FromStr for WaitCondition {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(Invalid(format!("invalid condition: {text:?}"))),
        }
    }
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Exit code.
    pub exit_code: i64,
    /// Why a removal failed; empty if it did not.
    pub error: String,
}

impl Containers {
    /// Registers a wait, so that nothing that happens after this call is missed, and gives the wait itself.
    pub fn wait(
        &self,
        container: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Waited> + Send + use<>, ContainerError> {
        let container = self.find(container)?;
        let views = container.watch();
        let exits = views.borrow().exits;
        Ok(wait(views, condition, exits))
    }
}

async fn wait(mut views: watch::Receiver<Arc<View>>, condition: WaitCondition, exits: u64) -> Waited {
    let met = |view: &Arc<View>| match condition {
        _ if view.removed => true,
        // An exit is one even if the policy starts the container again.
        WaitCondition::NotRunning => {
            view.exits > exits || !view.live.state.is_active() && view.live.state != State::Starting
        }
        WaitCondition::NextExit => view.exits > exits,
        WaitCondition::Removed => !view.removal_error.is_empty(),
    };
    let last =
        |view: &View| Waited { exit_code: view.live.last.exit_code, error: view.removal_error.clone() };
    if let Ok(view) = views.wait_for(met).await {
        return last(&view);
    }
    // The owner is gone: what it showed last is how it ended.
    let view = views.borrow().clone();
    last(&view)
}
