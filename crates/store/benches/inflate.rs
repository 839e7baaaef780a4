//! How fast a layer comes in: each decompressor alone, the digests, and whole layers through a
//! store. It prints and judges nothing.
#![expect(clippy::print_stdout, reason = "its numbers are its output")]

use std::io::{self, Read, Write as _};
use std::time::{Duration, Instant};

use ferry_oci::digest::{Digest, Hasher};
use ferry_store::{ImportOptions, LayerStoreChoice, Store, StoreConfig, Wanted, WantedLayer};

/// Bytes of the layer's one file.
const SIZE: usize = 192 << 20;
const ROUNDS: u32 = 5;

fn main() {
    let layer = layer();
    let gzip = gzip(&layer);
    let zstd = zstd::encode_all(layer.as_slice(), 3).expect("memory is enough");
    println!(
        "layer {} MiB, gzip {} MiB, zstd {} MiB",
        layer.len() >> 20,
        gzip.len() >> 20,
        zstd.len() >> 20
    );
    report("sha256", layer.len(), || hash(&layer));
    report("inflate, zlib-rs", layer.len(), || {
        drain(flate2::bufread::MultiGzDecoder::new(gzip.as_slice()));
    });
    report("zstd", layer.len(), || {
        drain(zstd::Decoder::new(zstd.as_slice()).expect("memory is enough"));
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config =
        StoreConfig { data_root: dir.path().join("root"), layer_store: LayerStoreChoice::Auto };
    let store = Store::open(config).expect("a store");
    println!("store: {}", store.layer_store().driver_name());
    for (name, blob) in
        [("import, plain", &layer), ("import, gzip", &gzip), ("import, zstd", &zstd)]
    {
        report(name, layer.len(), || import(&store, blob));
    }
    for (name, blob) in [("pull, gzip", &gzip), ("pull, zstd", &zstd)] {
        report(name, layer.len(), || pull(&store, blob));
    }
}

/// Runs it a few times; prints the least time, how many bytes of the archive that is a second, and
/// the least processor time of all threads, which matters more where others work too.
fn report(name: &str, size: usize, mut work: impl FnMut()) {
    let (mut least, mut busy) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let (start, processor) = (Instant::now(), processor_time());
        work();
        least = least.min(start.elapsed());
        busy = busy.min(processor_time() - processor);
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "a number for people")]
    let rate = size as f64 / 1e6 / least.as_secs_f64();
    let (least, busy) = (milliseconds(least), milliseconds(busy));
    println!("{name:<20} {least:>8.1} ms {rate:>8.0} MB/s {busy:>8.1} ms of processors");
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

fn drain(mut reader: impl Read) {
    io::copy(&mut reader, &mut io::sink()).expect("what was compressed here");
}

fn hash(bytes: &[u8]) {
    let mut hasher = Hasher::sha256();
    hasher.update(bytes);
    std::hint::black_box(hasher.finish());
}

/// Takes it in and throws it away, which is not in the time that matters: a rename.
fn import(store: &Store, blob: &[u8]) {
    let id = store.import(blob, ImportOptions::default()).expect("a good layer");
    store.images().remove(id.as_str(), true, false, &|_| Vec::new()).expect("nobody uses it");
}

/// Fetches it at the speed of memory, under a lease that then ends.
fn pull(store: &Store, blob: &[u8]) {
    let wanted = WantedLayer {
        digest: Digest::sha256_of(blob),
        size: blob.len() as u64,
        media_type: String::new(),
        diff_id: None,
    };
    let intake = store.begin_pull("bench").expect("a lease");
    let Ok(Wanted::Fetch(fetch)) = intake.want(&wanted) else { panic!("it is not here yet") };
    let (mut writer, builder) = fetch.split().expect("the two halves");
    std::thread::scope(|scope| {
        let builder = scope.spawn(move || builder.build(&mut |_| ()));
        blob.chunks(64 << 10).for_each(|chunk| writer.write(chunk).expect("space"));
        writer.finish().expect("all of it");
        builder.join().expect("no panic").expect("a good layer");
    });
    drop(intake);
    store
        .collect_garbage(ferry_store::Collect { drop_idle_leases: true, all_partials: true })
        .expect("nobody needs it");
}

/// An archive of one file that compresses to about a half, as programs and texts do.
fn layer() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let words: Vec<Vec<u8>> =
        (0..4096).map(|_| (0..3 + next() % 9).map(|_| next().to_le_bytes()[0]).collect()).collect();
    let mut data = Vec::with_capacity(SIZE + 16);
    while data.len() < SIZE {
        // Few words often and many seldom.
        let limit = 1 << (4 + next() % 9);
        let index = usize::try_from(next() % limit).unwrap_or_default();
        data.extend_from_slice(&words[index]);
    }
    data.truncate(SIZE);
    let mut archive = header(data.len());
    archive.append(&mut data);
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A ustar header of a file `f`.
fn header(size: usize) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[0] = b'f';
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].fill(b' ');
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).expect("memory is enough");
    encoder.finish().expect("memory is enough")
}
