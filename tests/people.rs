//! People across devices and nodes: who is there, what a device begins with, answers, control, and what
//! becomes of turns when nobody watches.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use harness::cluster::{Cluster, client};
use harness::load::eventually;
use outlive::client::sse::{Frame, Parser};
use serde_json::{Value, json};
use tokio::time::timeout;

const FLAGS: &[&str] =
    &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];

/// How long anything may take that is only slow.
const PATIENCE: Duration = Duration::from_secs(60);

async fn post(url: &str, path: &str, body: Value) -> (u16, Value) {
    let request = client().post(format!("{url}{path}")).json(&body).timeout(PATIENCE);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

async fn get(url: &str, path: &str) -> Value {
    let answer = client().get(format!("{url}{path}")).timeout(PATIENCE).send().await;
    answer.expect("an answer").json().await.unwrap_or(Value::Null)
}

async fn create(url: &str, session: &str, policy: Value) {
    let body = json!({ "policy": policy });
    eventually("the session is created", async || {
        let request = client().put(format!("{url}/v1/sessions/{session}")).json(&body);
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

async fn input(url: &str, session: &str, body: Value) -> Value {
    let (status, answer) = post(url, &format!("/v1/sessions/{session}/inputs"), body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Takes a turn; it must come.
async fn claim(url: &str, worker: &str) -> Value {
    let mut taken = Value::Null;
    eventually("a turn is to be had", async || {
        let body = json!({ "worker": worker, "wait_ms": 10_000, "lease_ms": 60_000 });
        let (status, answer) = post(url, "/v1/agents/poet/claim", body).await;
        taken = answer;
        status == 200
    })
    .await;
    taken
}

/// Says something as the worker that has the turn.
async fn emit(url: &str, turn: &Value, seq: u64, rest: Value) -> Value {
    let mut body = json!({ "epoch": turn["epoch"], "seq": seq });
    body.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    let (session, name) = (turn["session"].as_str(), turn["turn"].as_str());
    let path =
        format!("/v1/sessions/{}/turns/{}/output", session.expect("text"), name.expect("text"));
    let (status, answer) = post(url, &path, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// A device that is attached to a session.
struct Device {
    bytes: BoxStream<'static, Vec<u8>>,
    parser: Parser,
    frames: Vec<Frame>,
    /// Frames that were looked at.
    seen: usize,
}

impl Device {
    async fn attach(url: &str, session: &str, query: &str) -> Device {
        let request = client().get(format!("{url}/v1/sessions/{session}/events?live=sse&{query}"));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{:?}", answer.text().await);
        let bytes = answer.bytes_stream();
        let bytes = bytes.take_while(|part| std::future::ready(part.is_ok()));
        let bytes = bytes.map(|part| part.expect("it was looked at").to_vec()).boxed();
        Device { bytes, parser: Parser::default(), frames: Vec::new(), seen: 0 }
    }

    /// The data of the next frame with this name of which something is true.
    async fn next(&mut self, name: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                while let Some(frame) = self.frames.get(self.seen) {
                    self.seen += 1;
                    let data: Value = serde_json::from_str(&frame.data).expect("JSON");
                    if frame.event == name && is_meant(&data) {
                        return data;
                    }
                }
                let bytes = self.bytes.next().await.expect("the stream goes on");
                self.frames.extend(self.parser.feed(&bytes).expect("frames"));
            }
        };
        match timeout(PATIENCE, look).await {
            Ok(data) => data,
            Err(_) => panic!("no such {name}: {:#?}", self.frames),
        }
    }

    async fn event(&mut self, kind: &str) -> Value {
        self.next("message", |data| data["type"] == kind).await
    }
}

fn watchers(count: u64) -> impl Fn(&Value) -> bool {
    move |data| data["watchers"] == count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_at_any_node_see_each_other_come_and_go_even_with_their_node() {
    let mut cluster = Cluster::up(3, FLAGS).await;
    let urls = cluster.urls();
    create(&urls[0], "s", json!({})).await;
    let leader = cluster.leader("s").await;
    let (other, third) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let query = "participant=ada&device=phone";
    let mut phone = Device::attach(&cluster.url(other), "s", query).await;
    let alone = phone.next("presence", watchers(1)).await;
    assert_eq!(alone["people"][0]["devices"][0]["device"], "phone");
    let query = "participant=ada&device=laptop&role=observer";
    let laptop = Device::attach(&cluster.url(third), "s", query).await;
    let both = phone.next("presence", watchers(2)).await;
    assert_eq!((&both["controllers"], both["people"].as_array().unwrap().len()), (&json!(1), 1));
    // A newcomer is told at once who is there, and so is whoever asks anywhere.
    let mut bob = Device::attach(&cluster.url(leader), "s", "participant=bob&snapshot=1").await;
    bob.next("presence", watchers(3)).await;
    for url in &urls {
        assert_eq!(get(url, "/v1/sessions/s/presence").await["watchers"], 3);
    }
    // A link that is closed is a leave; one whose node dies expires.
    drop(bob);
    phone.next("presence", watchers(2)).await;
    cluster.kill(third);
    let left = phone.next("presence", watchers(1)).await;
    assert_eq!(left["people"][0]["devices"][0]["device"], "phone");
    drop(laptop);
    // The next leader knows soon, because it is told.
    cluster.start(third);
    cluster.ready(third).await;
    cluster.kill(leader);
    let mut known = Value::Null;
    eventually("the new leader knows", async || {
        known = get(&cluster.url(third), "/v1/sessions/s/presence").await;
        known["watchers"] == 1
    })
    .await;
    let log = get(&cluster.url(third), "/v1/sessions/s/events").await;
    assert_eq!(log["events"], json!([]), "presence is not written down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_device_begins_with_what_there_is_and_not_with_thousands_of_pieces() {
    let cluster = Cluster::up(1, FLAGS).await;
    let url = cluster.url(1);
    create(&url, "s", json!({})).await;
    let body = json!({
        "id": "t", "agent": "poet", "content": { "text": "a poem" },
        "participant": "ada", "device": "phone",
    });
    input(&url, "s", body).await;
    let taken = claim(&url, "w").await;
    let mut whole = String::new();
    for seq in 0..20 {
        let words: Vec<_> = (0..100).map(|word| format!("{seq}.{word} ")).collect();
        let events: Vec<_> = words.iter().map(|word| json!({ "text": word })).collect();
        emit(&url, &taken, seq, json!({ "events": events })).await;
        whole += &words.concat();
    }
    let mut laptop = Device::attach(&url, "s", "participant=ada&device=laptop&snapshot=1").await;
    let attached = laptop.next("attached", |_| true).await;
    let snapshot = &attached["snapshot"];
    let received: Vec<_> = snapshot["messages"].as_array().expect("messages").iter().collect();
    assert_eq!(received.len(), 2);
    assert_eq!((&received[0]["role"], &received[0]["text"]), (&json!("user"), &json!("a poem")));
    assert_eq!(
        (&received[0]["participant"], &received[0]["device"]),
        (&json!("ada"), &json!("phone"))
    );
    assert_eq!(received[1]["text"], whole.as_str());
    assert_eq!((&received[1]["role"], &received[1]["complete"]), (&json!("agent"), &json!(false)));
    assert_eq!((&received[1]["from"], &received[1]["to"]), (&json!(3), &json!(2002)));
    assert_eq!(snapshot["turns"][0]["state"], "active");
    assert_eq!(snapshot["health"][0]["health"], "streaming");
    assert_eq!(snapshot["control"]["mode"], "auto");
    // What comes next follows without a gap.
    let end = json!({ "events": [{ "text": "end" }], "then": "complete" });
    let output = emit(&url, &taken, 20, end).await;
    let next = laptop.event("turn.output").await;
    assert_eq!((&next["serial"], &next["offset"]), (&output["first"], &json!(whole.len())));
    let completed = laptop.event("turn.completed").await;
    let ping = laptop.next("ping", |_| true).await;
    assert_eq!((&ping["tail"], &ping["health"]), (&completed["serial"], &json!([])));
    assert_eq!(ping["audience"]["watchers"], 1);
    let pieces = laptop.frames.iter().filter(|frame| frame.data.contains("turn.output"));
    assert_eq!(pieces.count(), 1);

    // Who has a part catches up in few frames that stand for all serials.
    let cursor = taken["cursor"].as_str().expect("a cursor");
    let mut late = Device::attach(&url, "s", &format!("fold=1&after={cursor}")).await;
    late.event("turn.completed").await;
    let frames = late.frames.iter().filter(|frame| frame.event == "message");
    let frames: Vec<Value> =
        frames.map(|frame| serde_json::from_str(&frame.data).expect("JSON")).collect();
    assert!(frames.len() < 20, "{} frames", frames.len());
    let (mut text, mut next) = (String::new(), 3);
    for frame in &frames {
        let serial = frame["serial"].as_u64().expect("a serial");
        assert_eq!(frame["from"].as_u64().unwrap_or(serial), next);
        next = serial + 1;
        if frame["type"] == "turn.output" {
            assert_eq!(frame["offset"], text.len());
            text += frame["text"].as_str().expect("text");
        }
    }
    assert_eq!(text, whole + "end");
    assert_eq!(completed["serial"], next - 1);
    let messages = get(&url, "/v1/sessions/s/messages").await;
    assert_eq!(messages["messages"][1]["end"], "turn.completed");
    assert_eq!(messages["messages"][1]["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_answer_wins_and_the_other_device_hears_of_it() {
    let cluster = Cluster::up(3, FLAGS).await;
    let urls = cluster.urls();
    create(&urls[0], "s", json!({})).await;
    input(&urls[0], "s", json!({ "id": "t", "agent": "poet", "content": { "text": "go" } })).await;
    let taken = claim(&urls[0], "w").await;
    let ask = json!([{ "interaction": "i", "kind": "approval", "question": { "text": "May I?" } }]);
    emit(&urls[0], &taken, 0, json!({ "ask": ask })).await;
    let mut laptop =
        Device::attach(&urls[1], "s", "participant=ada&device=laptop&snapshot=1").await;
    let attached = laptop.next("attached", |_| true).await;
    let open = &attached["snapshot"]["interactions"][0];
    assert_eq!((&open["interaction"], &open["kind"]), (&json!("i"), &json!("approval")));
    assert_eq!(get(&urls[2], "/v1/sessions/s").await["turns"][0]["state"], "waiting");
    let path = "/v1/sessions/s/interactions/i";
    let answer = |device: &str, yes: bool| json!({ "answer": { "data": yes }, "participant": "ada", "device": device });
    let (one, two) = tokio::join!(
        post(&urls[1], path, answer("phone", true)),
        post(&urls[2], path, answer("laptop", false)),
    );
    let (won, lost, device) = match (one.0, two.0) {
        (200, 409) => (one.1, two.1, "phone"),
        (409, 200) => (two.1, one.1, "laptop"),
        _ => panic!("{one:?} {two:?}"),
    };
    assert_eq!((&won["turn"], &won["duplicate"]), (&json!("t"), &json!(false)));
    assert_eq!(lost["code"], "interaction_already_answered");
    let resolved = laptop.event("interaction.resolved").await;
    assert_eq!((&resolved["device"], &resolved["serial"]), (&json!(device), &won["serial"]));
    // The same device with the same answer is told the same.
    let (status, again) = post(&urls[0], path, answer(device, device == "phone")).await;
    assert_eq!((status, &again["duplicate"]), (200, &json!(true)));
    assert_eq!(get(&urls[2], "/v1/sessions/s").await["interactions"], json!([]));
    let (status, problem) =
        post(&urls[0], "/v1/sessions/s/interactions/none", answer("phone", true)).await;
    assert_eq!((status, &problem["code"]), (404, &json!("no_such_interaction")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_takes_over_answers_and_hands_back() {
    let cluster = Cluster::up(1, FLAGS).await;
    let url = cluster.url(1);
    create(&url, "s", json!({})).await;
    let mut ada = Device::attach(&url, "s", "participant=ada&visibility=public").await;
    let mut sue = Device::attach(&url, "s", "participant=sue&role=supervisor").await;
    let asks = |name: &str, text: &str| {
        let (participant, device) =
            if text == "I am Sue." { ("sue", "turn_queue") } else { ("ada", "phone") };
        json!({
            "id": name, "agent": "poet", "content": { "text": text },
            "participant": participant, "device": device,
        })
    };
    input(&url, "s", asks("t", "a poem")).await;
    let taken = claim(&url, "w").await;
    emit(&url, &taken, 0, json!({ "events": [{ "text": "Roses" }] })).await;
    ada.event("turn.output").await;
    let control = async |body: Value| post(&url, "/v1/sessions/s/control", body).await;
    let take = |participant: &str, role: &str| json!({ "verb": "take", "participant": participant, "role": role, "note": "mine" });
    let (status, problem) = control(take("ada", "participant")).await;
    assert_eq!((status, &problem["code"]), (403, &json!("insufficient_role")));
    let (status, taken_over) = control(take("sue", "supervisor")).await;
    assert_eq!((status, &taken_over["mode"]), (200, &json!("manual")), "{taken_over}");
    let received = ada.event("control.taken").await;
    assert_eq!((&received["participant"], &received["note"]), (&json!("sue"), &json!("mine")));
    let (status, problem) = control(take("bob", "controller")).await;
    assert_eq!((status, &problem["code"]), (409, &json!("controlled_by_other")));
    // What the agent says now is a draft for the supervisor.
    emit(&url, &taken, 1, json!({ "events": [{ "text": " draft" }], "then": "complete" })).await;
    let draft = sue.next("message", |data| data["text"] == " draft").await;
    assert_eq!(draft["visibility"], "internal");
    // What people ask is for the supervisor, who answers.
    let held = input(&url, "s", asks("q", "who is there?")).await;
    let seen = sue.next("message", |data| data["input"] == "q").await;
    assert_eq!((&seen["held"], &seen["serial"]), (&json!(true), &held["serial"]));
    input(&url, "s", asks("a", "I am Sue.")).await;
    let output = ada.event("person.message").await;
    assert_eq!((&output["participant"], &output["text"]), (&json!("sue"), &json!("I am Sue.")));
    let shown = get(&url, "/v1/sessions/s").await;
    assert_eq!(shown["control"]["holder"]["participant"], "sue");
    assert_eq!((&shown["control"]["held"], &shown["turns"]), (&json!(true), &json!([])));
    // Handed back, the agent has what was asked meanwhile.
    let (status, back) = control(json!({ "verb": "release", "participant": "sue" })).await;
    assert_eq!((status, &back["mode"]), (200, &json!("auto")), "{back}");
    ada.event("control.released").await;
    let again = claim(&url, "w").await;
    assert_eq!(again["turn"], "q");
    emit(&url, &again, 0, json!({ "events": [{ "text": "me" }], "then": "complete" })).await;
    ada.event("turn.completed").await;
    let texts = |frames: &[Frame]| frames.iter().any(|frame| frame.data.contains(" draft"));
    assert!(texts(&sue.frames) && !texts(&ada.frames), "drafts are not for everyone");
    let received = get(&url, "/v1/sessions/s/messages?visibility=public").await;
    let received = received["messages"].as_array().expect("messages").iter();
    let received: Vec<_> = received.map(|message| (&message["role"], &message["text"])).collect();
    let wanted = [
        ("user", "a poem"),
        ("agent", "Roses"),
        ("user", "who is there?"),
        ("person", "I am Sue."),
        ("agent", "me"),
    ];
    let wanted: Vec<_> = wanted.iter().map(|(role, text)| (json!(role), json!(text))).collect();
    assert_eq!(received, wanted.iter().map(|(role, text)| (role, text)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_refused_and_changes_nothing() {
    let cluster = Cluster::up(1, FLAGS).await;
    let url = cluster.url(1);
    create(&url, "s", json!({})).await;
    for query in [
        "device=phone",
        "participant=",
        "participant=ada&role=king",
        "snapshot=yes",
        "snapshot=1&after=now",
        "fold=2",
        "visibility=some",
        "participant=ada&participant=bob",
    ] {
        let request = client().get(format!("{url}/v1/sessions/s/events?live=sse&{query}"));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 400, "{query}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "bad_query", "{query}");
    }
    assert_eq!(get(&url, "/v1/sessions/s/events?fold=1").await["code"], "bad_query");
    assert_eq!(get(&url, "/v1/sessions/none/presence").await["code"], "not_found");
    assert_eq!(get(&url, "/v1/sessions/none/messages").await["code"], "not_found");
    for (path, body) in [
        ("control", json!({ "verb": "take" })),
        ("control", json!({ "verb": "seize", "participant": "ada" })),
        ("pause", json!({})),
        ("resume", json!({ "turn": "t", "all": true })),
        ("interactions/i", json!({ "answer": "yes" })),
    ] {
        let (status, problem) = post(&url, &format!("/v1/sessions/s/{path}"), body.clone()).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad_json")), "{path} {body}");
    }
    assert_eq!(get(&url, "/v1/sessions/s").await["tail"], 0);
    assert_eq!(get(&url, "/v1/sessions/s/presence").await["watchers"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_lets_turns_rest_and_go_on() {
    let cluster = Cluster::up(1, FLAGS).await;
    let url = cluster.url(1);
    create(&url, "s", json!({})).await;
    input(&url, "s", json!({ "id": "t", "agent": "poet", "content": { "text": "go" } })).await;
    let taken = claim(&url, "w").await;
    let body = json!({ "turn": "t", "participant": "ada", "role": "observer" });
    let (status, problem) = post(&url, "/v1/sessions/s/pause", body).await;
    assert_eq!((status, &problem["code"]), (403, &json!("insufficient_role")));
    let (status, paused) = post(&url, "/v1/sessions/s/pause", json!({ "turn": "t" })).await;
    assert_eq!((status, &paused["turns"]), (200, &json!(1)));
    emit(&url, &taken, 0, json!({ "then": "pause" })).await;
    assert_eq!(get(&url, "/v1/sessions/s").await["turns"][0]["health"], "paused");
    let (status, resumed) = post(&url, "/v1/sessions/s/resume", json!({ "all": true })).await;
    assert_eq!((status, &resumed["turns"]), (200, &json!(1)));
    assert_eq!(claim(&url, "v").await["attempt"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_nobody_watches_rests_and_goes_on_when_somebody_comes() {
    let cluster = Cluster::up(1, FLAGS).await;
    let url = cluster.url(1);
    create(&url, "s", json!({ "unwatched": { "pause_after_ms": 500 } })).await;
    let mut phone = Device::attach(&url, "s", "participant=ada&device=phone").await;
    input(&url, "s", json!({ "id": "t", "agent": "poet", "content": { "text": "go" } })).await;
    let taken = claim(&url, "w").await;
    phone.event("turn.started").await;
    emit(&url, &taken, 0, json!({ "events": [{ "text": "one " }] })).await;
    // A page that is loaded again is no leaving.
    drop(phone);
    let phone = Device::attach(&url, "s", "participant=ada&device=phone").await;
    let mut onlooker = Device::attach(&url, "s", "after=start").await;
    eventually("the session knows who watches", async || {
        get(&url, "/v1/sessions/s").await["audience"]["watchers"] == 1
    })
    .await;
    drop(phone);
    // An onlooker without a name is nobody.
    let pausing = onlooker.event("turn.pausing").await;
    assert_eq!(pausing["reason"], "unwatched");
    emit(&url, &taken, 1, json!({ "events": [{ "text": "two " }], "then": "pause" })).await;
    onlooker.event("turn.paused").await;
    assert_eq!(get(&url, "/v1/sessions/s").await["turns"][0]["state"], "paused");
    let _phone = Device::attach(&url, "s", "participant=ada&device=phone").await;
    onlooker.event("turn.resumed").await;
    let again = claim(&url, "v").await;
    emit(&url, &again, 0, json!({ "events": [{ "text": "three" }], "then": "complete" })).await;
    onlooker.event("turn.completed").await;
    let messages = get(&url, "/v1/sessions/s/messages").await;
    assert_eq!(messages["messages"][1]["text"], "one two three");
}
