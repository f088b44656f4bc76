//! A session's command as it rides in the journal: who waits for it, whose it is, what it requests.
//!
//! `version: u8 | origin: u64 | number: u64 | id length: u16 | id | command`, little-endian; the command
//! through the codec. `origin` is drawn anew by each process, so that no process mistakes another's answer.
//!
//! A command that names no producer has its key in front, so that it may be repeated (S11):
//! `255 | key: u128 | within ms: u32 | repeated: u8 | age ms: u32 | command`. No version of commands is 255.
//!
//! The command of a tenant that has as much of something as it may has its bounds in front, after the key:
//! `254 | sessions: u64 | open turns: u64 | bytes: u64 | command`, where 2^64 - 1 stands for no bound.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cluster::codec;

use crate::ids::SessionId;
use crate::session::stored::COMMAND_VERSION;
use crate::session::{Bounds, Command, CommandKey};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 8 + 2;
const KEYED: u8 = u8::MAX;
const KEY_HEAD: usize = 1 + 16 + 4 + 1 + 4;
const BOUNDED: u8 = u8::MAX - 1;
const BOUNDS_HEAD: usize = 1 + 3 * 8;
/// Bytes of an envelope beside the session's name and the command, at most.
pub(super) const HEADS: usize = HEAD + KEY_HEAD + BOUNDS_HEAD;

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

/// Puts bounds in front of an encoded command that has no key yet.
pub(super) fn within(bounds: &Bounds, command: Bytes) -> Bytes {
    if bounds.is_none() {
        return command;
    }
    let mut bytes = BytesMut::with_capacity(BOUNDS_HEAD + command.len());
    bytes.put_u8(BOUNDED);
    for bound in [bounds.sessions, bounds.open_turns, bounds.stored_bytes] {
        bytes.put_u64_le(bound.unwrap_or(u64::MAX));
    }
    bytes.extend_from_slice(&command);
    bytes.freeze()
}

/// A command as it is to be applied.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) key: Option<CommandKey>,
    pub(super) bounds: Bounds,
    pub(super) command: Command,
}

/// Takes off the key, where there is one.
fn key_of(bytes: &[u8]) -> Option<(Option<CommandKey>, &[u8])> {
    if bytes.first() != Some(&KEYED) {
        return Some((None, bytes));
    }
    let (mut head, command) = bytes.split_at_checked(KEY_HEAD)?;
    head.advance(1);
    let (key, within_ms) = (head.get_u128_le(), head.get_u32_le());
    let (repeated, age_ms) = (head.get_u8() != 0, head.get_u32_le());
    Some((Some(CommandKey { key, within_ms, age_ms: repeated.then_some(age_ms) }), command))
}

/// Takes off the bounds, where there are any.
fn bounds_of(bytes: &[u8]) -> Option<(Bounds, &[u8])> {
    if bytes.first() != Some(&BOUNDED) {
        return Some((Bounds::default(), bytes));
    }
    let (mut head, command) = bytes.split_at_checked(BOUNDS_HEAD)?;
    head.advance(1);
    let mut bound = || Some(head.get_u64_le()).filter(|bound| *bound != u64::MAX);
    Some((Bounds { sessions: bound(), open_turns: bound(), stored_bytes: bound() }, command))
}

/// A command, with its key and its bounds where it has them.
pub(super) fn parse(bytes: &[u8]) -> Result<Request, BadEnvelope> {
    let short = || BadEnvelope("it is cut short".into());
    let (key, bytes) = key_of(bytes).ok_or_else(short)?;
    let (bounds, bytes) = bounds_of(bytes).ok_or_else(short)?;
    let command =
        codec::decode(COMMAND_VERSION, bytes).map_err(|error| BadEnvelope(error.to_string()))?;
    Ok(Request { key, bounds, command })
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
    use crate::session::command::Class;

    fn request(key: Option<CommandKey>, bounds: Bounds) -> Request {
        Request { key, bounds, command: Command::Tick }
    }

    #[test]
    fn bounds_go_with_their_command_and_its_key() {
        let tick = plain(&Command::Tick);
        assert_eq!(within(&Bounds::default(), tick.clone()), tick);
        let bounds = Bounds { sessions: Some(3), stored_bytes: Some(258), ..Bounds::default() };
        let bytes = within(&bounds, tick);
        let none = [255; 8];
        let golden = [&[254, 3, 0, 0, 0, 0, 0, 0, 0][..], &none, &[2, 1, 0, 0, 0, 0, 0, 0, 1, 5]];
        assert_eq!(bytes[..], golden.concat());
        assert_eq!(parse(&bytes).unwrap(), request(None, bounds));
        assert!(parse(&bytes[..20]).is_err());
        let key = CommandKey { key: 7, within_ms: 5, age_ms: None };
        assert_eq!(parse(&with_key(&key, &bytes)).unwrap(), request(Some(key), bounds));
    }

    #[test]
    fn an_envelope_survives_the_journal() {
        let id = SessionId::parse("chat/1").unwrap();
        let ticket = Ticket { origin: 7, number: 9 };
        let bytes = encode(ticket, &id, &plain(&Command::Tick));
        let golden = [1, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 6, 0];
        assert_eq!(bytes[..], [&golden[..], b"chat/1", &[1, 5]].concat());
        let (back, envelope) = decode(bytes).unwrap();
        assert_eq!((back, envelope.ticket), (id, ticket));
        assert_eq!(parse(&envelope.command).unwrap(), request(None, Bounds::default()));
    }

    #[test]
    fn a_key_goes_with_its_command_and_hides_nothing() {
        let append = plain(&Command::Append(Append::default()));
        for age_ms in [None, Some(0), Some(258)] {
            let key = CommandKey { key: 3 << 64 | 2, within_ms: 5_000, age_ms };
            let bytes = with_key(&key, &plain(&Command::Tick));
            assert_eq!(parse(&bytes).unwrap(), request(Some(key), Bounds::default()));
            let keyed = parse(&with_key(&key, &append)).unwrap();
            assert_eq!(keyed.command.class(), Class::Data);
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
