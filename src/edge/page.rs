//! A read that ends: one page of a log as JSON, at once or after waiting for the next event.

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::{self, Problem};
use super::{cursor, wire};
use crate::ids::{Cursor, Serial};
use crate::limits;
use crate::runtime::{Delivery, Reader};
use crate::session::Refusal;

/// How long the end of a session that is closed may take to follow the last event, in milliseconds.
const END_MS: u64 = 5;

/// What a page waits for.
pub(super) enum Wait {
    /// Everything that is there now; it must be there by this time.
    Present(Instant),
    /// At least one event, until this time.
    Event(Instant),
}

/// A page as it fills.
struct Page {
    /// After the last thing on the page.
    next: Cursor,
    /// The events, each after a comma but the first.
    events: Vec<u8>,
    count: usize,
    bytes: usize,
    limit: usize,
    gap: Option<Serial>,
    reset: bool,
    up_to_date: bool,
    closed: bool,
}

/// Reads the page after the reader's place.
pub(super) async fn read(
    mut reader: Reader,
    limit: usize,
    wait: Wait,
    stop: &CancellationToken,
) -> Result<Response, Problem> {
    let mut page = Page::new(reader.cursor(), limit);
    let until = match wait {
        Wait::Present(until) | Wait::Event(until) => until,
    };
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = timeout_at(until, reader.next()) => delivery,
            () = stop.cancelled() => break,
        };
        let Ok(delivery) = delivery else {
            if matches!(wait, Wait::Present(_)) && page.count == 0 && !page.up_to_date {
                let detail = "the log is not here in time; try again";
                return Err(Problem::new(&error::NO_QUORUM, detail));
            }
            break;
        };
        let was_up_to_date = page.up_to_date;
        if page.take(delivery)? {
            break;
        }
        match wait {
            // A live event came: it is not worth waiting for its neighbours.
            Wait::Event(_) if was_up_to_date && 0 < page.count => break,
            Wait::Event(_) if page.up_to_date && page.count == 0 => {}
            _ if page.up_to_date => {
                page.look_for_end(&mut reader).await;
                break;
            }
            _ => {}
        }
    }
    Ok(page.response())
}

impl Page {
    fn new(next: Cursor, limit: usize) -> Page {
        Page {
            next,
            events: Vec::new(),
            count: 0,
            bytes: 0,
            limit,
            gap: None,
            reset: false,
            up_to_date: false,
            closed: false,
        }
    }

    /// Takes what fits, and returns whether the page is finished.
    fn take(&mut self, delivery: Delivery) -> Result<bool, Problem> {
        match delivery {
            Delivery::Events(events) => {
                for shown in events {
                    if self.is_full() {
                        self.up_to_date = false;
                        return Ok(true);
                    }
                    self.next.serial = shown.event.serial;
                    if 0 < self.count {
                        self.events.push(b',');
                    }
                    wire::event(&mut self.events, &shown.event, Some(self.next));
                    self.count += 1;
                    self.bytes += shown.event.payload.len();
                }
                Ok(self.is_full())
            }
            // What is reported about the events after it begins a page of its own.
            Delivery::Gap { .. } | Delivery::Reset { .. } if 0 < self.count => {
                self.up_to_date = false;
                Ok(true)
            }
            Delivery::Gap { first } => {
                self.gap = Some(first);
                self.next.serial = cursor::before(first);
                Ok(false)
            }
            Delivery::Reset { incarnation } => {
                self.reset = true;
                self.gap = None;
                self.next = Cursor { incarnation, serial: Serial::ZERO };
                Ok(false)
            }
            Delivery::CaughtUp { .. } => {
                self.up_to_date = true;
                Ok(false)
            }
            Delivery::End { .. } => {
                self.up_to_date = true;
                self.closed = true;
                Ok(true)
            }
            Delivery::Deleted if self.count == 0 => Err(Refusal::NotFound.into()),
            Delivery::Detached { .. } if self.count == 0 => {
                Err(Problem::new(&error::DETACHED, "read on from the same cursor"))
            }
            Delivery::Deleted | Delivery::Detached { .. } => {
                self.up_to_date = false;
                Ok(true)
            }
        }
    }

    fn is_full(&self) -> bool {
        self.limit <= self.count || limits::PAGE_BYTES <= self.bytes
    }

    /// Whether the session ends right after the page. Nothing is waited for where it is open.
    async fn look_for_end(&mut self, reader: &mut Reader) {
        if !reader.is_closed() {
            return;
        }
        let next = timeout(Duration::from_millis(END_MS), reader.next()).await;
        self.closed = matches!(next, Ok(Delivery::End { .. }));
    }

