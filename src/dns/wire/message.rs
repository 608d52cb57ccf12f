//! A whole message, read into parts that own themselves: for what is not the hot path.

use super::code::{Class, RrType};
use super::name::Name;
use super::rdata::decompress;
use super::reader::{Header, Malformed, Reader};
use super::record::OwnRecord;

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Header.
    pub header: Header,
    /// Questions.
    pub questions: Vec<(Name, RrType, Class)>,
    /// Answer section.
    pub answers: Vec<OwnRecord>,
    /// Authority section.
    pub authorities: Vec<OwnRecord>,
    /// Additional section.
    pub additionals: Vec<OwnRecord>,
}

impl Message {
    /// Reads a message to its end.
    pub fn read(bytes: &[u8]) -> Result<Message, Malformed> {
        let header = Header::read(bytes)?;
        let mut reader = Reader::at(bytes, Header::LEN);
        let mut questions = Vec::new();
        for _ in 0..header.questions {
            let name = reader.name()?.as_ref().to_owned();
            questions.push((name, RrType(reader.u16()?), Class(reader.u16()?)));
        }
        // Counts are a peer's word: nothing is set aside for them before the records are seen.
        let mut section = |count: u16| -> Result<Vec<OwnRecord>, Malformed> {
            let mut records = Vec::new();
            for _ in 0..count {
                let raw = reader.record()?;
                let mut rdata = Vec::new();
                decompress(raw.rr_type, bytes, raw.rdata_at, raw.rdata_len, &mut rdata)
                    .map_err(|_| Malformed)?;
                records.push(OwnRecord {
                    owner: raw.owner.as_ref().to_owned(),
                    rr_type: raw.rr_type,
                    class: raw.class,
                    ttl: raw.ttl,
                    rdata,
                });
            }
            Ok(records)
        };
        let answers = section(header.answers)?;
        let authorities = section(header.authorities)?;
        let additionals = section(header.additionals)?;
        if reader.position() != bytes.len() {
            return Err(Malformed);
        }
        Ok(Message {
            header,
            questions,
            answers,
            authorities,
            additionals,
        })
    }
}
