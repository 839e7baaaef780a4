//! Protection of this program's file against the containers it makes. (CVE-2019-5736)
//!
//! A container may make its init execute `/proc/self/exe`, which until then is this program, and so get
//! hold of its file. So the program executes itself again from a read-only mount of its file that is
//! attached nowhere: what the container gets hold of can not be opened for writing.

use std::ffi::CString;
use std::os::fd::AsFd as _;

use ferry_sys::mount::{Attributes, Change, set_attributes};
use ferry_sys::process::execute_fd;
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

/// Executes this program again if its file could be written; returns if it already can not.
pub(crate) fn raise() -> Result<(), String> {
    const SELF: &str = "/proc/self/exe";
    let failed = |doing: &'static str| move |errno| format!("{doing}: {errno}");
    let file = rustix::fs::openat(CWD, SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("opening the runtime's own file"))?;
    let filesystem =
        rustix::fs::fstatvfs(&file).map_err(failed("looking at the runtime's own file"))?;
    if filesystem.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = rustix::mount::open_tree(CWD, SELF, flags)
        .map_err(failed("copying the mount of the runtime's own file"))?;
    let change = Change { set: Attributes::READ_ONLY, ..Change::default() };
    set_attributes(copy.as_fd(), change, false).map_err(|error| error.to_string())?;
    let strings = |strings: &mut dyn Iterator<Item = std::ffi::OsString>| {
        strings
            .map(|s| CString::new(std::os::unix::ffi::OsStringExt::into_vec(s)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())
    };
    let arguments = strings(&mut std::env::args_os())?;
    let environment = strings(&mut std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))?;
    Err(format!(
        "executing the runtime again: {}",
        execute_fd(copy.as_fd(), &arguments, &environment)
    ))
}
