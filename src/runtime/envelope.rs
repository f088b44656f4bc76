//! A session's command as it rides in the journal: who waits for it, whose it is, what it asks.
//!
//! `version: u8 | origin: u64 | number: u64 | id length: u16 | id | command`, little-endian; the command
//! through the codec. `origin` is drawn anew by each process, so that nobody mistakes another's answer.
//!
//! A command that names no producer has its key in front, so that it may be repeated (S11):
//! `255 | key: u128 | within ms: u32 | repeated: u8 | age ms: u32 | command`. No version of commands is 255.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cluster::codec;

use crate::ids::SessionId;
use crate::session::command::Class;
use crate::session::stored::COMMAND_VERSION;
use crate::session::{Command, CommandKey};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 8 + 2;
const KEYED: u8 = u8::MAX;
const KEY_HEAD: usize = 1 + 16 + 4 + 1 + 4;
/// Bytes of an envelope beside the session's name and the command, at most.
pub(super) const HEADS: usize = HEAD + KEY_HEAD;

/// Who waits for a command's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    pub(super) origin: u64,
    pub(super) number: u64,
}

/// A command on its way to one session.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) ticket: Ticket,
    /// The encoded command.
    pub(super) command: Bytes,
}

/// Why bytes from the journal are no envelope.
#[derive(Debug, thiserror::Error)]
#[error("a command in the journal is unreadable: {0}")]
pub(super) struct BadEnvelope(String);

/// The bytes of a command, without a key.
pub(super) fn plain(command: &Command) -> Bytes {
    codec::encode(COMMAND_VERSION, command).into()
}

/// Puts a key in front of an encoded command.
pub(super) fn with_key(key: &CommandKey, command: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(KEY_HEAD + command.len());
    bytes.put_u8(KEYED);
    bytes.put_u128_le(key.key);
    bytes.put_u32_le(key.within_ms);
    bytes.put_u8(key.age_ms.is_some().into());
    bytes.put_u32_le(key.age_ms.unwrap_or(0));
    bytes.extend_from_slice(command);
    bytes.freeze()
}

/// Takes off the key, where there is one.
fn parts(bytes: &[u8]) -> Option<(Option<CommandKey>, &[u8])> {
    if bytes.first() != Some(&KEYED) {
        return Some((None, bytes));
    }
    let (mut head, command) = bytes.split_at_checked(KEY_HEAD)?;
    head.advance(1);
    let (key, within_ms) = (head.get_u128_le(), head.get_u32_le());
    let (repeated, age_ms) = (head.get_u8() != 0, head.get_u32_le());
    Some((Some(CommandKey { key, within_ms, age_ms: repeated.then_some(age_ms) }), command))
}

/// A command, and its key where it has one.
pub(super) fn parse(bytes: &[u8]) -> Result<(Option<CommandKey>, Command), BadEnvelope> {
    let (key, bytes) = parts(bytes).ok_or_else(|| BadEnvelope("it is cut short".into()))?;
    let command =
        codec::decode(COMMAND_VERSION, bytes).map_err(|error| BadEnvelope(error.to_string()))?;
    Ok((key, command))
}

/// How an encoded command is treated where room is short.
pub(super) fn class(command: &[u8]) -> Result<Class, BadEnvelope> {
    Ok(parse(command)?.1.class())
}

pub(super) fn encode(ticket: Ticket, id: &SessionId, command: &[u8]) -> Bytes {
    let id = id.full().as_bytes();
    let mut bytes = BytesMut::with_capacity(HEAD + id.len() + command.len());
    bytes.put_u8(VERSION);
    bytes.put_u64_le(ticket.origin);
    bytes.put_u64_le(ticket.number);
    bytes.put_u16_le(u16::try_from(id.len()).expect("ids are below 64 KiB"));
    bytes.extend_from_slice(id);
    bytes.extend_from_slice(command);
    bytes.freeze()
}

pub(super) fn decode(mut bytes: Bytes) -> Result<(SessionId, Envelope), BadEnvelope> {
    let short = || BadEnvelope("it is cut short".into());
    if bytes.len() < HEAD || bytes[0] != VERSION {
        return Err(BadEnvelope(format!("it begins with {:?}", bytes.first())));
    }
    let head = bytes.split_to(HEAD);
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let length = usize::from(u16::from_le_bytes([head[17], head[18]]));
    let id = (length <= bytes.len()).then(|| bytes.split_to(length)).ok_or_else(short)?;
    let id = std::str::from_utf8(&id).map_err(|error| BadEnvelope(error.to_string()))?;
    let id = SessionId::read(id).map_err(|error| BadEnvelope(error.to_string()))?;
    let ticket = Ticket { origin: number(1), number: number(9) };
    Ok((id, Envelope { ticket, command: bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Append;

    #[test]
    fn an_envelope_survives_the_journal() {
        let id = SessionId::parse("chat/1").unwrap();
        let ticket = Ticket { origin: 7, number: 9 };
        let bytes = encode(ticket, &id, &plain(&Command::Tick));
        let golden = [1, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 6, 0];
        assert_eq!(bytes[..], [&golden[..], b"chat/1", &[1, 5]].concat());
        let (back, envelope) = decode(bytes).unwrap();
        assert_eq!((back, envelope.ticket), (id, ticket));
        assert_eq!(parse(&envelope.command).unwrap(), (None, Command::Tick));
    }

    #[test]
    fn a_key_goes_with_its_command_and_hides_nothing() {
        let append = plain(&Command::Append(Append::default()));
        for age_ms in [None, Some(0), Some(258)] {
            let key = CommandKey { key: 3 << 64 | 2, within_ms: 5_000, age_ms };
            let bytes = with_key(&key, &plain(&Command::Tick));
            assert_eq!(class(&bytes).unwrap(), Class::Control);
            assert_eq!(parse(&bytes).unwrap(), (Some(key), Command::Tick));
            assert_eq!(class(&with_key(&key, &append)).unwrap(), Class::Data);
            if age_ms == Some(258) {
                let head = [255, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
                assert_eq!(
                    bytes[..],
                    [&head[..], &[0x88, 0x13, 0, 0, 1, 2, 1, 0, 0, 1, 5]].concat()
                );
            }
            assert!(parse(&bytes[..20]).is_err());
        }
    }
}
