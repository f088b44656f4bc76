//! The JSON of workers' frames: one vocabulary on every connection and on the lines of a child's stdio.
//!
//! [`Frames`] reads and writes them; the runtime's bodies get it as a [`Codec`] and know no JSON.

mod parse;
mod render;

pub(super) use parse::refused;

use crate::ids::TenantName;
use crate::runtime::agent::{Codec, Frame, Refused, ToWorker};

/// Frames as JSON, each in one line: of workers of one tenant, whose sessions they name.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// None for the default tenant.
    pub tenant: Option<TenantName>,
}

impl Codec for Frames {
    fn read(&self, frame: &[u8]) -> Result<Frame, Box<Refused>> {
        parse::read(self.tenant.as_ref(), frame)
    }

    fn write(&self, render: &ToWorker) -> Vec<u8> {
        render::write(render)
    }

    fn registered(&self, node: u64) -> Vec<u8> {
        render::registered(node)
    }
}

#[cfg(test)]
mod tests;
