//! The native API for tests of one session, `s`, and the agent `poet`: their HTTP requests to any node.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::client;
use super::load::eventually;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Flags of nodes that elect soon, and not without need on a slow machine.
pub const TIMERS: &[&str] =
    &["--heartbeat-ms", "100", "--election-min-ms", "400", "--election-max-ms", "800"];
/// Where the session is.
pub const SESSION: &str = "/v1/sessions/s";

/// Posts JSON; the status, and the answer's JSON, if it is any.
pub async fn post(url: &str, path: &str, body: Value) -> (u16, Value) {
    let request = client().post(format!("{url}{path}")).json(&body).timeout(PATIENCE);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// Creates a session, once the cluster is bootstrapped.
pub async fn create(url: &str, session: &str) {
    eventually("the session is created", async || {
        let request = client().put(format!("{url}/v1/sessions/{session}"));
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
}

/// The next turn of the agent, for a worker by HTTP.
pub async fn claim(url: &str) -> Value {
    claim_of(url, "poet").await
}

/// The same of another agent.
pub async fn claim_of(url: &str, agent: &str) -> Value {
    let path = format!("/v1/agents/{agent}/claim");
    let mut taken = Value::Null;
    eventually("a turn is to be had", async || {
        let body = json!({ "worker": "w", "wait_ms": 10_000, "lease_ms": 60_000 });
        let (status, answer) = post(url, &path, body).await;
        taken = answer;
        status == 200
    })
    .await;
    taken
}
