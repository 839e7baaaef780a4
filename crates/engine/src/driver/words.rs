//! Docker's words for what the phase does not allow.

use super::Driver;
use crate::error::EngineError;
use crate::phase::Refused;

impl Driver {
    /// Docker's words for what the phase does not allow.
    pub(super) fn refusal(&self, refused: Refused) -> EngineError {
        let (id, name) = (self.id().as_str(), &self.state.name);
        match refused {
            Refused::AlreadyRunning => {
                EngineError::NotModified(format!("container {id} is already running"))
            }
            Refused::StartPaused => {
                EngineError::conflict("cannot start a paused container, try unpause instead")
            }
            Refused::NotRunning => EngineError::NotRunning(id.to_owned()),
            Refused::AlreadyPaused => {
                EngineError::Conflict(format!("Container {id} is already paused"))
            }
            // Compat: dockerd answers 500.
            Refused::NotPaused => EngineError::broken(format!("Container {id} is not paused")),
            Refused::StillRunning => EngineError::Conflict(format!(
                "cannot remove container \"{name}\": container is running: stop the container \
                 before removing or force remove"
            )),
            Refused::StillPaused => EngineError::Conflict(format!(
                "cannot remove container \"{name}\": container is paused and must be unpaused first"
            )),
            Refused::BeingStarted => {
                EngineError::Conflict(format!("container {id} is being started"))
            }
            Refused::BeingRemoved => {
                EngineError::conflict("container is marked for removal and cannot be started")
            }
            Refused::OutOfPlace => {
                EngineError::broken(format!("container {id} is not in the right phase"))
            }
        }
    }
}
