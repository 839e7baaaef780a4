//! From clients to a process.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use super::Streams;
use crate::program::client::Client;
use crate::program::poll::Poller;
use crate::program::streams::Notices;

/// How many transfers in a row one client gets before the others have their turn.
const TURNS: usize = 16;

/// How much is moved at once.
const PIECE: usize = 1024 * 1024;

/// How a transfer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// There may be more.
    Some,
    /// There is nothing to take now.
    Nothing,
    /// There is no room now.
    Full,
    /// The client has ended what it sends.
    End,
    /// The client has detached itself.
    Detached,
    /// The process takes nothing any more.
    Closed,
}

impl Streams {
    /// Moves what a client has sent to the process.
    pub(super) fn input(&mut self, key: u32, poller: &mut Poller, notices: &mut Notices) {
        for _ in 0..TURNS {
            let Some(client) = self.clients.get_mut(&key) else { return };
            if !client.sends {
                return;
            }
            let moved = match (&self.stdin, &self.stdout) {
                (Some(stdin), _) => to_pipe(client, stdin.as_fd()),
                (None, Some(terminal)) if self.tty => to_terminal(client, terminal.as_fd()),
                _ => Moved::Closed,
            };
            client.waits_for_room = moved == Moved::Full;
            match moved {
                Moved::Some => continue,
                Moved::Nothing if client.gone => {
                    // It can send no more, and what it had sent is delivered.
                    self.ended(key, poller);
                }
                Moved::Nothing | Moved::Full => {}
                Moved::End => self.ended(key, poller),
                Moved::Detached => {
                    client.sends = false;
                    client.closing = true;
                    notices.detached = true;
                }
                // What else it sends is left where it is.
                Moved::Closed => self.close_input(poller),
            }
            break;
        }
        self.sweep(poller, std::time::Instant::now());
    }

    /// There is room again.
    pub(super) fn room_for_input(&mut self, poller: &mut Poller, notices: &mut Notices) {
        let waiting: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| client.waits_for_room)
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            self.input(key, poller, notices);
        }
    }

    /// Takes what came with new clients.
    pub(in crate::program) fn take_early(&mut self, poller: &mut Poller, notices: &mut Notices) {
        let early: Vec<u32> = self
            .clients
            .iter()
            .filter(|(_, client)| !client.pending.is_empty() && !client.waits_for_room)
            .map(|(key, _)| *key)
            .collect();
        for key in early {
            self.input(key, poller, notices);
        }
    }

    /// A client has sent all it had. As with Docker this ends standard input if it is that client's
    /// alone, and else the client's attachment.
    fn ended(&mut self, key: u32, poller: &mut Poller) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.sends = false;
        if self.stdin_once && !self.tty {
            self.close_input(poller);
        } else {
            client.closing = true;
        }
    }
}

fn to_pipe(client: &mut Client, pipe: BorrowedFd<'_>) -> Moved {
    if !client.pending.is_empty() {
        return write_pending(client, pipe);
    }
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    match rustix::pipe::splice(&client.socket, None, pipe, None, PIECE, flags) {
        Ok(0) => Moved::End,
        Ok(_) => Moved::Some,
        Err(Errno::INTR) => Moved::Some,
        // It does not say which side: that the pipe has room means that the socket is empty.
        Err(Errno::AGAIN) if has_room(pipe) => Moved::Nothing,
        Err(Errno::AGAIN) => Moved::Full,
        Err(Errno::PIPE) => Moved::Closed,
        Err(_) => Moved::End,
    }
}

fn to_terminal(client: &mut Client, terminal: BorrowedFd<'_>) -> Moved {
    if !client.pending.is_empty() {
        return write_pending(client, terminal);
    }
    let mut typed = [0_u8; 4096];
    match rustix::io::read(&client.socket, &mut typed) {
        Ok(0) => Moved::End,
        Ok(count) => {
            let typed = typed.get(..count).unwrap_or_default();
            if client.detach.pass(typed, &mut client.pending) {
                // What was typed before the keys; there is no waiting for room any more.
                let _may_fail = rustix::io::write(terminal, &client.pending);
                client.pending = Vec::new();
                return Moved::Detached;
            }
            Moved::Some
        }
        Err(Errno::INTR) => Moved::Some,
        Err(Errno::AGAIN) => Moved::Nothing,
        Err(_) => Moved::End,
    }
}

fn write_pending(client: &mut Client, to: BorrowedFd<'_>) -> Moved {
    match rustix::io::write(to, &client.pending) {
        Ok(count) => {
            drop(client.pending.drain(..count));
            if client.pending.is_empty() {
                client.pending = Vec::new();
            }
            Moved::Some
        }
        Err(Errno::INTR) => Moved::Some,
        Err(Errno::AGAIN) => Moved::Full,
        Err(_) => Moved::Closed,
    }
}

fn has_room(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(rustix::event::poll(&mut fds, Some(&at_once)), Ok(count) if count > 0)
}
