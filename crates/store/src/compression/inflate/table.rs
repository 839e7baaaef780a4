//! Tables that decode prefix codes: what the next bits are, and how many of them.
//!
//! ```text
//!           31       30..16            15         14        13     11..8       7..0
//! literal   LITERAL  the byte                                                  bits of the word
//! other              base                                          the word's  of word and extra
//! end                                  EXCEPTION            END                bits of the word
//! second             where it begins   EXCEPTION  SUBTABLE                     bits it is asked with
//! none                                 EXCEPTION
//! ```

use super::Bad;

pub(super) const LITERAL: u32 = 1 << 31;
pub(super) const EXCEPTION: u32 = 1 << 15;
pub(super) const SUBTABLE: u32 = 1 << 14;
pub(super) const END: u32 = 1 << 13;

/// Bits that the first tables are asked with.
pub(super) const LITERAL_BITS: u32 = 11;
pub(super) const DISTANCE_BITS: u32 = 8;
/// A first table and all second ones. In a whole code each of those has two words at least, of 288
/// and of 32, and a word has at most 15 bits.
pub(super) const LITERAL_ROOM: usize = (1 << LITERAL_BITS) + 288 / 2 * (1 << (15 - LITERAL_BITS));
pub(super) const DISTANCE_ROOM: usize = (1 << DISTANCE_BITS) + 32 / 2 * (1 << (15 - DISTANCE_BITS));

const MAX_BITS: usize = 15;

/// The first word of each length, as they are given out.
type Words = [u32; MAX_BITS + 2];

/// Makes a table of the lengths of code words; `entry` says what a symbol is.
pub(super) fn build(
    table: &mut [u32],
    table_bits: u32,
    lengths: &[u8],
    entry: fn(usize) -> u32,
) -> Result<(), Bad> {
    let mut counts = [0_u32; MAX_BITS + 1];
    for &length in lengths {
        counts[usize::from(length)] += 1;
    }
    counts[0] = 0;
    // [RFC 1951, 3.2.2]
    let mut words: Words = [0; MAX_BITS + 2];
    let mut used = 0_u32;
    let mut longest = 0;
    for bits in 1..=MAX_BITS {
        words[bits + 1] = (words[bits] + counts[bits]) << 1;
        used += counts[bits] << (MAX_BITS - bits);
        longest = if counts[bits] > 0 { bits } else { longest };
    }
    if used > 1 << MAX_BITS {
        return Err(Bad::Data);
    }
    let size = 1_usize << table_bits;
    let more = u32::try_from(longest).unwrap_or(0).saturating_sub(table_bits);
    if used < 1 << MAX_BITS {
        // What is no code word is none.
        table[..size].fill(EXCEPTION);
    } else if more > 0 {
        // Nor is what an earlier code has left where second tables are looked for.
        for (word, _, _) in codes(lengths, words).filter(|(_, length, _)| *length > table_bits) {
            table[word & (size - 1)] = EXCEPTION;
        }
    }
    let mut end = size;
    for (word, length, symbol) in codes(lengths, words) {
        let what = with_length(entry(symbol), length);
        if length <= table_bits {
            for slot in table[..size].iter_mut().skip(word).step_by(1 << length) {
                *slot = what;
            }
            continue;
        }
        let first = word & (size - 1);
        if table[first] & SUBTABLE == 0 {
            let Some(second) = table.get_mut(end..end + (1 << more)) else { return Err(Bad::Data) };
            second.fill(EXCEPTION);
            let begin = u32::try_from(end).map_err(|_large| Bad::Data)?;
            table[first] = begin << 16 | EXCEPTION | SUBTABLE | more;
            end += 1 << more;
        }
        let begin = (table[first] >> 16) as usize;
        let second = &mut table[begin..begin + (1 << more)];
        for slot in second.iter_mut().skip(word >> table_bits).step_by(1 << (length - table_bits)) {
            *slot = what;
        }
    }
    Ok(())
}

/// The code words as they come in the stream, lowest bit first, their lengths and their symbols.
fn codes(lengths: &[u8], mut words: Words) -> impl Iterator<Item = (usize, u32, usize)> {
    let used = lengths.iter().enumerate().filter(|(_, length)| **length > 0);
    used.map(move |(symbol, &length)| {
        let next = &mut words[usize::from(length)];
        let length = u32::from(length);
        let word = next.reverse_bits() >> (32 - length);
        *next += 1;
        (word as usize, length, symbol)
    })
}

/// Adds the length of the code word to an entry, which has that of its extra bits.
fn with_length(entry: u32, length: u32) -> u32 {
    if entry & (LITERAL | EXCEPTION) != 0 { entry + length } else { entry + length + (length << 8) }
}

pub(super) fn precode_entry(symbol: usize) -> u32 {
    u32::try_from(symbol).map_or(EXCEPTION, |symbol| symbol << 16)
}

/// Literals, the end, and lengths. [RFC 1951, 3.2.5]
pub(super) fn length_entry(symbol: usize) -> u32 {
    const BASES: [u16; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115,
        131, 163, 195, 227, 258,
    ];
    const EXTRAS: [u8; 29] =
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
    match symbol {
        0..256 => LITERAL | u32::try_from(symbol).unwrap_or_default() << 16,
        256 => EXCEPTION | END,
        _ => with_extra(&BASES, &EXTRAS, symbol - 257),
    }
}

/// Distances. [RFC 1951, 3.2.5]
pub(super) fn distance_entry(symbol: usize) -> u32 {
    const BASES: [u16; 30] = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
        2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
    ];
    const EXTRAS: [u8; 30] = [
        0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12,
        13, 13,
    ];
    with_extra(&BASES, &EXTRAS, symbol)
}

fn with_extra(bases: &[u16], extras: &[u8], symbol: usize) -> u32 {
    match (bases.get(symbol), extras.get(symbol)) {
        (Some(&base), Some(&extra)) => u32::from(base) << 16 | u32::from(extra),
        // Code words that stand for nothing.
        _ => EXCEPTION,
    }
}
