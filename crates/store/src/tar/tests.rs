use super::builder::{Fields, TarBuilder};
use std::io::Write as _;

use super::*;

fn read(bytes: &[u8]) -> Result<Vec<Entry>, TarError> {
    let mut reader = TarReader::new(StreamSource::new(bytes));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

#[track_caller]
fn one(bytes: &[u8]) -> Entry {
    let mut entries = read(bytes).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

#[track_caller]
fn refused(bytes: &[u8], words: &str) {
    assert_eq!(read(bytes).unwrap_err().to_string(), words);
}

#[test]
fn plain_headers_are_read() {
    let fields = Fields {
        path: b"a/b",
        mode: 0o104_755,
        uid: 1000,
        gid: 100,
        mtime: 42,
        ..Fields::default()
    };
    let entry = one(&TarBuilder::new().entry(fields, b"hello").finish());
    assert_eq!(entry.path, b"a/b");
    assert_eq!((entry.mode, entry.uid, entry.gid), (0o4755, 1000, 100));
    assert_eq!((entry.mtime_seconds, entry.mtime_nanoseconds), (42, 0));
    assert_eq!(entry.kind, EntryKind::File(FileData { size: 5, offset: 512, sparse: None }));
}

#[test]
fn files_and_streams_are_read_alike() {
    let bytes = TarBuilder::new()
        .file("a", &[1; 3000])
        .pax("mtime", b"1.5")
        .file("b", &[2; 70_000])
        .gnu_sparse("c", 9000, &[(4096, &[3; 100])])
        .dir("d")
        .finish();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let mut reader = TarReader::new(FileSource::new(&file).unwrap());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        entries.push(entry);
    }
    assert_eq!(entries, read(&bytes).unwrap());
    assert_eq!(entries.len(), 4);
}

#[test]
fn pax_headers_win_over_plain_ones() {
    let path = "p".repeat(3000);
    let bytes = TarBuilder::new()
        .pax("path", path.as_bytes())
        .pax("uid", b"3000000000")
        .pax("mtime", b"1700000000.123456789")
        .pax("SCHILY.xattr.user.x", b"with\0zero\nand line")
        .pax("comment", b"ignored")
        .file("short", b"")
        .file("next", b"")
        .finish();
    let entries = read(&bytes).unwrap();
    assert_eq!(entries[0].path, path.as_bytes());
    assert_eq!(entries[0].uid, 3_000_000_000);
    assert_eq!(entries[0].mtime_nanoseconds, 123_456_789);
    assert_eq!(entries[0].xattrs, [(b"user.x".to_vec(), b"with\0zero\nand line".to_vec())]);
    assert_eq!(entries[1].path, b"next");
    assert!(entries[1].xattrs.is_empty());
}

#[test]
fn gnu_long_names_are_read() {
    let name = [b'n'; 200];
    let target = [b't'; 300];
    let bytes = TarBuilder::new()
        .gnu_long(b'L', &name)
        .gnu_long(b'K', &target)
        .symlink("cut", "cut")
        .finish();
    let entry = one(&bytes);
    assert_eq!(entry.path, name);
    assert_eq!(entry.kind, EntryKind::Symlink(target.to_vec()));
}

#[test]
fn all_forms_of_sparse_files_are_read() {
    let pieces: Vec<(u64, u64)> = vec![(0, 512), (4096, 100), (8192, 0)];
    let expect: [Segment; 2] = [
        Segment { offset: 0, length: 512, stored: 0 },
        Segment { offset: 4096, length: 100, stored: 512 },
    ];
    let data = [7; 612];
    let old = TarBuilder::new().gnu_sparse(
        "s",
        8192,
        &[(0, &data[..512]), (4096, &data[512..]), (8192, b"")],
    );
    let mut v00 =
        TarBuilder::new().pax("GNU.sparse.size", b"8192").pax("GNU.sparse.numblocks", b"3");
    for (offset, length) in &pieces {
        v00 = v00
            .pax("GNU.sparse.offset", offset.to_string().as_bytes())
            .pax("GNU.sparse.numbytes", length.to_string().as_bytes());
    }
    let v01 = TarBuilder::new()
        .pax("GNU.sparse.size", b"8192")
        .pax("GNU.sparse.name", b"s")
        .pax("GNU.sparse.map", b"0,512,4096,100,8192,0");
    let v10 = TarBuilder::new()
        .pax("GNU.sparse.major", b"1")
        .pax("GNU.sparse.minor", b"0")
        .pax("GNU.sparse.name", b"s")
        .pax("GNU.sparse.realsize", b"8192");
    let mut map = b"3\n0\n512\n4096\n100\n8192\n0\n".to_vec();
    map.resize(512, 0);
    map.extend(data);
    for (bytes, offset) in [
        (old.finish(), 512),
        (v00.file("s", &data).finish(), 1536),
        (v01.file("GNUSparseFile.0/s", &data).finish(), 1536),
        (v10.file("GNUSparseFile.0/s", &map).finish(), 2048),
    ] {
        let entry = one(&bytes);
        assert_eq!(entry.path, b"s");
        let EntryKind::File(file) = entry.kind else { panic!("a file") };
        assert_eq!((file.size, file.offset), (8192, offset));
        assert_eq!(file.sparse.as_deref(), Some(expect.as_slice()));
    }
}

#[test]
fn a_sparse_map_may_need_many_blocks() {
    let pieces: Vec<(u64, &[u8])> = (0..60).map(|i| (i * 4096, b"x".as_slice())).collect();
    let entry = one(&TarBuilder::new().gnu_sparse("s", 1 << 20, &pieces).finish());
    let EntryKind::File(file) = entry.kind else { panic!("a file") };
    assert_eq!(file.sparse.unwrap().len(), 60);
}

#[test]
fn malformed_archives_are_refused() {
    let good = TarBuilder::new().file("a", b"hello").unfinished();
    refused(&good[..100], "unexpected EOF");
    refused(&good[..514], "unexpected EOF");
    let mut bad = good.clone();
    bad[0] = b'b';
    refused(&bad, "archive/tar: invalid tar header");
    let mut bad = vec![0; 512];
    bad.extend(&good);
    refused(&bad, "archive/tar: invalid tar header");
    refused(
        &TarBuilder::new()
            .entry(Fields { path: b"x", typeflag: b'V', ..Fields::default() }, b"")
            .finish(),
        "\"x\": unhandled tar header type 86",
    );
    let dangling = TarBuilder::new().gnu_long(b'L', b"name").finish();
    refused(&dangling, "unexpected EOF");
    let large = Fields { path: b"x", typeflag: b'x', size: 2 << 20, ..Fields::default() };
    let large = TarBuilder::new().entry(large, b"").finish();
    assert!(read(&large).unwrap_err().to_string().starts_with("extended header of 2097152 bytes"));
    for map in ["0,10,5,10", "0,99999", "1,18446744073709551615", "0,x", "0"] {
        let bytes = TarBuilder::new()
            .pax("GNU.sparse.size", b"100")
            .pax("GNU.sparse.map", map.as_bytes())
            .file("s", &[0; 20])
            .finish();
        assert!(read(&bytes).is_err(), "{map}");
    }
}

#[test]
fn endings_are_taken_as_go_takes_them() {
    assert_eq!(read(b"").unwrap(), []);
    assert_eq!(read(&[0; 512]).unwrap(), []);
    let unfinished = TarBuilder::new().file("a", b"hello").unfinished();
    assert_eq!(read(&unfinished).unwrap().len(), 1);
    // The very last padding may be missing.
    assert_eq!(read(&unfinished[..517]).unwrap().len(), 1);
    let mut garbage = TarBuilder::new().file("a", b"").finish();
    garbage.extend(b"whatever follows the end is not looked at");
    assert_eq!(read(&garbage).unwrap().len(), 1);
}

#[test]
fn hostile_bytes_never_panic() {
    let good = TarBuilder::new()
        .pax("GNU.sparse.major", b"1")
        .pax("GNU.sparse.minor", b"0")
        .file("s", b"1\n0\n1\n")
        .gnu_sparse("t", 100, &[(0, b"x")])
        .finish();
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = seed.to_le_bytes()[3];
            // Put the checksum right, so that the change is looked at.
            let block = at / 512 * 512;
            bytes[block + 148..block + 156].fill(b' ');
            let sum: u32 = bytes[block..block + 512].iter().map(|&byte| u32::from(byte)).sum();
            bytes[block + 148..block + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        drop(read(&bytes));
    }
}
