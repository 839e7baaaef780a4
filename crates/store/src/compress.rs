//! Gzip on all cores: blocks of 1 MiB are deflated at once, each with the last 32 KiB before it as
//! its dictionary, and put together into one member.
//!
//! The bytes depend on nothing but the input: not on the number of cores, not on the time. So the
//! blob of a layer can be made again, and has the same digest.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crc32fast::Hasher as Crc;
use flate2::{Compress, Compression, FlushCompress, Status};

const BLOCK: usize = 1 << 20;
const DICTIONARY: usize = 32 << 10;
/// At 3 the library makes other bytes of a block when it deflated another stream before; at 4 and 5
/// dictionaries help it less.
const LEVEL: u32 = 6;
/// Deflate, no flags, no time, no extra flags, made on Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// A block to be deflated.
struct Job {
    block: Vec<u8>,
    /// What came before it.
    dictionary: Vec<u8>,
    is_last: bool,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Compresses a stream; `tell` hears how many bytes of it were taken.
pub(crate) fn gzip(
    reader: impl Read,
    mut writer: impl Write + Send,
    tell: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (jobs, queue) = sync_channel::<Job>(workers);
    let queue = Mutex::new(queue);
    // In the order of the stream; the bound is what is in memory at most.
    let (in_order, blocks) = sync_channel::<Receiver<io::Result<Vec<u8>>>>(workers * 2);
    thread::scope(|scope| {
        for index in 0..workers {
            let thread = thread::Builder::new().name(format!("store-gzip-{index}"));
            thread.spawn_scoped(scope, || work(&queue))?;
        }
        let thread = thread::Builder::new().name("store-gzip-out".to_owned());
        let output = thread.spawn_scoped(scope, move || -> io::Result<_> {
            writer.write_all(&HEADER)?;
            for block in blocks {
                let gone = |_| io::Error::other("a compressing thread is gone");
                writer.write_all(&block.recv().map_err(gone)??)?;
            }
            Ok(writer)
        })?;
        let fed = feed(reader, &jobs, &in_order, tell);
        drop((jobs, in_order));
        let written = output.join().map_err(|_panic| io::Error::other("a thread panicked"))?;
        // Order: when writing failed, feeding only saw that nobody listens.
        let mut writer = written?;
        let (crc, size) = fed?;
        writer.write_all(&crc.to_le_bytes())?;
        writer.write_all(&size.to_le_bytes())?;
        writer.flush()
    })
}

/// Divides the stream into jobs; gives its checksum and its size modulo 2^32.
fn feed(
    mut reader: impl Read,
    jobs: &SyncSender<Job>,
    in_order: &SyncSender<Receiver<io::Result<Vec<u8>>>>,
    tell: &mut dyn FnMut(u64),
) -> io::Result<(u32, u32)> {
    let mut crc = Crc::new();
    let mut total = 0_u64;
    let mut dictionary = Vec::new();
    let mut block = read_block(&mut reader)?;
    loop {
        // The last block is told by what follows it.
        let next = if block.len() < BLOCK { Vec::new() } else { read_block(&mut reader)? };
        crc.update(&block);
        total += block.len() as u64;
        tell(total);
        let is_last = next.is_empty();
        let tail = block[block.len().saturating_sub(DICTIONARY)..].to_vec();
        let (done, result) = sync_channel(1);
        let dictionary = std::mem::replace(&mut dictionary, tail);
        let job = Job { block, dictionary, is_last, done };
        let gone = || io::Error::other("the compressing threads are gone");
        jobs.send(job).map_err(|_unsent| gone())?;
        in_order.send(result).map_err(|_unsent| gone())?;
        if is_last {
            let [a, b, c, d, ..] = total.to_le_bytes();
            return Ok((crc.finalize(), u32::from_le_bytes([a, b, c, d])));
        }
        block = next;
    }
}

fn read_block(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    reader.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, dictionary, is_last, done }) = job else { return };
        let result = deflate_block(&mut deflate, &block, &dictionary, is_last);
        // Nobody waits for it when writing failed.
        drop(done.send(result));
    }
}

fn deflate_block(
    deflate: &mut Compress,
    block: &[u8],
    dictionary: &[u8],
    is_last: bool,
) -> io::Result<Vec<u8>> {
    deflate.reset();
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    // An empty block of its own ends the last byte, so that the next block can follow.
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut output = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let used = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
        let room = output.len();
        let status =
            deflate.compress_vec(&block[used..], &mut output, flush).map_err(io::Error::other)?;
        let all_in = deflate.total_in() == block.len() as u64;
        // A sync flush is through when it leaves room.
        let flushed = !is_last && all_in && output.len() < output.capacity();
        if status == Status::StreamEnd || flushed {
            return Ok(output);
        }
        if output.len() == output.capacity() || output.len() == room {
            output.reserve(64 << 10);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        decoder.read_to_end(&mut plain).unwrap();
        // One member, and nothing after it.
        assert!(decoder.into_inner().is_empty());
        plain
    }

    /// Text-like bytes that repeat across blocks.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..length)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if i % 3 == 0 { state.to_be_bytes()[0] & 0x1f } else { b'a' }
            })
            .collect()
    }

    #[test]
    fn what_is_compressed_is_had_again() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 12_345] {
            let plain = bytes(length);
            let mut compressed = Vec::new();
            let mut told = 0;
            gzip(plain.as_slice(), &mut compressed, &mut |bytes| told = bytes).unwrap();
            assert!(inflate(&compressed) == plain, "{length}");
            assert_eq!(told, length as u64);
            let mut again = Vec::new();
            gzip(plain.as_slice(), &mut again, &mut |_| ()).unwrap();
            assert!(compressed == again, "{length}");
        }
    }

    #[test]
    fn noise_is_compressed_too() {
        let mut state = 7_u64;
        let noise: Vec<u8> = (0..2 * BLOCK + 5)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_be_bytes()[3]
            })
            .collect();
        let mut compressed = Vec::new();
        gzip(noise.as_slice(), &mut compressed, &mut |_| ()).unwrap();
        assert!(inflate(&compressed) == noise);
    }

    #[test]
    fn dictionaries_reach_back_over_blocks() {
        // A block of noise that comes again and again within the window.
        let piece = &bytes(20_000)[..];
        let plain = piece.repeat(2 * BLOCK / piece.len());
        let mut compressed = Vec::new();
        gzip(plain.as_slice(), &mut compressed, &mut |_| ()).unwrap();
        assert!(inflate(&compressed) == plain);
        assert!(compressed.len() < 40_000, "{}", compressed.len());
    }

    /// Fails after so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn failures_of_either_side_come_through() {
        let plain = bytes(8 * BLOCK);
        let error = gzip(plain.as_slice(), Full(100), &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        struct Torn;
        impl Read for Torn {
            fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let reader = plain.as_slice().chain(Torn);
        let error = gzip(reader, io::sink(), &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
