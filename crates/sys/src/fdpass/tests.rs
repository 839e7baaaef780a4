#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::*;

fn two() -> (OwnedFd, OwnedFd) {
    pair(SocketFlags::NONBLOCK).unwrap()
}

#[test]
fn a_datagram_arrives_whole_with_its_descriptors() {
    let (one, other) = two();
    let (read, write) = rustix::pipe::pipe().unwrap();
    send(&one, b"hello", &[write.as_fd()]).unwrap();
    send(&one, b"again", &[]).unwrap();
    drop(write);
    let mut buffer = [0_u8; 64];
    let datagram = receive(&other, &mut buffer).unwrap().unwrap();
    assert_eq!((&buffer[..datagram.length], datagram.truncated), (&b"hello"[..], false));
    rustix::io::write(&datagram.descriptors[0], b"x").unwrap();
    assert_eq!(rustix::io::read(&read, &mut buffer).unwrap(), 1);
    let flags = rustix::io::fcntl_getfd(&datagram.descriptors[0]).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert!(receive(&other, &mut buffer).unwrap().unwrap().descriptors.is_empty());
    assert_eq!(receive(&other, &mut buffer).unwrap_err(), Errno::AGAIN);
}

#[test]
fn as_many_descriptors_as_the_kernel_takes() {
    let (one, other) = two();
    let null = std::fs::File::open("/dev/null").unwrap();
    let many = vec![null.as_fd(); MAX_DESCRIPTORS];
    send(&one, b"x", &many).unwrap();
    let datagram = receive(&other, &mut [0]).unwrap().unwrap();
    assert_eq!((datagram.descriptors.len(), datagram.truncated), (MAX_DESCRIPTORS, false));
}

#[test]
fn what_does_not_fit_is_said() {
    let (one, other) = two();
    send(&one, b"long", &[]).unwrap();
    assert!(receive(&other, &mut [0; 2]).unwrap().unwrap().truncated);
}

#[test]
fn the_end_is_no_datagram_and_sending_to_nobody_an_error_without_a_signal() {
    let (one, other) = two();
    drop(other);
    assert_eq!(send(&one, b"x", &[]).unwrap_err(), Errno::PIPE);
    assert!(receive(&one, &mut [0]).unwrap().is_none());
}

#[test]
fn a_listener_is_found_by_its_path() {
    let path = std::env::temp_dir().join(format!("ferry-fdpass-{}", std::process::id()));
    assert_eq!(connect(&path, SocketFlags::empty()).unwrap_err().errno, Errno::NOENT);
    let listener = listen(&path, SocketFlags::empty()).unwrap();
    assert_eq!(listen(&path, SocketFlags::empty()).unwrap_err().errno, Errno::ADDRINUSE);
    let client = connect(&path, SocketFlags::empty()).unwrap();
    let server = rustix::net::accept(&listener).unwrap();
    send(&server, b"hello", &[]).unwrap();
    assert_eq!(receive(&client, &mut [0; 8]).unwrap().unwrap().length, 5);
    drop(listener);
    assert_eq!(connect(&path, SocketFlags::empty()).unwrap_err().errno, Errno::CONNREFUSED);
    std::fs::remove_file(path).unwrap();
}
