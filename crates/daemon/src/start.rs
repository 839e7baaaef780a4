//! The daemon's life: prepare, recover, listen, serve, stop.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use ferry_engine::{Engine, EngineConfig};
use ferry_store::{Store, StoreConfig};
use ferry_sys::{allocator, memory, open_files::OpenFiles};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::App,
    config::{Config, Flags, Host},
    facts::Facts,
    http::listen::{self, Listener},
    instance::Instance,
    log,
};

/// The socket that Docker's clients look for.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Threads that run tasks; what blocks has threads of its own.
const WORKERS: usize = 2;
/// Threads that block: store, network, archives.
const BLOCKING_THREADS: usize = 64;
const STACK_BYTES: usize = 512 * 1024;
/// Parts of the heap that threads share.
const ARENAS: i32 = 2;
/// How long after requests memory is given back.
const IDLE: Duration = Duration::from_secs(15);

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// It cannot start; the reason is for people.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    if flags.list_failpoints {
        #[expect(clippy::print_stdout, reason = "this is what was asked for")]
        for step in ferry_engine::failpoint::ALL {
            println!("{step}");
        }
        return Ok(());
    }
    let is_validation = flags.validate;
    let config = Config::load(flags)?.with_proxies_of(std::env::vars());
    if is_validation {
        #[expect(clippy::print_stdout, reason = "this is what was asked for")]
        {
            println!("configuration OK");
        }
        return Ok(());
    }
    log::init(&config)?;
    // Order: before there are threads, each of which would have memory of its own to keep.
    if !allocator::limit_arenas(ARENAS) {
        tracing::debug!("the allocator cannot be told to be modest");
    }
    let instance = Instance::acquire(&config.data_root, &config.exec_root, &config.pidfile)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK_BYTES)
        .thread_name("ferryd")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(config));
    // Order: what is left of connections ends before another daemon may begin.
    runtime.shutdown_background();
    drop(instance);
    outcome
}

async fn serve(config: Config) -> anyhow::Result<()> {
    // Order: signals are caught before there is anything that they would leave half-done.
    let stop = stop_signal()?;
    let app = prepare(config).await?;
    let listeners = bind(&app.config).await?;
    for listener in listeners {
        app.connections.spawn(listener.run(Arc::clone(&app), app.closing.clone()));
    }
    app.connections.spawn(give_back(Arc::clone(&app)));
    tracing::info!(
        version = crate::FERRY_VERSION,
        "API listen on {}",
        app.config.own_socket().display()
    );
    stop.await;
    tracing::info!("stopping; containers go on");
    app.closing.cancel();
    app.handlers.close();
    let patience = app.config.shutdown_timeout;
    if tokio::time::timeout(patience, app.handlers.wait()).await.is_err() {
        tracing::warn!(left = app.handlers.len(), "some requests did not finish in time");
    }
    app.engine.shutdown().await;
    Ok(())
}

/// Gives memory back: what only the start needed, and later what bursts of requests needed.
async fn give_back(app: Arc<App>) {
    let mut served = None;
    loop {
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(IDLE) => {}
        }
        let so_far = Some(app.requests_so_far());
        if so_far == served || !app.handlers.is_empty() {
            continue;
        }
        served = so_far;
        let given = tokio::task::spawn_blocking(|| {
            allocator::trim();
            memory::release_program_pages()
        });
        match given.await {
            Ok(Ok(bytes)) => tracing::trace!(bytes, "gave memory back"),
            Ok(Err(error)) => tracing::debug!(%error, "cannot give memory back"),
            Err(error) => tracing::debug!(%error, "cannot give memory back"),
        }
    }
}

/// Opens what the engine works on, and starts it; recovery is part of that.
pub(crate) async fn prepare(config: Config) -> anyhow::Result<Arc<App>> {
    let supervisor = match &config.supervisor {
        Some(path) => path.clone(),
        None => beside_this_program("ferry-supervisor")?,
    };
    let store_config =
        StoreConfig { data_root: config.data_root.clone(), layer_store: config.layer_store };
    let store = tokio::task::spawn_blocking(move || Store::open(store_config))
        .await?
        .with_context(|| format!("cannot open the store in {}", config.data_root.display()))?;
    let (networks, bridge) = crate::network::open(&config, &store).await?;
    let engine = Engine::start(EngineConfig {
        exec_root: config.exec_root.clone(),
        store,
        networks,
        supervisor,
        cgroup_parent: config.cgroup_parent.clone(),
        init_by_default: config.init,
        registries: config.registries.clone(),
        transfers: config.transfers,
        open_files: raise_open_files(),
        failpoint: config.failpoint.clone(),
    })
    .await
    .context("cannot start the engine")?;
    let facts = Facts::read(&engine, bridge);
    Ok(App::new(engine, config, facts))
}

/// Each container that runs takes descriptors of this process, each client one. Gives what containers
/// get: what this process was started with, as with dockerd.
fn raise_open_files() -> Option<OpenFiles> {
    match OpenFiles::raise() {
        Ok(before) => Some(before),
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            None
        }
    }
}

fn beside_this_program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let path = own.with_file_name(name);
    anyhow::ensure!(path.is_file(), "{} is missing; say --supervisor where it is", path.display());
    Ok(path)
}

/// Begins to listen, on our own socket always.
///
/// Docker's own socket is taken too when nobody was told where to listen and nobody serves it.
async fn bind(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let own = Host::Unix(config.own_socket());
    let mut hosts = vec![own.clone()];
    hosts.extend(config.hosts.iter().filter(|host| **host != own).cloned());
    let mut listeners = Vec::new();
    for host in &hosts {
        listeners.push(Listener::bind(host, &config.group).await?);
    }
    let defaults = Config::default();
    let is_default = config.hosts.is_empty() && config.exec_root == defaults.exec_root;
    let docker = Path::new(DOCKER_SOCKET);
    if is_default && !listen::is_served(docker).await {
        match Listener::bind(&Host::Unix(docker.to_owned()), &config.group).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "docker.sock is not served"),
        }
    }
    Ok(listeners)
}

/// Waits for a signal to stop.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // A terminal that goes away does not stop a daemon; neither does a reader of its log.
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => tracing::info!("a reload of the configuration needs a restart"),
            }
        }
    })
}
