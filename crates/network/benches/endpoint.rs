//! What an endpoint costs, in a network namespace of its own; it prints and judges nothing.
#![expect(clippy::print_stdout, reason = "its numbers are its output")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ferry_network::{Endpoint, EndpointRequest, NetworkConfig, Networks};

const POOL: usize = 10;

fn main() {
    let measured = ferry_sys::netns::create(|_| measure());
    if let Err(error) = measured {
        println!("not measured: {error}");
    }
}

fn measure() {
    let opened = Instant::now();
    let networks = open(0);
    println!("{:<44} {:>7.3} ms", "open, bridge and rules made", milliseconds(opened.elapsed()));
    report("open, all there", 20, || (), |()| open(0));
    report(
        "none: namespace with loopback",
        100,
        || (),
        |()| black_box(networks.new_isolated_netns().expect("a namespace")),
    );
    settle();
    let mut ids = 0;
    let mut id = || {
        ids += 1;
        format!("cold-{ids}")
    };
    report("bridge: cold", 100, &mut id, |id| attach(&networks, &id));
    report("release and close", 50, || attach(&networks, &id()), drop);
    at_once("bridge: 100 at once, cold", &networks);
    settle();
    drop(networks);

    let networks = open(POOL);
    let mut ids = 0;
    let from_pool = || {
        // Longer than the pool needs to be full again.
        std::thread::park_timeout(Duration::from_millis(40));
        ids += 1;
        format!("warm-{ids}")
    };
    report("bridge: from the pool", 50, from_pool, |id| attach(&networks, &id));
    at_once("bridge: 100 at once, with the pool", &networks);
}

fn open(pool_size: usize) -> Networks {
    let subnet = "10.77.0.0/16".parse().ok();
    let config =
        NetworkConfig { bridge: "fyb0".to_owned(), subnet, pool_size, ..Default::default() };
    Networks::open(config).expect("the right to set up networks")
}

fn attach(networks: &Networks, id: &str) -> Endpoint {
    networks.attach_bridge(id, EndpointRequest::default()).expect("an endpoint")
}

/// Times `act` on what `prepare` gives; what it returns is dropped outside the measurement.
fn report<I, T>(
    what: &str,
    times: u32,
    mut prepare: impl FnMut() -> I,
    mut act: impl FnMut(I) -> T,
) {
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let input = prepare();
            let begin = Instant::now();
            let output = act(input);
            let took = begin.elapsed();
            drop(output);
            took
        })
        .collect();
    took.sort_unstable();
    let at = |percent: usize| milliseconds(took[(took.len() - 1) * percent / 100]);
    println!("{what:<44} {:>7.3} ms min {:>7.3} p50 {:>7.3} p95", at(0), at(50), at(95));
}

fn at_once(what: &str, networks: &Networks) {
    let begin = Instant::now();
    let all: Vec<Endpoint> = std::thread::scope(|scope| {
        let ids = (0..100).map(|n| format!("{what}-{n}"));
        let threads: Vec<_> = ids.map(|id| scope.spawn(move || attach(networks, &id))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let each = milliseconds(begin.elapsed()) / 100.0;
    println!("{what:<44} {each:>7.3} ms each, {} made", all.len());
}

/// Lets the kernel take apart what was dropped.
fn settle() {
    std::thread::park_timeout(Duration::from_millis(500));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
