//! The DS records that a zone's parent has, asked of its servers over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::code::{Class, Opcode, Rcode, RrType};
use crate::wire::message::Message;
use crate::wire::name::Name;
use crate::wire::reader::flag;
use crate::wire::record::OwnRecord;

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
    read_ds(&answer, u16::from_be_bytes(id), name)
}

/// The DS set that an answer gives, empty where it denies that there is one. A key is given up on
/// its word, so that only what comes from the parent zone counts: not the referral of a server that
/// does not have it, nor the denial of one that has the child alone.
fn read_ds(answer: &[u8], id: u16, name: &Name) -> Result<Vec<Vec<u8>>, String> {
    let answer = Message::read(answer).map_err(|error| error.to_string())?;
    let header = answer.header;
    let asked = [(name.clone(), RrType::DS, Class::IN)];
    if header.id != id
        || !header.is_response()
        || header.opcode() != Opcode::QUERY
        || answer.questions != asked
    {
        return Err("not an answer to this question".to_owned());
    }
    if header.rcode() != Rcode::NOERROR {
        return Err(format!("answers {}", header.rcode()));
    }
    if header.flags & flag::TC != 0 {
        return Err("the answer is cut short".to_owned());
    }
    if header.flags & (flag::AA | flag::RA) == 0 {
        return Err("it has not the parent zone, nor asks those that do".to_owned());
    }
    let records = answer.answers.into_iter();
    let ds: Vec<_> = records
        .filter(|record| {
            record.rr_type == RrType::DS && record.class == Class::IN && record.owner == *name
        })
        .map(|record| record.rdata)
        .collect();
    // RFC 2308 2.2: a denial shows the SOA of the zone that denies.
    let parents = |record: &OwnRecord| {
        record.rr_type == RrType::SOA
            && record.owner != *name
            && name.as_ref().is_within(record.owner.as_ref())
    };
    if ds.is_empty() && !answer.authorities.iter().any(parents) {
        return Err("neither DS records nor the parent's denial".to_owned());
    }
    Ok(ds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const DS: &str = "1 13 2 0000000000000000000000000000000000000000000000000000000000000000";
    const SOA: &str = "ns.test. hm.test. 1 2 3 4 5";

    /// A response with the question of `own.test DS`, flags, and records of a section.
    fn answer(flags: u16, question: (&str, RrType), records: &[(usize, &str, &str)]) -> Vec<u8> {
        let wire = |name: &str| Name::from_text(name).unwrap().as_ref().wire().to_vec();
        let count =
            |section: usize| records.iter().filter(|(at, ..)| *at == section).count() as u16;
        let mut message = Vec::new();
        for field in [7, flag::QR | flags, 1, count(1), count(2), 0] {
            message.extend(field.to_be_bytes());
        }
        message.extend(wire(question.0));
        message.extend(question.1.0.to_be_bytes());
        message.extend(Class::IN.0.to_be_bytes());
        for (_, owner, data) in records {
            let rr_type = match *data {
                DS => RrType::DS,
                SOA => RrType::SOA,
                _ => RrType::NS,
            };
            let owner = Name::from_text(owner).unwrap();
            let record = OwnRecord::from_text(owner, rr_type, 60, data).unwrap();
            message.extend(record.owner.as_ref().wire());
            message.extend(record.rr_type.0.to_be_bytes());
            message.extend(record.class.0.to_be_bytes());
            message.extend(record.ttl.to_be_bytes());
            message.extend((record.rdata.len() as u16).to_be_bytes());
            message.extend(record.rdata);
        }
        message
    }

    #[test]
    fn whose_word_counts() {
        let own = Name::from_text("own.test").unwrap();
        let asked = ("own.test", RrType::DS);
        let ds = (1, "own.test", DS);
        let denial = (2, "test", SOA);
        let count = |message: Vec<u8>| read_ds(&message, 7, &own).map(|ds| ds.len());
        for (flags, question, records, expected) in [
            (flag::AA, asked, vec![ds], Ok(1)),
            (flag::RA, asked, vec![ds], Ok(1)),
            (flag::AA, asked, vec![denial], Ok(0)),
            (flag::RA, asked, vec![denial], Ok(0)),
            (flag::AA, ("oWn.test", RrType::DS), vec![denial], Ok(0)),
            (flag::RA, asked, vec![(2, ".", SOA)], Ok(0)),
            // A lame server's referral, up or down.
            (0, asked, vec![(2, "test", "ns.test.")], Err("it has not")),
            (0, asked, vec![(2, ".", "ns.test.")], Err("it has not")),
            (
                flag::RA,
                asked,
                vec![(2, "test", "ns.test.")],
                Err("neither"),
            ),
            (flag::AA, asked, vec![], Err("neither")),
            // The child's denial, or a stranger's.
            (flag::AA, asked, vec![(2, "own.test", SOA)], Err("neither")),
            (flag::AA, asked, vec![(2, "other", SOA)], Err("neither")),
            (flag::AA, asked, vec![(1, "www.test", DS)], Err("neither")),
            (
                flag::AA | flag::TC,
                asked,
                vec![ds],
                Err("the answer is cut"),
            ),
            (flag::AA | 5, asked, vec![denial], Err("answers REFUSED")),
            (flag::AA | 0x2000, asked, vec![denial], Err("not an answer")),
            (
                flag::AA,
                ("a.test", RrType::DS),
                vec![denial],
                Err("not an answer"),
            ),
            (
                flag::AA,
                ("own.test", RrType::A),
                vec![denial],
                Err("not an answer"),
            ),
        ] {
            let result = count(answer(flags, question, &records));
            let same = match (&result, &expected) {
                (Ok(one), Ok(other)) => one == other,
                (Err(one), Err(other)) => one.starts_with(other),
                _ => false,
            };
            assert!(same, "{flags:x} {question:?} {records:?}: {result:?}");
        }
        let mut query = answer(flag::AA, asked, &[denial]);
        query[2] &= 0x7f;
        assert!(count(query).is_err());
        let good = answer(flag::AA, asked, &[denial]);
        assert!(read_ds(&good, 8, &own).is_err());
        assert!(count(good[..good.len() - 1].to_vec()).is_err());
    }
}
