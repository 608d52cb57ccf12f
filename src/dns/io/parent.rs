//! The DS records that a zone's parent has, asked of its servers over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::message::Message;
use crate::wire::name::Name;

const LIMIT: Duration = Duration::from_secs(10);

/// The DS set of a zone, if all agents give the same one.
pub(crate) async fn parent_ds(zone: &str, agents: &[SocketAddr]) -> Result<Vec<Vec<u8>>, String> {
    let name = Name::from_text(zone).map_err(|error| error.to_string())?;
    let mut agreed: Option<Vec<Vec<u8>>> = None;
    for agent in agents {
        let answer = tokio::time::timeout(LIMIT, ask(&name, *agent)).await;
        let mut held = answer
            .map_err(|_| format!("{agent} does not answer"))?
            .map_err(|error| format!("{agent}: {error}"))?;
        held.sort();
        match &agreed {
            None => agreed = Some(held),
            Some(first) if *first == held => {}
            Some(_) => return Err("the parental agents do not agree yet".to_owned()),
        }
    }
    agreed.ok_or_else(|| "there are no parental agents".to_owned())
}

async fn ask(name: &Name, agent: SocketAddr) -> Result<Vec<Vec<u8>>, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut id = [0; 2];
    crate::random(&mut id);
    // RD, for agents that are resolvers.
    let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name.as_ref().wire());
    message.extend_from_slice(&RrType::DS.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&message);
    let mut stream = TcpStream::connect(agent).await.map_err(told)?;
    stream.write_all(&framed).await.map_err(told)?;
    let length = stream.read_u16().await.map_err(told)?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.map_err(told)?;
    let answer = Message::read(&answer).map_err(|error| error.to_string())?;
    let header = answer.header;
    if header.id != u16::from_be_bytes(id) || !header.is_response() {
        return Err("not an answer to this question".to_owned());
    }
    if header.rcode() != Rcode::NOERROR {
        return Err(format!("answers {}", header.rcode()));
    }
    let records = answer.answers.into_iter();
    let ds = records.filter(|record| record.rr_type == RrType::DS && record.owner == *name);
    Ok(ds.map(|record| record.rdata).collect())
}
