use super::*;
use crate::tar::StreamSource;
use crate::tar::builder::{Fields, TarBuilder};

fn read(archive: TarBuilder) -> Result<LayerTree, TarError> {
    LayerTree::read(&mut TarReader::new(StreamSource::new(archive.finish().as_slice())))
}

/// Draws a tree: one line per name.
fn draw(tree: &LayerTree) -> Vec<String> {
    fn walk(tree: &LayerTree, id: NodeId, path: &str, lines: &mut Vec<String>) {
        let Some(directory) = tree.directory(id) else { return };
        for (name, &child) in &directory.children {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            let kind = match &tree.node(child).kind {
                NodeKind::Directory(directory) if directory.opaque => "opaque".to_owned(),
                NodeKind::Directory(_) => "dir".to_owned(),
                NodeKind::File(data) => format!("file {}", data.size),
                NodeKind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                NodeKind::Whiteout => "whiteout".to_owned(),
                other => format!("{other:?}"),
            };
            lines.push(format!("{path} {kind} {}", tree.node(child).links));
            walk(tree, child, &path, lines);
        }
    }
    let mut lines = Vec::new();
    walk(tree, LayerTree::ROOT, "", &mut lines);
    lines
}

#[track_caller]
fn check(archive: TarBuilder, expect: &[&str]) {
    assert_eq!(draw(&read(archive).unwrap()), expect);
}

#[track_caller]
fn refused(archive: TarBuilder, words: &str) {
    assert_eq!(read(archive).unwrap_err().to_string(), words);
}

#[test]
fn paths_are_taken_beneath_the_root() {
    let archive = TarBuilder::new().dir("./").file("/abs", b"").file("a/./b/../c", b"x");
    check(archive, &["/a dir 1", "/a/c file 1 1", "/abs file 0 1"]);
}

#[test]
fn later_entries_take_the_place_of_earlier_ones() {
    let archive = TarBuilder::new()
        .file("a", b"1")
        .file("a", b"22")
        .dir("d")
        .file("d/x", b"")
        .dir("d")
        .dir("e")
        .file("e/y", b"")
        .file("e", b"")
        .file("f", b"")
        .dir("f");
    check(archive, &["/a file 2 1", "/d dir 1", "/d/x file 0 1", "/e file 0 1", "/f dir 1"]);
}

#[test]
fn whiteouts_become_what_overlayfs_knows() {
    let archive = TarBuilder::new()
        .file(".wh.gone", b"")
        .file("d/.wh.also", b"")
        .file("o/.wh..wh..opq", b"")
        .file("o/kept", b"")
        .file(".wh..wh.plnk", b"");
    check(
        archive,
        &["/d dir 1", "/d/also whiteout 1", "/gone whiteout 1", "/o opaque 1", "/o/kept file 0 1"],
    );
}

#[test]
fn a_whiteout_does_not_hide_its_own_layer_in_either_order() {
    let before = TarBuilder::new().file(".wh.f", b"").file("f", b"x").file(".wh.d", b"").dir("d");
    let after = TarBuilder::new().file("f", b"x").file(".wh.f", b"").dir("d").file(".wh.d", b"");
    let implied = TarBuilder::new().file("f", b"x").file(".wh.d", b"").file("d/x", b"");
    check(before, &["/d opaque 1", "/f file 1 1"]);
    check(after, &["/d opaque 1", "/f file 1 1"]);
    check(implied, &["/d opaque 1", "/d/x file 0 1", "/f file 1 1"]);
}

#[test]
fn hard_links_share_a_node() {
    let archive = TarBuilder::new()
        .file("a", b"xyz")
        .hard_link("b", "a")
        .hard_link("d/c", "/b")
        .hard_link("a", "a");
    let tree = read(archive.clone()).unwrap();
    assert_eq!(tree.content_size(), 3);
    check(archive, &["/a file 3 3", "/b file 3 3", "/d dir 1", "/d/c file 3 3"]);
    let replaced = TarBuilder::new().file("a", b"xyz").hard_link("b", "a").file("a", b"1");
    check(replaced, &["/a file 1 1", "/b file 3 1"]);
}

#[test]
fn what_leaves_the_root_is_refused() {
    refused(TarBuilder::new().file("../x", b""), "\"../x\": path leaves the root of the archive");
    refused(
        TarBuilder::new().dir("a/../../x"),
        "\"a/../../x\": path leaves the root of the archive",
    );
    refused(
        TarBuilder::new().file("a/../../.wh.x", b""),
        "\"a/../../.wh.x\": path leaves the root of the archive",
    );
    refused(
        TarBuilder::new().hard_link("x", "../../etc/shadow"),
        "\"../../etc/shadow\": path leaves the root of the archive",
    );
    refused(
        TarBuilder::new().hard_link("x", "/etc/shadow"),
        "invalid hard link \"x\" -> \"/etc/shadow\": no such file in this layer",
    );
    refused(
        TarBuilder::new().symlink("l", "/etc").file("l/passwd", b""),
        "\"l/passwd\": \"l\" is a symbolic link; refusing to go through it",
    );
    refused(
        TarBuilder::new().symlink("l", "/etc").hard_link("x", "l/passwd"),
        "invalid hard link \"x\" -> \"l/passwd\": it goes through a symbolic link",
    );
    refused(
        TarBuilder::new().symlink("l", "..").file("l/.wh.x", b""),
        "\"l/.wh.x\": \"l\" is a symbolic link; refusing to go through it",
    );
}

