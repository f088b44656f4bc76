//! Answers of endpoints that are nearly right, byte by byte: read the same in any pieces, and harmless.

use proptest::prelude::*;

use super::answer::Answer;
use super::*;
use crate::client::sse::{Frame, Parser};
use crate::edge::content::Conversation;
use crate::fuzz::nearly;

const STREAMS: [&str; 7] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    "data: {\"type\":\"start\"}\r\n\r\ndata: {\"type\":\"text-start\",\"id\":\"t\"}\r\n\r\ndata: {\"type\":\"text-delta\",\"id\":\"t\",\"delta\":\"a\"}\r\n\r\ndata: {\"type\":\"text-end\",\"id\":\"t\"}\r\n\r\ndata: {\"type\":\"finish\"}\r\n\r\n",
    "data: {\"type\":\"RUN_STARTED\",\"threadId\":\"s\",\"runId\":\"r\"}\r\rdata: {\"type\":\"TEXT_MESSAGE_CONTENT\",\"messageId\":\"m\",\"delta\":\"a\"}\r\rdata: {\"type\":\"RUN_FINISHED\"}\r\r",
    "\u{feff}retry: 10\nid: 7\nevent: e\ndata: a\ndata: b\n\n: nothing\n\nid: a\0b\ndata\n\n",
    "error: {\"message\":\"boom\"}\n\nevent: error\n\n",
    "data: {\"a\":[[[[[[[[{\"b\":1e400}]]]]]]]],\"type\":null}\n\ndata: \"\\ud800\"\n\n",
];

fn streams() -> Vec<Vec<u8>> {
    STREAMS.map(|stream| stream.as_bytes().to_vec()).to_vec()
}

/// All frames of a stream that comes in pieces of this size, and what it ended in.
fn frames(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<Frame>) {
    let mut parser = Parser::default();
    let mut all = Vec::new();
    for bytes in stream.chunks(piece) {
        all.extend(parser.feed(bytes).expect("it is short"));
    }
    (all, parser.finish())
}

proptest! {
    #[test]
    fn a_stream_of_events_reads_the_same_in_any_pieces(
        stream in nearly(streams()), piece in 1_usize..40,
    ) {
        let whole = frames(&stream, stream.len().max(1));
        prop_assert_eq!(&frames(&stream, piece), &whole);
        for frame in whole.0.iter().chain(&whole.1) {
            prop_assert!(!frame.event.contains(['\r', '\n']) && !frame.data.contains('\r'), "{frame:?}");
            prop_assert!(!frame.id.contains(['\r', '\n', '\0']), "{frame:?}");
        }
    }

    #[test]
    fn whatever_an_endpoint_answers_is_taken_or_fails_the_turn(stream in nearly(streams())) {
        let (all, _) = frames(&stream, 64);
        let nothing = Conversation::default();
        for protocol in [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi, Protocol::Anthropic] {
            let mut answer = Answer::new(protocol, &super::tests::request(&nothing));
            for frame in &all {
                answer.take(frame);
                if answer.is_last(frame) {
                    break;
                }
            }
            answer.end();
        }
    }
}
