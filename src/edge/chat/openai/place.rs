//! The name of a response: it holds where in which log the response is, so that any node finds it without a table.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::names;
use crate::auth::Caller;
use crate::ids::{AgentName, Incarnation, Serial, SessionId, TurnId};

const PREFIX: &str = "resp_";
/// No name has one.
const BETWEEN: char = '\n';

/// Where a response is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponsePlace {
    pub(super) session: SessionId,
    /// The life of the session that it is in.
    pub(super) life: Incarnation,
    pub(super) turn: TurnId,
    pub(super) agent: AgentName,
    /// The turn's input.
    pub(super) from: Serial,
    /// The event that this response answers: the input, or what people answered to a question of the turn.
    pub(super) begins: Serial,
}

impl ResponsePlace {
    pub(super) fn id(&self) -> String {
        let text = format!(
            "{}{BETWEEN}{}{BETWEEN}{}{BETWEEN}{}{BETWEEN}{}{BETWEEN}{}",
            self.session.name(),
            self.turn,
            self.agent,
            self.from.0,
            self.begins.0,
            self.life.0
        );
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(text))
    }

    /// The place that a name holds, if it is a response's in a session of the caller's.
    pub(super) fn of(caller: &Caller, id: &str) -> Option<ResponsePlace> {
        let bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix(PREFIX)?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut parts = text.split(BETWEEN);
        let mut next = || parts.next();
        let place = ResponsePlace {
            session: names::session(caller, next()?).ok()?,
            turn: TurnId::parse(next()?).ok()?,
            agent: AgentName::parse(next()?).ok()?,
            from: Serial(next()?.parse().ok()?),
            begins: Serial(next()?.parse().ok()?),
            life: Incarnation(next()?.parse().ok()?),
        };
        (next().is_none() && place.from <= place.begins).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_its_response_is() {
        let anybody = Caller::anybody();
        let of = |id: &str| ResponsePlace::of(&anybody, id);
        let place = ResponsePlace {
            session: names::session(&anybody, "team/chat ä").unwrap(),
            turn: TurnId::parse("t~1").unwrap(),
            agent: AgentName::parse("poet").unwrap(),
            from: Serial(7),
            begins: Serial(9),
            life: Incarnation(2),
        };
        assert_eq!(of(&place.id()), Some(place.clone()));
        let early = ResponsePlace { begins: Serial(6), ..place };
        for id in ["", "resp_", "resp_!", "resp_YQ", "msg_YQ", &early.id()] {
            assert_eq!(of(id), None, "{id}");
        }
    }
}
