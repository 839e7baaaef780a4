//! What can be done with containers.

use std::sync::Arc;

use ferry_sys::cgroup::{Cgroup, Layout};

use super::Engine;
use crate::container::{Container, Wait};
use crate::driver::{LAST_RESORT, Request};
use crate::error::{Doing as _, EngineError, Result};
use crate::inner::{Inner, finish, store_error};
use crate::list::{self, Surroundings};
use crate::logs::{LogEntries, LogQuery};
use crate::names;
use crate::request::{
    ContainerSizes, CreateRequest, Created, ListQuery, LogsRequest, ProcessTable, RemoveRequest,
    StopRequest, WaitCondition,
};
use crate::signal;
use crate::snapshot::ContainerSnapshot;
use crate::spec::{LogDriver, StopTimeout};

impl Engine {
    /// Creates a container: name reserved, image resolved, directories made, record written.
    ///
    /// # Errors
    /// `Invalid` (all faults at once), `NotFound` for the image, `Conflict` for the name.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        finish(&self.inner, crate::create::create(Arc::clone(&self.inner), request)).await
    }

    /// Starts a container, and answers when its program runs.
    ///
    /// # Errors
    /// `NotModified` when it runs; `Invalid` when its program is missing or can not be executed.
    pub async fn start_container(&self, reference: &str) -> Result<()> {
        let container = self.inner.registry.find(reference)?;
        container.ask(|reply| Request::Start { restart: false, reply }).await
    }

    /// Begins to wait: what happens from this call on is not missed.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn wait(&self, reference: &str, condition: WaitCondition) -> Result<Wait> {
        Ok(self.inner.registry.find(reference)?.wait(condition))
    }

    /// Asks a container to end, waits, and kills it.
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub async fn stop(&self, reference: &str, request: StopRequest) -> Result<()> {
        let container = self.inner.registry.find(reference)?;
        let snapshot = container.snapshot();
        if !snapshot.is_running() {
            let id = &snapshot.id;
            return Err(EngineError::NotModified(format!("container {id} is already stopped")));
        }
        let plan = StopPlan::of(&snapshot, &request)?;
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, async move { stop(&inner, &container, plan).await }).await
    }

    /// Sends a signal, KILL when there is none.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `Invalid` for an unknown signal.
    pub async fn kill(&self, reference: &str, signal: Option<&str>) -> Result<()> {
        let failed = |error: &EngineError| format!("cannot kill container: {reference}: {error}");
        let container = self.inner.registry.find(reference).map_err(|error| match error {
            EngineError::NoSuchContainer(_) => EngineError::NotFound(failed(&error)),
            other => other,
        })?;
        let number = match signal.filter(|text| !text.is_empty()) {
            None => signal::KILL,
            Some(text) => match signal::parse(text) {
                Some(number) => number,
                None => {
                    let error = EngineError::Invalid(format!("invalid signal: {text}"));
                    return Err(EngineError::Invalid(failed(&error)));
                }
            },
        };
        let sent =
            container.ask(|reply| Request::Signal { signal: number, stop: false, reply }).await;
        sent.map_err(|error| match error {
            EngineError::NotRunning(_) => EngineError::Conflict(failed(&error)),
            other => other,
        })
    }

    /// Stops a container if it runs, and starts it.
    ///
    /// # Errors
    /// As [`Engine::start_container`].
    pub async fn restart(&self, reference: &str, request: StopRequest) -> Result<()> {
        let container = self.inner.registry.find(reference)?;
        let plan = StopPlan::of(&container.snapshot(), &request)?;
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, async move {
            let restart = container.snapshot().is_running();
            if restart {
                // A container that is removed when it ends is not removed at this end.
                container.tell_driver(Request::RestartBegan).await?;
                match stop(&inner, &container, plan).await {
                    Ok(()) | Err(EngineError::NotRunning(_) | EngineError::NotModified(_)) => {}
                    Err(error) => {
                        container.tell_driver(Request::RestartGivenUp).await?;
                        return Err(error);
                    }
                }
            }
            match container.ask(|reply| Request::Start { restart, reply }).await {
                Ok(()) | Err(EngineError::NotModified(_)) => {}
                Err(error) => return Err(error),
            }
            inner.tell(&container.snapshot(), "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// `Conflict` when it does not run or is frozen.
    pub async fn pause(&self, reference: &str) -> Result<()> {
        self.inner.registry.find(reference)?.ask(|reply| Request::Pause { reply }).await
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When it is not frozen.
    pub async fn unpause(&self, reference: &str) -> Result<()> {
        self.inner.registry.find(reference)?.ask(|reply| Request::Resume { reply }).await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// `Conflict` when the name is in use.
    pub async fn rename(&self, reference: &str, name: &str) -> Result<()> {
        let container = self.inner.registry.find(reference)?;
        let new = name.strip_prefix('/').unwrap_or(name);
        if new.is_empty() {
            return Err(EngineError::invalid("Neither old nor new names may be empty"));
        }
        if container.snapshot().name == new {
            return Err(EngineError::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        let failed = |words: String| format!("Error when allocating new name: {words}");
        if names::container_fault(new).is_some() {
            let fault = names::container_fault(&format!("/{new}")).unwrap_or_default();
            return Err(EngineError::Invalid(failed(fault)));
        }
        let reservation = self.inner.registry.reserve(new, container.id());
        let reservation =
            reservation.map_err(|error| EngineError::Conflict(failed(error.to_string())))?;
        container.ask(|reply| Request::Rename { reservation, reply }).await
    }

    /// Removes a container.
    ///
    /// # Errors
    /// `Conflict` when it runs and is not forced.
    pub async fn remove(&self, reference: &str, request: RemoveRequest) -> Result<()> {
        let container = self.inner.registry.find(reference)?;
        let RemoveRequest { force, volumes } = request;
        container.ask(|reply| Request::Remove { force, volumes, reply }).await
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn resize(&self, reference: &str, rows: u16, columns: u16) -> Result<()> {
        let container = self.inner.registry.find(reference)?;
        container.ask(|reply| Request::Resize { rows, columns, reply }).await
    }

    /// Lists containers, the newest first.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value.
    pub fn list(&self, query: &ListQuery) -> Result<Vec<Arc<ContainerSnapshot>>> {
        let all = self.inner.registry.all();
        let snapshots = all.iter().map(|container| container.snapshot()).collect();
        list::select(snapshots, query, &*self.inner)
    }

    /// Shows one container.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, reference: &str) -> Result<Arc<ContainerSnapshot>> {
        self.snapshot_of(reference)
    }

    /// Measures what a container takes on disk. One that is being removed may have lost its files
    /// already, and takes nothing.
    ///
    /// # Errors
    /// When the files can not be read.
    pub async fn sizes(&self, container: &ContainerSnapshot) -> Result<ContainerSizes> {
        let id = container.id.clone();
        let store = self.inner.store.clone();
        let measured = move || match store.container_fs_size(id.as_str()) {
            Ok(size) => Ok(ContainerSizes { written: size.rw, total: size.root_fs }),
            // They may go at any moment, also between the database and the directory.
            Err(error)
                if error.kind() == ferry_store::ErrorKind::NotFound
                    || !store.container_dir(id.as_str()).exists() =>
            {
                Ok(ContainerSizes::default())
            }
            Err(error) => Err(store_error(error)),
        };
        self.inner.blocking(measured).await?
    }

    /// Opens the log.
    ///
    /// # Errors
    /// `NotFound`; `NotImplemented` when nothing is logged by its configuration; `Invalid` when
    /// neither stream is asked for.
    pub async fn logs(&self, reference: &str, request: &LogsRequest) -> Result<LogEntries> {
        let container = self.inner.registry.find(reference)?;
        let snapshot = container.snapshot();
        if !request.stdout && !request.stderr {
            return Err(EngineError::invalid(
                "Bad parameters: you must choose at least one stream",
            ));
        }
        if snapshot.spec.host.log.driver == LogDriver::None {
            return Err(EngineError::NotImplemented(
                "configured logging driver does not support reading".to_owned(),
            ));
        }
        let LogsRequest { stdout, stderr, follow, since, until, tail, .. } = *request;
        let query = LogQuery { stdout, stderr, follow, since, until, tail };
        let (log, at_rest) = (&snapshot.files.log, container.at_rest());
        let opened = LogEntries::open(log, query, at_rest, &self.inner.log_directories).await;
        opened.doing(|| "reading the log")
    }

    /// Lists a container's processes as `ps` would.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `Invalid` for arguments that are not understood.
    pub async fn top(&self, reference: &str, arguments: &str) -> Result<ProcessTable> {
        let snapshot = self.snapshot_of(reference)?;
        if !snapshot.is_running() {
            return Err(EngineError::NotRunning(snapshot.id.as_str().to_owned()));
        }
        let (cgroup, arguments) = (self.inner.cgroup_of(&snapshot), arguments.to_owned());
        let work = move || {
            let pids = pids_in(&cgroup)?;
            crate::top::table(&arguments, &pids)
        };
        let table = self.inner.blocking(work).await??;
        self.inner.tell(&snapshot, "top", &[]);
        Ok(table)
    }
}

fn pids_in(cgroup: &str) -> Result<Vec<i32>> {
    let layout = Layout::detect().doing(|| "finding the cgroup hierarchies")?;
    let opened = Cgroup::open(&layout, cgroup).doing(|| format!("opening the cgroup {cgroup}"))?;
    let Some(opened) = opened else { return Ok(Vec::new()) };
    let pids = opened.pids().doing(|| format!("reading the cgroup {cgroup}"))?;
    Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}

/// How a container is asked to end.
struct StopPlan {
    signal: i32,
    timeout: StopTimeout,
}

impl StopPlan {
    fn of(snapshot: &ContainerSnapshot, request: &StopRequest) -> Result<Self> {
        let asked = request.signal.as_deref().filter(|text| !text.is_empty());
        let text = asked.or(snapshot.spec.stop_signal.as_deref()).unwrap_or("TERM");
        let signal = signal::parse(text)
            .ok_or_else(|| EngineError::Invalid(format!("invalid signal: {text}")))?;
        let timeout =
            request.timeout.or(snapshot.spec.stop_timeout).unwrap_or(StopTimeout::DEFAULT);
        Ok(Self { signal, timeout })
    }
}

/// The signal, a wait, KILL, another wait.
async fn stop(engine: &Inner, container: &Container, plan: StopPlan) -> Result<()> {
    // Order: the wait begins first, so that an end between the two is not missed.
    let mut end = std::pin::pin!(container.wait(WaitCondition::NotRunning).outcome());
    let StopPlan { signal, timeout } = plan;
    let asked = container.ask(|reply| Request::Signal { signal, stop: true, reply }).await;
    match asked {
        // It ended by itself.
        Err(EngineError::NotRunning(_)) => return Ok(()),
        other => other?,
    }
    engine.failpoint.pass("stop.signalled");
    let result = async {
        let over = match timeout {
            StopTimeout::Never => {
                (&mut end).await;
                true
            }
            StopTimeout::After(patience) => tokio::time::timeout(patience, &mut end).await.is_ok(),
        };
        if over {
            return Ok(());
        }
        engine.failpoint.pass("stop.timed-out");
        kill_and_wait(container, &mut end).await
    }
    .await;
    container.stop_over().await;
    result
}

async fn kill_and_wait(
    container: &Container,
    end: impl Future<Output = crate::request::WaitOutcome>,
) -> Result<()> {
    let (signal, patience) = LAST_RESORT;
    match container.ask(|reply| Request::Signal { signal, stop: false, reply }).await {
        Err(EngineError::NotRunning(_) | EngineError::NoSuchContainer(_)) => return Ok(()),
        other => other?,
    }
    match tokio::time::timeout(patience, end).await {
        Ok(_) => Ok(()),
        Err(_late) => Err(EngineError::broken(format!(
            "cannot stop container: {}: tried to kill container, but did not receive an exit event",
            container.id()
        ))),
    }
}

impl Container {
    /// A stop has ended, one way or the other.
    async fn stop_over(&self) {
        // A container that is gone has nothing to stop.
        let _gone: Result<(), _> = self.tell_driver(Request::StopOver).await;
    }
}

impl Surroundings for Inner {
    fn container(&self, reference: &str) -> Result<Arc<ContainerSnapshot>> {
        Ok(self.registry.find(reference)?.snapshot())
    }

    fn image(&self, reference: &str) -> Vec<String> {
        let Ok(id) = self.store.images().resolve(reference) else { return Vec::new() };
        vec![id.as_str().to_owned()]
    }
}