#[test]
fn nonsense_is_refused() {
    refused(TarBuilder::new().file("f", b"").file("f/x", b""), "\"f/x\": \"f\" is no directory");
    refused(TarBuilder::new().file(".wh.", b""), "\".wh.\": whiteout of nothing");
    refused(TarBuilder::new().file("a/.wh...", b""), "\"a/.wh...\": whiteout of nothing");
    refused(
        TarBuilder::new().file(".wh.a/b", b""),
        "\".wh.a/b\": \".wh.a\" is a whiteout and can have nothing in it",
    );
    refused(TarBuilder::new().symlink("/", "x"), "\"/\": the root must be a directory");
    refused(
        TarBuilder::new().dir("d").hard_link("x", "d"),
        "invalid hard link \"x\" -> \"d\": it is a directory",
    );
    refused(TarBuilder::new().symlink("l", ""), "\"l\": invalid target of a symbolic link");
    let long = "n".repeat(256);
    refused(
        TarBuilder::new().pax("path", long.as_bytes()).file("x", b""),
        &format!("{long:?}: name is too long"),
    );
    let deep = "d/".repeat(2048);
    refused(
        TarBuilder::new().pax("path", deep.as_bytes()).dir("x"),
        &format!("{deep:?}: path is too long"),
    );
    let device = Fields { path: b"x", typeflag: b'3', device: (4096, 0), ..Fields::default() };
    refused(TarBuilder::new().entry(device, b""), "\"x\": device number is out of range");
}

#[test]
fn overlayfs_notes_of_an_archive_are_dropped() {
    let archive = TarBuilder::new()
        .pax("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
        .pax("SCHILY.xattr.user.kept", b"1")
        .dir("d");
    let tree = read(archive).unwrap();
    let id = tree.directory(LayerTree::ROOT).unwrap().children[b"d".as_slice()];
    let xattrs = &tree.node(id).attributes.xattrs;
    assert_eq!(xattrs.to_vec(), [(b"user.kept".to_vec(), b"1".to_vec())]);
}

#[test]
fn what_a_tree_holds_is_counted_and_bounded() {
    let attribute = |number: usize| {
        TarBuilder::new().pax(&format!("SCHILY.xattr.user.{number}"), &[b'x'; 1000]).file("a", b"")
    };
    let tree = read(attribute(1)).unwrap();
    let one = tree.memory;
    assert!((1000..1300).contains(&one), "{one}");
    let error = tree.check_memory(one - 1).unwrap_err().to_string();
    assert!(error.ends_with(&format!("of a layer take more than {} bytes", one - 1)), "{error}");
    tree.check_memory(one).unwrap();
    // What later entries hide goes, whatever it was.
    let mut archive = TarBuilder::new();
    for _ in 0..10 {
        archive = archive
            .symlink("a/b/c", &"to".repeat(100))
            .pax("SCHILY.xattr.user.x", &[b'x'; 1000])
            .dir("a/b")
            .gnu_sparse("a/d", 1 << 20, &[(512, b"x"), (1024, b"y")])
            .hard_link("a/e", "a/d")
            .symlink("a/f", "to");
    }
    archive = archive.pax("SCHILY.xattr.user.1", &[b'x'; 1000]).file("a", b"");
    assert_eq!(read(archive).unwrap().memory, one);
}

#[test]
fn a_whiteout_may_hide_the_longest_name() {
    let longest = "x".repeat(255);
    let archive = |path: &str| TarBuilder::new().pax("path", path.as_bytes()).file("", b"");
    let whiteout = archive(&format!("d/.wh.{longest}"));
    check(whiteout, &["/d dir 1", &format!("/d/{longest} whiteout 1")]);
    for path in [format!("d/{longest}x"), format!("d/.wh.{longest}x")] {
        refused(archive(&path), &format!("{path:?}: name is too long"));
    }
}

#[test]
fn nobody_and_exbibytes_are_refused() {
    for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
        let archive = TarBuilder::new()
            .pax("uid", uid.to_string().as_bytes())
            .pax("gid", gid.to_string().as_bytes());
        refused(archive.file("a", b""), "\"a\": id is out of range");
    }
    let large = |files: usize| {
        let file = |tar: TarBuilder, n| tar.gnu_sparse(&format!("{n}"), 1 << 60, &[(0, b"x")]);
        (0..files).fold(TarBuilder::new(), file)
    };
    assert_eq!(read(large(1)).unwrap().content_size(), 1 << 60);
    refused(large(2), "files of a layer are too large");
}
