//! Deflate, the reading side: a stream in pieces, at the speed of libraries that want it whole.
//!
//! Why our own: inflating is the greatest part of what a pull takes of the processors. The fastest
//! library needs all input and all output in memory, and the streaming ones take half as long again,
//! because they can stop after any bit and any byte. This one stops only where there is room: its
//! caller keeps [`LOOKAHEAD`] bytes of input ahead, as long as there are any, and [`MARGIN`] bytes of
//! room behind, so that the inner loop checks neither.
//!
//! Whatever the input, it ends, and either gives an error or bytes; whether they are the right ones
//! is told by the checksum and by the layer's digest. [RFC 1951]

mod table;

use self::table::{
    DISTANCE_BITS, DISTANCE_ROOM, END, EXCEPTION, LITERAL, LITERAL_BITS, LITERAL_ROOM, SUBTABLE,
    build, distance_entry, length_entry, precode_entry,
};

/// Bytes of input that are there on each call, unless the input ends within them.
pub(super) const LOOKAHEAD: usize = 1024;
/// Bytes of output that are left free at the end of each call: a longest match, and what is written
/// beyond its end because whole words are copied.
pub(super) const MARGIN: usize = 258 + 2 * WORD;
/// How far back a match may reach.
pub(super) const WINDOW: usize = 32 << 10;

/// Bytes that are copied at once.
const WORD: usize = 16;
/// Bytes of input that one turn of the inner loop may look at.
const TURN: usize = 32;

/// What is not deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It ends too early.
    Short,
    /// It makes no sense.
    Data,
}

/// A stream being inflated.
pub(super) struct Inflate {
    state: State,
    is_last_block: bool,
    /// Input that was read and not used, the next bit lowest.
    bits: u64,
    /// How many bits of it there are.
    count: u32,
    literals: Box<[u32; LITERAL_ROOM]>,
    distances: Box<[u32; DISTANCE_ROOM]>,
    lengths: [u8; 320],
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Stored { left: usize },
    Codes,
    Done,
}

/// One call's input and output.
struct Io<'a> {
    input: &'a [u8],
    read: usize,
    output: &'a mut [u8],
    written: usize,
    /// Whether nothing comes after the input.
    is_end: bool,
}

