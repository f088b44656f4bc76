//! How sessions, events and commands are stored and sent: by serde, through `cluster::codec`.
//!
//! The types themselves are the format: the order of fields and of variants is a promise to every later version,
//! so new variants go to the end. When a shape changes after the first release, the old type moves to a file of its
//! version with a conversion to the new one (see the test below), and the version of all that holds it grows: of heads
//! and blocks on disk, of snapshots, of relays and of the wire between nodes, and [`COMMAND_VERSION`].
//!
//! Texts with rules are stored as they are and parsed when they are read back. What holds between fields is looked
//! at by [`super::Session::check`], which whoever reads a session calls: damaged bytes become an error and never a
//! wrong state.

use std::fmt::{self, Display};

use serde::de::{Error, Visitor};

/// Version of a [`super::Command`].
pub const COMMAND_VERSION: u8 = 1;

/// Takes a text and parses it.
pub(crate) struct Text<T, E>(pub(crate) fn(&str) -> Result<T, E>);

impl<T, E: Display> Visitor<'_> for Text<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<D: Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}

/// Stores a type with `as_str` and `parse` as its text.
macro_rules! kept_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                from.deserialize_str($crate::stored::Text($name::parse))
            }
        }
    };
}

pub(crate) use kept_as_text;

/// The same, stored and read back.
#[cfg(test)]
pub(crate) fn read_back<T>(value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let bytes = cluster::codec::encode(1, value);
    cluster::codec::decode(1, &bytes).expect("what was stored is read back")
}

#[cfg(test)]
mod tests {
    use cluster::codec;
    use serde::{Deserialize, Serialize};

    use crate::ids::{AgentName, SessionId};

    #[test]
    fn a_text_is_stored_as_it_is_and_parsed_again() {
        let bytes = codec::encode(1, &SessionId::parse("chat/1").unwrap());
        assert_eq!(bytes, codec::encode(1, &"chat/1"));
        assert_eq!(codec::decode::<SessionId>(1, &bytes).unwrap().full(), "chat/1");
        let refused = codec::decode::<SessionId>(1, &codec::encode(1, &" x")).unwrap_err();
        assert!(refused.to_string().contains("white space"), "{refused}");
    }

    /// What a later version does when a shape changes: here a policy got a second number.
    mod v1 {
        use super::{Deserialize, Serialize};

        #[derive(Serialize, Deserialize)]
        pub(super) struct Limit {
            pub(super) agent: super::AgentName,
            pub(super) turns: u32,
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Limit {
        agent: AgentName,
        turns: u32,
        bytes: u64,
    }

    impl From<v1::Limit> for Limit {
        fn from(v1::Limit { agent, turns }: v1::Limit) -> Limit {
            Limit { agent, turns, bytes: u64::MAX }
        }
    }

    fn read(bytes: &[u8]) -> Result<Limit, codec::CodecError> {
        match bytes.first() {
            Some(1) => codec::decode::<v1::Limit>(1, bytes).map(Limit::from),
            _ => codec::decode(2, bytes),
        }
    }

    #[test]
    fn an_old_shape_is_read_and_the_new_one_is_written() {
        let agent = AgentName::parse("poet").unwrap();
        let old = codec::encode(1, &v1::Limit { agent: agent.clone(), turns: 3 });
        let now = Limit { agent, turns: 3, bytes: u64::MAX };
        assert_eq!(read(&old).unwrap(), now);
        assert_eq!(read(&codec::encode(2, &now)).unwrap(), now);
        assert!(read(&[3]).is_err());
    }
}