    fn response(self) -> Response {
        let mut body = format!("{{\"incarnation\":{}", self.next.incarnation.0).into_bytes();
        body.extend_from_slice(b",\"events\":[");
        body.extend_from_slice(&self.events);
        body.extend_from_slice(format!("],\"next\":\"{}\"", self.next).as_bytes());
        let (up_to_date, closed) = (self.up_to_date, self.closed);
        body.extend_from_slice(
            format!(",\"up_to_date\":{up_to_date},\"closed\":{closed}").as_bytes(),
        );
        if self.reset {
            body.extend_from_slice(b",\"reset\":true");
        }
        if let Some(first) = self.gap {
            body.extend_from_slice(format!(",\"gap\":{{\"first\":{}}}", first.0).as_bytes());
        }
        body.push(b'}');
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use expect_test::{Expect, expect};

    use super::super::wire::tests::sample;
    use super::*;
    use crate::ids::Incarnation;
    use crate::runtime::Shown;

    fn events(serials: std::ops::RangeInclusive<u64>) -> Delivery {
        let shown = |serial| {
            let mut event = sample("text", b"x");
            event.serial = Serial(serial);
            Arc::new(Shown { event, rendered: OnceLock::new() })
        };
        Delivery::Events(serials.map(shown).collect())
    }

    /// Fills a page of at most three events that begins after #0 and shows where it ended.
    fn check(deliveries: Vec<Delivery>, expected: Expect) {
        let start = Cursor { incarnation: Incarnation(1), serial: Serial(0) };
        let mut page = Page::new(start, 3);
        let mut shown = String::new();
        for delivery in deliveries {
            match page.take(delivery) {
                Ok(true) => break,
                Ok(false) => {}
                Err(why) => shown = format!("{} ", why.kind().code),
            }
        }
        shown +=
            &format!("{} events, next {} {}", page.count, page.next.incarnation, page.next.serial);
        for (is_so, word) in
            [(page.up_to_date, " up to date"), (page.closed, " closed"), (page.reset, " reset")]
        {
            shown += if is_so { word } else { "" };
        }
        if let Some(first) = page.gap {
            shown += &format!(" gap to {first}");
        }
        expected.assert_eq(&shown);
    }

    #[test]
    fn a_page_never_says_more_than_it_shows() {
        let at = Cursor { incarnation: Incarnation(1), serial: Serial(2) };
        let caught_up = || Delivery::CaughtUp { at };
        let gap = |first| Delivery::Gap { first: Serial(first) };
        let reset = || Delivery::Reset { incarnation: Incarnation(2) };
        check(vec![events(1..=2), caught_up()], expect!["2 events, next 1 #2 up to date"]);
        check(vec![events(1..=4), caught_up()], expect!["3 events, next 1 #3"]);
        check(vec![events(1..=3), caught_up()], expect!["3 events, next 1 #3"]);
        check(vec![caught_up()], expect!["0 events, next 1 #0 up to date"]);
        check(
            vec![events(1..=2), Delivery::End { at }],
            expect!["2 events, next 1 #2 up to date closed"],
        );
        check(vec![gap(8), events(8..=9)], expect!["2 events, next 1 #9 gap to #8"]);
        check(vec![gap(8)], expect!["0 events, next 1 #7 gap to #8"]);
        check(vec![events(1..=2), gap(8)], expect!["2 events, next 1 #2"]);
        check(vec![reset(), events(1..=1)], expect!["1 events, next 2 #1 reset"]);
        check(vec![events(1..=2), caught_up(), reset()], expect!["2 events, next 1 #2"]);
        check(vec![Delivery::Deleted], expect!["not_found 0 events, next 1 #0"]);
        check(vec![events(1..=1), Delivery::Deleted], expect!["1 events, next 1 #1"]);
        check(
            vec![Delivery::Detached { reason: "slow_consumer" }],
            expect!["detached 0 events, next 1 #0"],
        );
    }

    /// A page of a session with three events, which was closed or not, and how long it took.
    async fn read_whole(close: bool) -> (String, Duration) {
        use crate::ids::Millis;
        use crate::session::{Append, Command, Config, Format, NewEvent, Session};
        let mut session = Session::absent(crate::ids::SessionId::parse("s").unwrap());
        let new = || NewEvent { format: Format::TEXT, payload: "x".into() };
        let append = Append { events: vec![new(), new(), new()], close, ..Append::default() };
        let mut events = Vec::new();
        for command in [Command::from(Config::default()), Command::Append(append)] {
            session.apply(Millis(1_000), &command, &mut events).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(dir.path()).unwrap();
        let reader = Reader::of(&session, events, store);
        let begun = Instant::now();
        let wait = Wait::Present(begun + Duration::from_secs(5));
        let page = read(reader, 10, wait, &CancellationToken::new()).await.unwrap();
        let took = begun.elapsed();
        let body = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.into()).unwrap();
        (body.split_once("],").expect("the events end").1.to_string(), took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_reaches_the_tail_waits_for_nothing() {
        let (open, took) = read_whole(false).await;
        expect![[r#""next":"0000000001_00000000000000000003","up_to_date":true,"closed":false}"#]]
            .assert_eq(&open);
        assert_eq!(took, Duration::ZERO);
        let (closed, took) = read_whole(true).await;
        expect![[r#""next":"0000000001_00000000000000000003","up_to_date":true,"closed":true}"#]]
            .assert_eq(&closed);
        assert_eq!(took, Duration::ZERO);
    }
}