impl Io<'_> {
    fn needs_input(&self) -> bool {
        !self.is_end && self.input.len() - self.read < LOOKAHEAD
    }

    fn has_room(&self) -> bool {
        self.output.len() - self.written >= MARGIN
    }
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            is_last_block: false,
            bits: 0,
            count: 0,
            literals: Box::new([0; LITERAL_ROOM]),
            distances: Box::new([0; DISTANCE_ROOM]),
            lengths: [0; 320],
        }
    }

    /// Begins another stream.
    pub(super) fn reset(&mut self) {
        (self.state, self.is_last_block) = (State::Header, false);
        (self.bits, self.count) = (0, 0);
    }

    /// Whether the stream has come to its end.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Inflates into `output` from `written` on, before which is what came before, as far back as
    /// matches may reach. Tells how much of the input was used, and where the output ends now.
    ///
    /// It stops when the stream is done, when fewer than [`LOOKAHEAD`] bytes of input are left and
    /// it `is_end` not, or when fewer than [`MARGIN`] bytes of room are left.
    pub(super) fn run(
        &mut self,
        input: &[u8],
        is_end: bool,
        output: &mut [u8],
        written: usize,
    ) -> Result<(usize, usize), Bad> {
        let mut io = Io { input, read: 0, output, written, is_end };
        while self.state != State::Done && !io.needs_input() && io.has_room() {
            match self.state {
                State::Header => self.header(&mut io)?,
                State::Stored { left } => self.stored(&mut io, left)?,
                State::Codes => self.codes(&mut io)?,
                State::Done => {}
            }
        }
        // Whole bytes go back.
        io.read -= (self.count / 8) as usize;
        self.count %= 8;
        self.bits &= (1 << self.count) - 1;
        Ok((io.read, io.written))
    }

    /// Takes bytes of input, as long as there are any, until there are 56 bits or more.
    fn refill(&mut self, io: &mut Io<'_>) {
        while self.count < 56 && io.read < io.input.len() {
            self.bits |= u64::from(io.input[io.read]) << self.count;
            io.read += 1;
            self.count += 8;
        }
    }

    /// Takes a few bits.
    fn take(&mut self, io: &mut Io<'_>, count: u32) -> Result<u32, Bad> {
        if self.count < count {
            self.refill(io);
        }
        if self.count < count {
            return Err(Bad::Short);
        }
        let bits = low(self.bits, count);
        self.drop_bits(count);
        u32::try_from(bits).map_err(|_many| Bad::Data)
    }

    fn end_block(&mut self) {
        self.state = if self.is_last_block { State::Done } else { State::Header };
    }

    fn header(&mut self, io: &mut Io<'_>) -> Result<(), Bad> {
        self.is_last_block = self.take(io, 1)? == 1;
        match self.take(io, 2)? {
            0 => {
                let partial = self.count % 8;
                self.take(io, partial)?;
                let (length, check) = (self.take(io, 16)?, self.take(io, 16)?);
                if length != !check & 0xffff {
                    return Err(Bad::Data);
                }
                self.state = State::Stored { left: length as usize };
            }
            1 => self.fixed_codes()?,
            2 => self.dynamic_codes(io)?,
            _ => return Err(Bad::Data),
        }
        Ok(())
    }

    fn stored(&mut self, io: &mut Io<'_>, mut left: usize) -> Result<(), Bad> {
        // The bits are whole bytes here.
        while left > 0 && self.count > 0 {
            io.output[io.written] = u8::try_from(self.take(io, 8)?).unwrap_or_default();
            (io.written, left) = (io.written + 1, left - 1);
        }
        let room = io.output.len() - io.written;
        let length = left.min(io.input.len() - io.read).min(room);
        if length == 0 && left > 0 && io.is_end && room > 0 {
            return Err(Bad::Short);
        }
        let from = &io.input[io.read..io.read + length];
        io.output[io.written..io.written + length].copy_from_slice(from);
        (io.read, io.written, left) = (io.read + length, io.written + length, left - length);
        self.state = State::Stored { left };
        if left == 0 {
            self.end_block();
        }
        Ok(())
    }

    /// The codes that every inflater knows. [RFC 1951, 3.2.6]
    fn fixed_codes(&mut self) -> Result<(), Bad> {
        for (symbol, length) in self.lengths[..288].iter_mut().enumerate() {
            *length = match symbol {
                0..144 => 8,
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            };
        }
        self.lengths[288..].fill(5);
        self.set_codes(288, 32)
    }

    /// Codes of the block's own. [RFC 1951, 3.2.7]
    fn dynamic_codes(&mut self, io: &mut Io<'_>) -> Result<(), Bad> {
        const ORDER: [usize; 19] =
            [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let literals = self.take(io, 5)? as usize + 257;
        let distances = self.take(io, 5)? as usize + 1;
        let given = self.take(io, 4)? as usize + 4;
        if literals > 286 || distances > 30 {
            return Err(Bad::Data);
        }
        let mut precode_lengths = [0; 19];
        for &symbol in &ORDER[..given] {
            precode_lengths[symbol] = u8::try_from(self.take(io, 3)?).unwrap_or_default();
        }
        let mut precode = [0; 128];
        build(&mut precode, 7, &precode_lengths, precode_entry)?;
        let mut at = 0;
        while at < literals + distances {
            self.refill(io);
            let entry = precode[low(self.bits, 7)];
            if entry & EXCEPTION != 0 {
                return Err(Bad::Data);
            }
            self.take(io, entry & 0xff)?;
            let symbol = entry >> 16;
            let (length, times) = match symbol {
                0..16 => (u8::try_from(symbol).unwrap_or_default(), 1),
                16 if at == 0 => return Err(Bad::Data),
                16 => (self.lengths[at - 1], 3 + self.take(io, 2)?),
                17 => (0, 3 + self.take(io, 3)?),
                _ => (0, 11 + self.take(io, 7)?),
            };
            let end = at + times as usize;
            if end > literals + distances {
                return Err(Bad::Data);
            }
            self.lengths[at..end].fill(length);
            at = end;
        }
        // A block without an end would not have one.
        if self.lengths[256] == 0 {
            return Err(Bad::Data);
        }
        self.set_codes(literals, distances)
    }

    fn set_codes(&mut self, literals: usize, distances: usize) -> Result<(), Bad> {
        let lengths = &self.lengths[..literals];
        build(&mut self.literals[..], LITERAL_BITS, lengths, length_entry)?;
        let lengths = &self.lengths[literals..literals + distances];
        build(&mut self.distances[..], DISTANCE_BITS, lengths, distance_entry)?;
        self.state = State::Codes;
        Ok(())
    }

    fn codes(&mut self, io: &mut Io<'_>) -> Result<(), Bad> {
        if self.fast(io)? {
            self.end_block();
            return Ok(());
        }
        // Near the end of the input, one symbol at a time.
        while io.has_room() && !io.needs_input() && io.input.len() - io.read < TURN {
            self.refill(io);
            let entry = lookup(&self.literals[..], LITERAL_BITS, self.bits);
            self.has(entry & 0xff)?;
            let before = self.bits;
            self.drop_bits(entry & 0xff);
            if entry & LITERAL != 0 {
                io.output[io.written] = literal(entry);
                io.written += 1;
                continue;
            }
            if entry & EXCEPTION != 0 {
                if entry & END == 0 {
                    return Err(Bad::Data);
                }
                self.end_block();
                return Ok(());
            }
            let length = value(entry, before);
            self.refill(io);
            let entry = lookup(&self.distances[..], DISTANCE_BITS, self.bits);
            if entry & EXCEPTION != 0 {
                return Err(Bad::Data);
            }
            self.has(entry & 0xff)?;
            let distance = value(entry, self.bits);
            self.drop_bits(entry & 0xff);
            copy(io.output, io.written, distance, length)?;
            io.written += length;
        }
        Ok(())
    }

    fn has(&self, count: u32) -> Result<(), Bad> {
        if count > self.count { Err(Bad::Short) } else { Ok(()) }
    }

    fn drop_bits(&mut self, count: u32) {
        self.bits >>= count;
        self.count -= count;
    }

    /// The inner loop, as long as there are input and room for a whole turn; whether the block
    /// ended.
    fn fast(&mut self, io: &mut Io<'_>) -> Result<bool, Bad> {
        let Self { literals, distances, .. } = self;
        let (literals, distances) = (&**literals, &**distances);
        let (mut bits, mut count) = (self.bits, self.count);
        let (input, mut read) = (io.input, io.read);
        let output = &mut *io.output;
        let mut written = io.written;
        let mut has_ended = false;
        fill(&mut bits, &mut count, input, &mut read);
        let mut entry = literals[low(bits, LITERAL_BITS)];
        while input.len() - read >= TURN && output.len() - written >= MARGIN {
            // Here are 56 bits at least, and the entry of the next word is known. Words of the first
            // table have at most 11 bits, so that three of them are always there.
            if entry & LITERAL != 0 {
                let Some(room) = output[written..].first_chunk_mut::<3>() else { break };
                shift(&mut bits, &mut count, entry);
                room[0] = literal(entry);
                entry = literals[low(bits, LITERAL_BITS)];
                written += 1;
                if entry & LITERAL != 0 {
                    shift(&mut bits, &mut count, entry);
                    room[1] = literal(entry);
                    entry = literals[low(bits, LITERAL_BITS)];
                    written += 1;
                    if entry & LITERAL != 0 {
                        shift(&mut bits, &mut count, entry);
                        room[2] = literal(entry);
                        written += 1;
                        fill(&mut bits, &mut count, input, &mut read);
                        entry = literals[low(bits, LITERAL_BITS)];
                        continue;
                    }
                }
            }
            if entry & EXCEPTION != 0 {
                fill(&mut bits, &mut count, input, &mut read);
                entry = lookup(&literals[..], LITERAL_BITS, bits);
                if entry & LITERAL != 0 {
                    shift(&mut bits, &mut count, entry);
                    output[written] = literal(entry);
                    written += 1;
                    fill(&mut bits, &mut count, input, &mut read);
                    entry = literals[low(bits, LITERAL_BITS)];
                    continue;
                }
                if entry & EXCEPTION != 0 {
                    if entry & END == 0 {
                        return Err(Bad::Data);
                    }
                    shift(&mut bits, &mut count, entry);
                    has_ended = true;
                    break;
                }
            }
            // After two literals are 34 bits left, and a length takes 20.
            let length = value(entry, bits);
            shift(&mut bits, &mut count, entry);
            let mut far = distances[low(bits, DISTANCE_BITS)];
            // A distance takes 28.
            if far & EXCEPTION != 0 || count < 28 {
                fill(&mut bits, &mut count, input, &mut read);
                far = lookup(&distances[..], DISTANCE_BITS, bits);
                if far & EXCEPTION != 0 {
                    return Err(Bad::Data);
                }
            }
            let distance = value(far, bits);
            shift(&mut bits, &mut count, far);
            // Order: before the copy, so that the processor looks into the table meanwhile.
            fill(&mut bits, &mut count, input, &mut read);
            entry = literals[low(bits, LITERAL_BITS)];
            copy(output, written, distance, length)?;
            written += length;
        }
        (self.bits, self.count) = (bits & ((1 << count) - 1), count);
        (io.read, io.written) = (read, written);
        Ok(has_ended)
    }
}

