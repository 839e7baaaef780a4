//! What goes out as an archive: images (`save`) and the files of a container (`export`).

use std::io::Write;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use ferry_oci::platform::Platform;
use ferry_store::ImageId;
use ferry_supervisor::files;
use ferry_sys::SysError;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::container::Container;
use crate::error::{Doing as _, Result};
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
        // Also for one that runs: it may end meanwhile.
        let kept = inner.store.keep_layers(exported.id().as_str());
        let _layers = kept.map_err(store_error)?;
        let root = root_of(&inner, &exported)?;
        let mut out = out;
        inner.store.export_tree(root, &mut *out).map_err(store_error)
    };
    engine.reading(work).await??;
    engine.tell(&container.snapshot(), "export", &[]);
    Ok(())
}

/// The root of a container: that of its processes while it runs, without what is mounted in it.
///
/// Its end is known here a moment after it: then its files are those of a container that does not
/// run.
fn root_of(engine: &Inner, container: &Container) -> Result<OwnedFd> {
    let id = container.id().as_str();
    let pid = i32::try_from(container.snapshot().pid()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Some(root) = root_of_process(&engine.exec_directory(id), pid)
            .doing(|| format!("opening the files of container {id}"))?
    {
        return Ok(root);
    }
    engine.store.container_view(id).map_err(store_error)
}

/// The root of a container's init; `None` when it has ended.
fn root_of_process(directory: &Path, pid: Pid) -> Result<Option<OwnedFd>, SysError> {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    // Order: what is open is the container's, if that has the number still; it may be another's.
    if !is_init(directory, pid) {
        return Ok(None);
    }
    match ferry_sys::namespace::root_mount_of(pidfd.as_fd()) {
        Ok(root) => Ok(Some(root)),
        // It ends: nobody has waited for it yet, and it has left its namespaces.
        Err(error) if error.errno == Errno::SRCH => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a process is the init of the run that a directory is of.
fn is_init(directory: &Path, pid: Pid) -> bool {
    let Ok(bytes) = std::fs::read(directory.join(files::STATE)) else { return false };
    let state = serde_json::from_slice::<files::State>(&bytes);
    state.is_ok_and(|state| {
        state.pid == pid.as_raw_pid() && files::start_ticks(state.pid) == Some(state.start_ticks)
    })
}
