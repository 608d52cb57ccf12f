//! The daemon's end of the control socket.

use std::{sync::Arc, time::Duration};

use omnid_config::ListenAddr;
use omnid_ground::{Wanted, streams};
use omnid_hub::ControlError;
use omnid_net::{Accepted, Socket};
use omnid_supervisor::Child;
use omnid_telemetry::limited;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};
use tracing::{debug, info, info_span};

use crate::{
    Admin,
    protocol::{REQUEST_MAX, Reply, Request},
};

/// How long an operator's connection may sit between two requests.
const IDLE: Duration = Duration::from_secs(300);
/// How long a stranger may take to say what he wants before he is refused.
const REFUSED: Duration = Duration::from_secs(2);

pub(crate) fn listener(admin: &Arc<Admin>) -> Wanted {
    let path = admin.config.socket.clone();
    let admin = admin.clone();
    let ground = admin.ground.clone();
    streams(
        &ground,
        "admin",
        "control",
        &ListenAddr::Unix(path),
        move |child, accepted| {
            let admin = admin.clone();
            let own = child.clone();
            child.spawn("conversation", info_span!("control"), async move {
                // An operator who hangs up early, or does not read, is no news; nor may anybody who
                // can open the socket write the log full.
                if let Err(error) = converse(admin, accepted, own).await {
                    debug!(%error, "conversation broken off");
                }
                Ok(())
            });
        },
    )
}

/// Lets only root, the daemon's own user and the listed users in. Anybody may connect to the socket
/// file, so that the refusal can say why.
fn allowed(admin: &Admin, stream: &UnixStream) -> Result<u32, String> {
    let peer = stream
        .peer_cred()
        .map_err(|error| format!("peer credentials: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    if peer.uid() == 0 || peer.uid() == own || admin.config.users.contains(&peer.uid()) {
        Ok(peer.uid())
    } else {
        Err(format!("user {} may not control this daemon", peer.uid()))
    }
}

async fn converse(
    admin: Arc<Admin>,
    accepted: Accepted,
    child: Child,
) -> Result<(), std::io::Error> {
    let Socket::Unix(stream) = accepted.socket else {
        return Ok(());
    };
    let user = match allowed(&admin, &stream) {
        Ok(user) => user,
        Err(reason) => {
            limited!(
                Duration::from_secs(10),
                warn,
                "control connection refused",
                %reason
            );
            // Heard out before it is answered: closed with its request unread, the connection would
            // be reset, and the answer with it.
            let (reader, mut writer) = stream.into_split();
            let mut reader = BufReader::new(reader).take(REQUEST_MAX);
            let _heard = timeout(REFUSED, reader.read_until(b'\n', &mut Vec::new())).await;
            let error = ControlError::new(format!("{reason} (see [admin] users)"));
            write(&mut writer, &Reply::Error(error)).await?;
            return Ok(());
        }
    };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(REQUEST_MAX);
        let read = tokio::select! {
            read = timeout(IDLE, limited.read_until(b'\n', &mut line)) => read,
            () = child.draining() => return Ok(()),
        };
        match read {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            // What follows is the rest of the line, and no request.
            Ok(Ok(length)) if length as u64 == REQUEST_MAX && line.last() != Some(&b'\n') => {
                let error = format!("a request has at most {REQUEST_MAX} octets");
                write(&mut writer, &Reply::Error(ControlError::new(error))).await?;
                return Ok(());
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        let reply = match serde_json::from_slice::<Request>(&line) {
            Err(error) => Reply::Error(ControlError::new(format!("not a request: {error}"))),
            Ok(request) if request.verb == "log.follow" => {
                return follow(&admin, &mut writer, &child).await;
            }
            Ok(request) => {
                info!(user, verb = %request.verb, "control");
                match admin
                    .ground
                    .hub
                    .control()
                    .call(&request.verb, request.arguments)
                    .await
                {
                    Ok(value) => Reply::Ok(value),
                    Err(error) => Reply::Error(error),
                }
            }
        };
        write(&mut writer, &reply).await?;
    }
}

async fn follow(
    admin: &Admin,
    writer: &mut (impl AsyncWriteExt + Unpin),
    child: &Child,
) -> Result<(), std::io::Error> {
    let mut lines = admin.telemetry.tail();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = child.draining() => return Ok(()),
        };
        let item = match line {
            Ok(line) => Value::from(&*line),
            Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => json!({"lost": lost}),
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(()),
        };
        if write(writer, &Reply::Item(item)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    writer: &mut (impl AsyncWriteExt + Unpin),
    reply: &Reply,
) -> Result<(), std::io::Error> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    timeout(Duration::from_secs(10), writer.write_all(&line)).await?
}
