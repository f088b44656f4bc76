//! S3, S11: appends, tails and reads are linearizable per session (A5: appends, A6: reads).
//!
//! An acknowledgement names the serial, so the order is forced: an append stands at its last
//! serial, a read at the tail in its answer, after the append of that serial, and reads of one tail
//! commute. A choice of points, each within its call, in that order, exists exactly if no call
//! ended before the latest beginning of those ordered before it.

use std::collections::HashSet;

use super::super::history::{Answer, Call, ReadMode};
use super::super::report::Code;
use super::Findings;
use super::index::{Book, Index};

#[derive(Clone, Copy)]
struct Point {
    position: u64,
    read: bool,
    inv: u64,
    ret: u64,
    line: usize,
}

pub fn check(index: &Index<'_>, book: &Book<'_>, out: &mut Findings) {
    let mut points: Vec<Point> = Vec::new();
    let mut inside: HashSet<u64> = HashSet::new();
    for &write in &book.writes {
        let Some(span) = index.span(write, book.incarnation) else { continue };
        let Some((first, position)) = index.extent(write, book) else { continue };
        inside.extend(first..position);
        let (inv, ret, line) = (span.inv, span.ret, span.line);
        points.push(Point { position, read: false, inv, ret, line });
    }
    for &place in &book.answered {
        let op = &index.ops[place];
        let position = match (op.call, op.answer()) {
            (Call::Tail, Some(Answer::Tail { tail, .. })) => *tail,
            (
                Call::Read { mode: ReadMode::Linearizable, .. },
                Some(Answer::Page { tail: Some(tail), .. }),
            ) => *tail,
            _ => continue,
        };
        if inside.contains(&position) {
            let text = format!("tail {position} lies inside a batch");
            out.in_book(Code::A6, book, &[op.line, op.done_line], text);
        }
        let (inv, ret, line) = (op.inv, op.ret, op.line);
        points.push(Point { position, read: true, inv, ret, line });
    }
    points.sort_by_key(|point| (point.position, point.read, point.inv));

    let Some(mut latest) = points.first().copied() else { return };
    for point in &points {
        if latest.inv < point.inv {
            latest = *point;
        }
        if point.ret < latest.inv {
            let code = if point.read || latest.read { Code::A6 } else { Code::A5 };
            let what = |p: &Point| if p.read { "tail" } else { "append" };
            let text = format!(
                "{} {} ended before {} {} began",
                what(point),
                point.position,
                what(&latest),
                latest.position
            );
            out.in_book(code, book, &[point.line, latest.line], text);
        }
    }
}