/// Takes eight bytes of input, of which as many count as there is room for; what is above the
/// count is the beginning of the rest, with which it is or-ed the next time.
#[inline(always)]
fn fill(bits: &mut u64, count: &mut u32, input: &[u8], read: &mut usize) {
    if let Some(next) = input[*read..].first_chunk::<8>() {
        *bits |= u64::from_le_bytes(*next) << *count;
        *read += ((63 - *count) >> 3) as usize;
        *count |= 56;
    }
}

#[inline(always)]
fn shift(bits: &mut u64, count: &mut u32, entry: u32) {
    *bits >>= entry & 0x3f;
    *count -= entry & 0x3f;
}

/// The lowest bits as a number; never more than 28.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "there are at most 28 bits")]
fn low(bits: u64, count: u32) -> usize {
    (bits & ((1 << count) - 1)) as usize
}

#[inline(always)]
fn literal(entry: u32) -> u8 {
    entry.to_le_bytes()[2]
}

/// The base of a length or distance and its extra bits, which follow the code word.
#[inline(always)]
fn value(entry: u32, bits: u64) -> usize {
    let word = (entry >> 8) & 0xf;
    let extra = low(bits, entry & 0x3f) >> word;
    ((entry >> 16) & 0x7fff) as usize + extra
}

/// Finds the entry of the next code word, also where it is longer than the first table's.
#[inline(always)]
fn lookup(table: &[u32], table_bits: u32, bits: u64) -> u32 {
    let entry = table[low(bits, table_bits)];
    if entry & SUBTABLE == 0 {
        return entry;
    }
    // Of the second table: where it begins, and how many bits it is asked with.
    let (begin, more) = ((entry >> 16) as usize, entry & 0xff);
    table[begin + low(bits >> table_bits, more)]
}

/// Copies a match; more than its length may be written.
#[inline(always)]
fn copy(output: &mut [u8], to: usize, distance: usize, length: usize) -> Result<(), Bad> {
    let Some(from) = to.checked_sub(distance) else { return Err(Bad::Data) };
    if distance >= WORD {
        let mut done = 0;
        while done < length {
            let word = output[from + done..].first_chunk::<WORD>().copied();
            if let (Some(word), Some(room)) = (word, output[to + done..].first_chunk_mut()) {
                *room = word;
            }
            done += WORD;
        }
    } else if distance == 1 {
        let byte = output[from];
        output[to..to + length].fill(byte);
    } else {
        let region = &mut output[from..to + length];
        for at in distance..region.len() {
            region[at] = region[at - distance];
        }
    }
    Ok(())
}
