//! Bytes that are nearly right, for tests of what reads bytes of others. `scripts/fuzz.sh` runs them for long.

use proptest::prelude::*;

/// A sample with a few bytes changed, put in or taken out, or cut short; or anything.
pub(crate) fn nearly(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0_u8..4);
    let edited = (prop::sample::select(samples), prop::collection::vec(edit, 0..6)).prop_map(
        |(mut bytes, edits)| {
            for (at, byte, what) in edits {
                if bytes.is_empty() {
                    bytes.push(byte);
                    continue;
                }
                let at = at.index(bytes.len());
                match what {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
            }
            bytes
        },
    );
    prop_oneof![8 => edited, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}
