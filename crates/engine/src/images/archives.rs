//! What goes out as an archive: images (`save`) and the files of a container (`export`).

use std::io::Write;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use ferry_oci::platform::Platform;
use ferry_store::ImageId;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container::Container;
use crate::error::{Doing as _, EngineError, Result};
use crate::inner::{Inner, store_error};

/// Where an archive goes.
pub(crate) type Out = Box<dyn Write + Send>;

pub(crate) async fn save(
    engine: Arc<Inner>,
    names: Vec<String>,
    platform: Option<Platform>,
    mut out: Out,
) -> Result<()> {
    let store = engine.store.clone();
    let work = move || {
        store.save(&names, platform.as_ref(), &mut *out)?;
        // Those that have gone meanwhile are not told of.
        let saved = names.iter().filter_map(|name| store.images().resolve(name).ok());
        Ok(saved.collect::<Vec<ImageId>>())
    };
    for id in engine.reading(work).await?.map_err(store_error)? {
        engine.tell_of_image("save", &id, id.as_str()).await;
    }
    Ok(())
}

pub(crate) async fn export(engine: Arc<Inner>, container: Arc<Container>, out: Out) -> Result<()> {
    let inner = Arc::clone(&engine);
    let exported = Arc::clone(&container);
    let work = move || {
        let root = root_of(&inner, &exported)?;
        let mut out = out;
        inner.store.export_tree(root, &mut *out).map_err(store_error)
    };
    engine.reading(work).await??;
    engine.tell(&container.snapshot(), "export", &[]);
    Ok(())
}

/// The root of a container: that of its processes while it runs, without what is mounted in it.
fn root_of(engine: &Inner, container: &Container) -> Result<OwnedFd> {
    let doing = || format!("opening the files of container {}", container.id());
    for _ in 0..ATTEMPTS {
        let before = container.snapshot();
        let Some(pid) = i32::try_from(before.pid()).ok().and_then(Pid::from_raw) else {
            return engine.store.container_view(container.id().as_str()).map_err(store_error);
        };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // Order: the number was the container's before and after it was opened, so it is its own.
        if container.snapshot().pid() != before.pid() {
            continue;
        }
        return ferry_sys::namespace::root_mount_of(pidfd.as_fd()).doing(doing);
    }
    Err(EngineError::conflict(format!("container {} starts and ends", container.id())))
}

/// How often it is tried to open the files of a container that starts and ends.
const ATTEMPTS: usize = 10;
