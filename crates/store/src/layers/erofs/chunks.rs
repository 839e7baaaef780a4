//! How a file's contents map onto the archive.

use super::format::{BLOCK, BLOCK_BITS, CHUNK_INDEX, MAX_CHUNK_BITS};
use crate::limits;
use crate::tar::{FileData, Segment};

/// A file as a table of chunks of one size.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChunkPlan {
    /// Log2 of a chunk's size in blocks.
    pub bits: u32,
    /// How many chunks the file has.
    pub count: u64,
    /// The chunks that are not holes, in order.
    pub filled: Vec<Chunk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub index: u64,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A block of the archive.
    Archive { block: u32 },
    /// It lies askew in the archive or is part hole, and is copied into the index.
    Copy,
}

impl ChunkPlan {
    /// Bytes of one chunk.
    pub(super) fn chunk_size(&self) -> u64 {
        1 << (self.bits + BLOCK_BITS)
    }

    /// Bytes of the table.
    pub(super) fn table_len(&self) -> u64 {
        self.count * CHUNK_INDEX as u64
    }

    /// What the index needs for a file of this size beyond its inode.
    pub(super) fn overhead(&self, size: u64) -> u64 {
        let copies = self.filled.iter().filter(|chunk| chunk.place == Place::Copy);
        let copied = copies.map(|chunk| self.copy_len(size, chunk.index));
        copied.fold(self.table_len(), u64::saturating_add)
    }

    /// Bytes copied for chunk `index`: a whole chunk, or less at the end of the file.
    pub(super) fn copy_len(&self, size: u64, index: u64) -> u64 {
        let start = index * self.chunk_size();
        self.chunk_size().min((size - start).next_multiple_of(BLOCK as u64))
    }
}

/// Plans a file that is not empty; `None` when it would need too much.
pub(super) fn plan(data: &FileData) -> Option<ChunkPlan> {
    let Some(segments) = &data.sparse else { return plan_whole(data) };
    // The larger a chunk, the smaller the table and the more must be copied: the cheapest wins.
    let costs = (0..=MAX_CHUNK_BITS).map(|bits| {
        let size = 1_u64 << (bits + BLOCK_BITS);
        let table = data.size.div_ceil(size).saturating_mul(CHUNK_INDEX as u64);
        let mut copies = 0_u64;
        if table <= limits::MAX_SPARSE_OVERHEAD {
            each_chunk(data, segments, bits, |chunk| {
                copies += u64::from(chunk.place == Place::Copy);
            });
        }
        (table.saturating_add(copies.saturating_mul(size.min(data.size))), bits)
    });
    let (cost, bits) = costs.min()?;
    if cost > limits::MAX_SPARSE_OVERHEAD {
        return None;
    }
    let mut filled: Vec<Chunk> = Vec::new();
    each_chunk(data, segments, bits, |chunk| filled.push(chunk));
    Some(ChunkPlan { bits, count: data.size.div_ceil(1 << (bits + BLOCK_BITS)), filled })
}

/// A file that lies in the archive as it is: mostly one chunk.
fn plan_whole(data: &FileData) -> Option<ChunkPlan> {
    let blocks = data.size.div_ceil(BLOCK as u64);
    let bits = blocks.next_power_of_two().trailing_zeros().min(MAX_CHUNK_BITS);
    let count = blocks.div_ceil(1 << bits);
    let first = data.offset / BLOCK as u64;
    let chunk = |index: u64| {
        let block = u32::try_from(first + (index << bits)).ok()?;
        Some(Chunk { index, place: Place::Archive { block } })
    };
    let filled = (0..count).map(chunk).collect::<Option<Vec<_>>>()?;
    Some(ChunkPlan { bits, count, filled })
}

/// Tells of each chunk that some segment touches, once and in order.
fn each_chunk(data: &FileData, segments: &[Segment], bits: u32, mut tell: impl FnMut(Chunk)) {
    let size = 1_u64 << (bits + BLOCK_BITS);
    let mut next = 0;
    for segment in segments {
        let end = segment.offset + segment.length;
        let first = (segment.offset / size).max(next);
        let last = (end - 1) / size;
        for index in first..=last {
            let start = index * size;
            let whole = segment.offset <= start && end >= (start + size).min(data.size);
            let place = if whole { place(data, segment, start) } else { Place::Copy };
            tell(Chunk { index, place });
        }
        next = next.max(last + 1);
    }
}

/// Where a chunk that lies wholly in a segment is.
fn place(data: &FileData, segment: &Segment, start: u64) -> Place {
    let at = data.offset + segment.stored + (start - segment.offset);
    match u32::try_from(at / BLOCK as u64) {
        Ok(block) if at.is_multiple_of(BLOCK as u64) => Place::Archive { block },
        _ => Place::Copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(size: u64, pieces: &[(u64, u64)]) -> FileData {
        let mut stored = 0;
        let segments = pieces.iter().map(|&(offset, length)| {
            let segment = Segment { offset, length, stored };
            stored += length;
            segment
        });
        FileData { size, offset: 1024, sparse: Some(segments.collect()) }
    }

    #[test]
    fn a_whole_file_is_one_chunk() {
        for (size, bits) in [(1, 0), (512, 0), (513, 1), (1 << 20, 11)] {
            let plan = plan(&FileData { size, offset: 1024, sparse: None }).unwrap();
            let place = Place::Archive { block: 2 };
            assert_eq!(plan, ChunkPlan { bits, count: 1, filled: vec![Chunk { index: 0, place }] });
        }
    }

    #[test]
    fn aligned_pieces_are_not_copied() {
        let data = sparse(1 << 20, &[(4096, 4096), (65_536, 8192)]);
        let plan = plan(&data).unwrap();
        assert!(plan.filled.iter().all(|chunk| chunk.place != Place::Copy));
        assert_eq!(plan.chunk_size(), 4096);
        let blocks: Vec<_> = plan.filled.iter().map(|c| (c.index, c.place)).collect();
        assert_eq!(blocks[0], (1, Place::Archive { block: 2 }));
        assert_eq!(blocks[1], (16, Place::Archive { block: 10 }));
        assert_eq!(blocks[2], (17, Place::Archive { block: 18 }));
    }

    #[test]
    fn askew_pieces_are_copied_and_cost_little() {
        // A lastlog: 292 bytes in the middle of 300 GiB.
        let data = sparse(300 << 30, &[(123_456_789_012, 292)]);
        let plan = plan(&data).unwrap();
        assert_eq!(plan.filled.len(), 1);
        assert_eq!(plan.filled[0].place, Place::Copy);
        assert!(plan.table_len() + plan.chunk_size() < 16 << 20);
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        let pieces: Vec<_> = (0..100_000).map(|i| (i << 33, 1)).collect();
        assert_eq!(plan(&sparse(1 << 62, &pieces)), None);
    }
}
