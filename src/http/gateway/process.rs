//! One request given to a program of its own (CGI): its body on standard input, its response on
//! standard output.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    pin::Pin,
    process::Stdio,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::OwnedSemaphorePermit,
};

use super::{environment::Environment, errors::ErrorLog, upload::Upload};

const READ: usize = 16 * 1024;

/// A program that runs.
pub(super) struct Process {
    child: Child,
    /// `None` when the program has got all of the body, or wants no more of it.
    input: Option<(ChildStdin, Upload)>,
    content: Bytes,
    output: ChildStdout,
    complaints: Option<ChildStderr>,
    errors: ErrorLog,
    /// Bytes of the body that it has taken.
    pub(super) taken: u64,
    /// Bytes that it may still say.
    left: u64,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Process {
    /// Starts a program, in its own directory and in a process group of its own.
    pub(super) fn start(
        file: &Path,
        environment: &Environment,
        body: Option<Upload>,
        errors: ErrorLog,
        output_max: u64,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let directory = file.parent().unwrap_or(Path::new("/"));
        let mut command = Command::new(file);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(
                environment
                    .iter()
                    .map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value))),
            )
            .current_dir(directory)
            .stdin(if body.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            input: child.stdin.take().zip(body),
            content: Bytes::new(),
            output,
            complaints: child.stderr.take(),
            child,
            errors,
            taken: 0,
            left: output_max,
            ended: false,
            _permit: permit,
        })
    }

    /// The next piece of standard output; `None` at its end.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        if let Poll::Ready(Err(error)) = self.poll_input(cx) {
            return Poll::Ready(Err(error));
        }
        self.poll_complaints(cx)?;
        let mut room = [0; READ];
        let mut buffer = ReadBuf::new(&mut room);
        match Pin::new(&mut self.output).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                // What it does after that is its own affair; its end is seen to.
                self.poll_complaints(cx)?;
                self.errors.end();
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Ok(())) => {
                let piece = Bytes::copy_from_slice(buffer.filled());
                match self.left.checked_sub(piece.len() as u64) {
                    Some(left) => {
                        self.left = left;
                        Poll::Ready(Ok(Some(piece)))
                    }
                    None => Poll::Ready(Err(io::Error::other("the program says too much"))),
                }
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Gives it what there is of the body.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((input, body)) = &mut self.input {
            if self.content.is_empty() {
                match Pin::new(body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.content = frame.into_data().unwrap_or_default();
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.input = None;
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                    Poll::Ready(None) => self.input = None,
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            match Pin::new(input).poll_write(cx, &self.content) {
                Poll::Ready(Ok(written)) => {
                    self.content.advance(written);
                    self.taken = self.taken.saturating_add(written as u64);
                }
                // It wants no more, and is free to.
                Poll::Ready(Err(_)) => self.input = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_complaints(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Some(complaints) = &mut self.complaints {
            let mut room = [0; 1024];
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(complaints).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.errors.add(buffer.filled())?;
                }
                Poll::Ready(_) => self.complaints = None,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Nobody waits for its output any more: it goes, and what it started goes with it.
        let group = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(Pid::from_raw)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "a program could not be ended");
        }
    }
}
